//! Inodes (kernel Documentation/filesystems/ext4/inodes.rst) and the blocks they have.

use super::{Fs, extents, indirect};
use crate::Error;
use crate::field::{halves, le16, le32};
use std::collections::HashSet;
use std::mem;

const FLAG_ENCRYPTED: u32 = 0x800;
const FLAG_EXTENTS: u32 = 0x8_0000;
const FLAG_EA_INODE: u32 = 0x20_0000;
const FLAG_INLINE_DATA: u32 = 0x1000_0000;

/// Position and size of `i_block`.
pub(crate) const BLOCK_AT: usize = 40;
pub(crate) const BLOCK_BYTES: usize = 60;

/// What an inode is, as far as a survey is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    /// A device, FIFO or socket: no blocks.
    Special,
    Unknown,
}

/// The fields of an inode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inode<'b> {
    pub(crate) bytes: &'b [u8],
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    flags: u32,
}

impl<'b> Inode<'b> {
    /// Returns the inode in `bytes`, if it is in use.
    pub(crate) fn parse(bytes: &'b [u8]) -> Option<Self> {
        let mode = le16(bytes, 0);
        let links = le16(bytes, 26);
        (mode != 0 && links != 0).then(|| Self::parse_any(bytes))
    }

    /// Returns the inode in `bytes`, whether or not a directory names it.
    pub(crate) fn parse_any(bytes: &'b [u8]) -> Self {
        let kind = match le16(bytes, 0) & 0xf000 {
            0x8000 => Kind::File,
            0x4000 => Kind::Directory,
            0xa000 => Kind::Symlink,
            0x1000 | 0x2000 | 0x6000 | 0xc000 => Kind::Special,
            _ => Kind::Unknown,
        };
        Self { bytes, kind, size: halves(le32(bytes, 4), le32(bytes, 108)), flags: le32(bytes, 32) }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.flags & FLAG_ENCRYPTED != 0
    }

    pub(crate) fn is_inline(&self) -> bool {
        self.flags & FLAG_INLINE_DATA != 0
    }

    /// Returns whether its blocks are in a tree of extents.
    pub(crate) fn has_extents(&self) -> bool {
        self.flags & FLAG_EXTENTS != 0
    }

    /// Returns whether it holds the value of an extended attribute.
    pub(crate) fn is_attribute(&self) -> bool {
        self.flags & FLAG_EA_INODE != 0
    }

    /// Returns the block of extended attributes, if there is one.
    pub(crate) fn attribute_block(&self) -> Option<u64> {
        let block = halves(le32(self.bytes, 104), u32::from(le16(self.bytes, 118)));
        (block != 0).then_some(block)
    }

    /// Returns `i_block`.
    pub(crate) fn block(&self) -> &'b [u8] {
        let end = BLOCK_AT.saturating_add(BLOCK_BYTES);
        self.bytes.get(BLOCK_AT..end).unwrap_or_default()
    }

    /// Maps its blocks into `walk`.
    pub(crate) fn map(&self, fs: &Fs<'_>, walk: &mut Walk) -> Result<(), Error> {
        walk.mappings.clear();
        walk.tree.clear();
        if self.is_inline() || self.kind == Kind::Special {
            return Ok(());
        }
        if self.has_extents() {
            return extents::map(fs, self.block(), walk);
        }
        // A symlink of less than 60 bytes is kept in place of the pointers.
        if self.kind == Kind::Symlink && self.size < 60 {
            return Ok(());
        }
        indirect::map(fs, self.block(), walk)
    }
}

/// A run of blocks of an inode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) logical: u32,
    pub(crate) block: u64,
    pub(crate) length: u32,
    pub(crate) written: bool,
}

/// Collects the blocks of one inode after another.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Runs of the inode in logical order, apart from each other.
    pub(crate) mappings: Vec<Mapping>,
    /// Blocks of its tree.
    pub(crate) tree: Vec<u64>,
    /// Tree blocks of all inodes so far. Each counts once, so a tree that leads back
    /// into itself, or that a million inodes share, costs no more than it is.
    seen: HashSet<u64>,
    /// Tree nodes that are damaged or shared.
    pub(crate) bad_nodes: u64,
    /// Runs outside the file system.
    pub(crate) outside: u64,
    /// Runs out of logical order.
    pub(crate) disorder: u64,
}

impl Walk {
    /// Notes a tree block; returns whether it is to be followed.
    pub(crate) fn enter(&mut self, fs: &Fs<'_>, block: u64) -> bool {
        if block == 0 || block >= fs.superblock.blocks {
            self.outside = self.outside.saturating_add(1);
            return false;
        }
        if !self.seen.insert(block) {
            self.bad_nodes = self.bad_nodes.saturating_add(1);
            return false;
        }
        self.tree.push(block);
        true
    }

    /// Adds a run, if it is possible.
    pub(crate) fn map(&mut self, fs: &Fs<'_>, mapping: Mapping) {
        let mut mapping = mapping;
        let end = mapping.block.saturating_add(u64::from(mapping.length));
        if mapping.length == 0 || mapping.block == 0 || mapping.block >= fs.superblock.blocks {
            self.outside = self.outside.saturating_add(1);
            return;
        }
        if end > fs.superblock.blocks {
            self.outside = self.outside.saturating_add(1);
            let left = fs.superblock.blocks.saturating_sub(mapping.block);
            mapping.length = u32::try_from(left).unwrap_or(mapping.length);
        }
        if mapping.logical.checked_add(mapping.length).is_none() {
            self.disorder = self.disorder.saturating_add(1);
            return;
        }
        let Some(last) = self.mappings.last_mut() else {
            self.mappings.push(mapping);
            return;
        };
        let last_end = last.logical.saturating_add(last.length);
        if mapping.logical < last_end {
            self.disorder = self.disorder.saturating_add(1);
            return;
        }
        let touches = mapping.logical == last_end
            && mapping.written == last.written
            && last.block.saturating_add(u64::from(last.length)) == mapping.block;
        if touches {
            last.length = last.length.saturating_add(mapping.length);
        } else {
            self.mappings.push(mapping);
        }
    }

    /// Takes the damage that was counted: nodes, runs outside, runs out of order.
    pub(crate) fn take_damage(&mut self) -> (u64, u64, u64) {
        (mem::take(&mut self.bad_nodes), mem::take(&mut self.outside), mem::take(&mut self.disorder))
    }
}
