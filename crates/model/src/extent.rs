//! Runs of bytes on a disk and in a file.

use serde::{Deserialize, Serialize};

/// A run of bytes in the address space of one disk or bundle file.
///
/// Both fields are in bytes. A length of zero is allowed and covers nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

impl Extent {
    /// Returns the extent of `length` bytes from `offset`.
    pub const fn new(offset: u64, length: u64) -> Self {
        Self { offset, length }
    }

    /// Returns the first byte behind the extent, saturating at `u64::MAX`.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// Returns what `self` and `other` share, if that is at least one byte.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let offset = self.offset.max(other.offset);
        let end = self.end().min(other.end());
        (offset < end).then(|| Self::new(offset, end - offset))
    }
}

/// A run of bytes that has a position on the disk and one in the place it belongs to.
///
/// For a file, `logical` is the offset in the file. For places without an inner
/// order of their own (free space, metadata) it is the sum of the lengths before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// First byte in the place, in bytes.
    pub logical: u64,
    /// First byte on the disk, in bytes.
    pub disk: u64,
    /// Number of bytes.
    pub length: u64,
}

impl Run {
    /// Returns the part of the disk that the run covers.
    pub const fn extent(&self) -> Extent {
        Extent::new(self.disk, self.length)
    }
}

/// Returns the parts of `from` that no extent of `holes` covers.
///
/// `holes` must be sorted by offset; they may touch or overlap each other, but none may lie inside
/// of another (see [`joined`]).
pub fn subtract(from: Extent, holes: &[Extent]) -> Vec<Extent> {
    let mut kept = Vec::new();
    let mut at = from.offset;
    let first = holes.partition_point(|hole| hole.end() <= from.offset);
    for hole in holes.iter().skip(first) {
        if hole.offset >= from.end() {
            break;
        }
        if hole.offset > at {
            kept.push(Extent::new(at, hole.offset - at));
        }
        at = at.max(hole.end());
    }
    if at < from.end() {
        kept.push(Extent::new(at, from.end() - at));
    }
    kept
}

/// Sorts extents and joins those that touch or overlap.
pub fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.retain(|extent| extent.length > 0);
    extents.sort_unstable();
    let mut joined: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        match joined.last_mut() {
            Some(last) if extent.offset <= last.end() => {
                last.length = last.end().max(extent.end()) - last.offset;
            }
            _ => joined.push(extent),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: (u64, u64), holes: &[(u64, u64)], expected: &[(u64, u64)]) {
        let pair = |&(offset, length): &(u64, u64)| Extent::new(offset, length);
        let holes: Vec<_> = holes.iter().map(pair).collect();
        let expected: Vec<_> = expected.iter().map(pair).collect();
        assert_eq!(subtract(pair(&from), &holes), expected);
    }

    #[test]
    fn holes_inside_of_holes_are_joined_first() {
        let extent = |offset, length| Extent::new(offset, length);
        let holes =
            joined(vec![extent(10, 10), extent(0, 100), extent(5, 0), extent(100, 5), extent(200, 1)]);
        assert_eq!(holes, [extent(0, 105), extent(200, 1)]);
        assert!(subtract(extent(50, 50), &holes).is_empty());
    }

    #[test]
    fn subtracting_leaves_what_no_hole_covers() {
        check((0, 10), &[], &[(0, 10)]);
        check((0, 10), &[(0, 10)], &[]);
        check((0, 10), &[(2, 3)], &[(0, 2), (5, 5)]);
        check((5, 10), &[(0, 6), (8, 2), (9, 3), (14, 9)], &[(6, 2), (12, 2)]);
        check((5, 10), &[(0, 5), (15, 5)], &[(5, 10)]);
    }

    #[test]
    fn intersecting_needs_one_shared_byte() {
        let a = Extent::new(0, 10);
        assert_eq!(a.intersect(&Extent::new(10, 5)), None);
        assert_eq!(a.intersect(&Extent::new(9, 5)), Some(Extent::new(9, 1)));
        assert_eq!(Extent::new(u64::MAX, 5).end(), u64::MAX);
    }
}
