//! What every image format offers to its readers.

use crate::field::wide;
use airlock_model::Extent;
use std::fmt;

/// An image format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bytes of the disk as they are.
    Raw,
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// VMware virtual disk: a sparse file, or a descriptor with extents.
    Vmdk,
    /// Microsoft virtual hard disk, version 1.
    Vhd,
    /// Microsoft virtual hard disk, version 2.
    Vhdx,
    /// `VirtualBox` disk image.
    Vdi,
}

impl Format {
    /// Returns the name that reports and flags use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
        }
    }

    pub(crate) fn damaged(self, what: &'static str, offset: u64) -> Error {
        Error::Damaged { format: self, what, offset }
    }

    pub(crate) fn unsupported(self, what: impl Into<String>) -> Error {
        Error::Unsupported { format: self, what: what.into() }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a span of a disk holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Data: has to be read.
    Data,
    /// Reads as zeros, and the format says so: need not be read.
    Zero,
}

/// A span of a disk with one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What it is.
    pub kind: SpanKind,
    /// Number of bytes from the offset that was asked for, at least 1.
    pub length: u64,
}

/// Why a source could not be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {what} at byte {offset:#x}")]
    Io {
        /// What was attempted, such as `read L2 table`.
        what: &'static str,
        /// Where, in the file that was read.
        offset: u64,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// The image contradicts its own format.
    #[error("damaged {format} image: {what} at byte {offset:#x}")]
    Damaged {
        /// Its format.
        format: Format,
        /// What is wrong.
        what: &'static str,
        /// Where, in the file that was read.
        offset: u64,
    },
    /// The image is fine and uses something that is not supported.
    #[error("unsupported {format} image: {what}")]
    Unsupported {
        /// Its format.
        format: Format,
        /// What it uses.
        what: String,
    },
    /// The image refers to another file that the caller did not allow.
    #[error("the image refers to {what} {name:?}, which was not allowed")]
    Reference {
        /// What kind of file.
        what: &'static str,
        /// The name that the image gives, escaped.
        name: String,
    },
    /// The image that another one is based on is not the one that it was made from.
    #[error(
        "the parent of the {format} image is not the one it was made from: it is {found} and not {expected}"
    )]
    WrongParent {
        /// Format of the image.
        format: Format,
        /// What the parent calls itself.
        found: String,
        /// What the image calls it.
        expected: String,
    },
    /// The caller wrote an image out of order.
    #[error("write at {offset:#x} of an image that is already written up to {written:#x}")]
    Backwards {
        /// First byte of what was to be written.
        offset: u64,
        /// First byte that is not yet written.
        written: u64,
    },
    /// The caller asked for bytes behind the end.
    #[error("read of {length} bytes at {offset:#x} is behind the end of a disk of {size} bytes")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        length: u64,
        /// Size of the disk.
        size: u64,
    },
}

/// A disk that can be read at any offset, from several threads at once.
pub trait BlockSource: Send + Sync + fmt::Debug {
    /// Returns the virtual size in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset`; both may be any number of bytes.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error>;

    /// Tells what starts at `offset`, which is below [`Self::size`].
    ///
    /// The span may end earlier than the data or the zeros do; it never reaches behind the end.
    fn span_at(&self, offset: u64) -> Result<Span, Error>;

    /// Returns the format of the image that the bytes come from.
    fn format(&self) -> Format;
}

/// Returns the bytes of some extents of a source, one after the other. Together they must fit
/// into memory.
pub fn read_extents(source: &dyn BlockSource, extents: &[Extent]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for extent in extents {
        let from = bytes.len();
        let length = usize::try_from(extent.length).unwrap_or(usize::MAX);
        bytes.resize(from.saturating_add(length), 0);
        source.read_at(extent.offset, bytes.get_mut(from..).unwrap_or_default())?;
    }
    Ok(bytes)
}

/// Refuses a read that reaches behind the end of a disk of `size` bytes.
pub fn check_range(size: u64, offset: u64, buffer: &[u8]) -> Result<(), Error> {
    let length = wide(buffer.len());
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::OutOfRange { offset, length, size }),
    }
}
