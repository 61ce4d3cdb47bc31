//! What is in use, from the tree of extents.

use super::Fs;
use super::item::{EXTENT_ITEM, METADATA_ITEM};
use super::tree::{Root, Walker};
use crate::Error;
use crate::field::{le64, quotient};
use crate::fs::{Allocation, Stretch};

/// Most runs of used sectors; 16 bytes each.
const RUNS_MAX: usize = 8 << 20;

/// Runs of sectors, as first and number of them.
type Runs = Vec<(u64, u64)>;

/// What is in use.
#[derive(Debug, Default)]
pub(crate) struct Space {
    /// Sectors in use, sorted and apart.
    used: Runs,
    /// Those of them that the file system has for itself, likewise.
    pub(crate) metadata: Runs,
    /// Whether something is missing, so that nothing is known to be free.
    pub(crate) damaged: bool,
    /// Whether there were too many runs.
    pub(crate) limited: bool,
    /// Extents that are outside of all chunks.
    pub(crate) outside: u64,
}

impl Space {
    /// Reads the tree of extents; without one, nothing is known to be free.
    pub(crate) fn read(fs: &Fs<'_>, walker: &mut Walker, root: Option<Root>) -> Self {
        let mut space = Self::default();
        let Some(root) = root else {
            return Self { damaged: true, ..space };
        };
        let before = (walker.damage.blocks, walker.damage.disorder);
        walker.walk(fs, root, |item| {
            let (length, own) = match item.key.kind {
                EXTENT_ITEM => (item.key.offset, le64(item.bytes, 16) & 2 != 0),
                METADATA_ITEM => (fs.superblock.node_bytes, true),
                _ => return,
            };
            space.add(fs, item.key.object, length, own);
        });
        space.damaged |= walker.exhausted || before != (walker.damage.blocks, walker.damage.disorder);
        join(&mut space.used);
        join(&mut space.metadata);
        space
    }

    fn add(&mut self, fs: &Fs<'_>, address: u64, length: u64, own: bool) {
        let Some(copies) = fs.chunks.locate(address, length) else {
            self.outside = self.outside.saturating_add(1);
            return;
        };
        let sector_bytes = fs.superblock.sector_bytes;
        for at in copies.iter() {
            let run = (quotient(at, sector_bytes), length.div_ceil(sector_bytes));
            if self.used.len() >= RUNS_MAX || self.metadata.len() >= RUNS_MAX {
                (self.damaged, self.limited) = (true, true);
                return;
            }
            push(&mut self.used, run);
            // The second copy of data belongs to nobody's file.
            if own || at != copies.first {
                push(&mut self.metadata, run);
            }
        }
    }

    /// Returns whether the sector is called the file system's own.
    pub(crate) fn is_own(&self, sector: u64) -> bool {
        holds(&self.metadata, sector).is_some()
    }
}

fn end_of((start, length): (u64, u64)) -> u64 {
    start.saturating_add(length)
}

/// Adds a run, to the one before it where they touch.
fn push(runs: &mut Runs, run: (u64, u64)) {
    match runs.last_mut() {
        Some(last) if end_of(*last) == run.0 => last.1 = last.1.saturating_add(run.1),
        _ => runs.push(run),
    }
}

/// Sorts runs and joins those that touch or overlap.
fn join(runs: &mut Runs) {
    runs.sort_unstable();
    runs.dedup_by(|next, kept| {
        let touches = end_of(*kept) >= next.0;
        if touches {
            kept.1 = end_of(*kept).max(end_of(*next)).saturating_sub(kept.0);
        }
        touches
    });
}

/// Returns the end of the run that has a sector.
fn holds(runs: &Runs, sector: u64) -> Option<u64> {
    let behind = runs.partition_point(|(start, _)| *start <= sector);
    let end = end_of(*runs.get(behind.checked_sub(1)?)?);
    (end > sector).then_some(end)
}

impl Allocation for Space {
    fn stretch(&mut self, unit: u64, end: u64) -> Result<Stretch, Error> {
        if self.damaged {
            return Ok(Stretch { end, free: false });
        }
        if let Some(used) = holds(&self.used, unit) {
            return Ok(Stretch { end: used.min(end), free: false });
        }
        let behind = self.used.partition_point(|(start, _)| *start <= unit);
        let next = self.used.get(behind).map_or(end, |(start, _)| *start);
        Ok(Stretch { end: next.min(end), free: true })
    }
}
