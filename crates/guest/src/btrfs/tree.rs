//! Trees: walks over all of their leaves, in order and each block once.

use super::Fs;
use crate::field::{le32, le64, narrow, quotient, u8_at, wide};
use std::collections::HashSet;

const HEADER_BYTES: usize = 101;
const ITEM_BYTES: usize = 25;
const POINTER_BYTES: usize = 33;

/// Highest level of a block.
const LEVEL_MAX: u8 = 7;

/// Most blocks that all walks read together: snapshots are walked one by one.
const VISITS_MAX: u64 = 16 << 20;

/// What an item is and of which object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) object: u64,
    pub(crate) kind: u8,
    pub(crate) offset: u64,
}

impl Key {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self { object: le64(bytes, 0), kind: u8_at(bytes, 8), offset: le64(bytes, 9) }
    }
}

/// The topmost block of a tree, or any below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) bytenr: u64,
    pub(crate) generation: u64,
    pub(crate) level: u8,
}

/// An item of a leaf.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'b> {
    pub(crate) key: Key,
    pub(crate) bytes: &'b [u8],
    /// Where on the volume its bytes are.
    pub(crate) at: u64,
}

/// Returns the items of a leaf that was read from `at`; those outside of it are left out.
fn items(leaf: &[u8], at: u64) -> impl Iterator<Item = Item<'_>> {
    let headers = leaf.get(HEADER_BYTES..).unwrap_or_default();
    let count = narrow(u64::from(le32(leaf, 96)));
    headers.chunks_exact(ITEM_BYTES).take(count).filter_map(move |header| {
        let start = HEADER_BYTES.checked_add(narrow(u64::from(le32(header, 17))))?;
        let end = start.checked_add(narrow(u64::from(le32(header, 21))))?;
        let bytes = leaf.get(start..end)?;
        Some(Item { key: Key::parse(header), bytes, at: at.checked_add(wide(start))? })
    })
}

/// What was wrong with the blocks of trees.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Blocks that are not what the block above them says, or cannot be read.
    pub(crate) blocks: u64,
    /// Blocks that are in a tree twice.
    pub(crate) repeated: u64,
    pub(crate) sums: u64,
    /// Blocks whose first copy is damaged and whose second one is not.
    pub(crate) copies: u64,
    /// Items that are out of order.
    pub(crate) disorder: u64,
}

/// Walks over trees.
#[derive(Debug)]
pub(crate) struct Walker {
    visits_left: u64,
    visited: HashSet<u64>,
    /// The addresses of all blocks that were read, and are not the file system's by its extents.
    pub(crate) blocks: Vec<u64>,
    pub(crate) damage: Damage,
    /// Whether blocks were left out because there were too many.
    pub(crate) exhausted: bool,
}

impl Walker {
    pub(crate) fn new(fs: &Fs<'_>) -> Self {
        // Snapshots have blocks together, so there may be more of them than the volume has room for.
        let room = quotient(fs.window.bytes(), fs.superblock.node_bytes);
        Self {
            visits_left: room.saturating_mul(64).clamp(1 << 16, VISITS_MAX),
            visited: HashSet::new(),
            blocks: Vec::new(),
            damage: Damage::default(),
            exhausted: false,
        }
    }

    /// Shows every item of a tree, in strictly ascending order.
    pub(crate) fn walk(&mut self, fs: &Fs<'_>, root: Root, mut visit: impl FnMut(Item<'_>)) {
        self.visited.clear();
        let mut stack = vec![root];
        let mut block = vec![0; narrow(fs.superblock.node_bytes)];
        let mut last = None;
        while let Some(next) = stack.pop() {
            if !self.visited.insert(next.bytenr) {
                self.damage.repeated = self.damage.repeated.saturating_add(1);
                continue;
            }
            let Some(left) = self.visits_left.checked_sub(1) else {
                self.exhausted = true;
                return;
            };
            self.visits_left = left;
            let Some(at) = self.read(fs, next, &mut block) else {
                self.damage.blocks = self.damage.blocks.saturating_add(1);
                continue;
            };
            if next.level > 0 {
                let first = stack.len();
                let pointers = block.get(HEADER_BYTES..).unwrap_or_default();
                let count = narrow(u64::from(le32(&block, 96)));
                let below = next.level.saturating_sub(1);
                stack.extend(pointers.chunks_exact(POINTER_BYTES).take(count).map(|pointer| Root {
                    bytenr: le64(pointer, 17),
                    generation: le64(pointer, 25),
                    level: below,
                }));
                if let Some(added) = stack.get_mut(first..) {
                    added.reverse();
                }
                continue;
            }
            for item in items(&block, at) {
                if last >= Some(item.key) {
                    self.damage.disorder = self.damage.disorder.saturating_add(1);
                    continue;
                }
                last = Some(item.key);
                visit(item);
            }
        }
    }

    /// Reads a block and returns where on the volume it was read from.
    fn read(&mut self, fs: &Fs<'_>, block: Root, into: &mut [u8]) -> Option<u64> {
        if block.level > LEVEL_MAX {
            return None;
        }
        let copies = fs.chunks.locate(block.bytenr, fs.superblock.node_bytes)?;
        self.blocks.push(block.bytenr);
        let mut second_best = None;
        for at in copies.iter() {
            if at.saturating_add(wide(into.len())) > fs.window.bytes() {
                continue;
            }
            let read = fs.window.read("a block of a tree", at, into);
            let fits = le64(into, 48) == block.bytenr
                && le64(into, 80) == block.generation
                && u8_at(into, 100) == block.level;
            if read.is_err() || !fits {
                continue;
            }
            if fs.superblock.sum.is_none_or(|sum| sum.is_right(into)) {
                self.damage.copies = self.damage.copies.saturating_add(u64::from(at != copies.first));
                return Some(at);
            }
            second_best = second_best.or(Some(at));
        }
        let at = second_best?;
        self.damage.sums = self.damage.sums.saturating_add(1);
        fs.window.read("a block of a tree", at, into).ok()?;
        Some(at)
    }
}
