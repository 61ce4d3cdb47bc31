//! What people do with transfers and VMs: look, pause, resume, cancel, delete.

use crate::connections::{Cut, Phase};
use crate::ledger::{Ledger, parse_id, state};
use crate::manifest::Manifest;
use crate::segment::SegmentId;
use crate::tenancy::Page;
use crate::{Director, Error, keys};
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use utoipa::ToSchema;

/// How long a transfer that is cut may take to end.
const ENDING_POLLS_MAX: u32 = 500;
/// How often it is looked whether it has.
const ENDING_POLL: Duration = Duration::from_millis(20);

/// Where a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TransferState {
    /// A manager is connected, and nothing is agreed yet.
    Negotiating,
    /// Data arrives, and files are judged as they complete.
    Staging,
    /// Everything has arrived and is judged.
    Checking,
    /// It does not go on before it is resumed.
    Paused,
    /// Nobody is connected; the manager may go on with it.
    Interrupted,
    /// It is judged, and the record is signed.
    Committing,
    /// Kept as it was.
    Active,
    /// Kept, with blocks withheld.
    ActiveWithheld,
    /// Refused by policy: nothing was kept, and the evidence says why.
    Rejected,
    /// Cancelled, or begun anew: nothing was kept.
    Discarded,
    /// It could not be judged: nothing was kept, and the evidence says why.
    Failed,
    /// Its VM was kept, and deleted later.
    Deleted,
}

/// A transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Transfer {
    /// Its id.
    pub(crate) id: String,
    /// The tenant.
    pub(crate) tenant: String,
    /// The name of the virtual data center.
    pub(crate) vdc: String,
    /// The name of the VM.
    pub(crate) vm: String,
    /// Where it stands.
    pub(crate) state: TransferState,
    /// Bytes that it has stored durably and that count against the quota.
    pub(crate) bytes: u64,
    /// When it began, in seconds since 1970-01-01 UTC.
    pub(crate) created_at: u64,
    #[serde(skip)]
    kept: String,
}

/// A VM that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Vm {
    /// Its id, which is that of the transfer that brought it.
    pub(crate) id: String,
    /// The tenant.
    pub(crate) tenant: String,
    /// The name of the virtual data center.
    pub(crate) vdc: String,
    /// Its name.
    pub(crate) name: String,
    /// 1 for the first transfer of that name, then counted up.
    pub(crate) generation: u64,
    /// `active` or `active-withheld`.
    pub(crate) state: String,
    /// When it was sealed, in seconds since 1970-01-01 UTC.
    pub(crate) sealed_at: u64,
}

const TRANSFER_COLUMNS: &str = "id, tenant, vdc, vm, state, bytes, paused, created_at";
const VM_COLUMNS: &str = "transfer, tenant, vdc, name, generation, state, sealed_at";

fn transfer_of(row: &Row<'_>) -> rusqlite::Result<Transfer> {
    let kept: String = row.get(4)?;
    let state = match (kept.as_str(), row.get(6)?) {
        ("active", _) => TransferState::Active,
        ("active-withheld", _) => TransferState::ActiveWithheld,
        (state::DELETING | state::DELETED, _) => TransferState::Deleted,
        (state::STAGING | state::COMMITTING, true) => TransferState::Paused,
        (state::STAGING | state::COMMITTING, false) => TransferState::Interrupted,
        (state::FAILED, _) => TransferState::Failed,
        _ => TransferState::Discarded,
    };
    Ok(Transfer {
        id: row.get(0)?,
        tenant: row.get(1)?,
        vdc: row.get(2)?,
        vm: row.get(3)?,
        state,
        bytes: row.get::<_, i64>(5)?.unsigned_abs(),
        created_at: row.get::<_, i64>(7)?.unsigned_abs(),
        kept,
    })
}

fn vm_of(row: &Row<'_>) -> rusqlite::Result<Vm> {
    Ok(Vm {
        id: row.get(0)?,
        tenant: row.get(1)?,
        vdc: row.get(2)?,
        name: row.get(3)?,
        generation: row.get::<_, i64>(4)?.unsigned_abs(),
        state: row.get(5)?,
        sealed_at: row.get::<_, i64>(6)?.unsigned_abs(),
    })
}

