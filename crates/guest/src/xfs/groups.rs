//! Allocation groups: their headers, what is free in them, and where their inodes are
//! (XFS Algorithms & Data Structures, "Allocation Groups").

use super::Fs;
use super::tree::{self, Shape};
use crate::Error;
use crate::field::{be16, be32, be64, has, narrow};
use crate::fs::{Claims, Tally};
use airlock_model::Extent;
use std::collections::HashSet;

/// Most runs of free space; further ones are not known to be free.
const FREE_MAX: usize = 8 << 20;

/// Most chunks of 64 inodes.
const CHUNKS_MAX: usize = 2 << 20;

/// Inodes of a chunk.
pub(crate) const CHUNK_INODES: u64 = 64;

/// Inodes that one bit of a chunk's holes stands for.
const HOLE_INODES: u64 = 4;

/// Blocks that a group sets aside for its own trees.
const LIST_HEADER_BYTES: usize = 36;

/// Inodes that were allocated together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    /// Number of the first inode.
    pub(crate) first: u64,
    /// Which inodes are not in use.
    pub(crate) free: u64,
    /// Which fours of them are not there.
    pub(crate) holes: u16,
}

impl Chunk {
    /// Returns whether an inode of the chunk is there.
    pub(crate) fn has(&self, index: u64) -> bool {
        let four = u32::try_from(index / HOLE_INODES).unwrap_or(0);
        u32::from(self.holes) & 1_u32.checked_shl(four).unwrap_or(0) == 0
    }

    /// Returns whether an inode of the chunk is in use.
    pub(crate) fn is_used(&self, index: u64) -> bool {
        let bit = u32::try_from(index).unwrap_or(0);
        self.has(index) && self.free & 1_u64.checked_shl(bit).unwrap_or(0) == 0
    }
}

/// What the allocation groups say.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Free runs, as block and length.
    pub(crate) free: Vec<(u64, u64)>,
    pub(crate) chunks: Vec<Chunk>,
    /// Blocks of trees that were read.
    pub(crate) seen: HashSet<u64>,
    /// Whether there was more than is kept.
    pub(crate) limited: bool,
}

impl Groups {
    /// Reads all groups, and claims what they have for themselves.
    pub(crate) fn read(fs: &Fs<'_>, claims: &mut Claims, tally: &mut Tally) -> Result<Self, Error> {
        let mut groups = Self::default();
        let superblock = &fs.superblock;
        if let Some(log) = superblock.block(superblock.log_start).filter(|_| superblock.log_start != 0) {
            claims.metadata(log, superblock.log_blocks);
        }
        let header_bytes = superblock.sector_bytes.saturating_mul(4);
        for group in 0..superblock.groups {
            let Some(start) = superblock.in_group(group, 0) else {
                break;
            };
            claims.metadata(start, header_bytes.div_ceil(superblock.block_bytes));
            let at = superblock.to_bytes(start);
            let headers = fs.window.bytes_at("headers of a group", at, narrow(header_bytes))?;
            let sector = |number: usize| {
                let bytes = narrow(superblock.sector_bytes);
                let from = number.saturating_mul(bytes);
                headers.get(from..from.saturating_add(bytes)).unwrap_or_default()
            };
            groups.space(fs, group, sector(1), claims, tally)?;
            groups.inodes(fs, group, sector(2), claims, tally)?;
            list(fs, group, sector(1), sector(3), claims, tally);
        }
        groups.free.sort_unstable();
        Ok(groups)
    }

