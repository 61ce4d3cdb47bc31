//! Who is let in: bearer tokens, client certificates, and the codes that certificates are had for.
//!
//! Nothing that lets anybody in stands in the ledger: tokens and codes as their SHA-256,
//! certificates as the SHA-256 of their DER. A secret is 256 random bits, so a plain hash is enough.

use crate::Error;
use crate::ledger::{Ledger, to_i64};
use crate::tenancy::Page;
use airlock_console::token::{digest_of, new_id, new_secret, new_token};
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// How often a pairing code may be tried.
const PAIRING_ATTEMPTS: u32 = 5;

/// What a credential is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub(crate) enum Scope {
    /// Everything, of all tenants.
    #[serde(rename = "provider")]
    Provider,
    /// Everything of one tenant, but not its quotas.
    #[serde(rename = "tenant:admin")]
    TenantAdmin,
    /// Looking at what is one tenant's.
    #[serde(rename = "tenant:read")]
    TenantRead,
    /// Transferring VMs; only of use with a client certificate.
    #[serde(rename = "transfer")]
    Transfer,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::TenantAdmin => "tenant:admin",
            Self::TenantRead => "tenant:read",
            Self::Transfer => "transfer",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Provider, Self::TenantAdmin, Self::TenantRead, Self::Transfer]
            .into_iter()
            .find(|scope| scope.as_str() == text)
    }
}

/// How a credential is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CredentialKind {
    /// In the header `Authorization: Bearer`.
    Token,
    /// In the handshake of TLS.
    Certificate,
}

/// What lets somebody in, without the secret of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Credential {
    /// Its id.
    pub(crate) id: String,
    /// The tenant that it belongs to; none for the provider's.
    pub(crate) tenant: Option<String>,
    /// How it is shown.
    pub(crate) kind: CredentialKind,
    /// What people call it.
    pub(crate) label: String,
    /// What it is good for.
    pub(crate) scopes: Vec<Scope>,
    /// When it was made, in seconds since 1970-01-01 UTC; 0 for one that was there from the start.
    pub(crate) created_at: u64,
    /// When it ceases to be good.
    pub(crate) expires_at: Option<u64>,
    /// When it was revoked.
    pub(crate) revoked_at: Option<u64>,
}

/// What a new credential is to be.
#[derive(Debug, Clone)]
pub(crate) struct NewCredential<'n> {
    pub(crate) tenant: Option<&'n str>,
    pub(crate) label: &'n str,
    pub(crate) scopes: &'n [Scope],
    pub(crate) expires_at: Option<u64>,
}

/// A code that a certificate is to be had for, as it is kept.
#[derive(Debug)]
pub(crate) struct Pairing {
    pub(crate) tenant: String,
    pub(crate) label: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) replaces: Option<String>,
    pub(crate) certificate_expires_at: Option<u64>,
}

fn join(scopes: &[Scope]) -> String {
    let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    scopes.join(" ")
}

fn split(scopes: &str) -> Vec<Scope> {
    scopes.split(' ').filter_map(Scope::parse).collect()
}

const COLUMNS: &str = "id, tenant, kind, label, scopes, created_at, expires_at, revoked_at";

fn credential_of(row: &Row<'_>) -> rusqlite::Result<Credential> {
    let time = |column| row.get::<_, Option<i64>>(column).map(|seconds| seconds.map(i64::unsigned_abs));
    let kind: String = row.get(2)?;
    let kind = if kind == "token" { CredentialKind::Token } else { CredentialKind::Certificate };
    Ok(Credential {
        id: row.get(0)?,
        tenant: row.get(1)?,
        kind,
        label: row.get(3)?,
        scopes: split(&row.get::<_, String>(4)?),
        created_at: time(5)?.unwrap_or(0),
        expires_at: time(6)?,
        revoked_at: time(7)?,
    })
}

impl Ledger {
    fn add_credential(
        &self,
        kind: &str,
        secret_digest: &str,
        new: &NewCredential<'_>,
        now: u64,
    ) -> Result<Credential, Error> {
        let id = new_id();
        self.lock().execute(
            "insert into credential values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, null)",
            params![
                id,
                new.tenant,
                kind,
                secret_digest,
                new.label,
                join(new.scopes),
                to_i64(now),
                new.expires_at.map(to_i64)
            ],
        )?;
        self.credential(None, &id)?.ok_or_else(|| Error::NotFound("credential that was just made".into()))
    }

    /// Makes a token. It is returned this once.
    pub(crate) fn add_token(
        &self,
        new: &NewCredential<'_>,
        now: u64,
    ) -> Result<(Credential, Zeroizing<String>), Error> {
        let token = new_token();
        Ok((self.add_credential("token", &digest_of(&token), new, now)?, token))
    }

