//! The bytes of a layer, in order.

use crate::walk::Walk;
use airlock_model::Reason;
use airlock_model::field::wide;
use std::io::{self, BufRead, Read};

/// Bytes that are read at once; of a layer that may be short at first only a few.
const BUFFER_BYTES: usize = 64 << 10;
const FIRST_BYTES: usize = 1 << 10;

/// Reads a layer in order, looks ahead, and shows every byte to the sink once.
///
/// What cannot be read ends it; the walk has noted why.
pub(crate) struct Stream<'a, 's> {
    walk: &'a Walk<'s>,
    depth: usize,
    source: Box<dyn Read + 'a>,
    /// Whether the sink has seen the bytes already.
    shown: bool,
    /// Bytes that wait, from `start` to `end`, and room for more.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the layer that byte is.
    offset: u64,
    ended: bool,
}

impl<'a, 's> Stream<'a, 's> {
    /// Reads a layer with `depth` layers around it.
    pub(crate) fn new(walk: &'a Walk<'s>, depth: usize, source: Box<dyn Read + 'a>) -> Self {
        Self {
            walk,
            depth,
            source,
            shown: false,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
        }
    }

    /// Reads the content of a file.
    pub(crate) fn shown(walk: &'a Walk<'s>, source: Box<dyn Read + 'a>) -> Self {
        Self { shown: true, ..Self::new(walk, 0, source) }
    }

    /// Returns how many layers are around this one.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Returns where in the layer the next byte is.
    pub(crate) fn position(&self) -> u64 {
        self.offset
    }

    /// Returns the next bytes without taking them: `count` of them, or fewer at the end.
    pub(crate) fn peek(&mut self, count: usize) -> &[u8] {
        while self.waiting().len() < count && self.more() {}
        let waiting = self.waiting();
        waiting.get(..count).unwrap_or(waiting)
    }

    /// Returns all bytes that wait, at least one of them unless the layer has ended.
    pub(crate) fn next_piece(&mut self) -> &[u8] {
        if self.waiting().is_empty() {
            self.more();
        }
        self.waiting()
    }

    /// Reads more behind the bytes that wait. Returns false at the end.
    pub(crate) fn more(&mut self) -> bool {
        if self.ended {
            return false;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
        let step = self.buffer.len().saturating_mul(4).clamp(FIRST_BYTES, BUFFER_BYTES);
        let left = if self.shown { step } else { self.walk.bytes_left(step) };
        // With the budget used up, one byte more tells whether anything is left out.
        let until = self.end.saturating_add(left.max(1));
        if self.buffer.len() < until {
            self.buffer.resize(until, 0);
        }
        let mut had = match self.source.read(self.buffer.get_mut(self.end..until).unwrap_or_default()) {
            Ok(had) => had,
            Err(error) => {
                self.walk.note(reason_of(&error));
                0
            }
        };
        // What was read may have come out of a layer that has spent, too.
        let left = if self.shown { left } else { self.walk.bytes_left(left) };
        if had > left {
            self.walk.note(Reason::Limit);
            had = left;
        }
        let from = self.end;
        self.end = from.saturating_add(had);
        if !self.shown {
            self.walk.spend(had);
            self.walk.feed(self.depth, self.buffer.get(from..self.end).unwrap_or_default());
        }
        self.ended = had == 0;
        !self.ended
    }

    /// Takes `count` bytes that wait.
    pub(crate) fn take(&mut self, count: usize) {
        let count = count.min(self.waiting().len());
        self.start = self.start.saturating_add(count);
        self.offset = self.offset.saturating_add(wide(count));
    }

    /// Passes over `count` bytes. Returns false if there are fewer.
    pub(crate) fn skip(&mut self, mut count: u64) -> bool {
        while count > 0 {
            let piece = self.next_piece().len();
            if piece == 0 {
                return false;
            }
            let step = airlock_model::field::narrow(count).min(piece);
            self.take(step);
            count = count.saturating_sub(wide(step));
        }
        true
    }

    /// Reads to the end.
    pub(crate) fn drain(&mut self) {
        loop {
            let waiting = self.waiting().len();
            self.take(waiting);
            if !self.more() {
                return;
            }
        }
    }

    /// Takes the bytes up to the end, at most `count` of them.
    pub(crate) fn spool(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let room = count.saturating_sub(bytes.len());
            let piece = self.next_piece();
            let piece = piece.get(..room).unwrap_or(piece);
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(piece);
            let taken = piece.len();
            self.take(taken);
        }
        bytes
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }
}

/// Says why a layer ended early.
fn reason_of(error: &io::Error) -> Reason {
    let memory = error.kind() == io::ErrorKind::OutOfMemory || error.to_string().contains("memory");
    if memory { Reason::Limit } else { Reason::Unsupported }
}

impl Read for Stream<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.next_piece().read(into)?;
        self.take(count);
        Ok(count)
    }
}

impl BufRead for Stream<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.next_piece())
    }

    fn consume(&mut self, count: usize) {
        self.take(count);
    }
}
