//! A part of a disk, as the partition or file system in it sees it.

use crate::Error;
use crate::field::{narrow, wide};
use airlock_disk::{BlockSource, SpanKind};
use airlock_model::Extent;

/// A part of a disk; offsets count from its first byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'d> {
    disk: &'d dyn BlockSource,
    pub(crate) extent: Extent,
}

impl<'d> Window<'d> {
    /// Returns the part of `disk` that `extent` covers, cut to the size of the disk.
    pub(crate) fn new(disk: &'d dyn BlockSource, extent: Extent) -> Self {
        let offset = extent.offset.min(disk.size());
        let length = extent.end().min(disk.size()).saturating_sub(offset);
        Self { disk, extent: Extent::new(offset, length) }
    }

    /// Returns the size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.extent.length
    }

    /// Returns the position on the disk of a byte of the window.
    pub(crate) fn on_disk(&self, offset: u64) -> u64 {
        self.extent.offset.saturating_add(offset)
    }

    /// Fills `buffer` from `offset`; what is behind the end of the window is zeros.
    pub(crate) fn read(&self, what: &'static str, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let inside = narrow(self.bytes().saturating_sub(offset)).min(buffer.len());
        let (data, behind) = buffer.split_at_mut(inside);
        behind.fill(0);
        if data.is_empty() {
            return Ok(());
        }
        self.disk.read_at(self.on_disk(offset), data).map_err(|source| Error::Source { what, source })
    }

    /// Returns the first byte from `offset` on that is not known to be zero, at most `end`.
    pub(crate) fn skip_zeros(&self, what: &'static str, offset: u64, end: u64) -> Result<u64, Error> {
        let end = end.min(self.bytes());
        let mut at = offset;
        while at < end {
            let span =
                self.disk.span_at(self.on_disk(at)).map_err(|source| Error::Source { what, source })?;
            if span.kind == SpanKind::Data {
                return Ok(at);
            }
            at = at.saturating_add(span.length.max(1));
        }
        Ok(end.max(offset))
    }

    /// Reads `length` bytes from `offset`, which the caller has bounded.
    pub(crate) fn bytes_at(&self, what: &'static str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let inside = self.bytes().saturating_sub(offset).min(wide(length));
        let mut buffer = vec![0; narrow(inside)];
        self.read(what, offset, &mut buffer)?;
        Ok(buffer)
    }
}