impl Ledger {
    fn transfer(&self, viewer: Option<&str>, id: &str) -> Result<Option<Transfer>, Error> {
        let sql =
            format!("select {TRANSFER_COLUMNS} from transfer where id = ?2 and (?1 is null or tenant = ?1)");
        Ok(self.lock().query_row(&sql, params![viewer, id], transfer_of).optional()?)
    }

    fn transfers_page(&self, page: Page<'_>) -> Result<Vec<Transfer>, Error> {
        let connection = self.lock();
        let sql = format!(
            "select {TRANSFER_COLUMNS} from transfer
                where id > ?2 and (?1 is null or tenant = ?1) order by id limit ?3"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![page.tenant, page.after, page.limit], transfer_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn vm(&self, viewer: Option<&str>, id: &str) -> Result<Option<Vm>, Error> {
        let sql = format!("select {VM_COLUMNS} from vm where transfer = ?2 and (?1 is null or tenant = ?1)");
        Ok(self.lock().query_row(&sql, params![viewer, id], vm_of).optional()?)
    }

    fn vms_page(&self, page: Page<'_>) -> Result<Vec<Vm>, Error> {
        let connection = self.lock();
        let sql = format!(
            "select {VM_COLUMNS} from vm
                where transfer > ?2 and (?1 is null or tenant = ?1) order by transfer limit ?3"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params![page.tenant, page.after, page.limit], vm_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns the state of a transfer as it is kept.
    pub(crate) fn state_of(&self, transfer: &[u8; 16]) -> Result<Option<String>, Error> {
        let sql = "select state from transfer where id = ?1";
        Ok(self.lock().query_row(sql, [hex::encode(transfer)], |row| row.get(0)).optional()?)
    }

    /// Says whether a transfer may still go on.
    pub(crate) fn is_unfinished(&self, transfer: &[u8; 16]) -> Result<bool, Error> {
        let state = self.state_of(transfer)?;
        Ok(state.is_some_and(|state| state::is_unfinished(&state)))
    }

    fn set_paused(&self, transfer: &str, paused: bool) -> Result<(), Error> {
        let sql = "update transfer set paused = ?2 where id = ?1 and state in ('staging', 'committing')";
        if self.lock().execute(sql, params![transfer, paused])? == 0 {
            return Err(Error::Conflict("the transfer has ended".into()));
        }
        Ok(())
    }

    /// Takes a VM out of the ledger, with the entries of the chunks that only it consists of.
    fn remove_vm(&self, vm: &Vm, chunks: &[airlock_model::ChunkId]) -> Result<(), Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("delete from vm where transfer = ?1", [&vm.id])?;
        {
            let mut delete = transaction.prepare_cached("delete from chunk where tenant = ?1 and id = ?2")?;
            for chunk in chunks {
                delete.execute(params![vm.tenant, chunk.0])?;
            }
        }
        let sql = "delete from product where tenant = ?1 and vdc = ?2 and vm = ?3 and not exists
            (select 1 from vm where tenant = ?1 and vdc = ?2 and name = ?3)";
        transaction.execute(sql, [&vm.tenant, &vm.vdc, &vm.name])?;
        let sql = "update transfer set state = ?2, bytes = 0 where id = ?1";
        transaction.execute(sql, params![vm.id, state::DELETING])?;
        transaction.commit()?;
        connection.pragma_update(None, "wal_checkpoint", "truncate")?;
        Ok(())
    }

    /// Returns the transfers of a tenant whose VMs were deleted.
    fn deleted(&self, tenant: &str) -> Result<Vec<[u8; 16]>, Error> {
        let connection = self.lock();
        let sql = "select id from transfer where tenant = ?1 and state in ('deleting', 'deleted')";
        let mut statement = connection.prepare(sql)?;
        let ids = statement.query_map([tenant], |row| row.get::<_, String>(0))?;
        ids.map(|id| parse_id(&id?)).collect()
    }

    /// Returns the tenants that have VMs whose deletion was interrupted.
    pub(crate) fn deleting(&self) -> Result<Vec<String>, Error> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("select distinct tenant from transfer where state = 'deleting'")?;
        let tenants = statement.query_map([], |row| row.get(0))?;
        Ok(tenants.collect::<Result<_, _>>()?)
    }
}

impl Director {
    /// Notes an event. A ledger that fails shows in what follows, so it does not stop what happened.
    pub(crate) fn happened(&self, tenant: Option<&str>, kind: &str, subject: &str, detail: &str) {
        if let Err(error) = self.ledger.note(tenant, kind, subject, detail, (self.clock)()) {
            tracing::error!(kind, error = &error as &dyn std::error::Error, "cannot note an event");
        }
    }

