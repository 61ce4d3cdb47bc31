//! The director's end of a data stream. It believes nothing that it is told:
//! extents are checked against the address space and bytes against their names.

use crate::message::{Bits, ENTRIES_MAX, Entry, Message, Refusal};
use crate::sender::name;
use airlock_model::{CHUNK_BYTES_MAX, ChunkId, ContentHash, Extent, TenantKey};
use std::collections::VecDeque;

/// Most groups that a sender may have offered and not filled.
const PENDING_MAX: usize = 256;
/// Most extents of all groups that were offered and not filled: 16 MiB of memory, and many times what
/// the most fragmented disk needs.
const PENDING_EXTENTS_MAX: usize = 1 << 20;

/// What may come beyond the credit after a stream was stopped: one group that was offered within it.
const DRAIN_SLACK_BYTES: u64 = 16 << 20;

/// What a peer did wrong, or why it left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A message that does not fit the state of the stream.
    #[error("peer broke the protocol: unexpected {0}")]
    Unexpected(&'static str),
    /// An offer that cannot be right.
    #[error("peer offered a chunk that cannot be: {0}")]
    Offer(&'static str),
    /// Bytes that are not what they were announced as.
    #[error("peer sent bytes that do not have the name they were offered under")]
    Name,
    /// The peer refused.
    #[error("{}", .0.text)]
    Refused(Refusal),
}

/// A chunk that arrived and is what it was offered as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Its name.
    pub id: ChunkId,
    /// Its hash, computed here.
    pub content: ContentHash,
    /// Where its bytes belong.
    pub extents: Vec<Extent>,
    /// Where its bytes are in the body that brought it, as start and end; `None` for
    /// a chunk that this tenant had proven before.
    pub body: Option<(usize, usize)>,
}

/// What a driver has to do for a [`Receiver`].
#[derive(Debug)]
pub enum ReceiverAction {
    /// Find out which of these the tenant has proven, and answer by [`Receiver::looked_up`].
    LookUp(Vec<ChunkId>),
    /// Store these, and tell the sender once they are durable.
    Store {
        /// The group that is complete with them.
        group: u64,
        /// The chunks; those with a body are new.
        chunks: Vec<Arrived>,
    },
    /// Nothing that comes from now on says what the disk means.
    Described,
    /// Nothing: the sender did not know yet that it shall stop.
    Drop,
    /// The sender is done: make everything durable, then say [`Message::Closed`].
    Close,
}

#[derive(Debug)]
struct Pending {
    group: u64,
    entries: Vec<Entry>,
    need: Vec<bool>,
    bytes: u64,
    extents: usize,
}

/// The director's end of one data stream.
#[derive(Debug)]
pub struct Receiver {
    key: TenantKey,
    space_bytes: u64,
    credit: u64,
    pending: VecDeque<Pending>,
    /// Bytes and extents of all that is pending.
    pending_bytes: u64,
    pending_extents: usize,
    looking_up: Option<Pending>,
    next: u64,
    described: bool,
    stopped: bool,
}

impl Receiver {
    /// Starts a stream for an address space of so many bytes. A sender that has `credit` bytes offered and not
    /// sent must send before it offers more.
    pub fn new(key: TenantKey, space_bytes: u64, credit: u64) -> Self {
        Self {
            key,
            space_bytes,
            credit,
            pending: VecDeque::new(),
            pending_bytes: 0,
            pending_extents: 0,
            looking_up: None,
            next: 0,
            described: false,
            stopped: false,
        }
    }

    /// Takes what the sender said, with the body of the frame.
    pub fn receive(&mut self, message: Message, body: &[u8]) -> Result<ReceiverAction, ProtocolError> {
        if self.stopped {
            return self.drain(&message, body);
        }
        if self.looking_up.is_some() {
            return Err(ProtocolError::Unexpected("message before an offer was answered"));
        }
        match message {
            Message::Offer { group, entries } => {
                if group != self.next || self.pending.len() >= PENDING_MAX || !body.is_empty() {
                    return Err(ProtocolError::Unexpected("offer"));
                }
                if self.pending_bytes >= self.credit {
                    return Err(ProtocolError::Offer("more than its credit allows"));
                }
                self.next = self.next.saturating_add(1);
                let (bytes, extents) = self.check(&entries)?;
                self.pending_bytes = self.pending_bytes.saturating_add(bytes);
                self.pending_extents = self.pending_extents.saturating_add(extents);
                let ids = entries.iter().map(|entry| entry.id).collect();
                self.looking_up = Some(Pending { group, entries, need: Vec::new(), bytes, extents });
                Ok(ReceiverAction::LookUp(ids))
            }
            Message::Data { group } => {
                let pending = self.pending.pop_front().ok_or(ProtocolError::Unexpected("data"))?;
                if pending.group != group {
                    return Err(ProtocolError::Unexpected("data"));
                }
                self.pending_bytes = self.pending_bytes.saturating_sub(pending.bytes);
                self.pending_extents = self.pending_extents.saturating_sub(pending.extents);
                let chunks = self.take(pending, body)?;
                Ok(ReceiverAction::Store { group, chunks })
            }
            Message::Described if !self.described => {
                self.described = true;
                Ok(ReceiverAction::Described)
            }
            Message::Close if self.pending.is_empty() => Ok(ReceiverAction::Close),
            _ => Err(ProtocolError::Unexpected("message on a data stream")),
        }
    }

