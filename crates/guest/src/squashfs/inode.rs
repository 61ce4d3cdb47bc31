//! The table of inodes, one behind the other.

use super::table::Superblock;
use crate::field::{le16, le32, le64, narrow, quotient, remainder};

/// What an inode is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Block and offset in the table of directories, and bytes there.
    Directory {
        block: u64,
        offset: u64,
        bytes: u64,
    },
    File(File),
    Other,
}

/// A file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    pub(crate) size: u64,
    /// Where its blocks begin.
    pub(crate) start: u64,
    /// Number of the fragment that has its end, and where there.
    pub(crate) fragment: Option<(u32, u64)>,
    /// Where in the inode the sizes of its blocks are, and how many.
    pub(crate) sizes: (usize, usize),
}

/// An inode, and how many bytes it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inode {
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) length: usize,
}

impl Inode {
    /// Reads the inode at the start of `bytes`.
    pub(crate) fn parse(bytes: &[u8], superblock: &Superblock) -> Option<Self> {
        let word = |at| u64::from(le32(bytes, at));
        let half = |at| u64::from(le16(bytes, at));
        let (kind, length) = match le16(bytes, 0) {
            1 => {
                let kind = Kind::Directory { block: word(16), offset: half(26), bytes: half(24) };
                (kind, 32)
            }
            8 => {
                let mut length = 40_usize;
                for _ in 0..le16(bytes, 32) {
                    let name = narrow(u64::from(le32(bytes, length.checked_add(8)?)));
                    length = length.checked_add(13)?.checked_add(name)?;
                    bytes.get(..length)?;
                }
                (Kind::Directory { block: word(24), offset: half(34), bytes: word(20) }, length)
            }
            2 => {
                let fragment = (le32(bytes, 20), word(24));
                file(superblock, word(28), word(16), fragment, 32)?
            }
            9 => {
                let fragment = (le32(bytes, 44), word(48));
                file(superblock, le64(bytes, 24), le64(bytes, 16), fragment, 56)?
            }
            3 => (Kind::Other, narrow(word(20)).checked_add(24)?),
            10 => (Kind::Other, narrow(word(20)).checked_add(28)?),
            4 | 5 | 13 | 14 => (Kind::Other, 24),
            6 | 7 => (Kind::Other, 20),
            11 | 12 => (Kind::Other, 28),
            _ => return None,
        };
        bytes.get(..length)?;
        Some(Self { number: le32(bytes, 12), kind, length })
    }
}

fn file(
    superblock: &Superblock,
    size: u64,
    start: u64,
    fragment: (u32, u64),
    sizes: usize,
) -> Option<(Kind, usize)> {
    let fragment = Some(fragment).filter(|(number, _)| *number != u32::MAX);
    let whole = quotient(size, superblock.block_bytes);
    let rest = remainder(size, superblock.block_bytes) > 0 && fragment.is_none();
    let count = narrow(whole.checked_add(u64::from(rest))?);
    let length = count.checked_mul(4)?.checked_add(sizes)?;
    Some((Kind::File(File { size, start, fragment, sizes: (sizes, count) }), length))
}