    /// Says of what the ledger knows how it stands at this moment.
    fn as_it_stands(&self, mut transfer: Transfer, phases: &HashMap<[u8; 16], Phase>) -> Transfer {
        let Ok(id) = parse_id(&transfer.id) else { return transfer };
        transfer.state = match (transfer.state, phases.get(&id)) {
            (TransferState::Discarded, _) if self.evidence_path(&id).exists() => TransferState::Rejected,
            (TransferState::Interrupted, Some(Phase::Negotiating)) => TransferState::Negotiating,
            (TransferState::Interrupted, Some(Phase::Staging)) => TransferState::Staging,
            (TransferState::Interrupted, Some(Phase::Checking)) => TransferState::Checking,
            (TransferState::Interrupted, Some(Phase::Committing)) => TransferState::Committing,
            (state, _) => state,
        };
        transfer
    }

    pub(crate) fn transfer(&self, viewer: Option<&str>, id: &str) -> Result<Transfer, Error> {
        let found = self.ledger.transfer(viewer, id)?;
        let found = found.ok_or_else(|| Error::NotFound("such transfer".into()))?;
        Ok(self.as_it_stands(found, &self.connections.phases()))
    }

    pub(crate) fn transfers(&self, page: Page<'_>) -> Result<Vec<Transfer>, Error> {
        let phases = self.connections.phases();
        let found = self.ledger.transfers_page(page)?;
        Ok(found.into_iter().map(|transfer| self.as_it_stands(transfer, &phases)).collect())
    }

    /// Keeps a transfer from going on, and cuts its connections.
    pub(crate) fn pause(&self, viewer: Option<&str>, id: &str) -> Result<Transfer, Error> {
        let transfer = self.transfer(viewer, id)?;
        self.ledger.set_paused(id, true)?;
        let key = parse_id(id)?;
        self.connections.cut_transfer(&key, Cut::Paused);
        self.wait_until_left(&key);
        let now = self.transfer(viewer, id)?;
        if now.state != TransferState::Paused {
            return Err(Error::Conflict("the transfer has ended".into()));
        }
        self.happened(Some(&transfer.tenant), "transfer.paused", id, &transfer.vm);
        Ok(now)
    }

    /// Lets a transfer go on that was paused; the manager has to come again.
    pub(crate) fn resume(&self, viewer: Option<&str>, id: &str) -> Result<Transfer, Error> {
        let transfer = self.transfer(viewer, id)?;
        self.ledger.set_paused(id, false)?;
        self.happened(Some(&transfer.tenant), "transfer.resumed", id, &transfer.vm);
        self.transfer(viewer, id)
    }

    /// Ends a transfer and discards what it has brought.
    pub(crate) fn cancel(&self, viewer: Option<&str>, id: &str) -> Result<Transfer, Error> {
        let transfer = self.transfer(viewer, id)?;
        let key = parse_id(id)?;
        self.connections.cut_transfer(&key, Cut::Cancelled);
        self.wait_until_left(&key);
        {
            let _alone = self.admitting();
            let left = !self.live().contains_key(&key);
            let unfinished = [state::STAGING, state::COMMITTING].map(str::to_owned);
            if left && self.ledger.state_of(&key)?.is_some_and(|state| unfinished.contains(&state)) {
                self.discard(&key)?;
            }
        }
        let now = self.transfer(viewer, id)?;
        match now.state {
            TransferState::Discarded => {
                self.happened(Some(&transfer.tenant), "transfer.cancelled", id, &transfer.vm);
                Ok(now)
            }
            _ => Err(Error::Conflict("the transfer has ended, or does not end at once".into())),
        }
    }

