//! The FAT: which cluster follows which.
//!
//! It is read once from end to end, in pieces, and kept as fragments: clusters that follow
//! each other on the volume as they do in their file, or that are free. So its memory grows
//! with how fragmented a volume is and not with its size, and no chain is followed by
//! jumping about in the FAT.

use crate::Error;
use crate::field::{le16, le32, narrow, quotient, wide, word};
use crate::window::Window;

const WHAT: &str = "the FAT";

/// Most fragments; 12 bytes each.
const FRAGMENTS_MAX: usize = 8 << 20;

/// The FAT is read in pieces of this size, which three divides: two entries of 12 bits are
/// three bytes.
const READ_BYTES: u64 = 3 << 18;

/// Instead of the number of the next cluster.
const FREE: u32 = 0;
const END: u32 = 1;
const BAD: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;

/// What an entry is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Twelve,
    Sixteen,
    /// FAT32: the upper four bits mean nothing.
    ThirtyTwo,
    /// exFAT.
    Whole,
}

impl Width {
    /// Returns how many entries so many bytes hold.
    pub(crate) fn entries(self, bytes: u64) -> u64 {
        match self {
            Self::Twelve => quotient(bytes.saturating_mul(2), 3),
            Self::Sixteen => bytes >> 1,
            Self::ThirtyTwo | Self::Whole => bytes >> 2,
        }
    }

    /// Returns how many bytes have so many entries.
    fn bytes(self, entries: u64) -> u64 {
        match self {
            Self::Twelve => entries.saturating_mul(3).div_ceil(2),
            Self::Sixteen => entries.saturating_mul(2),
            Self::ThirtyTwo | Self::Whole => entries.saturating_mul(4),
        }
    }

    /// Returns the number that marks a bad cluster; those behind it mark the end of a chain.
    fn bad(self) -> u32 {
        match self {
            Self::Twelve => 0xff7,
            Self::Sixteen => 0xfff7,
            Self::ThirtyTwo => 0x0fff_fff7,
            Self::Whole => 0xffff_fff7,
        }
    }

    pub(crate) fn clusters_max(self) -> u64 {
        u64::from(self.bad()).saturating_sub(2)
    }

    fn entry(self, bytes: &[u8], index: usize) -> u32 {
        match self {
            Self::Twelve => {
                let pair = le16(bytes, index.saturating_mul(3) >> 1);
                u32::from(if index & 1 == 0 { pair & 0xfff } else { pair >> 4 })
            }
            Self::Sixteen => u32::from(le16(bytes, index.saturating_mul(2))),
            Self::ThirtyTwo => le32(bytes, index.saturating_mul(4)) & 0x0fff_ffff,
            Self::Whole => le32(bytes, index.saturating_mul(4)),
        }
    }
}

/// Where a FAT is and what it is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) at: u64,
    pub(crate) width: Width,
    /// Clusters that it is read for; the first one is cluster 2.
    pub(crate) clusters: u64,
}

impl Shape {
    /// Returns how many bytes of the FAT say something.
    fn bytes(&self) -> u64 {
        self.width.bytes(self.clusters.saturating_add(2))
    }

    /// Returns whether another FAT says the same.
    pub(crate) fn is_same(&self, other: &Self, window: &Window<'_>) -> Result<bool, Error> {
        let (mut done, bytes) = (0_u64, self.bytes());
        while done < bytes {
            let zeros = |shape: &Self| {
                let at = shape.at.saturating_add(done);
                let end = shape.at.saturating_add(bytes);
                window.skip_zeros(WHAT, at, end).map(|data| data.saturating_sub(at))
            };
            done = done.saturating_add(zeros(self)?.min(zeros(other)?));
            let length = narrow(bytes.saturating_sub(done).min(READ_BYTES));
            let read = |shape: &Self| window.bytes_at(WHAT, shape.at.saturating_add(done), length);
            if read(self)? != read(other)? {
                return Ok(false);
            }
            done = done.saturating_add(wide(length));
        }
        Ok(true)
    }
}

/// Clusters that follow each other, up to where the next fragment starts.
#[derive(Debug, Clone, Copy)]
struct Fragment {
    start: u32,
    /// What follows its last cluster.
    next: u32,
    /// Who has followed it last; zero is nobody.
    seen: u32,
}

