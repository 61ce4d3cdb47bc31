//! Talks to a manager: one control stream and any number of data streams for each transfer.

use crate::chamber::{Chamber, Content};
use crate::connections::{self, Connection, Cut, Supervised};
use crate::credential;
use crate::ledger::state;
use crate::segment::{SegmentId, Stored};
use crate::segment_writer::SegmentWriter;
use crate::{Director, Error};
use airlock_link::{Link, TlsLink};
use airlock_model::ChunkId;
use airlock_transfer::{
    Arrived, Hello, Message, Receiver, ReceiverAction, Refusal, RefusalKind, VERSION, Welcome,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// Bytes that one stream may have offered and not got rid of.
const CREDIT_BYTES: u64 = 12 << 20;
/// Bytes after which the chunks of a transfer are made durable, divided among its streams: when a director is
/// killed, twice as much is sent again at most, beside what is on its way.
const SYNC_BYTES: u64 = 32 << 20;
/// Least bytes of a stream that are made durable at once.
const SYNC_BYTES_MIN: u64 = 4 << 20;
/// How long a stream waits for the judges before it takes the next group.
const CATCH_UP_MAX: Duration = Duration::from_millis(100);
/// How long a peer that is cut off may take to read why.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);
/// Most streams of one transfer.
const STREAMS_MAX: usize = 32;

impl Director {
    /// Serves one link of a tenant until the peer is done or gone. Errors have been told to the peer.
    pub fn serve(&self, link: &mut dyn Link, tenant: &str) -> Result<(), Error> {
        let connection = self.connections.add(None, None);
        let served = self.serve_connection(link, tenant, &connection);
        self.connections.remove(&connection);
        served
    }

    /// Serves a link of whoever has shown this certificate.
    pub(crate) fn serve_certified(&self, link: &mut TlsLink, certificate: &str) -> Result<(), Error> {
        let credential = self.ledger.credential_with(certificate)?;
        let waker = link.waker()?;
        let connection = self.connections.add(credential.as_ref(), Some(waker));
        // Looked up again: it may have been revoked before the connection was in the list.
        let served = self.transferring(certificate).and_then(|tenant| {
            let served = self.serve_connection(link, &tenant, &connection);
            if connection.why_cut().is_some() {
                link.linger(LAST_WORD_TIMEOUT);
            }
            served
        });
        self.connections.remove(&connection);
        if let Err(error @ (Error::NotAuthorised(_) | Error::Database(_))) = &served {
            let refusal = Refusal { kind: RefusalKind::NotAuthorised, text: error.to_string() };
            let _ = link.send(&Message::Refuse(refusal), &[]);
        }
        served
    }

    /// Returns the tenant that may transfer with a certificate.
    fn transferring(&self, certificate: &str) -> Result<String, Error> {
        let refuse = |why: &str| Error::NotAuthorised(why.to_owned());
        let found = self.ledger.credential_with(certificate)?;
        let credential = found.ok_or_else(|| refuse("its certificate was not issued here"))?;
        if let Some(why) = credential.invalid_at((self.clock)()) {
            return Err(refuse(why));
        }
        let may = credential.scopes.contains(&credential::Scope::Transfer);
        credential.tenant.filter(|_| may).ok_or_else(|| refuse("its certificate is not for transfers"))
    }

    fn serve_connection(
        &self,
        link: &mut dyn Link,
        tenant: &str,
        connection: &Connection,
    ) -> Result<(), Error> {
        let mut supervised = Supervised { link, connection, clock: self.clock };
        let mut body = Vec::new();
        let served = supervised.receive(&mut body).map_err(Error::from).and_then(|message| match message {
            Message::Hello(hello) => self.serve_control(&mut supervised, tenant, *hello, connection),
            Message::Attach { transfer, token } => {
                self.serve_data(&mut supervised, tenant, (transfer, token), connection)
            }
            _ => Err(Error::Peer("it began with an unexpected message".into())),
        });
        let served = served.map_err(|error| connections::reason(connection, error));
        if let Err(error) = &served {
            let kind = match error {
                Error::NotFound(_) => RefusalKind::NotFound,
                Error::InUse(_) => RefusalKind::Busy,
                error if connections::is_breach(error) => RefusalKind::Protocol,
                Error::Quota { .. } => RefusalKind::NotAuthorised,
                Error::Cut { kind, .. } => *kind,
                _ => RefusalKind::Failed,
            };
            // The peer may be the reason and gone; then nobody is there to be told.
            let _ = link.send(&Message::Refuse(Refusal { kind, text: told(error) }), &[]);
        }
        served
    }

    fn serve_control(
        &self,
        link: &mut dyn Link,
        tenant: &str,
        hello: Hello,
        connection: &Connection,
    ) -> Result<(), Error> {
        let chamber = match self.admit(tenant, hello, connection)? {
            Ok(admitted) => admitted,
            Err(refusal) => {
                link.send(&Message::Refuse(refusal), &[])?;
                return Ok(());
            }
        };
        let id = chamber.id;
        let durable = chamber.content().durable_bytes();
        tracing::info!(transfer = hex::encode(id), vm = chamber.hello.vm, durable, "transfer begins");
        self.happened(Some(tenant), "transfer.begun", &hex::encode(id), &chamber.hello.vm);
        let welcome = Welcome {
            version: VERSION,
            transfer: id,
            token: chamber.token,
            tenant_key: chamber.tenant_key.clone(),
            policy: chamber.site_policy.clone(),
            effective: chamber.effective.digest(),
            key: self.key.public().0,
            credit: CREDIT_BYTES,
            durable,
        };
        let run = || {
            link.send(&Message::Welcome(Box::new(welcome)), &[])?;
            self.finish(link, &chamber)
        };
        let outcome = run();
        // Whatever its streams still bring has come too late.
        chamber.end();
        self.connections.cut_others(&id, connection, Cut::Ended);
        chamber.wait_for_streams();
        self.live().remove(&id);
        self.ended(tenant, &id, connection, outcome)
    }

    /// Notes how a transfer has ended, and discards what was cancelled. What somebody brought who broke the
    /// protocol is of no use: whoever did so would not go on with it honestly.
    fn ended(
        &self,
        tenant: &str,
        transfer: &[u8; 16],
        connection: &Connection,
        outcome: Result<(), Error>,
    ) -> Result<(), Error> {
        if let Err(error) = &outcome {
            let breach = connection.why_cut() == Some(Cut::Breach) || connections::is_breach(error);
            if connection.why_cut() == Some(Cut::Cancelled) {
                self.discard(transfer)?;
            } else if breach && self.ledger.is_unfinished(transfer)? {
                tracing::warn!(transfer = hex::encode(transfer), "a breach of the protocol: discarded");
                self.discard_as(transfer, state::FAILED)?;
            }
        }
        let state = self.ledger.state_of(transfer)?.unwrap_or_default();
        let id = hex::encode(transfer);
        match &outcome {
            Ok(()) => self.happened(Some(tenant), "transfer.ended", &id, &state),
            Err(error) => {
                let why = connection.why_cut().map_or_else(|| error.to_string(), |cut| cut.text().to_owned());
                self.happened(Some(tenant), "transfer.interrupted", &id, &why);
            }
        }
        outcome
    }

    pub(crate) fn live(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashMap<[u8; 16], Arc<Chamber>>> {
        self.live.lock().expect("no holder of this lock panics")
    }

    fn serve_data(
        &self,
        link: &mut dyn Link,
        tenant: &str,
        (transfer, token): ([u8; 16], [u8; 32]),
        connection: &Connection,
    ) -> Result<(), Error> {
        let chamber = self.live().get(&transfer).cloned();
        let right = |chamber: &Arc<Chamber>| {
            chamber.tenant == tenant
                && aws_lc_rs::constant_time::verify_slices_are_equal(&chamber.token, &token).is_ok()
        };
        let chamber = chamber.filter(right).ok_or_else(|| Error::NotFound("such transfer".into()))?;
        let _ = connection.transfer.set(transfer);
        let streams = chamber.streams.fetch_add(1, Ordering::AcqRel);
        let served = if chamber.content().ended {
            Err(Error::Conflict("the transfer has ended, and takes no more streams".into()))
        } else if streams >= STREAMS_MAX {
            Err(Error::Conflict(format!("the transfer has {STREAMS_MAX} streams, and may have no more")))
        } else {
            chamber.content().begin_stream();
            self.serve_stream(link, &chamber)
        };
        // Before the manager hears of it: it may send the end of the transfer at once.
        chamber.streams.fetch_sub(1, Ordering::AcqRel);
        if let Err(Error::File { .. } | Error::Database(_)) = &served {
            // What it brought may be lost, whatever a later call says: as after a crash, the transfer starts
            // again from what the ledger says is durable.
            self.connections.cut_others(&transfer, connection, Cut::Fault);
        }
        if served.as_ref().is_err_and(connections::is_breach) {
            self.connections.cut_others(&transfer, connection, Cut::Breach);
        }
        served?;
        link.send(&Message::Closed, &[])?;
        Ok(())
    }

    fn serve_stream(&self, link: &mut dyn Link, chamber: &Chamber) -> Result<(), Error> {
        let space_bytes = chamber.hello.space.size();
        std::thread::scope(|scope| {
            let mut stream = DataStream {
                director: self,
                receiver: Receiver::new(chamber.tenant_key.clone(), space_bytes, CREDIT_BYTES),
                writer: self.writer(chamber),
                pending: Vec::new(),
                pending_bytes: 0,
                last_group: None,
                described: false,
                stopped: false,
                syncing: None,
                scope,
                chamber,
            };
            stream.serve(link)
        })
    }
}

/// Groups up to this one, and the thread that makes them durable.
type Syncing<'s> = (u64, ScopedJoinHandle<'s, Result<(), Error>>);

struct DataStream<'s, 'd> {
    director: &'d Director,
    chamber: &'d Chamber,
    scope: &'s Scope<'s, 'd>,
    syncing: Option<Syncing<'s>>,
    receiver: Receiver,
    writer: SegmentWriter,
    /// Chunks in segments that are not durable yet.
    pending: Vec<Stored>,
    pending_bytes: u64,
    last_group: Option<u64>,
    /// Whether the sender has said that nothing more comes that says what the disk means.
    described: bool,
    /// Whether the sender was told that the transfer is refused.
    stopped: bool,
}

impl DataStream<'_, '_> {
    fn serve(&mut self, link: &mut dyn Link) -> Result<(), Error> {
        link.send(&Message::Attached, &[])?;
        let mut body = Vec::new();
        loop {
            let message = match link.receive(&mut body) {
                Ok(message) => message,
                // The source may inspect much that it does not send. That it is there its control connection
                // says; when that ends, so does this one.
                Err(airlock_link::Error::Silent) if !self.chamber.content().ended => continue,
                Err(error) => return Err(error.into()),
            };
            if !self.stopped && self.chamber.content().is_refused() {
                self.stop(link)?;
            }
            let peer = |error: airlock_transfer::ProtocolError| Error::Peer(error.to_string());
            match self.receiver.receive(message, &body).map_err(peer)? {
                ReceiverAction::Close if self.stopped => return Ok(()),
                ReceiverAction::Drop => {}
                ReceiverAction::Described => self.described(),
                ReceiverAction::LookUp(ids) => {
                    let have = self.look_up(&ids)?;
                    let need = self.receiver.looked_up(&have);
                    link.send(&need, &[])?;
                }
                ReceiverAction::Store { group, chunks } => {
                    self.store(chunks, &mut body)?;
                    self.last_group = Some(group);
                    let streams = self.chamber.streams.load(Ordering::Relaxed).max(1) as u64;
                    if self.pending_bytes >= (SYNC_BYTES / streams).max(SYNC_BYTES_MIN) {
                        self.acknowledge(link)?;
                        self.begin_sync()?;
                    }
                }
                ReceiverAction::Close => {
                    self.described();
                    self.acknowledge(link)?;
                    self.begin_sync()?;
                    return self.acknowledge(link);
                }
            }
        }
    }

    fn described(&mut self) {
        if !std::mem::replace(&mut self.described, true) {
            self.chamber.content().described();
            self.chamber.changed.notify_all();
        }
    }

    /// Tells the sender that the transfer is refused, and stores nothing more.
    fn stop(&mut self, link: &mut dyn Link) -> Result<(), Error> {
        self.stopped = true;
        if let Some((_, syncing)) = self.syncing.take() {
            syncing.join().expect("syncing does not panic")?;
        }
        link.send(&self.receiver.stop(), &[])?;
        Ok(())
    }

    /// Tells which chunks this transfer or this tenant's vault has.
    fn look_up(&self, ids: &[ChunkId]) -> Result<Vec<bool>, Error> {
        let mut have: Vec<bool> = {
            let content = self.chamber.content();
            ids.iter().map(|id| content.has(id)).collect()
        };
        if !self.chamber.vault_has_chunks {
            return Ok(have);
        }
        let missing: Vec<ChunkId> =
            ids.iter().zip(&have).filter(|(_, have)| !**have).map(|(id, _)| *id).collect();
        let director = self.director;
        let found = director.ledger.find_chunks(&self.chamber.tenant, &self.chamber.wrapping, &missing)?;
        let mut found = director.intact(found).into_iter();
        let mut content = self.chamber.content();
        for have in have.iter_mut().filter(|have| !**have) {
            if let Some(Some(chunk)) = found.next() {
                content.add(chunk);
                *have = true;
            }
        }
        Ok(have)
    }

    /// Seals what has arrived, writes it, and notes where it belongs.
    fn store(&mut self, chunks: Vec<Arrived>, body: &mut Vec<u8>) -> Result<(), Error> {
        let mut brought = Vec::new();
        let bodies = chunks.iter().filter_map(|chunk| chunk.body);
        let arrived: usize = bodies.map(|(start, end)| end - start).sum();
        self.director.charge(self.chamber, arrived as u64)?;
        for chunk in &chunks {
            let Some((start, end)) = chunk.body else { continue };
            // It may have come twice, in this group or on another stream: one copy is enough.
            if self.chamber.content().has(&chunk.id) {
                continue;
            }
            self.chamber.undurable.fetch_add(1, Ordering::AcqRel);
            let stored = self.writer.append(chunk.id, chunk.content, &body[start..end])?;
            brought.push((self.chamber.content().add(stored.clone()), start..end));
            self.pending_bytes += u64::from(stored.length);
            self.pending.push(stored);
        }
        if !brought.is_empty() {
            *body = self.chamber.recent.keep(std::mem::take(body), brought);
        }
        let mut content = self.chamber.content();
        content.place(chunks)?;
        self.chamber.changed.notify_all();
        // A long file may keep the judges busy: that must not stop the stream for good.
        let behind = |content: &mut Content| content.arriving.is_behind();
        let waited = self.chamber.caught_up.wait_timeout_while(content, CATCH_UP_MAX, behind);
        drop(waited.expect("no holder of this lock panics"));
        Ok(())
    }

    /// Begins to make what has arrived durable while the stream goes on: first the bytes, then the
    /// index that says they are there.
    fn begin_sync(&mut self) -> Result<(), Error> {
        let Some(group) = self.last_group else { return Ok(()) };
        let files = self.writer.unsynced()?;
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let (ledger, chamber) = (&self.director.ledger, self.chamber);
        let sync = move || {
            if pending.is_empty() {
                return Ok(());
            }
            files.sync()?;
            ledger.add_batch(&chamber.id, &chamber.transfer_key, &pending)?;
            chamber.undurable.fetch_sub(pending.len(), Ordering::AcqRel);
            Ok(())
        };
        self.syncing = Some((group, self.scope.spawn(sync)));
        Ok(())
    }

    /// Waits for what was begun, and tells the sender that it is durable.
    fn acknowledge(&mut self, link: &mut dyn Link) -> Result<(), Error> {
        let Some((group, syncing)) = self.syncing.take() else { return Ok(()) };
        syncing.join().expect("syncing does not panic")?;
        link.send(&Message::Durable { group }, &[])?;
        Ok(())
    }
}

/// What a manager is told of an error. Where files of this site are is not for it to know; why they cannot be
/// used is.
fn told(error: &Error) -> String {
    match error {
        Error::File { what, source, .. } => format!("the director cannot {what} a file of its own: {source}"),
        Error::Database(source) => format!("the director's database failed: {source}"),
        error => error.to_string(),
    }
}

impl Director {
    /// Of chunks that the index knows, keeps those whose segment is there.
    fn intact(&self, found: Vec<Option<Stored>>) -> Vec<Option<Stored>> {
        let mut exists: std::collections::HashMap<SegmentId, bool> = std::collections::HashMap::new();
        let mut is_there = |id| *exists.entry(id).or_insert_with(|| self.segments.path(id).exists());
        found.into_iter().map(|chunk| chunk.filter(|chunk| is_there(chunk.segment))).collect()
    }
}
