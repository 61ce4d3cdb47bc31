//! The superblock, and tables whose blocks are compressed one by one.

use crate::codec::unpack;
use crate::field::{has, le16, le32, le64, narrow, wide};
use crate::fs::Failure;
use crate::window::Window;
use airlock_model::Codec;

/// Bytes of the superblock.
pub(crate) const SUPERBLOCK_BYTES: u64 = 96;

/// Bytes of an unpacked block of a table.
const BLOCK_BYTES: u64 = 8192;

/// Most unpacked bytes of a table.
const TABLE_BYTES_MAX: usize = 128 << 20;

/// Most fragments.
const FRAGMENTS_MAX: u64 = 4 << 20;

/// What is called missing.
const NOTHING: u64 = u64::MAX;

/// What the survey needs of the superblock.
#[derive(Debug)]
pub(crate) struct Superblock {
    pub(crate) block_bytes: u64,
    pub(crate) codec: Codec,
    /// Bytes of the file system, cut to the volume.
    pub(crate) bytes: u64,
    pub(crate) bytes_claimed: u64,
    pub(crate) root: u64,
    pub(crate) inode_table: u64,
    pub(crate) directory_table: u64,
    fragment_table: u64,
    fragments: u64,
    /// Where lists of further tables begin.
    others: [u64; 3],
}

impl Superblock {
    pub(crate) fn read(window: &Window<'_>) -> Result<Self, Failure> {
        let damaged = |what: &str| Failure::raw("squashfs", format!("damaged superblock: {what}"));
        let bytes = window.bytes_at("the superblock", 0, narrow(SUPERBLOCK_BYTES));
        let bytes = bytes.map_err(|error| Failure::raw("squashfs", error))?;
        if !has(&bytes, 0, b"hsqs") || le16(&bytes, 28) != 4 {
            return Err(Failure::raw("squashfs", "a version that is not 4"));
        }
        let codec = match le16(&bytes, 20) {
            1 => Codec::Zlib,
            2 => Codec::Lzma,
            3 => Codec::Lzo,
            4 => Codec::Xz,
            5 => Codec::Lz4,
            6 => Codec::Zstd,
            other => return Err(Failure::raw("squashfs", format!("unknown compression {other}"))),
        };
        let block_bytes = u64::from(le32(&bytes, 12));
        if !block_bytes.is_power_of_two() || !(4096..=1 << 20).contains(&block_bytes) {
            return Err(damaged("block size"));
        }
        let bytes_claimed = le64(&bytes, 40);
        let superblock = Self {
            block_bytes,
            codec,
            bytes: bytes_claimed.min(window.bytes()),
            bytes_claimed,
            root: le64(&bytes, 32),
            inode_table: le64(&bytes, 64),
            directory_table: le64(&bytes, 72),
            fragment_table: le64(&bytes, 80),
            fragments: u64::from(le32(&bytes, 16)),
            others: [le64(&bytes, 48), le64(&bytes, 56), le64(&bytes, 88)],
        };
        let (first, second) = (superblock.inode_table, superblock.directory_table);
        if first < SUPERBLOCK_BYTES || first >= second || second > superblock.bytes {
            return Err(damaged("tables"));
        }
        Ok(superblock)
    }

    /// Returns where the table of directories ends: where the first block of another table is.
    pub(crate) fn directories_end(&self, window: &Window<'_>) -> u64 {
        let lists = self.others.iter().chain([&self.fragment_table]);
        let lists = lists.copied().filter(|list| *list != NOTHING && *list < self.bytes);
        let starts = lists.flat_map(|list| {
            let first = window.bytes_at("a table", list, 8).map_or(NOTHING, |bytes| le64(&bytes, 0));
            [list, first]
        });
        starts.filter(|start| *start > self.directory_table).min().unwrap_or(self.bytes).min(self.bytes)
    }

    /// Returns whether there are more fragments than are read.
    pub(crate) fn has_too_many_fragments(&self) -> bool {
        self.fragments > FRAGMENTS_MAX
    }

    /// Returns where fragments are, and their sizes as stored; and whether all could be read.
    pub(crate) fn read_fragments(&self, window: &Window<'_>) -> (Vec<(u64, u32)>, bool) {
        let mut list = Vec::new();
        if self.fragments == 0 || self.fragment_table == NOTHING {
            return (list, true);
        }
        let count = self.fragments.min(FRAGMENTS_MAX);
        for block in 0..count.div_ceil(BLOCK_BYTES / 16) {
            let at = self.fragment_table.saturating_add(block.saturating_mul(8));
            let pointer = window.bytes_at("a table", at, 8).map_or(NOTHING, |bytes| le64(&bytes, 0));
            let mut table = Table::default();
            let fine = pointer < self.bytes && table.block(self, window, pointer).is_some();
            if !fine {
                return (list, false);
            }
            list.extend(table.bytes.chunks_exact(16).map(|entry| (le64(entry, 0), le32(entry, 8))));
        }
        list.truncate(narrow(count));
        (list, true)
    }
}

/// An unpacked table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) bytes: Vec<u8>,
    /// Where blocks begin: counted from the start of the table as stored, and unpacked.
    blocks: Vec<(u64, usize)>,
    /// Whether some of it could not be read.
    pub(crate) damaged: bool,
    /// Whether it is longer than what is read of it.
    pub(crate) limited: bool,
}

impl Table {
    /// Reads the blocks of a table.
    pub(crate) fn read(superblock: &Superblock, window: &Window<'_>, start: u64, end: u64) -> Self {
        let mut table = Self::default();
        let mut at = start;
        while at < end {
            let first = table.bytes.len();
            table.limited = first >= TABLE_BYTES_MAX;
            let next = if table.limited { None } else { table.block(superblock, window, at) };
            let Some(next) = next else {
                table.damaged = !table.limited;
                break;
            };
            table.blocks.push((at.saturating_sub(start), first));
            at = next;
        }
        table
    }

    /// Appends a block, and returns where the next one begins.
    fn block(&mut self, superblock: &Superblock, window: &Window<'_>, at: u64) -> Option<u64> {
        let header = window.bytes_at("a table", at, 2).ok()?;
        let header = u64::from(le16(&header, 0));
        let length = header & 0x7fff;
        let start = at.checked_add(2)?;
        let stored = window.bytes_at("a table", start, narrow(length)).ok()?;
        if length == 0 || wide(stored.len()) != length {
            return None;
        }
        if header & 0x8000 != 0 {
            self.bytes.extend_from_slice(stored.get(..narrow(BLOCK_BYTES.min(length)))?);
        } else {
            // Only the last block of a table is shorter; zeros at the end are nothing.
            let mut unpacked = Vec::new();
            unpack(superblock.codec, &stored, BLOCK_BYTES, &mut unpacked).ok()?;
            self.bytes.extend_from_slice(&unpacked);
        }
        start.checked_add(length)
    }

    /// Returns where in the unpacked table a reference leads.
    pub(crate) fn position(&self, block: u64, offset: u64) -> Option<usize> {
        let found = self.blocks.binary_search_by_key(&block, |(stored, _)| *stored).ok()?;
        let (_, start) = self.blocks.get(found)?;
        start.checked_add(narrow(offset)).filter(|position| *position < self.bytes.len())
    }
}
