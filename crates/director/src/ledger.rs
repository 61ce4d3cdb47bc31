//! What the director must not forget, in SQLite.
//!
//! Every statement that makes something exist or cease to exist is one transaction.
//! Nothing that was found stands here, and chunk keys stand here only wrapped:
//! a transfer's under its own key, which a discard or a seal destroys, the vault's
//! under the tenant's.

use crate::Error;
use crate::keys::{self, Key};
use crate::segment::Stored;
use airlock_model::ChunkId;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The states of a transfer that this version knows.
pub(crate) mod state {
    pub(crate) const STAGING: &str = "staging";
    pub(crate) const COMMITTING: &str = "committing";
    pub(crate) const DISCARDING: &str = "discarding";
    pub(crate) const DISCARDED: &str = "discarded";
    pub(crate) const FAILED: &str = "failed";
    /// Its VM is out of the ledger, and its files are about to be removed.
    pub(crate) const DELETING: &str = "deleting";
    pub(crate) const DELETED: &str = "deleted";

    /// Says whether a transfer in this state may still go on.
    pub(crate) fn is_unfinished(state: &str) -> bool {
        state == STAGING || state == COMMITTING
    }
}

/// A transfer as it stands in the ledger.
#[derive(Debug, Clone)]
pub(crate) struct TransferRow {
    pub(crate) id: [u8; 16],
    pub(crate) state: String,
    pub(crate) shape: String,
    pub(crate) effective: String,
    pub(crate) paused: bool,
}

/// A VM in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmRow {
    /// Its name.
    pub name: String,
    /// The virtual data center it is in.
    pub vdc: String,
    /// 1 for the first transfer of that name, then counted up.
    pub generation: u64,
    /// The transfer that brought it, in hexadecimal.
    pub transfer: String,
    /// `active` or `active-withheld`.
    pub state: String,
    /// When it was sealed, in seconds since 1970-01-01 UTC.
    pub sealed_at: u64,
}

/// What a seal makes exist.
#[derive(Debug)]
pub(crate) struct Sealing<'a> {
    pub(crate) transfer: [u8; 16],
    pub(crate) tenant: &'a str,
    pub(crate) vdc: &'a str,
    pub(crate) vm: &'a str,
    pub(crate) state: &'a str,
    /// The products that are installed on it, once for each time.
    pub(crate) products: &'a [String],
    pub(crate) now: u64,
}

/// The database.
///
/// While a director has it open, nothing says what its bytes should be. A clean close
/// writes the BLAKE3 of the file beside it, so that from then on every byte of it is accounted for,
/// those that SQLite does not use as well.
#[derive(Debug)]
pub(crate) struct Ledger {
    connection: Mutex<Connection>,
    /// Where the digest goes at the end; nowhere for a ledger that is only looked at.
    digest: Option<PathBuf>,
}

/// Returns the file that holds the digest of a closed ledger.
fn digest_path(path: &Path) -> PathBuf {
    path.with_extension("db.blake3")
}

fn digest_of(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    Ok(format!("{}\n", blake3::hash(&bytes).to_hex()))
}

