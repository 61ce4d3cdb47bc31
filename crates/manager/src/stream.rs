//! One data stream: what a thread has judged goes straight to the director.

use crate::transfer::TransferError;
use airlock_checks::{Outcome, Sink, StationError};
use airlock_disk::{BlockSource, read_extents};
use airlock_link::Link;
use airlock_model::{ChunkRecord, TenantKey};
use airlock_policy::{Chunk, Cleared, OnFail};
use airlock_transfer::{Group, Message, Sender, SenderAction, SenderStats};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Most answers that are read to find out why the director has left.
const LAST_WORDS_MAX: usize = 1000;

/// What the streams of a transfer share.
#[derive(Debug)]
pub(crate) struct Shared<'p> {
    /// Set when one of the sites refuses: from then on nothing is sent, but inspection goes on
    /// so that the record covers everything.
    pub(crate) refused: &'p AtomicBool,
    /// Set when it is the director that refuses.
    pub(crate) stopped: AtomicBool,
    /// Bytes sent so far.
    pub(crate) sent: AtomicU64,
    /// Bytes that the director had.
    pub(crate) known: AtomicU64,
}

impl<'p> Shared<'p> {
    pub(crate) fn new(refused: &'p AtomicBool) -> Self {
        let (stopped, sent, known) = Default::default();
        Self { refused, stopped, sent, known }
    }
}

/// One data stream to the director.
pub(crate) struct Stream<'s> {
    link: Box<dyn Link>,
    /// Where bytes are read again that the director needs after all.
    disk: &'s dyn BlockSource,
    sender: Sender,
    /// Whether the director had all of the last group, so that it likely has the next.
    likely_known: bool,
    group: Group,
    key: &'s TenantKey,
    on_fail: OnFail,
    shared: &'s Shared<'s>,
    body: Vec<u8>,
    kept: Vec<ChunkRecord>,
}

impl<'s> Stream<'s> {
    pub(crate) fn new(
        link: Box<dyn Link>,
        disk: &'s dyn BlockSource,
        credit: u64,
        key: &'s TenantKey,
        on_fail: OnFail,
        shared: &'s Shared<'s>,
    ) -> Self {
        let sender = Sender::new(credit);
        Self {
            link,
            disk,
            sender,
            likely_known: false,
            group: Group::default(),
            key,
            on_fail,
            shared,
            body: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn add(&mut self, chunk: Cleared<Chunk>) -> Result<(), TransferError> {
        self.kept.push(chunk.get().record().clone());
        self.group.add(chunk, self.key);
        if self.group.is_full() {
            self.offer()?;
        }
        Ok(())
    }

    /// Offers what was gathered, and answers until there is room for more.
    fn offer(&mut self) -> Result<(), TransferError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let group = std::mem::take(&mut self.group);
        if self.sender.is_stopped() {
            return Ok(());
        }
        let action = self.sender.offer(group);
        self.act(action)?;
        while !self.sender.has_room() {
            self.answer()?;
        }
        Ok(())
    }

    /// Sends what was gathered, and that what comes next says nothing of what the disk means.
    fn tell_described(&mut self) -> Result<(), TransferError> {
        if self.shared.refused.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.offer()?;
        while self.sender.is_waiting() {
            self.answer()?;
        }
        self.sender.described().map_or(Ok(()), |action| self.act(action))
    }

    fn answer(&mut self) -> Result<(), TransferError> {
        let message = self.link.receive(&mut self.body)?;
        if self.shared.stopped.load(Ordering::Relaxed) {
            self.sender.stop();
        }
        let before = self.sender.stats();
        if let Some(action) = self.sender.receive(message)? {
            self.act(action)?;
        }
        if self.sender.is_stopped() {
            self.shared.refused.store(true, Ordering::Relaxed);
            self.shared.stopped.store(true, Ordering::Relaxed);
        }
        let after = self.sender.stats();
        if (after.sent, after.known) != (before.sent, before.known) {
            self.likely_known = after.sent == before.sent;
        }
        self.shared.sent.fetch_add(after.sent - before.sent, Ordering::Relaxed);
        self.shared.known.fetch_add(after.known - before.known, Ordering::Relaxed);
        Ok(())
    }

    fn act(&mut self, action: SenderAction) -> Result<(), TransferError> {
        match action {
            SenderAction::Send(message) => self.send(&message, &[])?,
            SenderAction::SendData(message, chunks) => {
                let chunks: Result<Vec<Chunk>, _> =
                    chunks.into_iter().map(|chunk| self.at_hand(chunk)).collect();
                let chunks = chunks?;
                let pieces: Vec<&[u8]> = chunks.iter().filter_map(Chunk::bytes).collect();
                self.send(&message, &pieces)?;
            }
        }
        Ok(())
    }

    /// Sends, or finds out why nobody listens: a director that leaves says so first, and goes on without waiting
    /// until it is heard.
    fn send(&mut self, message: &Message, body: &[&[u8]]) -> Result<(), TransferError> {
        let Err(error) = self.link.send(message, body) else { return Ok(()) };
        for _ in 0..LAST_WORDS_MAX {
            match self.link.receive(&mut self.body) {
                Ok(Message::Refuse(refusal)) => return Err(TransferError::Refused(refusal)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Err(error.into())
    }

    /// Returns a chunk with its bytes, read again if they were not kept.
    fn at_hand(&self, chunk: Chunk) -> Result<Chunk, TransferError> {
        if chunk.bytes().is_some() {
            return Ok(chunk);
        }
        let bytes = read_extents(self.disk, &chunk.record().extents).map_err(StationError::Source)?;
        Ok(chunk.fetched(bytes).map_err(StationError::Changed)?)
    }

    /// Sends the rest and waits until all of it is durable. Returns what was sent.
    pub(crate) fn finish(mut self) -> Result<(Vec<ChunkRecord>, SenderStats), TransferError> {
        if !self.shared.refused.load(Ordering::Relaxed) {
            self.offer()?;
        }
        while self.sender.is_waiting() {
            self.answer()?;
        }
        let close = self.sender.close();
        self.act(close)?;
        while !self.sender.is_closed() {
            self.answer()?;
        }
        Ok((self.kept, self.sender.stats()))
    }
}

impl Sink for Stream<'_> {
    fn wants_bytes(&self) -> bool {
        !self.likely_known && !self.shared.refused.load(Ordering::Relaxed)
    }

    fn take(&mut self, outcome: &mut Outcome<'_>) -> Result<(), StationError> {
        let judgement = outcome.judgement();
        let stop = self.on_fail == OnFail::Terminate && !judgement.held().is_empty();
        if judgement.terminates() || stop {
            self.shared.refused.store(true, Ordering::Relaxed);
        }
        if self.shared.refused.load(Ordering::Relaxed) {
            return Ok(());
        }
        outcome.cleared(&mut |chunk| self.add(chunk).map_err(|error| StationError::Sink(Box::new(error))))
    }

    fn described(&mut self) -> Result<(), StationError> {
        self.tell_described().map_err(|error| StationError::Sink(Box::new(error)))
    }
}

/// Opens a stream and joins it to a transfer.
pub(crate) fn attach(
    mut link: Box<dyn Link>,
    transfer: [u8; 16],
    token: [u8; 32],
) -> Result<Box<dyn Link>, TransferError> {
    link.send(&Message::Attach { transfer, token }, &[])?;
    match link.receive(&mut Vec::new())? {
        Message::Attached => Ok(link),
        Message::Refuse(refusal) => Err(TransferError::Refused(refusal)),
        _ => Err(TransferError::Director("it did not take a data stream".into())),
    }
}