    /// Takes nothing any more, and returns what says so to the sender. Of what the sender has sent before it hears
    /// of that, no more is read than its credit allows.
    pub fn stop(&mut self) -> Message {
        self.stopped = true;
        self.looking_up = None;
        self.pending.clear();
        self.pending_bytes = 0;
        Message::Stop
    }

    /// Passes over what was under way when the stream was stopped.
    fn drain(&mut self, message: &Message, body: &[u8]) -> Result<ReceiverAction, ProtocolError> {
        let bytes = match message {
            Message::Close => return Ok(ReceiverAction::Close),
            Message::Described => 0,
            // One is on its way for each group that was asked for, and offers for the rest of the credit.
            Message::Data { .. } => u64::try_from(body.len()).unwrap_or(u64::MAX),
            Message::Offer { entries, .. } => self.check(entries)?.0,
            _ => return Err(ProtocolError::Unexpected("message on a data stream")),
        };
        // At least one, so that the number of messages has a limit, too.
        self.pending_bytes = self.pending_bytes.saturating_add(bytes.max(1));
        let limit = self.credit.saturating_mul(2).saturating_add(DRAIN_SLACK_BYTES);
        if self.pending_bytes > limit {
            return Err(ProtocolError::Unexpected("bytes after it was told to stop"));
        }
        Ok(ReceiverAction::Drop)
    }

    /// Takes which of the chunks of the last offer the tenant has, and returns the answer to send.
    ///
    /// # Panics
    /// If no offer waits for it; that is a bug of the driver.
    pub fn looked_up(&mut self, have: &[bool]) -> Message {
        let mut pending = self.looking_up.take().expect("an offer waits for its answer");
        assert_eq!(have.len(), pending.entries.len(), "one answer for each chunk");
        pending.need = have.iter().map(|have| !have).collect();
        let message = Message::Need { group: pending.group, need: Bits::of(&pending.need) };
        self.pending.push_back(pending);
        message
    }

    /// Checks an offer, and returns its bytes and extents.
    fn check(&self, entries: &[Entry]) -> Result<(u64, usize), ProtocolError> {
        if entries.len() > ENTRIES_MAX {
            return Err(ProtocolError::Offer("more chunks than a group has"));
        }
        let extents = entries.iter().fold(0_usize, |sum, entry| sum.saturating_add(entry.extents.len()));
        if self.pending_extents.saturating_add(extents) > PENDING_EXTENTS_MAX {
            return Err(ProtocolError::Offer("more extents than may wait"));
        }
        let mut bytes = 0_u64;
        for entry in entries {
            let mut length = 0_u64;
            for extent in &entry.extents {
                let end = extent.offset.checked_add(extent.length);
                if extent.length == 0 || end.is_none_or(|end| end > self.space_bytes) {
                    return Err(ProtocolError::Offer("an extent outside the bundle"));
                }
                length = length.saturating_add(extent.length);
            }
            if length == 0 || usize::try_from(length).map_or(true, |length| length > CHUNK_BYTES_MAX) {
                return Err(ProtocolError::Offer("a chunk of no bytes or too many"));
            }
            bytes = bytes.saturating_add(length);
        }
        Ok((bytes, extents))
    }

