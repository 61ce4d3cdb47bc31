//! Events for whoever watches, and answers that are kept for requests that come twice: the tables of a
//! site's database that both sites have.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::Serialize;
use utoipa::ToSchema;

/// Makes the tables. Events are numbered for each reader on its own, so that the numbers say nothing of others.
pub const TABLES: &str = "
create table request (
    id text primary key, digest text not null, status integer, sealed blob, created_at integer not null
) strict;
create table event (
    reader text not null, sequence integer not null, at integer not null, kind text not null,
    subject text not null, detail text not null, primary key (reader, sequence)
) strict, without rowid;
";

/// Events that are kept for each reader; a reader that was away longer misses some, and sees that.
const EVENTS_MAX: i64 = 10_000;
/// How long an answer is kept for a request that comes again, in seconds.
const REQUEST_SECONDS: u64 = 86_400;
/// Requests whose answers are kept.
const REQUESTS_MAX: i64 = 100_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Event {
    /// Its number among the events that this reader sees; numbers have no gaps.
    pub sequence: u64,
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// What, such as `transfer.begun`.
    pub kind: String,
    /// The id of what it happened to.
    pub subject: String,
    /// More about it: the state of a transfer, the name of something new.
    pub detail: String,
}

/// What is known of a request that may have come before.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is new, and from now on in work.
    New,
    /// It is in work.
    InWork,
    /// The same key came with another request.
    Other,
    /// It was answered: status and body, as the site has kept it.
    Answered(u16, Vec<u8>),
    /// It is new, but no more answers can be kept today.
    Full,
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Notes what happened, for each of its readers.
pub fn note(
    connection: &mut Connection,
    readers: &[&str],
    (kind, subject, detail): (&str, &str, &str),
    now: u64,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for reader in readers {
        let sequence: i64 = transaction.query_row(
            "insert into event
                select ?1, coalesce(max(sequence), 0) + 1, ?2, ?3, ?4, ?5 from event where reader = ?1
                returning sequence",
            params![reader, to_i64(now), kind, subject, detail],
            |row| row.get(0),
        )?;
        let old = params![reader, sequence - EVENTS_MAX];
        transaction.execute("delete from event where reader = ?1 and sequence <= ?2", old)?;
    }
    transaction.commit()
}

/// Returns the events of a reader behind a number, oldest first.
pub fn events(connection: &Connection, reader: &str, after: u64, limit: u32) -> rusqlite::Result<Vec<Event>> {
    let mut statement = connection.prepare_cached(
        "select sequence, at, kind, subject, detail from event
            where reader = ?1 and sequence > ?2 order by sequence limit ?3",
    )?;
    let rows = statement.query_map(params![reader, to_i64(after), limit], |row| {
        Ok(Event {
            sequence: row.get::<_, i64>(0)?.unsigned_abs(),
            at: row.get::<_, i64>(1)?.unsigned_abs(),
            kind: row.get(2)?,
            subject: row.get(3)?,
            detail: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// Returns the number of the newest event of a reader.
pub fn last_event(connection: &Connection, reader: &str) -> rusqlite::Result<u64> {
    let sql = "select coalesce(max(sequence), 0) from event where reader = ?1";
    Ok(connection.query_row(sql, [reader], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

/// Takes a request into work unless it came before.
pub fn begin_request(
    connection: &mut Connection,
    id: &str,
    digest: &str,
    now: u64,
) -> rusqlite::Result<Seen> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let old = to_i64(now.saturating_sub(REQUEST_SECONDS));
    transaction.execute("delete from request where created_at < ?1", [old])?;
    let found =
        transaction.query_row("select digest, status, sealed from request where id = ?1", [id], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<u16>>(1)?, row.get::<_, Option<Vec<u8>>>(2)?))
        });
    let seen = match found.optional()? {
        Some((other, _, _)) if other != digest => Seen::Other,
        Some((_, Some(status), Some(sealed))) => Seen::Answered(status, sealed),
        Some(_) => Seen::InWork,
        None => {
            let kept: i64 = transaction.query_row("select count(*) from request", [], |row| row.get(0))?;
            if kept >= REQUESTS_MAX {
                return Ok(Seen::Full);
            }
            let new = params![id, digest, to_i64(now)];
            transaction.execute("insert into request values (?1, ?2, null, null, ?3)", new)?;
            Seen::New
        }
    };
    transaction.commit()?;
    Ok(seen)
}

/// Keeps the answer to a request, or forgets the request so that it can be tried again.
pub fn end_request(connection: &Connection, id: &str, answer: Option<(u16, &[u8])>) -> rusqlite::Result<()> {
    match answer {
        Some((status, sealed)) => {
            let sql = "update request set status = ?2, sealed = ?3 where id = ?1";
            connection.execute(sql, params![id, status, sealed])?;
        }
        None => {
            connection.execute("delete from request where id = ?1", [id])?;
        }
    }
    Ok(())
}

/// Forgets requests that were in work when the process ended.
pub fn forget_unanswered(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("delete from request where status is null", [])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        connection
    }

    #[test]
    fn events_are_numbered_for_each_reader() {
        let mut connection = tables();
        for (tenant, kind) in [("a", "one"), ("b", "two"), ("a", "three")] {
            note(&mut connection, &["", tenant], (kind, "x", ""), 7).unwrap();
        }
        let seen = |reader, after| -> Vec<(u64, String)> {
            let events = events(&connection, reader, after, 10).unwrap();
            events.into_iter().map(|event| (event.sequence, event.kind)).collect()
        };
        assert_eq!(seen("a", 0), [(1, "one".to_owned()), (2, "three".to_owned())]);
        assert_eq!(seen("b", 0), [(1, "two".to_owned())]);
        assert_eq!(seen("", 1), [(2, "two".to_owned()), (3, "three".to_owned())]);
        let last = |reader| last_event(&connection, reader).unwrap();
        assert_eq!((last("a"), last("c")), (2, 0));
    }

    #[test]
    fn a_request_is_answered_once_a_day() {
        let mut connection = tables();
        let mut begin = |digest, now| begin_request(&mut connection, "k", digest, now).unwrap();
        assert_eq!(begin("d", 100), Seen::New);
        assert_eq!(begin("d", 100), Seen::InWork);
        assert_eq!(begin("e", 100), Seen::Other);
        end_request(&connection, "k", Some((201, b"sealed"))).unwrap();
        let mut begin = |digest, now| begin_request(&mut connection, "k", digest, now).unwrap();
        assert_eq!(begin("d", 100 + REQUEST_SECONDS), Seen::Answered(201, b"sealed".to_vec()));
        assert_eq!(begin("e", 101 + REQUEST_SECONDS), Seen::New);
        forget_unanswered(&connection).unwrap();
        let seen = begin_request(&mut connection, "k", "f", 101 + REQUEST_SECONDS).unwrap();
        assert_eq!(seen, Seen::New);
    }
}
