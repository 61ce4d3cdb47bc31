//! Reads small neighbouring pieces with one large read.

use airlock_disk::{BlockSource, Error, SpanKind};
use airlock_model::Extent;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read at once where pieces are small.
const WINDOW_BYTES: u64 = 512 << 10;
/// Pieces of this size are read by themselves.
const DIRECT_BYTES: u64 = 128 << 10;
/// Bytes between two pieces that are read along with them.
const GAP_BYTES: u64 = 8 << 10;

/// A window on a disk that moves along with a thread's units.
#[derive(Debug)]
pub(super) struct Reader<'d> {
    disk: &'d dyn BlockSource,
    read: &'d AtomicU64,
    /// The last stretch that is known to hold data.
    data: Extent,
    start: u64,
    window: Vec<u8>,
    /// What is going to be read, sorted; a window reaches to the end of one of these at most.
    plan: Vec<Extent>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(disk: &'d dyn BlockSource, read: &'d AtomicU64) -> Self {
        Self { disk, read, data: Extent::new(0, 0), start: 0, window: Vec::new(), plan: Vec::new() }
    }

    pub(super) fn disk(&self) -> &'d dyn BlockSource {
        self.disk
    }

    /// Returns whether the format says that a run reads as zeros.
    pub(super) fn is_hole(&mut self, run: Extent) -> bool {
        let mut at = run.offset;
        while at < run.end() {
            if self.data.offset <= at && at < self.data.end() {
                return false;
            }
            match self.disk.span_at(at) {
                Ok(span) if span.kind == SpanKind::Zero => at += span.length,
                Ok(span) => {
                    self.data = Extent::new(at, span.length);
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Prepares for reading these extents, in about this order.
    pub(super) fn prepare(&mut self, mut extents: Vec<Extent>) {
        extents.retain(|extent| extent.length > 0 && extent.length < DIRECT_BYTES);
        extents.sort_unstable();
        self.plan.clear();
        for extent in extents {
            match self.plan.last_mut() {
                Some(last) if extent.offset <= last.end() + GAP_BYTES => {
                    last.length = last.end().max(extent.end()) - last.offset;
                }
                _ => self.plan.push(extent),
            }
        }
    }

    /// Fills `into` with the bytes from `offset`.
    pub(super) fn fill(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let length = into.len() as u64;
        if !self.covers(offset, length) && (length >= DIRECT_BYTES || !self.advance(offset, length)) {
            self.read.fetch_add(length, Ordering::Relaxed);
            return self.disk.read_at(offset, into);
        }
        let at = usize::try_from(offset - self.start).expect("inside the window");
        into.copy_from_slice(&self.window[at..at + into.len()]);
        Ok(())
    }

    fn covers(&self, offset: u64, length: u64) -> bool {
        offset >= self.start && offset + length <= self.start + self.window.len() as u64
    }

    /// Moves the window to `offset`, where something is planned. Returns whether it holds `length` bytes there.
    fn advance(&mut self, offset: u64, length: u64) -> bool {
        let after = self.plan.partition_point(|extent| extent.offset <= offset);
        let planned = after.checked_sub(1).and_then(|index| self.plan.get(index));
        let Some(planned) = planned.filter(|planned| offset + length < planned.end()) else { return false };
        let count = WINDOW_BYTES.min(planned.end() - offset).max(length);
        self.window.resize(usize::try_from(count).expect("at most a window"), 0);
        self.start = offset;
        self.read.fetch_add(count, Ordering::Relaxed);
        if self.disk.read_at(offset, &mut self.window).is_err() {
            // The caller reads exactly what it needs and learns what is wrong with that.
            self.window.clear();
        }
        self.covers(offset, length)
    }
}
