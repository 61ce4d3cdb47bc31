//! The connections of the data plane that are open, and how one is cut from outside.
//!
//! A thread serves a connection and mostly waits in a read. To cut it, the reason is noted, and what
//! wakes it is called: it finds the reason, tells the peer, and ends. Invariant: once a connection is
//! cut, nothing that comes over it is used any more, so neither is a countersignature: what was
//! not sealed by then is not sealed.

use crate::credential::Credential;
use crate::{Clock, Error};
use airlock_link::{Link, Waker};
use airlock_transfer::{Message, RefusalKind};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Why a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Its credential was revoked.
    Revoked,
    /// Its credential has expired.
    Expired,
    /// The transfer was paused.
    Paused,
    /// The transfer was cancelled.
    Cancelled,
    /// The manager broke the protocol on another connection of the transfer.
    Breach,
    /// The transfer has ended.
    Ended,
    /// The director stops.
    Stopping,
    /// The director could not write what another connection of the transfer brought.
    Fault,
}

impl Cut {
    pub(crate) fn kind(self) -> RefusalKind {
        match self {
            Self::Revoked | Self::Expired | Self::Cancelled => RefusalKind::NotAuthorised,
            Self::Breach | Self::Ended => RefusalKind::Protocol,
            Self::Paused | Self::Stopping => RefusalKind::Busy,
            Self::Fault => RefusalKind::Failed,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Revoked => "the credential was revoked",
            Self::Fault => "the director cannot write what it receives",
            Self::Expired => "the credential has expired",
            Self::Paused => "the transfer is paused; once it is resumed there, --resume goes on from here",
            Self::Cancelled => "the transfer was cancelled, and what had arrived is discarded",
            Self::Breach => "the manager broke the protocol, and what had arrived is discarded",
            Self::Ended => "the transfer has ended",
            Self::Stopping => "the director stops; --resume goes on from here",
        }
    }
}

/// How far a transfer has come, as its control connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing has been agreed yet.
    Negotiating,
    /// Data arrives.
    Staging,
    /// Everything has arrived and is judged.
    Checking,
    /// It is judged; the record is to be signed.
    Committing,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    /// The id of the credential that it came with, and when that expires; nothing within the process.
    credential: Option<(String, Option<u64>)>,
    pub(crate) transfer: OnceLock<[u8; 16]>,
    cut: OnceLock<Cut>,
    phase: Mutex<Phase>,
    waker: Option<Waker>,
}

impl Connection {
    fn cut(&self, why: Cut) {
        // The first reason stands.
        let _ = self.cut.set(why);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    /// Returns why it is cut, if it is.
    pub(crate) fn why_cut(&self) -> Option<Cut> {
        self.cut.get().copied()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn enter(&self, phase: Phase) {
        *self.phase.lock().expect("no holder of this lock panics") = phase;
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
}

impl Connections {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn add(&self, credential: Option<&Credential>, waker: Option<Waker>) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            credential: credential.map(|credential| (credential.id.clone(), credential.expires_at)),
            transfer: OnceLock::new(),
            cut: OnceLock::new(),
            phase: Mutex::new(Phase::Negotiating),
            waker,
        });
        self.lock().insert(connection.id, Arc::clone(&connection));
        connection
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn remove(&self, connection: &Connection) {
        self.lock().remove(&connection.id);
    }

    /// Cuts every connection that came with a credential.
    pub(crate) fn cut_credential(&self, credential: &str, why: Cut) {
        self.cut_where(why, |connection| {
            connection.credential.as_ref().is_some_and(|(own, _)| own == credential)
        });
    }

    /// Cuts every connection of a transfer.
    pub(crate) fn cut_transfer(&self, transfer: &[u8; 16], why: Cut) {
        self.cut_where(why, |connection| connection.transfer.get() == Some(transfer));
    }

    /// Cuts every connection of a transfer but this one.
    pub(crate) fn cut_others(&self, transfer: &[u8; 16], own: &Connection, why: Cut) {
        self.cut_where(why, |connection| {
            connection.id != own.id && connection.transfer.get() == Some(transfer)
        });
    }

    /// Cuts all connections.
    pub(crate) fn cut_all(&self, why: Cut) {
        self.cut_where(why, |_| true);
    }

    fn cut_where(&self, why: Cut, right: impl Fn(&Connection) -> bool) {
        for connection in self.lock().values().filter(|connection| right(connection)) {
            connection.cut(why);
        }
    }

    /// Says whether any connection of a transfer is open.
    pub(crate) fn serves(&self, transfer: &[u8; 16]) -> bool {
        self.lock().values().any(|connection| connection.transfer.get() == Some(transfer))
    }

    /// Returns how far the transfers that are connected have come.
    pub(crate) fn phases(&self) -> HashMap<[u8; 16], Phase> {
        let mut phases = HashMap::new();
        for connection in self.lock().values().filter(|connection| connection.why_cut().is_none()) {
            if let Some(transfer) = connection.transfer.get() {
                let phase = phases.entry(*transfer).or_insert(Phase::Negotiating);
                *phase = connection.phase().max(*phase);
            }
        }
        phases
    }
}

/// A link that ends where its connection is cut, and notes how far the transfer has come.
pub(crate) struct Supervised<'s> {
    pub(crate) link: &'s mut dyn Link,
    pub(crate) connection: &'s Connection,
    pub(crate) clock: Clock,
}

impl Supervised<'_> {
    fn check(&self) -> Result<(), airlock_link::Error> {
        let expires_at = self.connection.credential.as_ref().and_then(|(_, expires_at)| *expires_at);
        if expires_at.is_some_and(|end| end <= (self.clock)()) {
            let _ = self.connection.cut.set(Cut::Expired);
        }
        match self.connection.why_cut() {
            Some(_) => Err(airlock_link::Error::Closed),
            None => Ok(()),
        }
    }
}

impl Link for Supervised<'_> {
    fn send(&mut self, message: &Message, body: &[&[u8]]) -> Result<(), airlock_link::Error> {
        self.check()?;
        match message {
            Message::Welcome(_) | Message::Attached => self.connection.enter(Phase::Staging),
            Message::Propose { .. } => self.connection.enter(Phase::Committing),
            _ => {}
        }
        self.link.send(message, body)
    }

    fn receive(&mut self, body: &mut Vec<u8>) -> Result<Message, airlock_link::Error> {
        self.check()?;
        let message = self.link.receive(body)?;
        self.check()?;
        if matches!(message, Message::Finish { .. }) {
            self.connection.enter(Phase::Checking);
        }
        Ok(message)
    }
}

/// Says whether an error is that the manager did what no honest one does.
pub(crate) fn is_breach(error: &Error) -> bool {
    matches!(error, Error::Peer(_) | Error::Link(airlock_link::Error::Frame(_)))
}

/// Says why a connection ended: what it was cut for, where it was.
pub(crate) fn reason(connection: &Connection, error: Error) -> Error {
    // What the peer itself did wrong was so before anybody cut the connection.
    connection
        .why_cut()
        .filter(|_| !is_breach(&error))
        .map_or(error, |cut| Error::Cut { kind: cut.kind(), text: cut.text() })
}