    /// Reads what is free in a group.
    fn space(
        &mut self,
        fs: &Fs<'_>,
        group: u64,
        header: &[u8],
        claims: &mut Claims,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        if !is_header_right(fs, group, header, *b"XAGF", 216, 1, tally) {
            return Ok(());
        }
        let root = |at| u64::from(be32(header, at));
        let mut free = Vec::new();
        let mut read = |bytes: &[u8]| {
            for record in bytes.chunks_exact(8) {
                free.push((u64::from(be32(record, 0)), u64::from(be32(record, 4))));
            }
        };
        let by_block = Shape { magic: [*b"ABTB", *b"AB3B"], record: 8, key: 8, leaves: true };
        let damage = tree::walk(fs, group, by_block, (root(16), root(28)), self, claims, &mut read)?;
        // The other tree has the same runs by size.
        let mut same = Vec::new();
        let mut read = |bytes: &[u8]| {
            for record in bytes.chunks_exact(8) {
                same.push((u64::from(be32(record, 0)), u64::from(be32(record, 4))));
            }
        };
        let by_size = Shape { magic: [*b"ABTC", *b"AB3C"], record: 8, key: 8, leaves: damage.nodes > 0 };
        let other = tree::walk(fs, group, by_size, (root(20), root(32)), self, claims, &mut read)?;
        damage.tell(fs, group, tally);
        other.tell(fs, group, tally);
        if damage.nodes > 0 && other.nodes == 0 {
            free = same;
        }
        if fs.superblock.checksums {
            let mut none = |_: &[u8]| ();
            let owners = Shape { magic: [*b"RMB3"; 2], record: 24, key: 40, leaves: false };
            if root(24) != 0 && root(36) != 0 {
                tree::walk(fs, group, owners, (root(24), root(36)), self, claims, &mut none)?
                    .tell(fs, group, tally);
            }
            if fs.superblock.reflink {
                self.shared(fs, group, (root(88), root(92)), claims, tally)?;
            }
        }
        for (block, length) in free {
            let Some(block) = fs.superblock.in_group(group, block) else {
                tally.count("free runs outside the file system", 1, at_group(fs, group));
                continue;
            };
            if self.free.len() >= FREE_MAX {
                self.limited = true;
                return Ok(());
            }
            self.free.push((block, length.min(fs.superblock.left_in_group(block))));
        }
        Ok(())
    }

    /// Reads which blocks are shared: those of a copy that was not finished are nobody's yet.
    fn shared(
        &mut self,
        fs: &Fs<'_>,
        group: u64,
        root: (u64, u64),
        claims: &mut Claims,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        const UNFINISHED: u32 = 1 << 31;
        let mut unfinished = Vec::new();
        let mut read = |bytes: &[u8]| {
            for record in bytes.chunks_exact(12) {
                let block = be32(record, 0);
                if block & UNFINISHED != 0 {
                    unfinished.push((u64::from(block & !UNFINISHED), u64::from(be32(record, 4))));
                }
            }
        };
        let shape = Shape { magic: [*b"R3FC"; 2], record: 12, key: 4, leaves: true };
        tree::walk(fs, group, shape, root, self, claims, &mut read)?.tell(fs, group, tally);
        for (block, length) in unfinished {
            if let Some(block) = fs.superblock.in_group(group, block) {
                claims.metadata(block, length.min(fs.superblock.left_in_group(block)));
            }
        }
        Ok(())
    }

    /// Reads where the inodes of a group are.
    fn inodes(
        &mut self,
        fs: &Fs<'_>,
        group: u64,
        header: &[u8],
        claims: &mut Claims,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        if !is_header_right(fs, group, header, *b"XAGI", 312, 2, tally) {
            return Ok(());
        }
        let root = |at| u64::from(be32(header, at));
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut disorder = 0_u64;
        let mut read = |bytes: &[u8]| {
            for record in bytes.chunks_exact(16) {
                let holes = if fs.superblock.sparse { be16(record, 4) } else { 0 };
                let first = u64::from(be32(record, 0));
                if chunks.last().is_some_and(|last| last.first.saturating_add(CHUNK_INODES) > first) {
                    disorder = disorder.saturating_add(1);
                    continue;
                }
                chunks.push(Chunk { first, free: be64(record, 8), holes });
            }
        };
        let all = Shape { magic: [*b"IABT", *b"IAB3"], record: 16, key: 4, leaves: true };
        let damage = tree::walk(fs, group, all, (root(20), root(24)), self, claims, &mut read)?;
        damage.tell(fs, group, tally);
        tally.count("inode chunks out of order", disorder, at_group(fs, group));
        if fs.superblock.checksums && root(328) != 0 && root(332) != 0 {
            let mut none = |_: &[u8]| ();
            let free = Shape { magic: [*b"FIBT", *b"FIB3"], leaves: false, ..all };
            tree::walk(fs, group, free, (root(328), root(332)), self, claims, &mut none)?
                .tell(fs, group, tally);
        }
        for chunk in chunks {
            if self.chunks.len() >= CHUNKS_MAX {
                self.limited = true;
                return Ok(());
            }
            claim_chunk(fs, group, &chunk, claims, tally);
            let first = fs.superblock.inode_number(group, chunk.first);
            self.chunks.push(Chunk { first, ..chunk });
        }
        Ok(())
    }
}