    /// Lets a certificate in, unless it is known already.
    pub(crate) fn add_certificate(
        &self,
        certificate: &str,
        new: &NewCredential<'_>,
        now: u64,
    ) -> Result<(), Error> {
        let sql = "select exists (select 1 from credential where digest = ?1)";
        let known: bool = self.lock().query_row(sql, [certificate], |row| row.get(0))?;
        if !known {
            self.add_credential("certificate", certificate, new, now)?;
        }
        Ok(())
    }

    /// Says whether the provider has or had any credential.
    pub(crate) fn has_provider(&self) -> Result<bool, Error> {
        let sql = "select exists (select 1 from credential where tenant is null)";
        Ok(self.lock().query_row(sql, [], |row| row.get(0))?)
    }

    /// Finds the credential that a digest belongs to, good or not.
    pub(crate) fn credential_with(&self, digest: &str) -> Result<Option<Credential>, Error> {
        let connection = self.lock();
        let sql = format!("select {COLUMNS} from credential where digest = ?1");
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(statement.query_row([digest], credential_of).optional()?)
    }

    /// Finds a credential among those that `viewer` may see.
    pub(crate) fn credential(&self, viewer: Option<&str>, id: &str) -> Result<Option<Credential>, Error> {
        let sql = format!("select {COLUMNS} from credential where id = ?2 and (?1 is null or tenant = ?1)");
        Ok(self.lock().query_row(&sql, params![viewer, id], credential_of).optional()?)
    }

    pub(crate) fn credentials(&self, page: Page<'_>) -> Result<Vec<Credential>, Error> {
        let connection = self.lock();
        let sql = format!(
            "select {COLUMNS} from credential
                where id > ?2 and (?1 is null or tenant = ?1) order by id limit ?3"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![page.tenant, page.after, page.limit], credential_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Gives a token a new secret; the old one is good for nothing from now on.
    pub(crate) fn rotate_token(&self, id: &str) -> Result<Zeroizing<String>, Error> {
        let token = new_token();
        let sql = "update credential set digest = ?2 where id = ?1 and kind = 'token' and revoked_at is null";
        if self.lock().execute(sql, params![id, digest_of(&token)])? == 0 {
            return Err(Error::Conflict("the credential is revoked".into()));
        }
        Ok(token)
    }

    /// Revokes a credential; one that was revoked before stays as it is.
    pub(crate) fn revoke(&self, id: &str, now: u64) -> Result<(), Error> {
        let sql = "update credential set revoked_at = ?2 where id = ?1 and revoked_at is null";
        self.lock().execute(sql, params![id, to_i64(now)])?;
        Ok(())
    }

    /// Makes the secret that a certificate can be had for, once. Returns its id and itself.
    pub(crate) fn add_pairing(
        &self,
        pairing: &Pairing,
        now: u64,
        expires_at: u64,
    ) -> Result<(String, Zeroizing<String>), Error> {
        let (id, secret) = (new_id(), new_secret());
        let connection = self.lock();
        connection.execute("delete from pairing where expires_at <= ?1", [to_i64(now)])?;
        connection.execute(
            "insert into pairing values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                id,
                pairing.tenant,
                digest_of(&secret),
                pairing.label,
                join(&pairing.scopes),
                pairing.replaces,
                PAIRING_ATTEMPTS,
                to_i64(expires_at),
                pairing.certificate_expires_at.map(to_i64)
            ],
        )?;
        Ok((id, secret))
    }

    /// Uses a code up. Every try counts, and only the right secret within the time gives something.
    pub(crate) fn take_pairing(&self, id: &str, secret: &str, now: u64) -> Result<Option<Pairing>, Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "update pairing set attempts_left = attempts_left - 1
            where id = ?1 and attempts_left > 0 and expires_at > ?2
            returning digest, tenant, label, scopes, replaces, certificate_expires_at";
        let found = transaction.query_row(sql, params![id, to_i64(now)], |row| {
            let expires: Option<i64> = row.get(5)?;
            let pairing = Pairing {
                tenant: row.get(1)?,
                label: row.get(2)?,
                scopes: split(&row.get::<_, String>(3)?),
                replaces: row.get(4)?,
                certificate_expires_at: expires.map(i64::unsigned_abs),
            };
            Ok((row.get::<_, String>(0)?, pairing))
        });
        let found = found.optional()?;
        let given = digest_of(secret);
        let right = |digest: &str| {
            aws_lc_rs::constant_time::verify_slices_are_equal(digest.as_bytes(), given.as_bytes()).is_ok()
        };
        let pairing = found.filter(|(digest, _)| right(digest)).map(|(_, pairing)| pairing);
        if pairing.is_some() {
            transaction.execute("delete from pairing where id = ?1", [id])?;
        }
        transaction.commit()?;
        Ok(pairing)
    }
}

impl Credential {
    /// Says why it is good for nothing, if so.
    pub(crate) fn invalid_at(&self, now: u64) -> Option<&'static str> {
        if self.revoked_at.is_some() {
            return Some("the credential was revoked");
        }
        self.expires_at.is_some_and(|end| end <= now).then_some("the credential has expired")
    }
}