    fn wait_until_left(&self, transfer: &[u8; 16]) {
        for _ in 0..ENDING_POLLS_MAX {
            if !self.connections.serves(transfer) {
                return;
            }
            std::thread::park_timeout(ENDING_POLL);
        }
    }

    pub(crate) fn vm_rows(&self, page: Page<'_>) -> Result<Vec<Vm>, Error> {
        self.ledger.vms_page(page)
    }

    pub(crate) fn vm(&self, viewer: Option<&str>, id: &str) -> Result<Vm, Error> {
        self.ledger.vm(viewer, id)?.ok_or_else(|| Error::NotFound("such VM".into()))
    }

    /// Deletes a VM: its manifest, the keys of the chunks that no other VM of the tenant has, and the
    /// segments that hold no other's chunks.
    pub(crate) fn delete_vm(&self, viewer: Option<&str>, id: &str) -> Result<(), Error> {
        let vm = self.vm(viewer, id)?;
        let _alone = self.admitting();
        if self.live().values().any(|chamber| chamber.tenant == vm.tenant) {
            let text = "a transfer of the tenant is under way, and may rely on what this VM consists of";
            return Err(Error::Conflict(text.into()));
        }
        let wrapping = self.wrapping_key(&vm.tenant)?;
        let transfer = parse_id(&vm.id)?;
        let (manifest, _) = Manifest::read(&self.manifest_path(&transfer), &transfer, &wrapping)?;
        let (others, _) = self.in_use(&vm.tenant, Some(&vm.id))?;
        let own: Vec<_> =
            manifest.chunks.iter().map(|chunk| chunk.id).filter(|chunk| !others.contains(chunk)).collect();
        self.ledger.remove_vm(&vm, &own)?;
        self.sweep(&vm.tenant)?;
        self.happened(Some(&vm.tenant), "vm.deleted", &vm.id, &vm.name);
        Ok(())
    }

    /// Returns the chunks and segments that the tenant's VMs consist of, except for one VM.
    fn in_use(
        &self,
        tenant: &str,
        except: Option<&str>,
    ) -> Result<(HashSet<airlock_model::ChunkId>, HashSet<SegmentId>), Error> {
        let wrapping = self.wrapping_key(tenant)?;
        let (mut chunks, mut segments) = (HashSet::new(), HashSet::new());
        for vm in self.ledger.vms(tenant)?.iter().filter(|vm| Some(vm.transfer.as_str()) != except) {
            let transfer = parse_id(&vm.transfer)?;
            let (manifest, _) = Manifest::read(&self.manifest_path(&transfer), &transfer, &wrapping)?;
            chunks.extend(manifest.chunks.iter().map(|chunk| chunk.id));
            segments.extend(manifest.chunks.iter().map(|chunk| chunk.segment));
        }
        Ok((chunks, segments))
    }

    /// Removes the files of a tenant's deleted VMs that no other VM needs. It can be interrupted anywhere
    /// and done again.
    pub(crate) fn sweep(&self, tenant: &str) -> Result<(), Error> {
        let (_, segments) = self.in_use(tenant, None)?;
        for transfer in self.ledger.deleted(tenant)? {
            let manifest = self.manifest_path(&transfer);
            match std::fs::remove_file(&manifest) {
                Ok(()) => keys::sync_parent(&manifest)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::file("remove", &manifest)(error)),
            }
            for number in self.segments.numbers(&transfer)? {
                let segment = SegmentId { transfer, number };
                if !segments.contains(&segment) {
                    self.segments.forget(segment);
                    let path = self.segments.path(segment);
                    std::fs::remove_file(&path).map_err(Error::file("remove", &path))?;
                }
            }
            self.ledger.set_state(&transfer, state::DELETED)?;
        }
        Ok(())
    }
}