/// A part of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) cluster: u32,
    pub(crate) length: u32,
    /// Cluster of the next part, if there is one.
    pub(crate) next: Option<u32>,
    /// Who had followed it before; zero is nobody.
    pub(crate) seen: u32,
}

/// State of a run of clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Free,
    Bad,
    Used,
}

/// All of a FAT.
#[derive(Debug)]
pub(crate) struct Table {
    fragments: Vec<Fragment>,
    /// Cluster behind the last one.
    end: u32,
    /// Whether there were too many fragments.
    pub(crate) limited: bool,
    /// Entries that name no cluster.
    pub(crate) damaged: u64,
}

impl Table {
    pub(crate) fn read(window: &Window<'_>, shape: &Shape) -> Result<Self, Error> {
        let end = word(shape.clusters.saturating_add(2));
        let mut table = Self { fragments: Vec::new(), end, limited: false, damaged: 0 };
        let per_piece = shape.width.entries(READ_BYTES);
        let (mut first, end, mut buffer) = (0_u64, u64::from(end), Vec::new());
        while first < end {
            let at = shape.at.saturating_add(shape.width.bytes(first));
            let stop = shape.at.saturating_add(shape.width.bytes(end));
            let zeros = window.skip_zeros(WHAT, at, stop)?.saturating_sub(at);
            // Whole pairs, so that the next piece begins with a byte of its own.
            let free = shape.width.entries(zeros) & !1;
            if free > 0 {
                let from = word(first.max(2));
                first = first.saturating_add(free);
                if first > 2 {
                    table.add(from, FREE);
                }
                continue;
            }
            let entries = end.saturating_sub(first).min(per_piece);
            buffer.resize(narrow(shape.width.bytes(entries)), 0);
            window.read(WHAT, at, &mut buffer)?;
            for index in 0..narrow(entries) {
                let cluster = word(first.saturating_add(wide(index)));
                if cluster >= 2 {
                    let next = table.judge(shape.width, shape.width.entry(&buffer, index));
                    table.add(cluster, next);
                }
            }
            first = first.saturating_add(entries);
        }
        Ok(table)
    }

    fn judge(&mut self, width: Width, entry: u32) -> u32 {
        let bad = width.bad();
        match entry {
            FREE => FREE,
            _ if entry == bad => BAD,
            _ if entry > bad => END,
            next if next >= 2 && next < self.end => next,
            _ => {
                self.damaged = self.damaged.saturating_add(1);
                END
            }
        }
    }

    /// Adds a cluster, to the fragment before it where it belongs there.
    fn add(&mut self, cluster: u32, next: u32) {
        let used = !matches!(next, FREE | BAD);
        if let Some(last) = self.fragments.last_mut() {
            if last.next == UNKNOWN || last.next == next && !used {
                return;
            }
            if last.next == cluster && used {
                last.next = next;
                return;
            }
        }
        let full = self.fragments.len() >= FRAGMENTS_MAX;
        self.limited |= full;
        let next = if full { UNKNOWN } else { next };
        self.fragments.push(Fragment { start: cluster, next, seen: 0 });
    }

    /// Returns the position of the fragment that has a cluster, and the cluster behind it.
    fn find(&self, cluster: u32) -> Option<(usize, u32)> {
        if cluster < 2 || cluster >= self.end {
            return None;
        }
        let behind = self.fragments.partition_point(|fragment| fragment.start <= cluster);
        let end = self.fragments.get(behind).map_or(self.end, |fragment| fragment.start);
        Some((behind.checked_sub(1)?, end))
    }

    /// Follows a chain to the end of a fragment, for `who`; nothing if the cluster is in no chain.
    pub(crate) fn follow(&mut self, cluster: u32, who: u32) -> Option<Part> {
        let (at, end) = self.find(cluster)?;
        let fragment = self.fragments.get_mut(at)?;
        if matches!(fragment.next, FREE | BAD | UNKNOWN) {
            return None;
        }
        let seen = std::mem::replace(&mut fragment.seen, who);
        let next = Some(fragment.next).filter(|next| *next != END);
        Some(Part { cluster, length: end.saturating_sub(cluster), next, seen })
    }

