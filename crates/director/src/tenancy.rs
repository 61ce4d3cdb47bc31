//! Tenants and their virtual data centers.

use crate::Error;
use crate::ledger::{Ledger, to_i64};
use airlock_console::token::new_id;
use airlock_policy::Document;
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whoever a director keeps VMs for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Tenant {
    /// Its id.
    pub(crate) id: String,
    /// Its name, which only the provider and itself see.
    pub(crate) name: String,
    /// When it was made, in seconds since 1970-01-01 UTC; 0 for one that was there from the start.
    pub(crate) created_at: u64,
}

/// How much a virtual data center may take; what is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quota {
    /// Bytes stored, those of unfinished transfers included.
    #[schema(maximum = 9_223_372_036_854_775_807_u64)]
    pub(crate) bytes: Option<u64>,
    /// VMs, each name counted once.
    #[schema(maximum = 9_223_372_036_854_775_807_u64)]
    pub(crate) vms: Option<u64>,
    /// Transfers at a time.
    #[schema(maximum = 9_223_372_036_854_775_807_u64)]
    pub(crate) transfers: Option<u64>,
}

/// Where a tenant's VMs live: a namespace of names with a quota and perhaps a policy of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Vdc {
    /// Its id.
    pub(crate) id: String,
    /// The tenant that it belongs to.
    pub(crate) tenant: String,
    /// Its name, by which managers address it; it is unique within the tenant.
    pub(crate) name: String,
    /// How much it may take.
    pub(crate) quota: Quota,
    /// Whether it has a policy of its own; otherwise the site's holds.
    pub(crate) own_policy: bool,
    /// When it was made, in seconds since 1970-01-01 UTC; 0 for one that was there from the start.
    pub(crate) created_at: u64,
    /// The policy of its own.
    #[serde(skip)]
    pub(crate) policy: Option<String>,
}

/// How much a virtual data center takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Bytes stored durably.
    pub(crate) bytes: u64,
    /// VMs, each name counted once.
    pub(crate) vms: u64,
}

/// Which part of a list is wanted, and of whose things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'p> {
    /// The tenant whose things are seen; all of them for the provider.
    pub(crate) tenant: Option<&'p str>,
    /// The id that the list goes on behind.
    pub(crate) after: &'p str,
    /// Most rows.
    pub(crate) limit: u32,
}

/// Reads a policy that was stored or handed in.
pub(crate) fn parse_policy(yaml: &str) -> Result<Document, Error> {
    Document::parse(yaml).map_err(|error| Error::Invalid(error.to_string()))
}

const VDC_COLUMNS: &str = "id, tenant, name, bytes_max, vms_max, transfers_max, policy, created_at";

fn unsigned(value: i64) -> u64 {
    value.unsigned_abs()
}

fn vdc_of(row: &Row<'_>) -> rusqlite::Result<Vdc> {
    let limit = |column| row.get::<_, Option<i64>>(column).map(|value| value.map(unsigned));
    let policy: Option<String> = row.get(6)?;
    Ok(Vdc {
        id: row.get(0)?,
        tenant: row.get(1)?,
        name: row.get(2)?,
        quota: Quota { bytes: limit(3)?, vms: limit(4)?, transfers: limit(5)? },
        own_policy: policy.is_some(),
        policy,
        created_at: unsigned(row.get(7)?),
    })
}

fn tenant_of(row: &Row<'_>) -> rusqlite::Result<Tenant> {
    Ok(Tenant { id: row.get(0)?, name: row.get(1)?, created_at: unsigned(row.get(2)?) })
}

/// Says that a name is taken where SQLite says that it is not unique.
fn taken(name: &str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => {
            Error::Conflict(format!("the name {name:?} is taken"))
        }
        _ => error.into(),
    }
}

impl Ledger {
    /// Makes a tenant with a virtual data center `default`.
    pub(crate) fn add_tenant(&self, name: &str, now: u64) -> Result<Tenant, Error> {
        let tenant = Tenant { id: new_id(), name: name.to_owned(), created_at: now };
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        transaction
            .execute("insert into tenant values (?1, ?2, ?3)", params![tenant.id, name, to_i64(now)])
            .map_err(taken(name))?;
        transaction.execute(
            "insert into vdc values (?1, ?2, 'default', null, null, null, null, ?3)",
            params![new_id(), tenant.id, to_i64(now)],
        )?;
        transaction.commit()?;
        Ok(tenant)
    }

