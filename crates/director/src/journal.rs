//! Events for whoever watches, and answers that are kept for requests that come twice.

use crate::Error;
use crate::ledger::{Ledger, to_i64};
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use serde::Serialize;
use utoipa::ToSchema;

/// Events that are kept for each reader; a reader that was away longer misses some, and sees that.
const EVENTS_MAX: i64 = 10_000;
/// How long an answer is kept for a request that comes again, in seconds.
const REQUEST_SECONDS: u64 = 86_400;
/// Requests whose answers are kept.
const REQUESTS_MAX: i64 = 100_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Event {
    /// Its number among the events that this reader sees; numbers have no gaps.
    pub(crate) sequence: u64,
    /// When, in seconds since 1970-01-01 UTC.
    pub(crate) at: u64,
    /// What, such as `transfer.begun`.
    pub(crate) kind: String,
    /// The id of what it happened to.
    pub(crate) subject: String,
    /// More about it: the state of a transfer, the name of something new.
    pub(crate) detail: String,
}

/// What is known of a request that may have come before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is new, and from now on in work.
    New,
    /// It is in work.
    InWork,
    /// The same key came with another request.
    Other,
    /// It was answered: status and sealed body.
    Answered(u16, Vec<u8>),
}

impl Ledger {
    /// Notes what happened to something of a tenant, for the tenant and for the provider.
    pub(crate) fn note(
        &self,
        tenant: Option<&str>,
        kind: &str,
        subject: &str,
        detail: &str,
        now: u64,
    ) -> Result<(), Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for reader in [Some(""), tenant].into_iter().flatten() {
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
        transaction.commit()?;
        Ok(())
    }

    /// Returns the events behind a number, oldest first; the provider's reader is the empty one.
    pub(crate) fn events(&self, reader: &str, after: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let connection = self.lock();
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
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns the number of the newest event of a reader.
    pub(crate) fn last_event(&self, reader: &str) -> Result<u64, Error> {
        let sql = "select coalesce(max(sequence), 0) from event where reader = ?1";
        Ok(self.lock().query_row(sql, [reader], |row| row.get::<_, i64>(0))?.unsigned_abs())
    }

    /// Takes a request into work unless it came before.
    pub(crate) fn begin_request(&self, id: &str, digest: &str, now: u64) -> Result<Seen, Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let old = to_i64(now.saturating_sub(REQUEST_SECONDS));
        transaction.execute("delete from request where created_at < ?1", [old])?;
        let found =
            transaction.query_row("select digest, status, sealed from request where id = ?1", [id], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, Option<u16>>(1)?,
                    row.get::<_, Option<Vec<u8>>>(2)?,
                ))
            });
        let seen = match found.optional()? {
            Some((other, _, _)) if other != digest => Seen::Other,
            Some((_, Some(status), Some(sealed))) => Seen::Answered(status, sealed),
            Some(_) => Seen::InWork,
            None => {
                let kept: i64 =
                    transaction.query_row("select count(*) from request", [], |row| row.get(0))?;
                if kept >= REQUESTS_MAX {
                    return Err(Error::Conflict("too many idempotency keys are in use today".into()));
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
    pub(crate) fn end_request(&self, id: &str, answer: Option<(u16, &[u8])>) -> Result<(), Error> {
        match answer {
            Some((status, sealed)) => {
                let sql = "update request set status = ?2, sealed = ?3 where id = ?1";
                self.lock().execute(sql, params![id, status, sealed])?;
            }
            None => {
                self.lock().execute("delete from request where id = ?1", [id])?;
            }
        }
        Ok(())
    }

    /// Forgets requests that were in work when the process ended.
    pub(crate) fn forget_unanswered(&self) -> Result<(), Error> {
        self.lock().execute("delete from request where status is null", [])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_numbered_for_each_reader() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("state.db")).unwrap();
        for (tenant, kind) in [("a", "one"), ("b", "two"), ("a", "three")] {
            ledger.note(Some(tenant), kind, "x", "", 7).unwrap();
        }
        let seen = |reader, after| -> Vec<(u64, String)> {
            let events = ledger.events(reader, after, 10).unwrap();
            events.into_iter().map(|event| (event.sequence, event.kind)).collect()
        };
        assert_eq!(seen("a", 0), [(1, "one".to_owned()), (2, "three".to_owned())]);
        assert_eq!(seen("b", 0), [(1, "two".to_owned())]);
        assert_eq!(seen("", 1), [(2, "two".to_owned()), (3, "three".to_owned())]);
        assert_eq!((ledger.last_event("a").unwrap(), ledger.last_event("c").unwrap()), (2, 0));
    }

    #[test]
    fn a_request_is_answered_once_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("state.db")).unwrap();
        let begin = |digest, now| ledger.begin_request("k", digest, now).unwrap();
        assert_eq!(begin("d", 100), Seen::New);
        assert_eq!(begin("d", 100), Seen::InWork);
        assert_eq!(begin("e", 100), Seen::Other);
        ledger.end_request("k", Some((201, b"sealed"))).unwrap();
        assert_eq!(begin("d", 100 + REQUEST_SECONDS), Seen::Answered(201, b"sealed".to_vec()));
        assert_eq!(begin("e", 101 + REQUEST_SECONDS), Seen::New);
        ledger.forget_unanswered().unwrap();
        assert_eq!(begin("f", 101 + REQUEST_SECONDS), Seen::New);
    }
}
