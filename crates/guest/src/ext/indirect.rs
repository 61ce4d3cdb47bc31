//! Direct and indirect block pointers of ext2 and ext3
//! (kernel Documentation/filesystems/ext4/ifork.rst, "Direct/Indirect Block Addressing").

use super::Fs;
use super::inode::{Mapping, Walk};
use crate::Error;
use crate::field::{le32, narrow, quotient};

/// Maps the pointers in `root`, the 60 bytes of `i_block`.
pub(crate) fn map(fs: &Fs<'_>, root: &[u8], walk: &mut Walk) -> Result<(), Error> {
    let per_block = fs.superblock.block_bytes.wrapping_div(4);
    let mut logical = 0_u64;
    for slot in 0..12_usize {
        pointer(fs, le32(root, slot.saturating_mul(4)), logical, walk);
        logical = logical.saturating_add(1);
    }
    let mut covers = per_block;
    for (level, at) in [(1_u32, 48), (2, 52), (3, 56)] {
        tree(fs, le32(root, at), level, logical, covers, walk)?;
        logical = logical.saturating_add(covers);
        covers = covers.saturating_mul(per_block);
    }
    Ok(())
}

/// Maps an indirect block of `level`, which covers `covers` blocks of the file.
fn tree(
    fs: &Fs<'_>,
    block: u32,
    level: u32,
    logical: u64,
    covers: u64,
    walk: &mut Walk,
) -> Result<(), Error> {
    if block == 0 || !walk.enter(fs, u64::from(block)) {
        return Ok(());
    }
    let mut bytes = vec![0; narrow(fs.superblock.block_bytes)];
    let offset = fs.superblock.to_bytes(u64::from(block));
    fs.window.read("an indirect block", offset, &mut bytes)?;
    let pointers = bytes.as_chunks::<4>().0;
    let below = quotient(covers, fs.superblock.block_bytes.wrapping_div(4));
    let mut at = logical;
    for bytes in pointers {
        let child = u32::from_le_bytes(*bytes);
        if level == 1 {
            pointer(fs, child, at, walk);
        } else {
            tree(fs, child, level.saturating_sub(1), at, below, walk)?;
        }
        at = at.saturating_add(below);
    }
    Ok(())
}

/// Maps one block.
fn pointer(fs: &Fs<'_>, block: u32, logical: u64, walk: &mut Walk) {
    if block == 0 {
        return;
    }
    let Ok(logical) = u32::try_from(logical) else {
        walk.outside = walk.outside.saturating_add(1);
        return;
    };
    walk.map(fs, Mapping { logical, block: u64::from(block), length: 1, written: true });
}
