//! exFAT (Microsoft's exFAT specification, revision 1.00).
//!
//! Directories are read from the root on. A file whose clusters follow each other is not in
//! the FAT, which is read once and kept as fragments, as for [`crate::fat`]; what is free is
//! in the allocation bitmap. Claims count in sectors, since the heap of clusters begins at
//! any of them.

mod boot;
mod entries;
mod scan;

use crate::Error;
use crate::bits::{is_set, next_change};
use crate::fat::table::Table;
use crate::field::{narrow, quotient, wide, word};
use crate::fs::{Allocation, Failure, FileSystem, Packs, Reader, Stretch, Views};
use crate::window::Window;
use airlock_model::Extent;
use boot::Boot;

/// What the modules of a survey read from.
#[derive(Debug)]
pub(crate) struct Fs<'d> {
    pub(crate) window: Window<'d>,
    pub(crate) boot: Boot,
}

impl Fs<'_> {
    /// Returns how many sectors belong to the file system.
    pub(crate) fn units(&self) -> u64 {
        self.boot.heap.saturating_add(self.boot.clusters_here.saturating_mul(self.boot.cluster_sectors))
    }
}

const _: Reader = read;

/// Returns whether there is a copy of a boot region, where the first one is none.
pub(crate) fn has_copy(window: &Window<'_>) -> bool {
    Boot::copy(window).is_ok_and(|copy| copy.is_some())
}

/// Reads an exFAT file system.
pub(crate) fn read<'d>(window: &Window<'d>, runs_max: usize) -> Result<FileSystem<'d>, Failure> {
    let failed = |error| Failure::raw("exfat", error);
    let Some((boot, copied)) = Boot::read(window).map_err(failed)? else {
        return Err(Failure::raw("exfat", "the boot sector is damaged"));
    };
    let fs = Fs { window: window.clone(), boot };
    let table = Table::read(window, &boot.table()).map_err(failed)?;
    let mut scan = scan::scan(&fs, table, runs_max).map_err(failed)?;
    let (tally, extent) = (&mut scan.tally, Extent::new(0, boot.sector_bytes));
    tally.count("boot region read from its copy", u64::from(copied), extent);
    tally.count("boot region with a wrong checksum", u64::from(!boot.is_sum_right), extent);
    let missing = boot.clusters.saturating_sub(boot.clusters_here);
    tally.count("clusters behind the end of the volume", missing, extent);
    let what = "the volume is marked dirty: it was in use, or waits for a check";
    tally.count(what, u64::from(boot.dirty), extent);
    tally.count("no allocation bitmap", u64::from(scan.bitmap_bytes == 0), extent);
    Ok(finish(fs, scan))
}

/// Puts together what a scan found.
fn finish(fs: Fs<'_>, scan: scan::Scan) -> FileSystem<'_> {
    let scan::Scan { nodes, names, claims, valid, reasons, tally, limited, bitmap, bitmap_bytes, .. } = scan;
    let (behind, units) = (claims.len(), fs.units());
    FileSystem {
        content: "exfat",
        block_bytes: fs.boot.cluster_bytes(),
        unit_bytes: fs.boot.sector_bytes,
        units,
        nodes,
        names,
        root: Some(0),
        claims,
        rests: behind..behind,
        views: Views::default(),
        packs: Packs::default(),
        valid,
        shares: false,
        tally,
        limited,
        reasons,
        replays: Vec::new(),
        window: fs.window.clone(),
        allocation: Box::new(Bitmap::new(fs, &bitmap, bitmap_bytes)),
    }
}

/// Bytes of the bitmap that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// Reads the allocation bitmap in ascending order.
#[derive(Debug)]
struct Bitmap<'d> {
    fs: Fs<'d>,
    /// Where its bytes lie on the volume: first byte, place, length.
    runs: Vec<(u64, u64, u64)>,
    bytes: Vec<u8>,
    start: u64,
}

impl<'d> Bitmap<'d> {
    fn new(fs: Fs<'d>, clusters: &[(u32, u32)], size: u64) -> Self {
        let (mut runs, mut at) = (Vec::new(), 0_u64);
        for &(cluster, length) in clusters {
            let bytes = u64::from(length).saturating_mul(fs.boot.cluster_bytes());
            let bytes = bytes.min(size.saturating_sub(at));
            runs.push((at, fs.boot.to_bytes(fs.boot.sector(cluster)), bytes));
            at = at.saturating_add(bytes);
        }
        Self { fs, runs, bytes: Vec::new(), start: 0 }
    }

    /// Makes sure that a byte of the bitmap is in memory; false if there is none.
    fn load(&mut self, at: u64) -> Result<bool, Error> {
        if at >= self.start && at < self.start.saturating_add(wide(self.bytes.len())) {
            return Ok(true);
        }
        let behind = self.runs.partition_point(|(first, ..)| *first <= at);
        let run = behind.checked_sub(1).and_then(|last| self.runs.get(last));
        let Some(&(first, place, length)) = run else { return Ok(false) };
        let within = at.saturating_sub(first);
        let left = length.saturating_sub(within);
        let place = place.saturating_add(within);
        self.bytes = self.fs.window.bytes_at("the allocation bitmap", place, narrow(left.min(READ_BYTES)))?;
        self.start = at;
        Ok(!self.bytes.is_empty())
    }
}

impl Allocation for Bitmap<'_> {
    fn stretch(&mut self, unit: u64, end: u64) -> Result<Stretch, Error> {
        let boot = self.fs.boot;
        let Some(relative) = unit.checked_sub(boot.heap) else {
            return Ok(Stretch { end: end.min(boot.heap), free: false });
        };
        let bit = quotient(relative, boot.cluster_sectors);
        if !self.load(bit >> 3)? {
            return Ok(Stretch { end, free: false });
        }
        let base = self.start.saturating_mul(8);
        let last = boot.clusters_here.saturating_sub(base).min(wide(self.bytes.len()).saturating_mul(8));
        let first = bit.saturating_sub(base);
        let free = !is_set(&self.bytes, first);
        let change = base.saturating_add(next_change(&self.bytes, first, last, !free));
        Ok(Stretch { end: boot.sector(word(change.saturating_add(2))).min(end), free })
    }
}