/// Returns where the headers of a group are.
pub(crate) fn at_group(fs: &Fs<'_>, group: u64) -> Extent {
    let start = group.saturating_mul(fs.superblock.group_blocks);
    Extent::new(fs.superblock.to_bytes(start), fs.superblock.sector_bytes.saturating_mul(4))
}

/// Returns whether a header of a group is one; a wrong checksum is only counted.
fn is_header_right(
    fs: &Fs<'_>,
    group: u64,
    header: &[u8],
    magic: [u8; 4],
    sum: usize,
    sector: u64,
    tally: &mut Tally,
) -> bool {
    let extent = at_group(fs, group);
    let at = extent.offset.saturating_add(sector.saturating_mul(fs.superblock.sector_bytes));
    let right = has(header, 0, &magic) && u64::from(be32(header, 8)) == group;
    tally.count("damaged headers of allocation groups", u64::from(!right), extent);
    let wrong = right && !fs.is_sum_right(header, sum, at);
    tally.count("wrong checksums of allocation groups", u64::from(wrong), extent);
    right
}

/// Claims the blocks that a group keeps for its trees.
fn list(fs: &Fs<'_>, group: u64, space: &[u8], list: &[u8], claims: &mut Claims, tally: &mut Tally) {
    let start = if fs.superblock.checksums { LIST_HEADER_BYTES } else { 0 };
    if start > 0 && !has(list, 0, b"XAFL") {
        tally.count("damaged headers of allocation groups", 1, at_group(fs, group));
        return;
    }
    let blocks = list.get(start..).unwrap_or_default().as_chunks::<4>().0;
    let (first, count) = (be32(space, 40), be32(space, 48));
    let mut at = narrow(u64::from(first));
    for _ in 0..narrow(u64::from(count)).min(blocks.len()) {
        if at >= blocks.len() {
            at = 0;
        }
        let block = blocks.get(at).map_or(u64::MAX, |bytes| u64::from(u32::from_be_bytes(*bytes)));
        match fs.superblock.in_group(group, block) {
            Some(block) => claims.metadata(block, 1),
            None => tally.count("spare blocks outside the file system", 1, at_group(fs, group)),
        }
        at = at.saturating_add(1);
    }
}

/// Claims the blocks that a chunk of inodes has.
fn claim_chunk(fs: &Fs<'_>, group: u64, chunk: &Chunk, claims: &mut Claims, tally: &mut Tally) {
    let bits = fs.superblock.inode_bits;
    let mut index = 0;
    while index < CHUNK_INODES {
        let block = chunk.first.saturating_add(index).checked_shr(bits).unwrap_or(0);
        if chunk.has(index) {
            match fs.superblock.in_group(group, block) {
                Some(block) => claims.metadata(block, 1),
                None => tally.count("inodes outside the file system", 1, at_group(fs, group)),
            }
        }
        // Blocks of a chunk start at one of its inodes, or have several chunks.
        index = index.saturating_add(1_u64.checked_shl(bits).unwrap_or(CHUNK_INODES));
    }
}
