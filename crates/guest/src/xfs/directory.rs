//! Directories (XFS Algorithms & Data Structures, "Directories").

use super::superblock::Superblock;
use crate::field::{be16, be32, be64, has, narrow, u8_at};

/// Bytes from which on a directory has no names, but what finds them.
pub(crate) const NAMES_END: u64 = 1 << 35;

/// Calls `name` with inode and name of every entry of a directory in an inode.
/// Returns whether it was well-formed to its end.
pub(crate) fn short(bytes: &[u8], filetype: bool, mut name: impl FnMut(u64, &[u8])) -> bool {
    let (entries, wide) = (u8_at(bytes, 0), u8_at(bytes, 1) > 0);
    let inode_bytes = if wide { 8 } else { 4 };
    let mut at = 2_usize.saturating_add(inode_bytes);
    for _ in 0..entries {
        let entry = bytes.get(at..).unwrap_or_default();
        let name_bytes = usize::from(u8_at(entry, 0));
        let inode_at = name_bytes.saturating_add(3).saturating_add(usize::from(filetype));
        let end = inode_at.saturating_add(inode_bytes);
        let found = entry.get(3..).and_then(|rest| rest.get(..name_bytes));
        let Some(found) = found.filter(|_| name_bytes > 0 && end <= entry.len()) else {
            return false;
        };
        let inode = if wide { be64(entry, inode_at) } else { u64::from(be32(entry, inode_at)) };
        give(inode, found, &mut name);
        at = at.saturating_add(end);
    }
    true
}

/// Passes a name on, if a path can lead through it.
fn give(inode: u64, found: &[u8], name: &mut impl FnMut(u64, &[u8])) {
    let possible = !matches!(found, b"." | b"..") && !found.contains(&b'/') && !found.contains(&0);
    if possible {
        name(inode, found);
    }
}

/// What a directory block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    WellFormed,
    Damaged,
    WrongSum,
}

/// Calls `name` with inode and name of every entry of a directory block.
pub(crate) fn entries(
    superblock: &Superblock,
    block: &[u8],
    is_sum_right: bool,
    mut name: impl FnMut(u64, &[u8]),
) -> Found {
    let (header, single) = match block.first_chunk::<4>() {
        Some(b"XD2D") => (16, false),
        Some(b"XD2B") => (16, true),
        Some(b"XDD3") => (64, false),
        Some(b"XDB3") => (64, true),
        _ => return Found::Damaged,
    };
    let mut end = block.len();
    if single {
        // The only block of a directory has its hash table at its end.
        let count = narrow(u64::from(be32(block, end.saturating_sub(8))));
        let table = count.saturating_mul(8).saturating_add(8);
        match end.checked_sub(table).filter(|end| *end >= header) {
            Some(names_end) => end = names_end,
            None => return Found::Damaged,
        }
    }
    let names = block.get(..end).unwrap_or_default();
    let mut at = header;
    while at.saturating_add(8) <= end {
        let entry = names.get(at..).unwrap_or_default();
        if has(entry, 0, b"\xff\xff") {
            let length = usize::from(be16(entry, 2));
            if length < 8 || length & 7 != 0 || length > entry.len() {
                return Found::Damaged;
            }
            at = at.saturating_add(length);
            continue;
        }
        let name_bytes = usize::from(u8_at(entry, 8));
        let length = name_bytes.saturating_add(11).saturating_add(usize::from(superblock.filetype));
        let length = length.checked_next_multiple_of(8).unwrap_or(usize::MAX);
        let found = entry.get(9..).and_then(|rest| rest.get(..name_bytes));
        let Some(found) = found.filter(|_| name_bytes > 0 && length <= entry.len()) else {
            return Found::Damaged;
        };
        give(be64(entry, 0), found, &mut name);
        at = at.saturating_add(length);
    }
    if is_sum_right { Found::WellFormed } else { Found::WrongSum }
}
