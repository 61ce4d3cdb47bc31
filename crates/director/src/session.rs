//! Talks to a manager: one control stream and any number of data streams for each transfer.

use crate::chamber::{Chamber, Content};
use crate::ledger::{TransferRow, state};
use crate::recent::Recent;
use crate::segment::{SegmentId, Stored};
use crate::segment_writer::SegmentWriter;
use crate::{DEFAULT_VDC, Director, Error, keys};
use airlock_checks::memo::Draft;
use airlock_link::Link;
use airlock_model::ChunkId;
use airlock_policy::{Document, Effective};
use airlock_transfer::{
    Arrived, Hello, Message, Receiver, ReceiverAction, Refusal, RefusalKind, VERSION, Welcome,
};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// Bytes that one stream may have offered and not got rid of.
const CREDIT_BYTES: u64 = 12 << 20;
/// Bytes after which a stream's chunks are made durable.
const SYNC_BYTES: u64 = 32 << 20;
/// How long a stream waits for the judges before it takes the next group.
const CATCH_UP_MAX: Duration = Duration::from_millis(100);
/// Most bytes in the name of a VM.
const NAME_BYTES_MAX: usize = 255;
/// Most streams of one transfer.
const STREAMS_MAX: usize = 32;

impl Director {
    /// Serves one link of a tenant until the peer is done or gone. Errors have been told to the peer.
    pub fn serve(&self, link: &mut dyn Link, tenant: &str) -> Result<(), Error> {
        let mut body = Vec::new();
        let served = match link.receive(&mut body)? {
            Message::Hello(hello) => self.serve_control(link, tenant, *hello),
            Message::Attach { transfer, token } => self.serve_data(link, tenant, transfer, token),
            _ => Err(Error::Peer("it began with an unexpected message".into())),
        };
        if let Err(error) = &served {
            let kind = match error {
                Error::NotFound(_) => RefusalKind::NotFound,
                Error::InUse(_) => RefusalKind::Busy,
                Error::Peer(_) => RefusalKind::Protocol,
                _ => RefusalKind::Failed,
            };
            // The peer may be the reason and gone; then nobody is there to be told.
            let _ = link.send(&Message::Refuse(Refusal { kind, text: error.to_string() }), &[]);
        }
        served
    }