    /// Returns the state of a cluster, and the cluster up to which it is the same.
    pub(crate) fn state(&self, cluster: u32) -> (State, u32) {
        let Some((at, end)) = self.find(cluster) else {
            return (State::Used, u32::MAX);
        };
        let state = match self.fragments.get(at).map(|fragment| fragment.next) {
            Some(FREE) => State::Free,
            Some(BAD) => State::Bad,
            _ => State::Used,
        };
        (state, end)
    }

    /// Returns all runs of bad clusters.
    pub(crate) fn bad(&self) -> impl Iterator<Item = (u32, u32)> {
        let bad = self.fragments.iter().filter(|fragment| fragment.next == BAD);
        bad.filter_map(|fragment| Some((fragment.start, self.find(fragment.start)?.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_model::Extent;

    /// Reads a FAT of these entries and follows all chains.
    fn check(entries: &[u32], expected: &str) {
        for width in [Width::Twelve, Width::Sixteen, Width::ThirtyTwo, Width::Whole] {
            let scaled = entries.iter().map(|&entry| {
                let special = 0xf0 + (entry & 15);
                if entry >= 0xff0 { width.bad() & !0xff | special } else { entry }
            });
            let mut bytes = vec![0; narrow(width.bytes(wide(entries.len())))];
            for (index, entry) in scaled.enumerate() {
                let raw = entry.to_le_bytes();
                match width {
                    Width::Twelve => {
                        let at = index * 3 / 2;
                        let shifted = (entry << (4 * (index & 1))).to_le_bytes();
                        bytes[at] |= shifted[0];
                        bytes[at + 1] |= shifted[1];
                    }
                    Width::Sixteen => bytes[2 * index..][..2].copy_from_slice(&raw[..2]),
                    _ => bytes[4 * index..][..4].copy_from_slice(&raw),
                }
            }
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join("fat");
            std::fs::write(&path, &bytes).expect("write");
            let disk = airlock_disk::RawFile::open(&path).expect("open");
            let window = Window::new(&disk, Extent::new(0, u64::MAX));
            let shape = Shape { at: 0, width, clusters: wide(entries.len() - 2) };
            let table = Table::read(&window, &shape).expect("read");
            let found: Vec<_> = table
                .fragments
                .iter()
                .map(|fragment| match fragment.next {
                    FREE => format!("{} free", fragment.start),
                    END => format!("{} end", fragment.start),
                    BAD => format!("{} bad", fragment.start),
                    next => format!("{}>{next}", fragment.start),
                })
                .collect();
            assert_eq!(found.join(" "), expected, "{width:?}");
        }
    }

    #[test]
    fn chains_are_kept_as_fragments() {
        check(&[0xff8, 0xfff], "");
        check(&[0xff8, 0xfff, 0, 0, 0], "2 free");
        check(&[0xff8, 0xfff, 3, 4, 0xfff, 0xff8], "2 end 5 end");
        check(&[0xff8, 0xfff, 5, 0, 0xff7, 6, 7, 0xfff], "2>5 3 free 4 bad 5 end");
        // A link to a free cluster, to itself, out of the FAT, and to the one before it.
        check(&[0xff8, 0xfff, 3, 0, 4, 0xf0, 5], "2>3 3 free 4>4 5 end 6>5");
    }

    #[test]
    fn chains_are_followed() {
        let fragment = |start, next| Fragment { start, next, seen: 0 };
        let fragments = vec![fragment(2, 8), fragment(4, FREE), fragment(8, END)];
        let mut table = Table { fragments, end: 10, limited: false, damaged: 0 };
        let part = |cluster, length, next, seen| Some(Part { cluster, length, next, seen });
        assert_eq!(table.follow(2, 7), part(2, 2, Some(8), 0));
        assert_eq!(table.follow(3, 9), part(3, 1, Some(8), 7));
        assert_eq!(table.follow(8, 9), part(8, 2, None, 0));
        assert_eq!([table.follow(5, 9), table.follow(10, 9), table.follow(1, 9)], [None; 3]);
        assert_eq!([table.state(6), table.state(9)], [(State::Free, 8), (State::Used, 10)]);
    }
}
