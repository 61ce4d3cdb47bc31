//! The chamber of one transfer: what has arrived and is neither kept nor discarded yet.

use crate::arriving::Arriving;
use crate::keys::Key;
use crate::recent::Recent;
use crate::sealed_disk::{Placement, SealedDisk};
use crate::segment::{Segments, Stored};
use crate::segment_writer::SegmentWriter;
use crate::tenancy::Quota;
use crate::{Director, Error};
use airlock_checks::memo::{Draft, Memo};
use airlock_checks::{Outcome, Rules};
use airlock_model::{
    ChunkId, ChunkRecord, ContentHash, DiskRoot, Extent, Space, SpaceRoots, TenantKey, subtract,
};
use airlock_policy::{Effective, OnFail};
use airlock_transfer::{Arrived, Hello};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Most extents of a transfer. Each takes some 130 bytes of memory here, and as few as three on the wire:
/// without a limit, whoever may transfer could use up all of it.
const EXTENTS_MAX: usize = 16 << 20;

/// How long streams may take to end once their transfer has.
const LEAVING_POLLS_MAX: u32 = 2000;
const LEAVING_POLL: Duration = Duration::from_millis(5);

/// A transfer that a manager is connected for.
#[derive(Debug)]
pub(crate) struct Chamber {
    pub(crate) id: [u8; 16],
    pub(crate) token: [u8; 32],
    pub(crate) tenant: String,
    pub(crate) hello: Hello,
    pub(crate) effective: Effective,
    pub(crate) tenant_key: TenantKey,
    pub(crate) wrapping: Key,
    /// What of this tenant was inspected before.
    pub(crate) memo: Arc<Memo>,
    /// What is remembered of this transfer if whoever inspects it can be believed to the end.
    pub(crate) draft: Draft,
    /// How much its virtual data center may take.
    pub(crate) quota: Quota,
    /// Bytes that count against the quota so far.
    pub(crate) brought: AtomicU64,
    /// This side's policy, as YAML.
    pub(crate) site_policy: String,
    pub(crate) site_policy_digest: String,
    /// What this side inspected with when it began.
    pub(crate) rules: Arc<Rules>,
    pub(crate) transfer_key: Key,
    pub(crate) next_segment: Arc<AtomicU32>,
    pub(crate) streams: AtomicUsize,
    /// Chunks that were stored and are not known to be durable.
    pub(crate) undurable: AtomicUsize,
    /// Whether this tenant's vault has anything to look up.
    pub(crate) vault_has_chunks: bool,
    pub(crate) content: Mutex<Content>,
    /// Told when more has arrived, and at the end.
    pub(crate) changed: Condvar,
    /// Told when less waits to be judged.
    pub(crate) caught_up: Condvar,
    /// Plain bytes of what arrived last.
    pub(crate) recent: Recent,
}

/// What has arrived.
#[derive(Debug, Default)]
pub(crate) struct Content {
    chunks: Vec<Stored>,
    by_id: HashMap<ChunkId, u32>,
    /// Extents that were ever placed.
    extents: usize,
    /// By first offset. Offered again, a placement replaces what was there.
    placements: BTreeMap<u64, Placement>,
    /// The same, for judging before the end.
    pub(crate) arriving: Arriving,
    /// Whether nothing more comes.
    pub(crate) ended: bool,
    /// Streams that may still bring what says what the disk means. None had come before the first.
    describing: Option<usize>,
    /// Whether the transfer is refused before its end.
    refused: bool,
}

impl Content {
    /// Starts with the chunks that are durable from before.
    pub(crate) fn resumed(chunks: Vec<Stored>) -> Self {
        let mut content = Self::default();
        for chunk in chunks {
            content.add(chunk);
        }
        content
    }

    pub(crate) fn add(&mut self, chunk: Stored) -> u32 {
        let next = u32::try_from(self.chunks.len()).expect("a transfer has a limit on chunks");
        let index = *self.by_id.entry(chunk.id).or_insert(next);
        if index == next {
            self.chunks.push(chunk);
        }
        index
    }

    pub(crate) fn has(&self, id: &ChunkId) -> bool {
        self.by_id.contains_key(id)
    }

