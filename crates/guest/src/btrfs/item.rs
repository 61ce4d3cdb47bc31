//! Items of the trees that have files.

use crate::field::{le16, le32, le64, narrow, u8_at, wide};
use airlock_model::Codec;

pub(crate) const INODE_ITEM: u8 = 1;
pub(crate) const INODE_REF: u8 = 12;
pub(crate) const INODE_EXTREF: u8 = 13;
pub(crate) const DIR_LOG_INDEX: u8 = 72;
pub(crate) const DIR_INDEX: u8 = 96;
pub(crate) const EXTENT_DATA: u8 = 108;
pub(crate) const ROOT_ITEM: u8 = 132;
pub(crate) const ROOT_BACKREF: u8 = 144;
pub(crate) const EXTENT_ITEM: u8 = 168;
pub(crate) const METADATA_ITEM: u8 = 169;

/// Names of one inode in one directory; the kernel stops at what a leaf holds.
const NAMES_MAX: usize = 4096;

/// An inode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InodeItem {
    pub(crate) generation: u64,
    pub(crate) size: u64,
    pub(crate) links: u32,
    pub(crate) mode: u32,
}

impl InodeItem {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self {
            generation: le64(bytes, 0),
            size: le64(bytes, 16),
            links: le32(bytes, 40),
            mode: le32(bytes, 52),
        }
    }

    pub(crate) fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }
}

/// How a part of a file is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// In a leaf; `disk` is where on the volume.
    Inline,
    Written,
    Unwritten,
    /// Compressed or encrypted in a way that is not known.
    Unknown,
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileExtent {
    /// First byte in the file.
    pub(crate) logical: u64,
    /// Bytes in the file.
    pub(crate) length: u64,
    pub(crate) shape: Shape,
    pub(crate) codec: Option<Codec>,
    /// Address of the whole extent; 0 for a hole.
    pub(crate) disk: u64,
    pub(crate) disk_bytes: u64,
    /// Bytes of the extent, unpacked, before the first one of this part.
    pub(crate) offset: u64,
    /// Bytes of the extent, unpacked.
    pub(crate) unpacked: u64,
}

impl FileExtent {
    /// Reads the item of a part that begins at `logical` of the file; `at` is where the item is.
    pub(crate) fn parse(bytes: &[u8], logical: u64, at: u64) -> Option<Self> {
        const INLINE_AT: usize = 21;
        let unpacked = le64(bytes, 8);
        let (codec, known) = match u8_at(bytes, 16) {
            0 => (None, true),
            1 => (Some(Codec::Zlib), true),
            2 => (Some(Codec::BtrfsLzo), true),
            3 => (Some(Codec::Zstd), true),
            _ => (None, false),
        };
        let known = known && u8_at(bytes, 17) == 0 && le16(bytes, 18) == 0;
        let extent = match u8_at(bytes, 20) {
            0 => {
                let stored = wide(bytes.len().checked_sub(INLINE_AT)?);
                Self {
                    logical,
                    length: if codec.is_some() { unpacked } else { stored },
                    shape: if known { Shape::Inline } else { Shape::Unknown },
                    codec,
                    disk: at.checked_add(wide(INLINE_AT))?,
                    disk_bytes: stored,
                    offset: 0,
                    unpacked,
                }
            }
            kind @ (1 | 2) if bytes.len() >= 53 => Self {
                logical,
                length: le64(bytes, 45),
                shape: match kind {
                    _ if !known => Shape::Unknown,
                    1 => Shape::Written,
                    _ => Shape::Unwritten,
                },
                codec: codec.filter(|_| kind == 1),
                disk: le64(bytes, 21),
                disk_bytes: le64(bytes, 29),
                offset: le64(bytes, 37),
                unpacked,
            },
            _ => return None,
        };
        Some(extent).filter(|extent| extent.end().is_some_and(|end| end <= 1 << 62))
    }

    pub(crate) fn end(&self) -> Option<u64> {
        self.logical.checked_add(self.length)
    }

    /// Returns the part that is in `from..until` of the file, if there is any.
    pub(crate) fn cut(&self, from: u64, until: u64) -> Option<Self> {
        let end = self.end()?.min(until);
        let start = self.logical.max(from);
        if start >= end {
            return None;
        }
        let offset = self.offset.checked_add(start.checked_sub(self.logical)?)?;
        Some(Self { logical: start, length: end.checked_sub(start)?, offset, ..*self })
    }
}

/// Shows the directories and names that an item gives an inode.
pub(crate) fn names(kind: u8, offset: u64, mut bytes: &[u8], mut show: impl FnMut(u64, &[u8])) {
    for _ in 0..NAMES_MAX {
        let (parent, length_at, name_at) =
            if kind == INODE_REF { (offset, 8, 10) } else { (le64(bytes, 0), 16, 18) };
        let Some(rest) = bytes.get(name_at..) else { return };
        let length = usize::from(le16(bytes, length_at));
        let (Some(name), Some(next)) = (rest.get(..length), rest.get(length..)) else { return };
        if length == 0 {
            return;
        }
        show(parent, name);
        bytes = next;
    }
}

/// What a directory, or the tree of roots, has under a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'b> {
    /// The inode; of a subvolume its number.
    pub(crate) object: u64,
    /// Whether it is an inode.
    pub(crate) inode: bool,
    pub(crate) name: &'b [u8],
}

impl<'b> Entry<'b> {
    /// Reads an entry of a directory.
    pub(crate) fn parse(bytes: &'b [u8]) -> Option<Self> {
        let length = usize::from(le16(bytes, 27));
        let name = bytes.get(30..30_usize.checked_add(length)?)?;
        Some(Self { object: le64(bytes, 0), inode: u8_at(bytes, 8) == INODE_ITEM, name })
    }

    /// Reads where a subvolume is: `object` is the inode of the directory.
    pub(crate) fn of_root(bytes: &'b [u8]) -> Option<Self> {
        let length = narrow(u64::from(le16(bytes, 16)));
        let name = bytes.get(18..18_usize.checked_add(length)?)?;
        Some(Self { object: le64(bytes, 0), inode: true, name })
    }
}
