//! What a manager must not forget, in SQLite.

use super::ServiceError as Error;
use airlock_console::journal;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// The version that this program writes.
const VERSION: u32 = 1;

/// Version 1. A `digest` is the SHA-256 of a token. Schedules and outcomes are JSON.
const TABLES: &str = "
create table token (digest text primary key, label text not null, created_at integer not null) strict;
create table source (
    id text primary key, name text not null unique, kind text not null, location text not null,
    images text, transfers_max integer, bwlimit text, scanned_at integer, problem text
) strict;
create table vm (
    id text primary key, source text not null references source (id), name text not null, path text not null,
    kind text not null, seen_at integer not null, unique (source, name)
) strict;
create table destination (
    id text primary key, name text not null unique, address text not null, identity text
) strict;
create table wave (
    id text primary key, name text not null, transfers_max integer, in_order integer not null,
    created_at integer not null
) strict;
create table transfer (
    id text primary key, sequence integer not null unique, source text not null, vm text not null,
    name text not null, destination text not null, on_fail text not null, schedule text not null,
    wave text, state text not null, wanted text not null, begun integer not null, attempts integer not null,
    next_at integer not null, code integer, why text, outcome text,
    created_at integer not null, ended_at integer
) strict;
create index transfer_by_state on transfer (state, sequence);
create index transfer_by_wave on transfer (wave, sequence);
";

/// The database.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Store {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            let why = format!("it has schema version {version}, newer than {VERSION}");
            return Err(Error::Damaged { what: path.display().to_string(), why });
        }
        if version < 1 {
            transaction.execute_batch(TABLES)?;
            transaction.execute_batch(journal::TABLES)?;
        }
        transaction.pragma_update(None, "user_version", VERSION)?;
        journal::forget_unanswered(&transaction)?;
        transaction.commit()?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().expect("no holder of this lock panics")
    }

    /// Keeps the digest of a token.
    pub(crate) fn add_token(&self, digest: &str, label: &str, now: u64) -> Result<(), Error> {
        let sql = "insert into token values (?1, ?2, ?3)";
        self.lock().execute(sql, params![digest, label, to_i64(now)])?;
        Ok(())
    }

    pub(crate) fn has_token(&self) -> Result<bool, Error> {
        Ok(self.lock().query_row("select exists (select 1 from token)", [], |row| row.get(0))?)
    }

    /// Says whether a token with this digest lets somebody in.
    pub(crate) fn knows_token(&self, digest: &str) -> Result<bool, Error> {
        let sql = "select 1 from token where digest = ?1";
        Ok(self.lock().query_row(sql, [digest], |_| Ok(())).optional()?.is_some())
    }

    /// Notes an event. A database that fails shows in what follows, so it does not stop what happened.
    pub(crate) fn happened(&self, kind: &str, subject: &str, detail: &str, now: u64) {
        if let Err(error) = journal::note(&mut self.lock(), &[""], (kind, subject, detail), now) {
            tracing::error!(kind, error = &error as &dyn std::error::Error, "cannot note an event");
        }
    }
}
