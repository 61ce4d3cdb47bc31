//! The manager's end of a data stream.

use crate::message::{ENTRIES_MAX, Entry, GROUP_BYTES, Message};
use crate::receiver::ProtocolError;
use airlock_model::{ChunkId, TenantKey};
use airlock_policy::{Chunk, Cleared};
use std::collections::VecDeque;

/// Most bytes that wait for an answer, whatever the peer allows.
const CREDIT_BYTES_MAX: u64 = 64 << 20;

/// Chunks that are offered together. They can only be cleared ones.
#[derive(Debug, Default)]
pub struct Group {
    entries: Vec<Entry>,
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl Group {
    /// Adds a chunk under the tenant's name for it.
    pub fn add(&mut self, chunk: Cleared<Chunk>, key: &TenantKey) {
        let chunk = chunk.into_inner();
        let length = u32::try_from(chunk.length()).unwrap_or(u32::MAX);
        let id = key.chunk_id(&chunk.record().content, length);
        self.entries.push(Entry { id, extents: chunk.record().extents.clone() });
        self.bytes = self.bytes.saturating_add(chunk.length());
        self.chunks.push(chunk);
    }

    /// Returns whether it is time to offer it.
    pub fn is_full(&self) -> bool {
        self.bytes >= GROUP_BYTES || self.entries.len() >= ENTRIES_MAX
    }

    /// Returns whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What a driver has to do for a [`Sender`].
#[derive(Debug)]
pub enum SenderAction {
    /// Send this, without a body.
    Send(Message),
    /// Send this, with these chunks as the body, one after the other. The bytes of those that are
    /// only promised are for the driver to read.
    SendData(Message, Vec<Chunk>),
}

/// What one stream did so far, in bytes of chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderStats {
    /// Sent.
    pub sent: u64,
    /// Offered, and the receiver had them.
    pub known: u64,
    /// Acknowledged as durable, sent or known.
    pub durable: u64,
}

/// The manager's end of one data stream.
///
/// Groups are answered in order, so a stream is a queue: offered, then sent, then durable.
#[derive(Debug)]
pub struct Sender {
    credit: u64,
    next: u64,
    offered: VecDeque<(u64, Group)>,
    sent: VecDeque<(u64, u64)>,
    offered_bytes: u64,
    stats: SenderStats,
    described: bool,
    stopped: bool,
    end: End,
}

/// How far a stream is with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// The receiver was told that nothing more comes.
    Closing,
    /// It has everything.
    Closed,
}

impl Sender {
    /// Starts a stream on which at most `credit` bytes may wait for an answer. What the peer says is taken
    /// within bounds: without any, nothing could be sent; with too much, everything would wait in memory.
    pub fn new(credit: u64) -> Self {
        Self {
            credit: credit.clamp(1, CREDIT_BYTES_MAX),
            next: 0,
            offered: VecDeque::new(),
            sent: VecDeque::new(),
            offered_bytes: 0,
            stats: SenderStats::default(),
            described: false,
            stopped: false,
            end: End::Open,
        }
    }

    /// Returns whether another group may be offered before an answer has been read.
    pub fn has_room(&self) -> bool {
        self.offered_bytes < self.credit
    }

    /// Returns whether an answer is due: the driver must read before it closes.
    pub fn is_waiting(&self) -> bool {
        !self.offered.is_empty()
    }

    /// Returns whether the receiver has everything, durably.
    pub fn is_closed(&self) -> bool {
        self.end == End::Closed
    }

    /// Returns whether the receiver has refused the transfer, and wants nothing more.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Returns the figures so far.
    pub fn stats(&self) -> SenderStats {
        self.stats
    }

    /// Offers a group.
    pub fn offer(&mut self, mut group: Group) -> SenderAction {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.offered_bytes = self.offered_bytes.saturating_add(bytes_of(group.bytes));
        let entries = std::mem::take(&mut group.entries);
        let message = Message::Offer { group: number, entries };
        self.offered.push_back((number, group));
        SenderAction::Send(message)
    }

    /// Forgets what was offered: the receiver has refused the transfer, on this stream or on another.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.offered.clear();
        self.sent.clear();
        self.offered_bytes = 0;
    }

    /// Says, once, that nothing comes any more that says what the disk means.
    pub fn described(&mut self) -> Option<SenderAction> {
        let first = !std::mem::replace(&mut self.described, true);
        (first && !self.stopped).then_some(SenderAction::Send(Message::Described))
    }

    /// Says that nothing more comes. All offers must have been answered.
    pub fn close(&mut self) -> SenderAction {
        self.end = End::Closing;
        SenderAction::Send(Message::Close)
    }

    /// Takes what the receiver said.
    pub fn receive(&mut self, message: Message) -> Result<Option<SenderAction>, ProtocolError> {
        match message {
            Message::Stop => {
                self.stop();
                Ok(None)
            }
            // Asked before the receiver was heard to stop.
            Message::Need { .. } | Message::Durable { .. } if self.stopped => Ok(None),
            Message::Need { group, need } => {
                let (number, offered) = self.offered.pop_front().ok_or(ProtocolError::Unexpected("need"))?;
                if number != group {
                    return Err(ProtocolError::Unexpected("need"));
                }
                let total = bytes_of(offered.bytes);
                self.offered_bytes = self.offered_bytes.saturating_sub(total);
                let mut position = 0_usize;
                let mut chunks = offered.chunks;
                chunks.retain(|_| {
                    let needed = need.contains(position);
                    position = position.saturating_add(1);
                    needed
                });
                let sent =
                    chunks.iter().fold(0_u64, |sum, chunk| sum.saturating_add(bytes_of(chunk.length())));
                self.stats.sent = self.stats.sent.saturating_add(sent);
                self.stats.known = self.stats.known.saturating_add(total.saturating_sub(sent));
                self.sent.push_back((number, total));
                Ok(Some(SenderAction::SendData(Message::Data { group }, chunks)))
            }
            Message::Durable { group } => {
                while let Some(&(number, bytes)) = self.sent.front() {
                    if number > group {
                        break;
                    }
                    self.stats.durable = self.stats.durable.saturating_add(bytes);
                    self.sent.pop_front();
                }
                Ok(None)
            }
            Message::Closed if self.end == End::Closing && self.offered.is_empty() => {
                if !self.sent.is_empty() {
                    return Err(ProtocolError::Unexpected("closed before everything was durable"));
                }
                self.end = End::Closed;
                Ok(None)
            }
            Message::Refuse(refusal) => Err(ProtocolError::Refused(refusal)),
            _ => Err(ProtocolError::Unexpected("message on a data stream")),
        }
    }
}

fn bytes_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Names a chunk's content for a tenant; kept beside the sender so that both ends compute it alike.
pub(crate) fn name(key: &TenantKey, bytes: &[u8]) -> (ChunkId, airlock_model::ContentHash) {
    let content = airlock_model::ContentHash::of(bytes);
    (key.chunk_id(&content, u32::try_from(bytes.len()).unwrap_or(u32::MAX)), content)
}
