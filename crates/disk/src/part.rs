//! A part of a source as a source of its own.

use crate::source::check_range;
use crate::{BlockSource, Error, Format, Span};
use airlock_model::Extent;
use std::fmt;
use std::ops::Deref;

/// A part of a source, such as one disk of a bundle; offsets count from its first byte.
#[derive(Debug, Clone, Copy)]
pub struct Part<S> {
    source: S,
    extent: Extent,
}

impl<S: Deref<Target: BlockSource>> Part<S> {
    /// Returns the part of `source` that `extent` covers, cut to its size.
    pub fn new(source: S, extent: Extent) -> Self {
        let size = source.size();
        let offset = extent.offset.min(size);
        let length = extent.end().min(size).saturating_sub(offset);
        Self { source, extent: Extent::new(offset, length) }
    }
}

impl<S: Deref<Target: BlockSource> + fmt::Debug + Send + Sync> BlockSource for Part<S> {
    fn size(&self) -> u64 {
        self.extent.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        check_range(self.extent.length, offset, buffer)?;
        self.source.read_at(self.extent.offset.saturating_add(offset), buffer)
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        check_range(self.extent.length, offset, &[0])?;
        let span = self.source.span_at(self.extent.offset.saturating_add(offset))?;
        Ok(Span { length: span.length.min(self.extent.length.saturating_sub(offset)), ..span })
    }

    fn format(&self) -> Format {
        self.source.format()
    }
}