    fn serve_control(&self, link: &mut dyn Link, tenant: &str, hello: Hello) -> Result<(), Error> {
        let chamber = match self.admit(tenant, hello)? {
            Ok(chamber) => Arc::new(chamber),
            Err(refusal) => {
                link.send(&Message::Refuse(refusal), &[])?;
                return Ok(());
            }
        };
        let id = chamber.id;
        self.live().insert(id, Arc::clone(&chamber));
        let durable = chamber.content().durable_bytes();
        tracing::info!(transfer = hex::encode(id), vm = chamber.hello.vm, durable, "transfer begins");
        let welcome = Welcome {
            version: VERSION,
            transfer: id,
            token: chamber.token,
            tenant_key: chamber.tenant_key.clone(),
            policy: self.policy_yaml.clone(),
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
        self.live().remove(&id);
        outcome
    }

    fn live(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<[u8; 16], Arc<Chamber>>> {
        self.live.lock().expect("no holder of this lock panics")
    }

    /// Decides whether a transfer may begin or go on.
    fn admit(&self, tenant: &str, hello: Hello) -> Result<Result<Chamber, Refusal>, Error> {
        let refuse = |kind, text: String| Ok(Err(Refusal { kind, text }));
        if hello.version != VERSION {
            let text =
                format!("this director speaks protocol version {VERSION}, the manager {}", hello.version);
            return refuse(RefusalKind::Protocol, text);
        }
        if hello.vdc != DEFAULT_VDC {
            return refuse(RefusalKind::NotFound, format!("there is no virtual data center {:?}", hello.vdc));
        }
        if hello.vm.is_empty() || hello.vm.len() > NAME_BYTES_MAX || hello.vm.chars().any(char::is_control) {
            return refuse(
                RefusalKind::Protocol,
                "the name of the VM is empty, too long or not printable".into(),
            );
        }
        let document = match Document::parse(&hello.policy) {
            Ok(document) => document,
            Err(error) => return refuse(RefusalKind::Protocol, format!("the source's {error}")),
        };
        let effective = Effective::merge(&document, &self.policy);
        let live = self.live().values().any(|other| other.tenant == tenant && other.hello.vm == hello.vm);
        if live {
            let text =
                format!("a transfer of {:?} is under way; wait for it or choose another --name", hello.vm);
            return refuse(RefusalKind::Busy, text);
        }
        let shape = serde_json::to_string(&(&hello.space, &hello.machine, hello.on_fail, hello.key))
            .expect("plain data");
        let digest = effective.digest().to_string();
        let mut row = TransferRow { id: [0; 16], state: state::STAGING.into(), shape, effective: digest };
        let unfinished = self.ledger.unfinished(tenant, &hello.vdc, &hello.vm)?;
        let resumed = match unfinished {
            Some(found) if hello.resume && found.shape == row.shape && found.effective == row.effective => {
                Some(found.id)
            }
            Some(found) if hello.resume => {
                tracing::info!(transfer = hex::encode(found.id), "cannot be resumed: disks or policy differ");
                self.discard(&found.id)?;
                None
            }
            Some(found) => {
                // Begun anew without --resume: what an earlier try has brought is not kept.
                self.discard(&found.id)?;
                None
            }
            None => None,
        };
        if let Some(id) = resumed {
            row.id = id;
        } else {
            keys::fill(&mut row.id);
        }
        let transfer_key = keys::load_or_create(&self.transfer_key_path(&row.id))?;
        if resumed.is_none() {
            self.ledger.begin(&row, tenant, &hello.vdc, &hello.vm, (self.clock)())?;
        }
        let durable = self.ledger.batches(&row.id, &transfer_key)?;
        let numbers = self.segments.numbers(&row.id)?;
        let mut token = [0; 32];
        keys::fill(&mut token);
        Ok(Ok(Chamber {
            id: row.id,
            token,
            tenant: tenant.to_owned(),
            effective,
            tenant_key: self.tenant_key(tenant)?,
            wrapping: self.wrapping_key(tenant)?,
            memo: self.memo(tenant)?,
            draft: Draft::default(),
            transfer_key,
            next_segment: Arc::new(AtomicU32::new(numbers.last().map_or(0, |last| last + 1))),
            streams: AtomicUsize::new(0),
            vault_has_chunks: self.ledger.has_chunks(tenant)?,
            content: Mutex::new(Content::resumed(self.present(durable))),
            changed: Condvar::new(),
            caught_up: Condvar::new(),
            recent: Recent::default(),
            hello,
        }))
    }

    /// Keeps of the chunks that the ledger knows those whose bytes are there.
    fn present(&self, chunks: Vec<Stored>) -> Vec<Stored> {
        let mut lengths: std::collections::HashMap<SegmentId, u64> = std::collections::HashMap::new();
        let mut length_of = |id| {
            let read = || std::fs::metadata(self.segments.path(id)).map_or(0, |metadata| metadata.len());
            *lengths.entry(id).or_insert_with(read)
        };
        let end = |chunk: &Stored| chunk.offset + u64::from(chunk.length) + keys::TAG_BYTES as u64;
        chunks.into_iter().filter(|chunk| end(chunk) <= length_of(chunk.segment)).collect()
    }

    fn serve_data(
        &self,
        link: &mut dyn Link,
        tenant: &str,
        transfer: [u8; 16],
        token: [u8; 32],
    ) -> Result<(), Error> {
        let chamber = self.live().get(&transfer).cloned();
        let right = |chamber: &Arc<Chamber>| {
            chamber.tenant == tenant
                && aws_lc_rs::constant_time::verify_slices_are_equal(&chamber.token, &token).is_ok()
        };
        let chamber = chamber.filter(right).ok_or_else(|| Error::NotFound("such transfer".into()))?;
        if chamber.streams.fetch_add(1, Ordering::AcqRel) >= STREAMS_MAX {
            chamber.streams.fetch_sub(1, Ordering::AcqRel);
            return Err(Error::Peer(format!("it opened more than {STREAMS_MAX} streams")));
        }
        let served = std::thread::scope(|scope| {
            let mut stream = DataStream {
                director: self,
                receiver: Receiver::new(chamber.tenant_key.clone(), chamber.hello.space.size()),
                writer: self.writer(&chamber),
                pending: Vec::new(),
                pending_bytes: 0,
                last_group: None,
                syncing: None,
                scope,
                chamber: &chamber,
            };
            stream.serve(link)
        });
        // Before the manager hears of it: it may send the end of the transfer at once.
        chamber.streams.fetch_sub(1, Ordering::AcqRel);
        served?;
        link.send(&Message::Closed, &[])?;
        Ok(())
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
}

impl DataStream<'_, '_> {
    fn serve(&mut self, link: &mut dyn Link) -> Result<(), Error> {
        link.send(&Message::Attached, &[])?;
        let mut body = Vec::new();
        loop {
            let message = link.receive(&mut body)?;
            let peer = |error: airlock_transfer::ProtocolError| Error::Peer(error.to_string());
            match self.receiver.receive(message, &body).map_err(peer)? {
                ReceiverAction::LookUp(ids) => {
                    let have = self.look_up(&ids)?;
                    let need = self.receiver.looked_up(&have);
                    link.send(&need, &[])?;
                }
                ReceiverAction::Store { group, chunks } => {
                    self.store(chunks, &mut body)?;
                    self.last_group = Some(group);
                    if self.pending_bytes >= SYNC_BYTES {
                        self.acknowledge(link)?;
                        self.begin_sync()?;
                    }
                }
                ReceiverAction::Close => {
                    self.acknowledge(link)?;
                    self.begin_sync()?;
                    return self.acknowledge(link);
                }
            }
        }
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
        for chunk in &chunks {
            let Some((start, end)) = chunk.body else { continue };
            // It may have come twice, in this group or on another stream: one copy is enough.
            if self.chamber.content().has(&chunk.id) {
                continue;
            }
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
            ledger.add_batch(&chamber.id, &chamber.transfer_key, &pending)
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

impl Director {
    /// Of chunks that the index knows, keeps those whose segment is there.
    fn intact(&self, found: Vec<Option<Stored>>) -> Vec<Option<Stored>> {
        let mut exists: std::collections::HashMap<SegmentId, bool> = std::collections::HashMap::new();
        let mut is_there = |id| *exists.entry(id).or_insert_with(|| self.segments.path(id).exists());
        found.into_iter().map(|chunk| chunk.filter(|chunk| is_there(chunk.segment))).collect()
    }
}