    /// Places chunks that have arrived. Fails if one is neither new nor known.
    pub(crate) fn place(&mut self, arrived: Vec<Arrived>) -> Result<(), Error> {
        if self.ended {
            // It may be honest: its control connection may be lost.
            return Err(Error::Conflict("the transfer has ended, and takes no more".into()));
        }
        for chunk in arrived {
            self.extents = self.extents.saturating_add(chunk.extents.len());
            if self.extents > EXTENTS_MAX {
                return Err(Error::Conflict(format!("the transfer has more than {EXTENTS_MAX} extents")));
            }
            let index = self.by_id.get(&chunk.id).copied();
            let index =
                index.ok_or_else(|| Error::Peer("it refers to a chunk that it has not sent".into()))?;
            let first = chunk.extents.first().map_or(0, |extent| extent.offset);
            self.arriving.add(index, &chunk.extents);
            let placement = Placement { extents: chunk.extents, chunk: index };
            self.placements.insert(first, placement);
        }
        Ok(())
    }

    /// Notes that a stream has begun.
    pub(crate) fn begin_stream(&mut self) {
        *self.describing.get_or_insert(0) += 1;
    }

    /// Notes that a stream brings nothing more that says what the disk means.
    pub(crate) fn described(&mut self) {
        self.describing = self.describing.map(|streams| streams.saturating_sub(1));
        self.settle();
    }

    /// Notes that a file was judged that the policy does not let pass.
    pub(crate) fn condemn(&mut self) {
        self.arriving.condemn();
        self.settle();
    }

    /// Refuses the transfer if what was judged cannot come to mean something else.
    fn settle(&mut self) {
        self.refused |= self.describing == Some(0) && self.arriving.is_condemned();
    }

    /// Returns whether the transfer is refused before its end.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn chunk(&self, index: u32) -> Option<&Stored> {
        self.chunks.get(index as usize)
    }

    pub(crate) fn durable_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }
}

/// A bundle as it arrived, with everything that is needed to keep it.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) chunks: Arc<Vec<Stored>>,
    pub(crate) placements: Vec<Placement>,
}

impl Chamber {
    /// Says whether it is of a virtual data center.
    pub(crate) fn is_in(&self, tenant: &str, vdc: &str) -> bool {
        self.tenant == tenant && self.hello.vdc == vdc
    }

    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no holder of this lock panics")
    }

    /// Says whether a verdict on a part is the end of all of it.
    pub(crate) fn refuses(&self, outcome: &Outcome<'_>) -> bool {
        let judgement = outcome.judgement();
        let stop = self.hello.on_fail == OnFail::Terminate && !judgement.held().is_empty();
        judgement.terminates() || stop
    }

    /// Says that nothing more comes.
    pub(crate) fn end(&self) {
        self.content().ended = true;
        self.changed.notify_all();
    }

    /// Waits until no stream writes to it any more; each has been told to end.
    pub(crate) fn wait_for_streams(&self) {
        for _ in 0..LEAVING_POLLS_MAX {
            if self.streams.load(Ordering::Acquire) == 0 {
                break;
            }
            std::thread::park_timeout(LEAVING_POLL);
        }
    }

    /// Takes out what has arrived, at the end of all streams.
    pub(crate) fn arrival(&self) -> Arrival {
        let refused = self.content().refused;
        let ended = Content { ended: true, refused, ..Content::default() };
        let content = std::mem::replace(&mut *self.content(), ended);
        let placements = content.placements.into_values().collect();
        Arrival { chunks: Arc::new(content.chunks), placements }
    }
}

impl Arrival {
    /// Returns the address space as a block source.
    pub(crate) fn source(&self, size: u64, segments: &Arc<Segments>) -> Result<SealedDisk, Error> {
        SealedDisk::new(size, self.placements.iter(), Arc::clone(&self.chunks), Arc::clone(segments))
            .map_err(Error::Peer)
    }

    /// Returns the roots of the members of the bundle.
    pub(crate) fn roots(&self, space: &Space) -> Vec<DiskRoot> {
        roots_of(&self.placements, &self.chunks, space)
    }