    pub(crate) fn tenants(&self, page: Page<'_>) -> Result<Vec<Tenant>, Error> {
        let connection = self.lock();
        let sql = "select id, name, created_at from tenant
            where id > ?2 and (?1 is null or id = ?1) order by id limit ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![page.tenant, page.after, page.limit], tenant_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Finds a tenant among those that `viewer` may see.
    pub(crate) fn tenant(&self, viewer: Option<&str>, id: &str) -> Result<Option<Tenant>, Error> {
        let sql = "select id, name, created_at from tenant where id = ?2 and (?1 is null or id = ?1)";
        Ok(self.lock().query_row(sql, params![viewer, id], tenant_of).optional()?)
    }

    pub(crate) fn add_vdc(&self, tenant: &str, name: &str, quota: Quota, now: u64) -> Result<Vdc, Error> {
        let limit = |value: Option<u64>| value.map(to_i64);
        let id = new_id();
        self.lock()
            .execute(
                "insert into vdc values (?1, ?2, ?3, ?4, ?5, ?6, null, ?7)",
                params![
                    id,
                    tenant,
                    name,
                    limit(quota.bytes),
                    limit(quota.vms),
                    limit(quota.transfers),
                    to_i64(now)
                ],
            )
            .map_err(taken(name))?;
        let vdc = self.vdc(None, &id)?;
        vdc.ok_or_else(|| Error::NotFound("virtual data center that was just made".into()))
    }

    pub(crate) fn vdcs(&self, page: Page<'_>) -> Result<Vec<Vdc>, Error> {
        let connection = self.lock();
        let sql = format!(
            "select {VDC_COLUMNS} from vdc where id > ?2 and (?1 is null or tenant = ?1) order by id limit ?3"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![page.tenant, page.after, page.limit], vdc_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Finds a virtual data center among those that `viewer` may see.
    pub(crate) fn vdc(&self, viewer: Option<&str>, id: &str) -> Result<Option<Vdc>, Error> {
        let sql = format!("select {VDC_COLUMNS} from vdc where id = ?2 and (?1 is null or tenant = ?1)");
        Ok(self.lock().query_row(&sql, params![viewer, id], vdc_of).optional()?)
    }

    /// Finds a tenant's virtual data center by its name.
    pub(crate) fn vdc_named(&self, tenant: &str, name: &str) -> Result<Option<Vdc>, Error> {
        let sql = format!("select {VDC_COLUMNS} from vdc where tenant = ?1 and name = ?2");
        Ok(self.lock().query_row(&sql, params![tenant, name], vdc_of).optional()?)
    }

    pub(crate) fn set_quota(&self, vdc: &str, quota: Quota) -> Result<(), Error> {
        let limit = |value: Option<u64>| value.map(to_i64);
        let sql = "update vdc set bytes_max = ?2, vms_max = ?3, transfers_max = ?4 where id = ?1";
        let new = params![vdc, limit(quota.bytes), limit(quota.vms), limit(quota.transfers)];
        self.lock().execute(sql, new)?;
        Ok(())
    }

    pub(crate) fn set_policy(&self, vdc: &str, policy: Option<&str>) -> Result<(), Error> {
        self.lock().execute("update vdc set policy = ?2 where id = ?1", params![vdc, policy])?;
        Ok(())
    }

    /// Returns what a virtual data center holds. Bytes of the transfers in `except` are not counted.
    pub(crate) fn usage(&self, tenant: &str, vdc: &str, except: &[String]) -> Result<Usage, Error> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("select id, bytes from transfer where tenant = ?1 and vdc = ?2 and bytes > 0")?;
        let rows = statement
            .query_map([tenant, vdc], |row| Ok((row.get::<_, String>(0)?, unsigned(row.get(1)?))))?;
        let mut bytes: u64 = 0;
        for row in rows {
            let (id, stored) = row?;
            if !except.contains(&id) {
                bytes = bytes.saturating_add(stored);
            }
        }
        let sql = "select count(distinct name) from vm where tenant = ?1 and vdc = ?2";
        let vms = connection.query_row(sql, [tenant, vdc], |row| row.get::<_, i64>(0))?;
        Ok(Usage { bytes, vms: unsigned(vms) })
    }

    pub(crate) fn has_vm(&self, tenant: &str, vdc: &str, name: &str) -> Result<bool, Error> {
        let sql = "select exists (select 1 from vm where tenant = ?1 and vdc = ?2 and name = ?3)";
        Ok(self.lock().query_row(sql, [tenant, vdc, name], |row| row.get(0))?)
    }
}
