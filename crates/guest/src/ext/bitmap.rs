//! Block bitmaps (kernel Documentation/filesystems/ext4/bitmaps.rst).

use super::Fs;
use crate::Error;
use crate::bits::{is_set, next_change};
use crate::field::{narrow, quotient};
use crate::fs::{Allocation, Stretch};

/// Most bitmaps that are read at once where they are side by side, as `flex_bg` lays them.
const BATCH: usize = 64;

/// Reads block bitmaps in ascending order.
#[derive(Debug)]
pub(crate) struct Bitmaps<'d> {
    fs: Fs<'d>,
    /// Bytes of the volume, and where they start.
    bytes: Vec<u8>,
    start: u64,
}

impl Allocation for Bitmaps<'_> {
    fn stretch(&mut self, block: u64, end: u64) -> Result<Stretch, Error> {
        let superblock = &self.fs.superblock;
        let cluster_bits = superblock.cluster_bits;
        let all = |end: u64, free: bool| Ok(Stretch { end, free });
        let Some(relative) = block.checked_sub(superblock.first_data_block) else {
            return all(end.min(superblock.first_data_block), false);
        };
        let number = quotient(relative, superblock.blocks_per_group);
        let group_start = superblock.group_start(number);
        let group_end = superblock.group_start(number.saturating_add(1));
        let end = end.min(group_end);
        let Some(group) = self.fs.groups.get(narrow(number)) else {
            return all(end, false);
        };
        if group.blocks_uninit {
            return all(end, true);
        }
        let Some(bitmap) = group.block_bitmap else {
            return all(end, false);
        };
        let bits = self.load(number, bitmap)?;
        let to_bit = |block: u64| {
            let relative = block.saturating_sub(group_start);
            relative.checked_shr(cluster_bits).unwrap_or(0)
        };
        let first = to_bit(block);
        let last = to_bit(end.saturating_sub(1)).saturating_add(1);
        let free = !is_set(bits, first);
        let change = next_change(bits, first, last, !free);
        let change_block = change.checked_shl(cluster_bits).unwrap_or(u64::MAX).saturating_add(group_start);
        all(change_block.min(end), free)
    }
}

impl<'d> Bitmaps<'d> {
    pub(crate) fn new(fs: Fs<'d>) -> Self {
        Self { fs, bytes: Vec::new(), start: 0 }
    }

    /// Returns the bitmap of group `number`, which is in `block`.
    fn load(&mut self, number: u64, block: u64) -> Result<&[u8], Error> {
        let fs = &self.fs;
        let (offset, length) = (fs.superblock.to_bytes(block), narrow(fs.superblock.block_bytes));
        let within = |start: u64| narrow(offset.saturating_sub(start));
        let loaded = offset >= self.start && within(self.start).saturating_add(length) <= self.bytes.len();
        if !loaded {
            let groups = fs.groups.iter().skip(narrow(number)).take(BATCH);
            let side_by_side =
                (block..).zip(groups).take_while(|(block, group)| group.block_bitmap == Some(*block));
            let batch = length.saturating_mul(side_by_side.count().max(1));
            self.bytes = fs.window.bytes_at("a block bitmap", offset, batch)?;
            self.start = offset;
        }
        let at = within(self.start);
        Ok(self.bytes.get(at..at.saturating_add(length)).unwrap_or_default())
    }
}
