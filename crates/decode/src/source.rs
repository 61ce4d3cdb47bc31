//! Bytes that can be read in any order.

use airlock_model::field::{narrow, wide};
use std::io::{self, Read};

/// Content that can be read in any order.
pub trait ReadAt {
    /// Returns the number of bytes.
    fn size(&self) -> u64;

    /// Reads from `offset` on and returns how many bytes were had: fewer than asked for only at
    /// the end, or where something cannot be read.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> usize;
}

impl ReadAt for &[u8] {
    fn size(&self) -> u64 {
        wide(self.len())
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> usize {
        self.get(narrow(offset)..).unwrap_or_default().read(into).unwrap_or(0)
    }
}

/// Reads up to `count` bytes at `offset`.
pub(crate) fn bytes_at(source: &mut dyn ReadAt, offset: u64, count: usize) -> Vec<u8> {
    let there = narrow(source.size().saturating_sub(offset)).min(count);
    let mut bytes = vec![0; there];
    let had = source.read_at(offset, &mut bytes);
    bytes.truncate(had);
    bytes
}

/// Finds the first `needle` in a part of a source. What is found lies wholly inside the part.
pub(crate) fn find(source: &mut dyn ReadAt, needle: &[u8], from: u64, until: u64) -> Option<u64> {
    let mut buffer = vec![0; WINDOW_BYTES];
    let mut at = from;
    while at < until {
        let room = narrow(until.saturating_sub(at)).min(WINDOW_BYTES);
        let had = source.read_at(at, buffer.get_mut(..room)?);
        let found = memchr::memmem::find(buffer.get(..had)?, needle);
        if let Some(place) = found {
            return Some(at.saturating_add(wide(place)));
        }
        if had < room || had <= needle.len() {
            return None;
        }
        at = at.saturating_add(wide(had.saturating_sub(needle.len()).saturating_add(1)));
    }
    None
}

const WINDOW_BYTES: usize = 64 << 10;

/// Reads a part of a source in order.
pub(crate) struct Cursor<'a> {
    source: &'a mut dyn ReadAt,
    at: u64,
    end: u64,
}

impl<'a> Cursor<'a> {
    /// Reads the bytes from `at` up to `end`.
    pub(crate) fn new(source: &'a mut dyn ReadAt, at: u64, end: u64) -> Self {
        let end = end.min(source.size());
        Self { source, at, end }
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = narrow(self.end.saturating_sub(self.at)).min(into.len());
        let Some(part) = into.get_mut(..room).filter(|part| !part.is_empty()) else { return Ok(0) };
        let had = self.source.read_at(self.at, part);
        if had == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at = self.at.saturating_add(wide(had));
        Ok(had)
    }
}
