//! Positional reads of host files.

use crate::Error;
use crate::field::wide;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How a file of an image is opened: read-only, and a FIFO in its place does not block.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Returns a closure that makes an [`Error::Io`] of what the operating system said.
pub(crate) fn io<E: Into<std::io::Error>>(what: &'static str, offset: u64) -> impl Fn(E) -> Error {
    move |source| Error::Io { what, offset, source: source.into() }
}

/// A host file whose size was taken when it was opened.
#[derive(Debug)]
pub(crate) struct HostFile {
    pub(crate) file: File,
    pub(crate) bytes: u64,
}

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
        Ok(Self { file, bytes })
    }

    /// Returns what tells this file from every other, whatever its names are.
    pub(crate) fn identity(&self) -> Result<(u64, u64), Error> {
        use std::os::unix::fs::MetadataExt;
        let metadata = self.file.metadata().map_err(io("look at image", 0))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Fills `buffer` from `offset`.
    pub(crate) fn read(&self, what: &'static str, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact_at(buffer, offset).map_err(io(what, offset))
    }

    /// Fills `buffer` from `offset`; bytes behind the end of the file are zeros.
    pub(crate) fn read_padded(
        &self,
        what: &'static str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let inside = self.bytes.saturating_sub(offset).min(wide(buffer.len()));
        let (data, behind) = buffer.split_at_mut(crate::field::narrow(inside).min(buffer.len()));
        behind.fill(0);
        self.read(what, offset, data)
    }
}
