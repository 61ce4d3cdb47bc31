//! The tables of the ledger, and how an older ledger is brought up to date.

use crate::{DEFAULT_VDC, Error};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// The version that this program writes.
const VERSION: u32 = 3;

/// Version 1: transfers, VMs and chunks of tenants that are known by their certificates.
const FIRST: &str = "
create table if not exists peer (certificate text primary key, tenant text not null) strict;
create table if not exists transfer (
    id text primary key, tenant text not null, vdc text not null, vm text not null,
    state text not null, shape text not null, effective text not null, created_at integer not null
) strict;
create index if not exists transfer_by_vm on transfer (tenant, vdc, vm);
create table if not exists batch (
    transfer text not null, sequence integer not null, sealed blob not null,
    primary key (transfer, sequence)
) strict;
create table if not exists vm (
    tenant text not null, vdc text not null, name text not null, generation integer not null,
    transfer text not null, state text not null, sealed_at integer not null,
    primary key (tenant, vdc, name, generation)
) strict;
create table if not exists chunk (
    tenant text not null, id blob not null, sealed blob not null, primary key (tenant, id)
) strict, without rowid;
create table if not exists product (
    tenant text not null, vdc text not null, vm text not null, name text not null
) strict;
create index if not exists product_by_vm on product (tenant, vdc, vm);
";

/// Version 2: tenants own virtual data centers with quotas, and are let in by credentials.
/// `bytes` of a transfer is what it has stored; of one that was there before, it starts at 0.
/// A `digest` is the SHA-256 of a token, of a certificate or of the secret of a pairing code.
/// The tables of [`airlock_console::journal`] come with it.
const SECOND: &str = "
alter table transfer add column bytes integer not null default 0;
alter table transfer add column paused integer not null default 0;
create table tenant (id text primary key, name text not null unique, created_at integer not null) strict;
create table vdc (
    id text primary key, tenant text not null references tenant (id), name text not null,
    bytes_max integer, vms_max integer, transfers_max integer, policy text,
    created_at integer not null, unique (tenant, name)
) strict;
create table credential (
    id text primary key, tenant text, kind text not null, digest text not null unique, label text not null,
    scopes text not null, created_at integer not null, expires_at integer, revoked_at integer
) strict;
create table pairing (
    id text primary key, tenant text not null, digest text not null, label text not null,
    scopes text not null, replaces text, attempts_left integer not null,
    expires_at integer not null, certificate_expires_at integer
) strict;
insert or ignore into tenant values ('default', 'default', 0);
insert or ignore into tenant select distinct tenant, tenant, 0 from peer;
insert or ignore into vdc select id, id, 'default', null, null, null, null, 0 from tenant;
insert into credential
    select lower(hex(randomblob(16))), tenant, 'certificate', certificate, 'issued at the first start',
        'transfer', 0, null, null from peer;
drop table peer;
";

/// Version 3: what the files are that are written once, see [`crate::sums`].
const THIRD: &str = "create table sum (path text primary key, blake3 text not null) strict;";

/// Makes the tables, or brings those of an older version up to date; one transaction, all or nothing.
pub(crate) fn bring_up(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    debug_assert_eq!(DEFAULT_VDC, "default", "the tables name it");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > VERSION {
        let why = format!("it has schema version {version}, newer than {VERSION}");
        return Err(Error::damaged(path.display().to_string(), why));
    }
    for (number, step) in [(1, FIRST), (2, SECOND), (3, THIRD)] {
        if version < number {
            transaction.execute_batch(step)?;
        }
    }
    if version < 2 {
        transaction.execute_batch(airlock_console::journal::TABLES)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_of_version_1_keeps_its_peers_and_transfers() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(FIRST).unwrap();
        let old = "insert into peer values ('c0ffee', 'default');
            insert into transfer values ('aa', 'default', 'default', 'vm', 'active', '', '', 5);
            pragma user_version = 1;";
        connection.execute_batch(old).unwrap();
        for _ in 0..2 {
            bring_up(&mut connection, Path::new("state.db")).unwrap();
            let sql = "select tenant || kind || scopes from credential where digest = 'c0ffee'";
            let found: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(found, "defaultcertificatetransfer");
            let sql = "select state || bytes || paused from transfer";
            let found: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(found, "active00");
            let sql = "select count(*) from vdc where id = 'default'";
            assert_eq!(connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap(), 1);
        }
    }

    #[test]
    fn a_ledger_of_the_future_is_not_touched() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        let error = bring_up(&mut connection, Path::new("state.db")).unwrap_err();
        assert_eq!(error.to_string(), "state.db is damaged: it has schema version 4, newer than 3");
    }
}