    /// Takes `held` extents out: chunks that lie in them are dropped, chunks that
    /// reach into them are opened, cut and sealed anew.
    pub(crate) fn withhold(
        &mut self,
        held: &[Extent],
        tenant_key: &TenantKey,
        segments: &Segments,
        writer: &mut SegmentWriter,
    ) -> Result<(), Error> {
        let chunks = Arc::make_mut(&mut self.chunks);
        let mut kept = Vec::new();
        for placement in std::mem::take(&mut self.placements) {
            let touched =
                placement.extents.iter().any(|extent| subtract(*extent, held).as_slice() != [*extent]);
            if !touched {
                kept.push(placement);
                continue;
            }
            let chunk = chunks[placement.chunk as usize].clone();
            let mut plain = None;
            let mut at = 0_u64;
            for extent in &placement.extents {
                for piece in subtract(*extent, held) {
                    let plain = match &plain {
                        Some(plain) => plain,
                        None => plain.insert(segments.read(&chunk)?),
                    };
                    let start = usize::try_from(at + piece.offset - extent.offset).expect("inside a chunk");
                    let length = usize::try_from(piece.length).expect("inside a chunk");
                    let bytes = &plain[start..start + length];
                    let content = ContentHash::of(bytes);
                    let id = tenant_key.chunk_id(&content, u32::try_from(length).expect("inside a chunk"));
                    let new = u32::try_from(chunks.len()).expect("a transfer has a limit on chunks");
                    chunks.push(writer.append(id, content, bytes)?);
                    kept.push(Placement { extents: vec![piece], chunk: new });
                }
                at += extent.length;
            }
        }
        self.placements = kept;
        Ok(())
    }

    /// Drops chunks that nothing refers to, and moves the others out of segments that hold such.
    /// Returns the chunks of this transfer that are kept.
    pub(crate) fn compact(
        &mut self,
        transfer: &[u8; 16],
        segments: &Segments,
        writer: &mut SegmentWriter,
    ) -> Result<Vec<Stored>, Error> {
        // What was cut anew is written, and what is moved goes elsewhere.
        writer.end_segment()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let mut used = vec![false; chunks.len()];
        for placement in &self.placements {
            used[placement.chunk as usize] = true;
        }
        let mut live_bytes: BTreeMap<u32, u64> = BTreeMap::new();
        for (chunk, _) in
            chunks.iter().zip(&used).filter(|(chunk, used)| **used && chunk.segment.transfer == *transfer)
        {
            *live_bytes.entry(chunk.segment.number).or_default() +=
                u64::from(chunk.length) + crate::keys::TAG_BYTES as u64;
        }
        let mut mixed = Vec::new();
        for number in segments.numbers(transfer)? {
            let id = crate::segment::SegmentId { transfer: *transfer, number };
            let path = segments.path(id);
            let length = std::fs::metadata(&path).map_err(Error::file("read", &path))?.len();
            if live_bytes.get(&number).copied() != Some(length) {
                mixed.push(id);
            }
        }
        for (chunk, _) in
            chunks.iter_mut().zip(&used).filter(|(chunk, used)| **used && mixed.contains(&chunk.segment))
        {
            *chunk = writer.append_sealed(chunk)?;
        }
        writer.sync()?;
        for id in mixed {
            segments.forget(id);
            let path = segments.path(id);
            std::fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
        self.drop_unused(&used);
        let own = self.chunks.iter().filter(|chunk| chunk.segment.transfer == *transfer);
        Ok(own.cloned().collect())
    }

    fn drop_unused(&mut self, used: &[bool]) {
        let mut renumbered = vec![0_u32; used.len()];
        let mut next = 0;
        for (number, used) in renumbered.iter_mut().zip(used) {
            *number = next;
            next += u32::from(*used);
        }
        for placement in &mut self.placements {
            placement.chunk = renumbered[placement.chunk as usize];
        }
        let mut used = used.iter();
        Arc::make_mut(&mut self.chunks).retain(|_| used.next().copied().unwrap_or(false));
    }
}

/// Computes the roots of the members of a bundle from where its chunks are placed.
pub(crate) fn roots_of(placements: &[Placement], chunks: &[Stored], space: &Space) -> Vec<DiskRoot> {
    let mut roots = SpaceRoots::new(space);
    for placement in placements {
        let content = chunks[placement.chunk as usize].content;
        roots.add(ChunkRecord { extents: placement.extents.clone(), content });
    }
    roots.finish()
}

impl Director {
    /// Returns a writer of new segments of a transfer.
    pub(crate) fn writer(&self, chamber: &Chamber) -> SegmentWriter {
        SegmentWriter::new(Arc::clone(&self.segments), chamber.id, Arc::clone(&chamber.next_segment))
    }
}
