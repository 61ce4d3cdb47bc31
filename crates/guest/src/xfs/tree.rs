//! The trees of an allocation group (XFS Algorithms & Data Structures, "Short Format Btrees").

use super::Fs;
use super::groups::{Groups, at_group};
use crate::Error;
use crate::field::{be16, has, narrow};
use crate::fs::{Claims, Tally};

/// Deepest tree.
const LEVEL_MAX: u64 = 12;

/// What a tree looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Without and with checksums.
    pub(crate) magic: [[u8; 4]; 2],
    /// Bytes of a record and of a key.
    pub(crate) record: usize,
    pub(crate) key: usize,
    /// Whether its records are wanted, or only which blocks it has.
    pub(crate) leaves: bool,
}

/// What is wrong with a tree.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Damage {
    pub(crate) nodes: u64,
    sums: u64,
}

impl Damage {
    pub(crate) fn tell(self, fs: &Fs<'_>, group: u64, tally: &mut Tally) {
        tally.count("tree nodes of allocation groups damaged or used twice", self.nodes, at_group(fs, group));
        tally.count("wrong checksums of allocation groups", self.sums, at_group(fs, group));
    }
}

/// Walks over a tree.
struct Walk<'w, 'f, 'd> {
    fs: &'f Fs<'d>,
    group: u64,
    shape: Shape,
    groups: &'w mut Groups,
    claims: &'w mut Claims,
    records: &'w mut dyn FnMut(&[u8]),
    damage: Damage,
}

/// Reads the tree of this root and number of levels: claims its blocks, and passes on the
/// records of every leaf.
pub(crate) fn walk(
    fs: &Fs<'_>,
    group: u64,
    shape: Shape,
    (root, levels): (u64, u64),
    groups: &mut Groups,
    claims: &mut Claims,
    records: &mut dyn FnMut(&[u8]),
) -> Result<Damage, Error> {
    let mut walk = Walk { fs, group, shape, groups, claims, records, damage: Damage::default() };
    match levels.checked_sub(1).filter(|level| *level < LEVEL_MAX) {
        Some(level) => walk.node(root, level)?,
        None => walk.damage.nodes = 1,
    }
    Ok(walk.damage)
}

impl Walk<'_, '_, '_> {
    /// Reads a node; below it every node must be one level less, so this ends.
    fn node(&mut self, pointer: u64, level: u64) -> Result<(), Error> {
        let superblock = &self.fs.superblock;
        let block = superblock.in_group(self.group, pointer);
        let Some(block) = block.filter(|block| self.groups.seen.insert(*block)) else {
            self.damage.nodes = self.damage.nodes.saturating_add(1);
            return Ok(());
        };
        self.claims.metadata(block, 1);
        if level == 0 && !self.shape.leaves {
            return Ok(());
        }
        let at = superblock.to_bytes(block);
        let bytes = self.fs.window.bytes_at("a tree of a group", at, narrow(superblock.block_bytes))?;
        let [plain, summed] = self.shape.magic;
        let (magic, header) = if superblock.checksums { (summed, 56) } else { (plain, 16) };
        let entries = bytes.get(header..).unwrap_or_default();
        let each = if level == 0 { self.shape.record } else { self.shape.key.saturating_add(4) };
        let room = entries.len().checked_div(each).unwrap_or(0);
        let count = usize::from(be16(&bytes, 6));
        if !has(&bytes, 0, &magic) || u64::from(be16(&bytes, 4)) != level || count > room {
            self.damage.nodes = self.damage.nodes.saturating_add(1);
            return Ok(());
        }
        if !self.fs.is_sum_right(&bytes, 52, at) {
            self.damage.sums = self.damage.sums.saturating_add(1);
        }
        if level == 0 {
            let end = count.saturating_mul(each);
            (self.records)(entries.get(..end).unwrap_or_default());
            return Ok(());
        }
        let pointers = entries.get(room.saturating_mul(self.shape.key)..).unwrap_or_default();
        for pointer in pointers.as_chunks::<4>().0.iter().take(count) {
            self.node(u64::from(u32::from_be_bytes(*pointer)), level.saturating_sub(1))?;
        }
        Ok(())
    }
}
