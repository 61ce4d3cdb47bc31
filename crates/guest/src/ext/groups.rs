//! Group descriptors and what is at a fixed place in each group
//! (kernel Documentation/filesystems/ext4/`group_descr.rst` and blockgroup.rst).

use super::superblock::{Superblock, has_superblock};
use crate::Error;
use crate::field::{halves, le16, le32, narrow, quotient, remainder, word};
use crate::fs::{Claims, Tally};
use crate::window::Window;
use airlock_model::Extent;

const INODES_UNINIT: u16 = 1;
const BLOCKS_UNINIT: u16 = 2;

/// A block group, with places that are inside the volume.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Group {
    pub(crate) block_bitmap: Option<u64>,
    pub(crate) inode_bitmap: Option<u64>,
    pub(crate) inode_table: Option<u64>,
    /// Inodes at the start of the table that are to be scanned.
    pub(crate) inodes_used: u32,
    /// Whether no block of the group is in use but what is at fixed places.
    pub(crate) blocks_uninit: bool,
}

/// Returns the block that holds the descriptors of block `index` of the table.
fn descriptor_block(superblock: &Superblock, index: u64) -> u64 {
    // The first superblock is at byte 1024, in block 1 only where blocks have 1 KiB.
    let small = u64::from(superblock.block_bytes == 1024);
    if !superblock.meta_bg || index < superblock.first_meta_group {
        return small.saturating_add(1).saturating_add(index);
    }
    let group = index.saturating_mul(superblock.descriptors_per_block());
    let mut skip = u64::from(has_superblock(superblock, group));
    if superblock.block_bytes == 1024 && index == 0 && superblock.first_data_block == 0 {
        skip = skip.saturating_add(1);
    }
    superblock.group_start(group).saturating_add(skip)
}

/// Reads all group descriptors; those of a copy, where the superblock is one and they are better.
pub(crate) fn read(
    window: &Window<'_>,
    superblock: &Superblock,
    copy: Option<u64>,
    tally: &mut Tally,
) -> Result<Vec<Group>, Error> {
    let mut tallies = [Tally::default(), Tally::default()];
    let [first, second] = &mut tallies;
    let mut groups = read_at(window, superblock, 0, first)?;
    let start = copy.filter(|_| !first.is_empty()).map(|copy| superblock.group_start(copy));
    let mut better = false;
    if let Some(start) = start.filter(|_| !superblock.meta_bg) {
        // The first descriptors are one block behind the superblock, and so are those of a copy.
        let ahead = start.saturating_sub(superblock.first_data_block);
        let copies = read_at(window, superblock, ahead, second)?;
        better = second.is_empty();
        if better {
            groups = copies;
        }
    }
    let [first, second] = tallies;
    *tally = if better { second } else { first };
    Ok(groups)
}

/// Reads all group descriptors, or their copies so many blocks ahead.
fn read_at(
    window: &Window<'_>,
    superblock: &Superblock,
    ahead: u64,
    tally: &mut Tally,
) -> Result<Vec<Group>, Error> {
    let per_block = superblock.descriptors_per_block().max(1);
    let mut groups = Vec::new();
    let mut block = vec![0; narrow(superblock.block_bytes)];
    for index in 0..superblock.groups.div_ceil(per_block) {
        let block_number = descriptor_block(superblock, index).saturating_add(ahead);
        let offset = superblock.to_bytes(block_number);
        window.read("group descriptors", offset, &mut block)?;
        let left = superblock.groups.saturating_sub(index.saturating_mul(per_block));
        let descriptors = block.chunks_exact(narrow(superblock.descriptor_bytes));
        for bytes in descriptors.take(narrow(left)) {
            let group = parse(superblock, bytes);
            let missing = [group.block_bitmap, group.inode_bitmap, group.inode_table]
                .iter()
                .filter(|place| place.is_none())
                .count();
            let what = "group descriptors that point outside the file system";
            let extent = Extent::new(offset, superblock.block_bytes);
            tally.count(what, u64::from(missing > 0), extent);
            groups.push(group);
        }
    }
    Ok(groups)
}

fn parse(superblock: &Superblock, bytes: &[u8]) -> Group {
    let number = |low, high| halves(le32(bytes, low), le32(bytes, high));
    let inside = |block: u64, count: u64| {
        let fits = block > 0 && block.saturating_add(count) <= superblock.blocks;
        fits.then_some(block)
    };
    let flags = if superblock.group_flags { le16(bytes, 18) } else { 0 };
    let per_group = superblock.inodes_per_group;
    let unused = if superblock.group_flags {
        u64::from(le16(bytes, 28)) | u64::from(le16(bytes, 50)) << 16
    } else {
        0
    };
    let used = if flags & INODES_UNINIT != 0 { 0 } else { per_group.saturating_sub(unused) };
    Group {
        block_bitmap: inside(number(0, 32), 1),
        inode_bitmap: inside(number(4, 36), 1),
        inode_table: inside(number(8, 40), superblock.table_blocks()),
        inodes_used: word(used),
        blocks_uninit: flags & BLOCKS_UNINIT != 0,
    }
}

/// Claims what is at fixed places: superblocks, descriptors, bitmaps and inode tables.
pub(crate) fn claim_fixed(superblock: &Superblock, groups: &[Group], claims: &mut Claims) {
    let per_block = superblock.descriptors_per_block().max(1);
    let table_blocks = superblock.groups.div_ceil(per_block);
    let old_blocks =
        if superblock.meta_bg { table_blocks.min(superblock.first_meta_group) } else { table_blocks };
    let block_0 = superblock.first_data_block.max(1);
    claims.metadata(0, block_0);
    for (number, group) in (0_u64..).zip(groups) {
        let start = superblock.group_start(number);
        let mut at = start;
        if number == 0 && superblock.block_bytes == 1024 && superblock.first_data_block == 0 {
            at = at.saturating_add(1);
        }
        let copy = has_superblock(superblock, number);
        if copy {
            claims.metadata(at, 1);
            at = at.saturating_add(1);
        }
        let meta_group = quotient(number, per_block);
        if superblock.meta_bg && meta_group >= superblock.first_meta_group {
            // The first, second and last group of a meta group have its one block.
            let position = remainder(number, per_block);
            if position <= 1 || position == per_block.saturating_sub(1) {
                claims.metadata(at, 1);
            }
        } else if copy {
            claims.metadata(at, old_blocks.saturating_add(superblock.reserved_gdt_blocks));
        }
        for bitmap in [group.block_bitmap, group.inode_bitmap].into_iter().flatten() {
            claims.metadata(bitmap, 1);
        }
        if let Some(table) = group.inode_table {
            claims.metadata(table, superblock.table_blocks());
        }
    }
    if let Some(mmp) = superblock.mmp_block {
        claims.metadata(mmp, 1);
    }
}
