//! Events for whoever watches, and answers that are kept for requests that come twice.

use crate::Error;
use crate::ledger::Ledger;
use airlock_console::journal::{self, Event, Seen};

impl Ledger {
    /// Notes what happened to something of a tenant, for the tenant and for the provider, whose reader is the
    /// empty one.
    pub(crate) fn note(
        &self,
        tenant: Option<&str>,
        kind: &str,
        subject: &str,
        detail: &str,
        now: u64,
    ) -> Result<(), Error> {
        let readers = [Some(""), tenant];
        let readers: Vec<&str> = readers.into_iter().flatten().collect();
        Ok(journal::note(&mut self.lock(), &readers, (kind, subject, detail), now)?)
    }

    /// Returns the events behind a number, oldest first.
    pub(crate) fn events(&self, reader: &str, after: u64, limit: u32) -> Result<Vec<Event>, Error> {
        Ok(journal::events(&self.lock(), reader, after, limit)?)
    }

    /// Returns the number of the newest event of a reader.
    pub(crate) fn last_event(&self, reader: &str) -> Result<u64, Error> {
        Ok(journal::last_event(&self.lock(), reader)?)
    }

    /// Takes a request into work unless it came before.
    pub(crate) fn begin_request(&self, id: &str, digest: &str, now: u64) -> Result<Seen, Error> {
        Ok(journal::begin_request(&mut self.lock(), id, digest, now)?)
    }

    /// Keeps the answer to a request, or forgets the request so that it can be tried again.
    pub(crate) fn end_request(&self, id: &str, answer: Option<(u16, &[u8])>) -> Result<(), Error> {
        Ok(journal::end_request(&self.lock(), id, answer)?)
    }

    /// Forgets requests that were in work when the process ended.
    pub(crate) fn forget_unanswered(&self) -> Result<(), Error> {
        Ok(journal::forget_unanswered(&self.lock())?)
    }
}