    fn take(&self, pending: Pending, body: &[u8]) -> Result<Vec<Arrived>, ProtocolError> {
        let mut at = 0_usize;
        let mut chunks = Vec::with_capacity(pending.entries.len());
        for (entry, needed) in pending.entries.into_iter().zip(pending.need) {
            let mut arrived =
                Arrived { id: entry.id, content: ContentHash([0; 32]), extents: entry.extents, body: None };
            if needed {
                let length =
                    arrived.extents.iter().fold(0_u64, |sum, extent| sum.saturating_add(extent.length));
                let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
                let bytes = end
                    .and_then(|end| body.get(at..end))
                    .ok_or(ProtocolError::Unexpected("length of data"))?;
                let (id, content) = name(&self.key, bytes);
                if id != arrived.id {
                    return Err(ProtocolError::Name);
                }
                arrived.content = content;
                let end = at.saturating_add(bytes.len());
                arrived.body = Some((at, end));
                at = end;
            }
            chunks.push(arrived);
        }
        if at != body.len() {
            return Err(ProtocolError::Unexpected("length of data"));
        }
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Group, Sender, SenderAction};
    use airlock_model::Site;
    use airlock_policy::{Chunk, Cleared, Document, Effective, Object};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn cleared(offset: u64, bytes: Vec<u8>) -> Cleared<Chunk> {
        let policy = Effective::merge(&Document::default(), &Document::default());
        let chunk = Chunk::new(vec![Extent::new(offset, bytes.len() as u64)], bytes);
        let mut judgement = policy.judge(Site::Source, &Object::raw(4096), &mut []);
        judgement.inspected(chunk.record());
        judgement.release(chunk).expect("inspected").remove(0)
    }

    fn key() -> TenantKey {
        TenantKey([9; 32])
    }