impl Ledger {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let digest = digest_path(path);
        match std::fs::remove_file(&digest) {
            Ok(()) => keys::sync_parent(&digest)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("remove", &digest)(error)),
        }
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "secure_delete", true)?;
        connection.pragma_update(None, "cache_size", -8192)?;
        crate::schema::bring_up(&mut connection, path)?;
        Ok(Self { connection: Mutex::new(connection), digest: Some(digest) })
    }

    /// Opens a ledger to look at it, without changing a byte.
    pub(crate) fn look_at(path: &Path) -> Result<Self, Error> {
        let log = path.with_extension("db-wal");
        let closed = std::fs::metadata(&log).map_or(true, |log| log.len() == 0);
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
        let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let uri = if closed { format!("file:{name}?immutable=1") } else { format!("file:{name}") };
        let connection = Connection::open_with_flags(uri, flags)?;
        Ok(Self { connection: Mutex::new(connection), digest: None })
    }

    /// Says whether the file of a closed ledger is, byte for byte, what it was when it was closed.
    /// One that is open, or that a crash left open, has nothing to be compared with.
    pub(crate) fn is_as_closed(path: &Path) -> Result<Option<bool>, Error> {
        match std::fs::read_to_string(digest_path(path)) {
            Ok(expected) => Ok(Some(digest_of(path)? == expected)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            // A digest that is no text any more was altered itself.
            Err(_) => Ok(Some(false)),
        }
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection.lock().expect("no holder of this lock panics")
    }

    /// Returns what SQLite's own check says is wrong, if anything.
    pub(crate) fn integrity(&self) -> Result<Option<String>, Error> {
        let verdict: String = self.lock().query_row("pragma integrity_check(1)", [], |row| row.get(0))?;
        Ok((verdict != "ok").then_some(verdict))
    }

    /// Returns the unfinished transfer of a VM, if there is one.
    pub(crate) fn unfinished(&self, tenant: &str, vdc: &str, vm: &str) -> Result<Option<TransferRow>, Error> {
        let sql = "select id, state, shape, effective, paused from transfer
            where tenant = ?1 and vdc = ?2 and vm = ?3 and state in ('staging', 'committing')";
        let row = self.lock().query_row(sql, params![tenant, vdc, vm], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        });
        let Some((id, state, shape, effective, paused)) = row.optional()? else { return Ok(None) };
        Ok(Some(TransferRow { id: parse_id(&id)?, state, shape, effective, paused }))
    }

    /// Returns the transfers in a state.
    pub(crate) fn in_state(&self, state: &str) -> Result<Vec<[u8; 16]>, Error> {
        let connection = self.lock();
        let mut statement = connection.prepare("select id from transfer where state = ?1")?;
        let ids = statement.query_map([state], |row| row.get::<_, String>(0))?;
        ids.map(|id| parse_id(&id?)).collect()
    }

    /// Returns all transfers that there ever were.
    pub(crate) fn transfers(&self) -> Result<Vec<([u8; 16], String)>, Error> {
        let connection = self.lock();
        let mut statement = connection.prepare("select id, state from transfer")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        rows.map(|row| row.map_err(Error::from).and_then(|(id, state)| Ok((parse_id(&id)?, state)))).collect()
    }

    pub(crate) fn begin(
        &self,
        row: &TransferRow,
        tenant: &str,
        vdc: &str,
        vm: &str,
        now: u64,
    ) -> Result<(), Error> {
        self.lock().execute(
            "insert into transfer (id, tenant, vdc, vm, state, shape, effective, created_at)
                values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![hex::encode(row.id), tenant, vdc, vm, row.state, row.shape, row.effective, to_i64(now)],
        )?;
        Ok(())
    }

    pub(crate) fn set_state(&self, transfer: &[u8; 16], state: &str) -> Result<(), Error> {
        let sql = "update transfer set state = ?2 where id = ?1";
        self.lock().execute(sql, params![hex::encode(transfer), state])?;
        Ok(())
    }

    /// Records chunks that are durable in segments, sealed under the transfer's key.
    pub(crate) fn add_batch(&self, transfer: &[u8; 16], key: &Key, chunks: &[Stored]) -> Result<(), Error> {
        let plain = zeroize::Zeroizing::new(postcard::to_stdvec(chunks).expect("plain data"));
        let sealed = keys::wrap(key, transfer, &plain);
        let sql =
            "insert into batch select ?1, coalesce(max(sequence), 0) + 1, ?2 from batch where transfer = ?1";
        let brought: u64 = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(sql, params![hex::encode(transfer), sealed])?;
        let sql = "update transfer set bytes = bytes + ?2 where id = ?1";
        transaction.execute(sql, params![hex::encode(transfer), to_i64(brought)])?;
        transaction.commit()?;
        Ok(())
    }

    /// Returns the chunks that are durable from before.
    pub(crate) fn batches(&self, transfer: &[u8; 16], key: &Key) -> Result<Vec<Stored>, Error> {
        let connection = self.lock();
        let sql = "select sealed from batch where transfer = ?1 order by sequence";
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([hex::encode(transfer)], |row| row.get::<_, Vec<u8>>(0))?;
        let mut chunks = Vec::new();
        for row in rows {
            let damaged = || {
                Error::damaged(
                    format!("index of transfer {}", hex::encode(transfer)),
                    "a batch does not open",
                )
            };
            let plain = keys::unwrap(key, transfer, &row?).ok_or_else(damaged)?;
            let batch: Vec<Stored> = postcard::from_bytes(&plain).map_err(|_| damaged())?;
            chunks.extend(batch);
        }
        Ok(chunks)
    }

    /// Returns whether the tenant's vault has any chunk.
    pub(crate) fn has_chunks(&self, tenant: &str) -> Result<bool, Error> {
        let sql = "select exists (select 1 from chunk where tenant = ?1)";
        Ok(self.lock().query_row(sql, [tenant], |row| row.get(0))?)
    }

    /// Looks chunks up that this tenant has proven.
    pub(crate) fn find_chunks(
        &self,
        tenant: &str,
        wrapping: &Key,
        ids: &[ChunkId],
    ) -> Result<Vec<Option<Stored>>, Error> {
        let connection = self.lock();
        // One lock on the file for all of them.
        let reading = connection.unchecked_transaction()?;
        let mut statement =
            reading.prepare_cached("select sealed from chunk where tenant = ?1 and id = ?2")?;
        let mut find = |id: &ChunkId| {
            let sealed: Option<Vec<u8>> =
                statement.query_row(params![tenant, id.0], |row| row.get(0)).optional()?;
            sealed.map(|sealed| open_chunk(wrapping, id, &sealed)).transpose()
        };
        ids.iter().map(&mut find).collect()
    }

    /// The seal: from here on the VM exists, or nothing of it does.
    pub(crate) fn seal(&self, sealing: &Sealing<'_>, new: &[Stored], wrapping: &Key) -> Result<(), Error> {
        let transfer = hex::encode(sealing.transfer);
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let sql = "insert or replace into chunk values (?1, ?2, ?3)";
            let mut insert = transaction.prepare_cached(sql)?;
            // In the order of the index, so that each of its pages is written once.
            let mut new: Vec<&Stored> = new.iter().collect();
            new.sort_unstable_by_key(|chunk| chunk.id);
            for chunk in new {
                let plain = zeroize::Zeroizing::new(postcard::to_stdvec(chunk).expect("plain data"));
                let sealed = keys::wrap(wrapping, &chunk.id.0, &plain);
                insert.execute(params![sealing.tenant, chunk.id.0, sealed])?;
            }
        }
        transaction.execute(
            "insert into vm select ?1, ?2, ?3, coalesce(max(generation), 0) + 1, ?4, ?5, ?6 from vm
                where tenant = ?1 and vdc = ?2 and name = ?3",
            params![sealing.tenant, sealing.vdc, sealing.vm, transfer, sealing.state, to_i64(sealing.now)],
        )?;
        {
            // The newest generation of a VM takes the place of the others.
            let of = params![sealing.tenant, sealing.vdc, sealing.vm];
            transaction.execute("delete from product where tenant = ?1 and vdc = ?2 and vm = ?3", of)?;
            let mut insert = transaction.prepare_cached("insert into product values (?1, ?2, ?3, ?4)")?;
            for product in sealing.products {
                insert.execute(params![sealing.tenant, sealing.vdc, sealing.vm, product])?;
            }
        }
        let kept: u64 = new.iter().map(|chunk| u64::from(chunk.length)).sum();
        transaction.execute(
            "update transfer set state = ?2, bytes = ?3 where id = ?1",
            params![transfer, sealing.state, to_i64(kept)],
        )?;
        transaction.execute("delete from batch where transfer = ?1", [&transfer])?;
        transaction.commit()?;
        Ok(())
    }

    /// Forgets the index of a transfer and everything that the log still holds of it.
    pub(crate) fn forget(&self, transfer: &[u8; 16], state: &str) -> Result<(), Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let id = hex::encode(transfer);
        transaction.execute("delete from batch where transfer = ?1", [&id])?;
        let sql = "update transfer set state = ?2, bytes = 0, paused = 0 where id = ?1";
        transaction.execute(sql, params![id, state])?;
        transaction.commit()?;
        connection.pragma_update(None, "wal_checkpoint", "truncate")?;
        Ok(())
    }

    /// Returns the products that are installed on the tenant's VMs other than this one, once for each time.
    pub(crate) fn products_elsewhere(&self, tenant: &str, vdc: &str, vm: &str) -> Result<Vec<String>, Error> {
        let connection = self.lock();
        let sql = "select name from product where tenant = ?1 and not (vdc = ?2 and vm = ?3)";
        let mut statement = connection.prepare(sql)?;
        let names = statement.query_map(params![tenant, vdc, vm], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Returns the tenants that have a VM here.
    pub(crate) fn tenants_with_vms(&self) -> Result<Vec<String>, Error> {
        let connection = self.lock();
        let mut statement = connection.prepare("select distinct tenant from vm order by tenant")?;
        let tenants = statement.query_map([], |row| row.get(0))?;
        Ok(tenants.collect::<Result<_, _>>()?)
    }

    /// Returns the VMs of a tenant, newest generation last.
    pub(crate) fn vms(&self, tenant: &str) -> Result<Vec<VmRow>, Error> {
        let connection = self.lock();
        let sql = "select name, vdc, generation, transfer, state, sealed_at from vm
            where tenant = ?1 order by vdc, name, generation";
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([tenant], |row| {
            Ok(VmRow {
                name: row.get(0)?,
                vdc: row.get(1)?,
                generation: row.get::<_, i64>(2)?.unsigned_abs(),
                transfer: row.get(3)?,
                state: row.get(4)?,
                sealed_at: row.get::<_, i64>(5)?.unsigned_abs(),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let Some(digest) = self.digest.take() else { return };
        let path = digest.with_extension("");
        let Ok(connection) = self.connection.get_mut() else { return };
        let closed = connection.pragma_update(None, "wal_checkpoint", "truncate").map_err(Error::from);
        let written = closed.and_then(|()| {
            let text = digest_of(&path)?;
            let temporary = path.with_extension("db.new");
            let written =
                std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &digest));
            written.map_err(|error| {
                // Half a digest would say that the ledger was altered.
                let _ = std::fs::remove_file(&temporary);
                Error::file("write", &digest)(error)
            })
        });
        if let Err(error) = written {
            // The next clean close makes up for it; until then the file is checked as an open one.
            tracing::warn!(error = &error as &dyn std::error::Error, "the ledger was not closed cleanly");
        }
    }
}

fn open_chunk(wrapping: &Key, id: &ChunkId, sealed: &[u8]) -> Result<Stored, Error> {
    let damaged = || Error::damaged(format!("index entry of chunk {id}"), "it does not open");
    let plain = keys::unwrap(wrapping, &id.0, sealed).ok_or_else(damaged)?;
    postcard::from_bytes(&plain).map_err(|_| damaged())
}

pub(crate) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads a transfer id of 32 hexadecimal digits.
pub(crate) fn parse_id(text: &str) -> Result<[u8; 16], Error> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id)
        .map_err(|_| Error::damaged("a transfer id", "it is not hexadecimal"))?;
    Ok(id)
}
