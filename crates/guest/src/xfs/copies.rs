//! Copies of the superblock at the start of every allocation group
//! (XFS Algorithms & Data Structures, "Superblocks").
//!
//! Where the groups begin, only a superblock says. If the first one is damaged, its other
//! numbers, the header of the first group and what `mkfs.xfs` does by itself say where to
//! look; a copy then has to agree with where it is.

use super::is_sum_right;
use super::superblock::Superblock;
use crate::field::{be16, be32, be64, has, narrow, remainder};
use crate::window::Window;
use std::collections::BTreeSet;

/// Largest sector, which the superblock has for itself.
const SECTOR_BYTES_MAX: usize = 32_768;

/// Where the checksum of a superblock is.
const SUM: usize = 224;

/// Block sizes as powers of two.
const BLOCK_BITS: std::ops::RangeInclusive<u32> = 9..=16;

/// Into how many groups `mkfs.xfs` divides a volume.
const USUAL_GROUPS: [u64; 5] = [4, 2, 8, 16, 32];

/// Largest group, and what volumes of 4 TiB and more are divided into.
const GROUP_BYTES_MAX: u64 = 1 << 40;

/// The root directory of a copy that was written before there was one.
const NO_INODE: u64 = u64::MAX;

/// Reads what may be a superblock, with its whole sector as far as there is one.
pub(super) fn sector_at(window: &Window<'_>, at: u64) -> Result<Vec<u8>, crate::Error> {
    let left = narrow(window.bytes().saturating_sub(at));
    window.bytes_at("a superblock", at, SECTOR_BYTES_MAX.min(left))
}

/// Returns whether the sector of a superblock has the checksum that it says, where it has one.
pub(super) fn has_sum(superblock: &Superblock, bytes: &[u8]) -> bool {
    let sector = bytes.get(..narrow(superblock.sector_bytes));
    sector.is_some_and(|sector| is_sum_right(sector, SUM))
}

/// Returns whether a sector that is no superblock that is known has the checksum of version 5.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let sector = bytes.get(..usize::from(be16(bytes, 102)));
    be16(bytes, 100) & 0xf == 5
        && sector.is_some_and(|sector| sector.len() > SUM && is_sum_right(sector, SUM))
}

/// Returns whether the volume has a copy of a superblock.
pub(crate) fn has_copy(window: &Window<'_>) -> bool {
    sector_at(window, 0).is_ok_and(|first| find(window, &first).is_some())
}

/// Returns whether the first superblock is to be believed: by its checksum or, without one, as
/// the next group has the same numbers.
pub(super) fn confirms(window: &Window<'_>, first: &Superblock, bytes: &[u8]) -> bool {
    if first.checksums {
        return has_sum(first, bytes);
    }
    let next = first.to_bytes(first.group_blocks);
    if first.groups < 2 || next >= window.bytes() {
        return true;
    }
    copy_at(window, next).is_some_and(|copy| copy.divides_as(first))
}

/// Finds a copy; `first` is what the first superblock has become.
pub(super) fn find(window: &Window<'_>, first: &[u8]) -> Option<Superblock> {
    let found = places(window.bytes(), first).into_iter().find_map(|at| copy_at(window, at))?;
    // Only some copies know the root directory.
    let last = found.groups.saturating_sub(1);
    let groups = [last, last / 2, 1, 2, 3].into_iter().filter(|group| *group > 0 && *group <= last);
    let better = groups
        .filter_map(|group| found.in_group(group, 0))
        .filter_map(|block| copy_at(window, found.to_bytes(block)))
        .find(|copy| copy.divides_as(&found) && copy.root != NO_INODE);
    let mut copy = better.unwrap_or(found);
    // Made right behind the root directory, and not in the copies (xfsprogs, `xfs_repair`).
    let [bitmap, summary, ..] = &mut copy.own_inodes;
    if copy.root != NO_INODE && [*bitmap, *summary] == [NO_INODE; 2] {
        (*bitmap, *summary) = (copy.root.saturating_add(1), copy.root.saturating_add(2));
    }
    Some(copy)
}

/// Returns the copy of the superblock at the start of a group, if there is one.
fn copy_at(window: &Window<'_>, at: u64) -> Option<Superblock> {
    let bytes = sector_at(window, at).ok()?;
    let copy = Superblock::parse(&bytes, window.bytes()).ok()?;
    let group_bytes = copy.to_bytes(copy.group_blocks);
    let fits = at > 0 && remainder(at, group_bytes) == 0 && at < copy.to_bytes(copy.blocks);
    (fits && (!copy.checksums || has_sum(&copy, &bytes))).then_some(copy)
}

/// Returns where the second group may begin, in bytes of the volume.
fn places(volume_bytes: u64, first: &[u8]) -> BTreeSet<u64> {
    let (blocks, group_blocks, groups) =
        (be64(first, 8), u64::from(be32(first, 84)), u64::from(be32(first, 88)));
    let mut lengths = vec![group_blocks, blocks.checked_div(groups).unwrap_or(0)];
    if groups > 0 {
        lengths.push(blocks.div_ceil(groups));
    }
    // The header of the first group says how long it is.
    for bits in 9..=15_u32 {
        let header = 1_usize.checked_shl(bits).unwrap_or(0);
        if has(first, header, b"XAGF") {
            lengths.push(u64::from(be32(first, header.saturating_add(12))));
        }
    }
    let mut places = BTreeSet::from([GROUP_BYTES_MAX]);
    for bits in BLOCK_BITS {
        places.extend(lengths.iter().map(|length| length.checked_shl(bits).unwrap_or(0)));
        let blocks = volume_bytes.checked_shr(bits).unwrap_or(0);
        let usual = USUAL_GROUPS.map(|groups| blocks.div_ceil(groups));
        places.extend(usual.map(|length| length.checked_shl(bits).unwrap_or(0)));
    }
    places.retain(|at| *at > 0 && *at <= GROUP_BYTES_MAX && *at < volume_bytes);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_second_group_may_begin() {
        let check = |volume: u64, patches: &[(usize, &[u8])], expected: u64| {
            let mut first = vec![0; 4096];
            for (at, bytes) in patches {
                first[*at..*at + bytes.len()].copy_from_slice(bytes);
            }
            let places = places(volume, &first);
            assert!(places.contains(&expected), "{places:?}");
            assert!(places.len() <= 100, "{} places", places.len());
        };
        check(300 << 20, &[], 75 << 20);
        check((300 << 20) + 4096 * 3, &[], (75 << 20) + 4096);
        check(8 << 40, &[], 1 << 40);
        check(300 << 20, &[(84, &20_000_u32.to_be_bytes())], 20_000 << 12);
        check(300 << 20, &[(8, &70_000_u64.to_be_bytes()), (88, &7_u32.to_be_bytes())], 10_000 << 12);
        check(300 << 20, &[(512, b"XAGF"), (524, &20_001_u32.to_be_bytes())], 20_001 << 12);
    }
}
