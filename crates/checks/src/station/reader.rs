//! Reads small neighbouring pieces with one large read.

use airlock_disk::{BlockSource, Error, SpanKind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read at once where pieces are small.
const WINDOW_BYTES: u64 = 512 << 10;

/// A window on a disk that moves along with a thread's units.
#[derive(Debug)]
pub(super) struct Reader<'d> {
    disk: &'d dyn BlockSource,
    read: &'d AtomicU64,
    start: u64,
    window: Vec<u8>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(disk: &'d dyn BlockSource, read: &'d AtomicU64) -> Self {
        Self { disk, read, start: 0, window: Vec::new() }
    }

    pub(super) fn disk(&self) -> &'d dyn BlockSource {
        self.disk
    }

    /// Appends `length` bytes from `offset` to `into`.
    pub(super) fn append(&mut self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), Error> {
        let count = usize::try_from(length).expect("units are far smaller than the address space");
        if !self.covers(offset, length) {
            if length >= WINDOW_BYTES / 2 {
                return self.append_direct(offset, count, into);
            }
            if !self.advance(offset, length) {
                return self.append_direct(offset, count, into);
            }
        }
        let at = usize::try_from(offset - self.start).expect("inside the window");
        into.extend_from_slice(&self.window[at..at + count]);
        Ok(())
    }

    fn append_direct(&self, offset: u64, count: usize, into: &mut Vec<u8>) -> Result<(), Error> {
        let at = into.len();
        into.resize(at + count, 0);
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        self.disk.read_at(offset, &mut into[at..]).inspect_err(|_| into.truncate(at))
    }

    fn covers(&self, offset: u64, length: u64) -> bool {
        offset >= self.start && offset + length <= self.start + self.window.len() as u64
    }

    /// Moves the window to `offset`. Returns whether it holds `length` bytes there.
    fn advance(&mut self, offset: u64, length: u64) -> bool {
        let wanted = WINDOW_BYTES.min(self.disk.size() - offset);
        let data = match self.disk.span_at(offset) {
            Ok(span) if span.kind == SpanKind::Data => span.length,
            _ => length,
        };
        let count = wanted.min(data.max(length));
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

/// Reads a disk once more, for bytes that were not kept.
pub(super) trait ReadAgain: std::fmt::Debug {
    /// Appends `length` bytes from `offset` to `into`.
    fn append(&mut self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), Error>;
}

impl ReadAgain for Reader<'_> {
    fn append(&mut self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), Error> {
        Reader::append(self, offset, length, into)
    }
}
