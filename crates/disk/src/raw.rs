//! Raw images: the bytes of the disk as they are.

use crate::file::HostFile;
use crate::source::check_range;
use crate::{BlockSource, Error, Format, Span, SpanKind};
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

/// Returns the span at `offset` of a file, as its file system tells data from holes.
///
/// A file that cannot tell (or a block device) is data throughout.
pub(crate) fn host_span(host: &HostFile, offset: u64) -> Span {
    use rustix::fs::SeekFrom;
    let rest = host.bytes.saturating_sub(offset).max(1);
    let until = |end: u64| end.saturating_sub(offset).clamp(1, rest);
    let span = |kind, length| Span { kind, length };
    match rustix::fs::seek(&host.file, SeekFrom::Data(offset)) {
        Ok(data) if data > offset => span(SpanKind::Zero, until(data)),
        Ok(_) => match rustix::fs::seek(&host.file, SeekFrom::Hole(offset)) {
            Ok(hole) => span(SpanKind::Data, until(hole)),
            Err(_) => span(SpanKind::Data, rest),
        },
        Err(rustix::io::Errno::NXIO) => span(SpanKind::Zero, rest),
        Err(_) => span(SpanKind::Data, rest),
    }
}

impl BlockSource for RawFile {
    fn size(&self) -> u64 {
        self.host.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        check_range(self.size(), offset, buffer)?;
        self.host.read("read image", offset, buffer)
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        check_range(self.size(), offset, &[0])?;
        Ok(host_span(&self.host, offset))
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}
