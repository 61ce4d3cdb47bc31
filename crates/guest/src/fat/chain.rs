//! Follows the chains of files and directories, each part once where possible.

use super::table::Table;

/// Parts of chains that several files have and that are followed for each of them.
const CROSSINGS_MAX: u32 = 1 << 20;

/// How a chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With its end mark.
    Whole,
    /// In a cluster that is free, bad or nowhere.
    Broken,
    /// In a cluster of its own.
    Cycle,
    /// In clusters of another chain: they are followed for a file as far as its size needs it.
    Crossed,
    /// Likewise, and too many did before.
    Limited,
}

/// The chains of a volume.
#[derive(Debug)]
pub(crate) struct Chains {
    pub(crate) table: Table,
    crossings_left: u32,
}

impl Chains {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, crossings_left: CROSSINGS_MAX }
    }

    /// Adds the clusters of a chain as cluster and length; `need` is the most that are taken
    /// from the chain of another one.
    ///
    /// Parts that several have are limited in number, so all chains together cost no more
    /// than the FAT is long.
    pub(crate) fn follow(&mut self, first: u32, who: u32, need: u64, runs: &mut Vec<(u32, u32)>) -> Ended {
        runs.clear();
        let who = who.saturating_add(1);
        let (mut at, mut clusters, mut crossed) = (first, 0_u64, false);
        loop {
            let Some(part) = self.table.follow(at, who) else {
                return Ended::Broken;
            };
            if part.seen == who {
                return Ended::Cycle;
            }
            crossed |= part.seen != 0;
            let mut length = part.length;
            if crossed {
                let left = u32::try_from(need.saturating_sub(clusters)).unwrap_or(u32::MAX);
                length = length.min(left);
                if length == 0 {
                    return Ended::Crossed;
                }
                if self.crossings_left == 0 {
                    return Ended::Limited;
                }
                self.crossings_left = self.crossings_left.saturating_sub(1);
            }
            runs.push((part.cluster, length));
            clusters = clusters.saturating_add(u64::from(length));
            match part.next {
                Some(next) => at = next,
                None if crossed => return Ended::Crossed,
                None => return Ended::Whole,
            }
        }
    }
}
