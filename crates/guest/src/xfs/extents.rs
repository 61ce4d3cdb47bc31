//! Which blocks a fork has: lists of extents, and trees of them
//! (XFS Algorithms & Data Structures, "Data Extents").

use super::Fs;
use super::inode::{Fork, Format};
use crate::Error;
use crate::field::{be16, be32, be64, narrow, quotient, word};
use std::collections::HashSet;

const EXTENT_BYTES: usize = 16;
/// Bytes in front of the root that is in an inode.
const ROOT_BYTES: usize = 4;

/// Deepest tree.
const LEVEL_MAX: u16 = 9;

const MAGIC: u32 = 0x424d_4150;
const MAGIC_CHECKSUM: u32 = 0x424d_4133;

/// A run of blocks of a fork.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) logical: u64,
    /// Block of the volume.
    pub(crate) block: u64,
    pub(crate) length: u32,
    pub(crate) written: bool,
}

impl Mapping {
    pub(crate) fn end(&self) -> u64 {
        self.logical.saturating_add(u64::from(self.length))
    }
}

/// Collects the blocks of one fork after another.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Runs of the fork in logical order, apart from each other.
    pub(crate) mappings: Vec<Mapping>,
    /// Blocks of its tree.
    pub(crate) tree: Vec<u64>,
    /// Tree blocks of all forks so far. Each counts once, so a tree that leads back
    /// into itself, or that a million inodes share, costs no more than it is.
    seen: HashSet<u64>,
    /// Tree nodes that are damaged or shared.
    pub(crate) bad_nodes: u64,
    /// Runs outside the file system.
    pub(crate) outside: u64,
    /// Runs out of logical order.
    pub(crate) disorder: u64,
    /// Tree nodes with a wrong checksum.
    pub(crate) bad_sums: u64,
    buffer: Vec<u8>,
}

impl Walk {
    /// Maps a fork.
    pub(crate) fn map(&mut self, fs: &Fs<'_>, fork: &Fork<'_>) -> Result<(), Error> {
        self.mappings.clear();
        self.tree.clear();
        match fork.format {
            Format::Local | Format::None => {}
            Format::Extents => {
                let room = fork.bytes.len().wrapping_div(EXTENT_BYTES);
                let count = narrow(fork.extents);
                if count > room {
                    self.bad_nodes = self.bad_nodes.saturating_add(1);
                }
                self.list(fs, fork.bytes, count.min(room));
            }
            Format::Tree => {
                let (level, count) = (be16(fork.bytes, 0), usize::from(be16(fork.bytes, 2)));
                let entries = fork.bytes.get(ROOT_BYTES..).unwrap_or_default();
                if level == 0 || level > LEVEL_MAX {
                    self.bad_nodes = self.bad_nodes.saturating_add(1);
                    return Ok(());
                }
                self.children(fs, entries, count, level)?;
            }
        }
        Ok(())
    }

    /// Follows the pointers of a node of `level`, which are behind as many keys as there is room for.
    fn children(&mut self, fs: &Fs<'_>, entries: &[u8], count: usize, level: u16) -> Result<(), Error> {
        let room = entries.len().wrapping_div(16);
        if count > room {
            self.bad_nodes = self.bad_nodes.saturating_add(1);
        }
        let pointers = entries.get(room.saturating_mul(8)..).unwrap_or_default();
        let pointers: Vec<u64> = pointers
            .as_chunks::<8>()
            .0
            .iter()
            .take(count.min(room))
            .map(|bytes| u64::from_be_bytes(*bytes))
            .collect();
        for pointer in pointers {
            self.node(fs, pointer, level.saturating_sub(1))?;
        }
        Ok(())
    }

    /// Maps a node; below it every node must be one level less, so this ends.
    fn node(&mut self, fs: &Fs<'_>, pointer: u64, level: u16) -> Result<(), Error> {
        let Some(block) = fs.superblock.block(pointer) else {
            self.outside = self.outside.saturating_add(1);
            return Ok(());
        };
        if !self.seen.insert(block) {
            self.bad_nodes = self.bad_nodes.saturating_add(1);
            return Ok(());
        }
        self.tree.push(block);
        let at = fs.superblock.to_bytes(block);
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.resize(narrow(fs.superblock.block_bytes), 0);
        fs.window.read("an extent tree", at, &mut bytes)?;
        let (magic, header) = if fs.superblock.checksums { (MAGIC_CHECKSUM, 72) } else { (MAGIC, 24) };
        if be32(&bytes, 0) != magic || be16(&bytes, 4) != level {
            self.bad_nodes = self.bad_nodes.saturating_add(1);
            self.buffer = bytes;
            return Ok(());
        }
        if !fs.is_sum_right(&bytes, 64, at) {
            self.bad_sums = self.bad_sums.saturating_add(1);
        }
        let count = usize::from(be16(&bytes, 6));
        let entries = bytes.get(header..).unwrap_or_default();
        if level > 0 {
            self.children(fs, entries, count, level)?;
        } else {
            let room = entries.len().wrapping_div(EXTENT_BYTES);
            if count > room {
                self.bad_nodes = self.bad_nodes.saturating_add(1);
            }
            self.list(fs, entries, count.min(room));
        }
        self.buffer = bytes;
        Ok(())
    }

    fn list(&mut self, fs: &Fs<'_>, bytes: &[u8], count: usize) {
        for extent in bytes.chunks_exact(EXTENT_BYTES).take(count) {
            let (high, low) = (be64(extent, 0), be64(extent, 8));
            let number = (high & 0x1ff) << 43 | low >> 21;
            self.add(fs, (high >> 9) & ((1 << 54) - 1), number, word(low & 0x1f_ffff), high >> 63 == 0);
        }
    }

    /// Adds a run, if it is possible.
    fn add(&mut self, fs: &Fs<'_>, logical: u64, number: u64, length: u32, written: bool) {
        let Some(block) = fs.superblock.block(number).filter(|_| length > 0) else {
            self.outside = self.outside.saturating_add(1);
            return;
        };
        let left = fs.superblock.left_in_group(block);
        if u64::from(length) > left {
            self.outside = self.outside.saturating_add(1);
        }
        let length = length.min(word(left));
        if let Some(last) = self.mappings.last_mut() {
            if logical < last.end() {
                self.disorder = self.disorder.saturating_add(1);
                return;
            }
            let joined = last.length.checked_add(length);
            let touches = logical == last.end()
                && written == last.written
                && last.block.saturating_add(u64::from(last.length)) == block;
            if let Some(joined) = joined.filter(|_| touches) {
                last.length = joined;
                return;
            }
        }
        self.mappings.push(Mapping { logical, block, length, written });
    }

    /// Takes the damage that was counted: nodes, runs outside, runs out of order, checksums.
    pub(crate) fn take_damage(&mut self) -> [u64; 4] {
        let counts = [&mut self.bad_nodes, &mut self.outside, &mut self.disorder, &mut self.bad_sums];
        counts.map(std::mem::take)
    }
}

/// Returns how many whole blocks `bytes` has.
pub(crate) fn blocks_in(fs: &Fs<'_>, bytes: u64) -> u64 {
    quotient(bytes, fs.superblock.block_bytes)
}