    /// Runs both ends against each other over a stream that is cut after `frames` frames.
    /// Returns what the receiver has stored and the bytes that were sent.
    fn run(
        disk: &[u8],
        chunk_bytes: usize,
        stored: &mut BTreeMap<ChunkId, Vec<u8>>,
        frames: usize,
    ) -> (u64, bool) {
        let mut sender = Sender::new(10_000);
        let mut receiver = Receiver::new(key(), disk.len() as u64, 10_000);
        let mut left = frames;
        let mut pieces = disk.chunks(chunk_bytes).enumerate().peekable();
        while pieces.peek().is_some() || sender.is_waiting() {
            let mut group = Group::default();
            for (index, piece) in pieces.by_ref().take(3) {
                group.add(cleared((index * chunk_bytes) as u64, piece.to_vec()), &key());
            }
            let SenderAction::Send(offer) = sender.offer(group) else { unreachable!("an offer has no body") };
            let ReceiverAction::LookUp(ids) = receiver.receive(offer, &[]).unwrap() else {
                panic!("looks up")
            };
            let have: Vec<bool> = ids.iter().map(|id| stored.contains_key(id)).collect();
            let need = receiver.looked_up(&have);
            let Some(SenderAction::SendData(data, chunks)) = sender.receive(need).unwrap() else {
                panic!("sends")
            };
            let body: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes().unwrap().to_vec()).collect();
            if left == 0 {
                return (sender.stats().sent, false);
            }
            left -= 1;
            let ReceiverAction::Store { group, chunks } = receiver.receive(data, &body).unwrap() else {
                panic!("stores")
            };
            for chunk in chunks {
                if let Some((start, end)) = chunk.body {
                    stored.insert(chunk.id, body[start..end].to_vec());
                }
            }
            sender.receive(Message::Durable { group }).unwrap();
        }
        let SenderAction::Send(close) = sender.close() else { unreachable!("close has no body") };
        assert!(matches!(receiver.receive(close, &[]), Ok(ReceiverAction::Close)));
        sender.receive(Message::Closed).unwrap();
        assert_eq!(sender.stats().durable, disk.len() as u64);
        (sender.stats().sent, sender.is_closed())
    }

    proptest! {
        #[test]
        fn a_transfer_cut_anywhere_resumes_and_sends_nothing_acknowledged_again(
            disk in proptest::collection::vec(any::<u8>(), 1..3000), cut in 0_usize..12,
        ) {
            let mut stored = BTreeMap::new();
            run(&disk, 100, &mut stored, cut);
            let before: usize = stored.values().map(Vec::len).sum();
            let (sent, closed) = run(&disk, 100, &mut stored, usize::MAX);
            prop_assert!(closed);
            let unique: usize = stored.values().map(Vec::len).sum();
            let sent = usize::try_from(sent).unwrap();
            prop_assert!(sent <= disk.len() - before.min(disk.len()));
            prop_assert!(sent >= unique - before);
            for (index, piece) in disk.chunks(100).enumerate() {
                let (id, _) = name(&key(), piece);
                prop_assert_eq!(stored.get(&id).map(Vec::as_slice), Some(piece), "chunk {}", index);
            }
        }
    }

    /// A stream that is stopped in the middle is closed all the same, whatever was under way.
    #[test]
    fn what_is_under_way_is_passed_over_once_a_stream_is_stopped() {
        for stopped_after in 0..5 {
            let mut sender = Sender::new(500);
            let mut receiver = Receiver::new(key(), 1000, 500);
            let mut offers = Vec::new();
            for index in 0..5_u8 {
                let mut group = Group::default();
                group.add(cleared(u64::from(index) * 100, vec![index; 100]), &key());
                let SenderAction::Send(offer) = sender.offer(group) else { unreachable!("no body") };
                offers.push(offer);
            }
            let mut under_way = Vec::new();
            for (index, offer) in (0_u8..).zip(offers) {
                if index == stopped_after {
                    assert_eq!(receiver.stop(), Message::Stop);
                }
                match receiver.receive(offer, &[]).unwrap() {
                    ReceiverAction::LookUp(_) => {}
                    ReceiverAction::Drop if index >= stopped_after => continue,
                    other => panic!("{other:?}"),
                }
                let Some(SenderAction::SendData(data, _)) =
                    sender.receive(receiver.looked_up(&[false])).unwrap()
                else {
                    panic!("sends")
                };
                under_way.push((data, vec![index; 100]));
            }
            for (data, body) in under_way {
                assert!(matches!(receiver.receive(data, &body), Ok(ReceiverAction::Drop)));
            }
            sender.receive(Message::Stop).unwrap();
            assert!(sender.is_stopped() && !sender.is_waiting() && sender.described().is_none());
            let SenderAction::Send(close) = sender.close() else { unreachable!("close has no body") };
            assert!(matches!(receiver.receive(close, &[]), Ok(ReceiverAction::Close)));
            sender.receive(Message::Closed).unwrap();
            assert!(sender.is_closed());
        }
    }

    #[test]
    fn who_does_not_stop_is_cut_off() {
        let mut receiver = Receiver::new(key(), 1000, 500);
        receiver.stop();
        let body = vec![0; 16 << 20];
        let mut send = || receiver.receive(Message::Data { group: 0 }, &body).map(|_| ());
        assert_eq!(send(), Ok(()));
        assert_eq!(send(), Err(ProtocolError::Unexpected("bytes after it was told to stop")));
    }

    fn check_refused(offer: Message, expected: &ProtocolError) {
        let mut receiver = Receiver::new(key(), 1000, 500);
        assert_eq!(&receiver.receive(offer, &[]).unwrap_err(), expected);
    }

    #[test]
    fn impossible_offers_are_refused() {
        let offer = |group, extents: &[(u64, u64)]| Message::Offer {
            group,
            entries: vec![Entry {
                id: ChunkId([0; 32]),
                extents: extents.iter().map(|&(offset, length)| Extent::new(offset, length)).collect(),
            }],
        };
        check_refused(offer(1, &[(0, 10)]), &ProtocolError::Unexpected("offer"));
        check_refused(offer(0, &[(991, 10)]), &ProtocolError::Offer("an extent outside the bundle"));
        check_refused(offer(0, &[(u64::MAX, 2)]), &ProtocolError::Offer("an extent outside the bundle"));
        check_refused(offer(0, &[]), &ProtocolError::Offer("a chunk of no bytes or too many"));
        check_refused(Message::Data { group: 0 }, &ProtocolError::Unexpected("data"));
    }

    #[test]
    fn an_offer_beyond_the_limits_is_refused() {
        let entry = |extents: usize| Entry {
            id: ChunkId([0; 32]),
            extents: (0..extents as u64).map(|at| Extent::new(at, 1)).collect(),
        };
        let offer = |group, entries| Message::Offer { group, entries };
        let mut receiver = Receiver::new(key(), 1 << 30, 500);
        receiver.receive(offer(0, vec![entry(500)]), &[]).unwrap();
        receiver.looked_up(&[true]);
        let refused = |receiver: &mut Receiver, offer| receiver.receive(offer, &[]).unwrap_err();
        assert_eq!(
            refused(&mut receiver, offer(1, vec![entry(1)])),
            ProtocolError::Offer("more than its credit allows")
        );
        receiver.receive(Message::Data { group: 0 }, &[]).unwrap();
        assert_eq!(
            refused(&mut receiver, offer(1, vec![entry(1); ENTRIES_MAX + 1])),
            ProtocolError::Offer("more chunks than a group has")
        );
        let mut receiver = Receiver::new(key(), 1 << 30, 500);
        assert_eq!(
            refused(&mut receiver, offer(0, vec![entry(PENDING_EXTENTS_MAX / 2); 3])),
            ProtocolError::Offer("more extents than may wait")
        );
    }

    #[test]
    fn bytes_under_a_false_name_are_refused() {
        let mut receiver = Receiver::new(key(), 1000, 500);
        let (id, _) = name(&key(), b"honest");
        let entries = vec![Entry { id, extents: vec![Extent::new(0, 6)] }];
        receiver.receive(Message::Offer { group: 0, entries }, &[]).unwrap();
        receiver.looked_up(&[false]);
        let error = receiver.receive(Message::Data { group: 0 }, b"forged").unwrap_err();
        assert_eq!(error, ProtocolError::Name);
    }
}
