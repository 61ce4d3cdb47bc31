//! Positional reads of host files.

use crate::field::{narrow, wide};
use crate::overlay::Overlay;
use crate::{Error, Span, SpanKind};
use airlock_model::Extent;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a file of an image is opened: read-only, and a FIFO in its place does not block.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Returns a closure that makes an [`Error::Io`] of what the operating system said.
pub(crate) fn io<E: Into<std::io::Error>>(what: &'static str, offset: u64) -> impl Fn(E) -> Error {
    move |source| Error::Io { what, offset, source: source.into() }
}

/// A host file whose size was taken when it was opened.
#[derive(Debug)]
pub(crate) struct HostFile {
    file: File,
    /// Where in `file` it begins: not at 0 for a member of an archive.
    start: u64,
    /// How many bytes of `file` it has.
    stored: u64,
    /// Size, with what the overlay adds.
    pub(crate) bytes: u64,
    /// Tells this open file from every other of this process.
    pub(crate) number: u64,
    overlay: Option<Overlay>,
}

static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl HostFile {
    /// Opens the file that the caller named.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let fd = rustix::fs::open(path, FLAGS, Mode::empty()).map_err(io("open image", 0))?;
        Self::of(File::from(fd))
    }

    /// Opens a file that an image named, without leaving `directory` or following a link.
    pub(crate) fn open_beneath(directory: &Path, name: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(io("open the directory of backing files", 0))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = rustix::fs::openat2(directory, name, FLAGS, Mode::empty(), resolve)
            .map_err(io("open a file that the image refers to", 0))?;
        Self::of(File::from(fd))
    }

    /// Takes an open file, which must be a regular file or a block device.
    pub(crate) fn of(file: File) -> Result<Self, Error> {
        use std::os::unix::fs::FileTypeExt;
        let metadata = file.metadata().map_err(io("look at image", 0))?;
        let bytes = if metadata.file_type().is_block_device() {
            rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))
                .map_err(io("find the size of block device", 0))?
        } else if metadata.is_file() {
            metadata.len()
        } else {
            let source = std::io::Error::other("neither a regular file nor a block device");
            return Err(io("open image", 0)(source));
        };
        Ok(Self {
            file,
            start: 0,
            stored: bytes,
            bytes,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            overlay: None,
        })
    }

    /// Returns a part of the file as a file of its own, such as a member of an archive.
    pub(crate) fn part(self, part: Extent) -> Result<Self, Error> {
        if !self.holds(part.offset, part.length) {
            let source = std::io::Error::other("the archive ends before its member does");
            return Err(io("open a part of", part.offset)(source));
        }
        let start = self.start.saturating_add(part.offset);
        Ok(Self { start, stored: part.length, bytes: part.length, ..self })
    }

    /// Returns what tells this file from every other, whatever its names are.
    pub(crate) fn identity(&self) -> Result<(u64, u64, u64), Error> {
        use std::os::unix::fs::MetadataExt;
        let metadata = self.file.metadata().map_err(io("look at image", 0))?;
        Ok((metadata.dev(), metadata.ino(), self.start))
    }

    /// Reads at `offset` of the file, which may be only a part of the one that is open.
    fn read_within(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = narrow(self.stored.saturating_sub(offset)).min(buffer.len());
        let buffer = buffer.get_mut(..left).unwrap_or_default();
        self.file.read_at(buffer, self.start.saturating_add(offset))
    }

    /// Lets every later read see `overlay` in place of what the file holds.
    pub(crate) fn lay_over(&mut self, overlay: Overlay) {
        self.bytes = self.bytes.max(overlay.end());
        self.overlay = Some(overlay);
    }

    /// Returns whether `length` bytes from `offset` are inside.
    pub(crate) fn holds(&self, offset: u64, length: u64) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.bytes)
    }

    /// Fills `buffer` from `offset`.
    pub(crate) fn read(&self, what: &'static str, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let Some(overlay) = &self.overlay else {
            if self.start > 0 && !self.holds(offset, wide(buffer.len())) {
                return Err(io(what, offset)(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)));
            }
            let at = self.start.saturating_add(offset);
            return self.file.read_exact_at(buffer, at).map_err(io(what, offset));
        };
        if !self.holds(offset, wide(buffer.len())) {
            return Err(io(what, offset)(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)));
        }
        // The log may have made the file longer than it is.
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_within(offset.saturating_add(wide(filled)), rest) {
                Ok(0) => {
                    rest.fill(0);
                    break;
                }
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(what, offset)(error)),
            }
        }
        overlay.apply(offset, buffer);
        Ok(())
    }

    /// Fills `buffer` from `offset`; bytes behind the end of the file are zeros.
    pub(crate) fn read_padded(
        &self,
        what: &'static str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let inside = self.bytes.saturating_sub(offset).min(wide(buffer.len()));
        let (data, behind) = buffer.split_at_mut(narrow(inside).min(buffer.len()));
        behind.fill(0);
        self.read(what, offset, data)
    }

    /// Returns the span at `offset`, as the file system tells data from holes.
    ///
    /// A file that cannot tell (or a block device) is data throughout.
    pub(crate) fn span_at(&self, offset: u64) -> Span {
        use rustix::fs::SeekFrom;
        let rest = self.bytes.saturating_sub(offset).max(1);
        let at = self.start.saturating_add(offset);
        let until = |end: u64| end.saturating_sub(at).clamp(1, rest);
        let span = |kind, length| Span { kind, length };
        if self.overlay.is_some() {
            return span(SpanKind::Data, rest);
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) if data > at => span(SpanKind::Zero, until(data)),
            Ok(_) => match rustix::fs::seek(&self.file, SeekFrom::Hole(at)) {
                Ok(hole) => span(SpanKind::Data, until(hole)),
                Err(_) => span(SpanKind::Data, rest),
            },
            Err(rustix::io::Errno::NXIO) => span(SpanKind::Zero, rest),
            Err(_) => span(SpanKind::Data, rest),
        }
    }
}
