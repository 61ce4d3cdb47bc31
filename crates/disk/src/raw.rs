//! Raw images: the bytes of the disk as they are.

use crate::chain::Part;
use crate::file::HostFile;
use crate::layer::{Layer, Mapping, Target};
use crate::source::check_range;
use crate::{BlockSource, Error, Format, Span};
use std::path::Path;

/// A raw image in a file or on a block device. Holes of the file are zero spans.
///
/// The size is taken when the image is opened and need not be a multiple of 512.
#[derive(Debug)]
pub struct RawFile {
    host: HostFile,
}

impl RawFile {
    /// Opens the image at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        HostFile::open(path).map(Self::of)
    }

    pub(crate) fn of(host: HostFile) -> Self {
        Self { host }
    }
}

/// Opens a raw image as a layer of a chain.
pub(crate) fn part(host: HostFile) -> Part {
    Part { layer: Box::new(RawFile::of(host)), parent: None, identity: Vec::new() }
}

impl Layer for RawFile {
    fn format(&self) -> Format {
        Format::Raw
    }

    fn size(&self) -> u64 {
        self.host.bytes
    }

    fn map(&self, offset: u64, want: u64) -> Result<Mapping<'_>, Error> {
        Ok(Mapping { target: Target::Data(&self.host, offset), length: want })
    }
}

impl BlockSource for RawFile {
    fn size(&self) -> u64 {
        self.host.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        check_range(self.host.bytes, offset, buffer)?;
        self.host.read("read image", offset, buffer)
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        check_range(self.host.bytes, offset, &[0])?;
        Ok(self.host.span_at(offset))
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}
