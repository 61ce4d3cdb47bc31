//! One member of a bundle as a disk of its own.

use airlock_disk::{BlockSource, Error, Format, Span};
use airlock_model::Extent;

/// A part of a bundle's address space; offsets count from its first byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemberDisk<'d> {
    pub(crate) space: &'d dyn BlockSource,
    pub(crate) extent: Extent,
}

impl BlockSource for MemberDisk<'_> {
    fn size(&self) -> u64 {
        self.extent.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let length = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let size = self.extent.length;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::OutOfRange { offset, length, size });
        }
        self.space.read_at(self.extent.offset.saturating_add(offset), buffer)
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        let span = self.space.span_at(self.extent.offset.saturating_add(offset))?;
        Ok(Span { length: span.length.min(self.extent.length.saturating_sub(offset)), ..span })
    }

    fn format(&self) -> Format {
        self.space.format()
    }
}
