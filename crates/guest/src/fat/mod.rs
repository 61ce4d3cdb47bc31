//! FAT12, FAT16 and FAT32 (Microsoft's FAT specification of 2005; which of the three a volume
//! is, as Linux tells it).
//!
//! The FAT is read once and kept as fragments ([`table`]); then directories are read from the
//! root on. Claims count in sectors, since the data begins at any of them.
//!
//! Long names become UTF-8. Short names are kept as the bytes that they are: which
//! characters those above 0x7f are depends on the code page of whoever wrote them.

mod boot;
pub(crate) mod chain;
mod name;
mod scan;
pub(crate) mod table;

use crate::Error;
use crate::field::{has, le16, le32, quotient, word};
use crate::fs::{Allocation, Failure, FileSystem, Packs, Reader, Stretch, Valid, Views};
use crate::window::Window;
use airlock_model::Extent;
use boot::Boot;
use table::{State, Table, Width};

/// What the modules of a survey read from.
#[derive(Debug)]
pub(crate) struct Fs<'d> {
    pub(crate) window: Window<'d>,
    pub(crate) boot: Boot,
}

impl Fs<'_> {
    /// Returns how many sectors belong to the file system.
    pub(crate) fn units(&self) -> u64 {
        self.boot.data.saturating_add(self.boot.clusters_here.saturating_mul(self.boot.cluster_sectors))
    }
}

const _: Reader = read;

/// Returns whether the start of a volume is a FAT boot sector by its name.
pub(crate) fn is_named(head: &[u8]) -> bool {
    has(head, 82, b"FAT32   ")
        || [b"FAT12   ", b"FAT16   ", b"FAT     "].iter().any(|name| has(head, 54, *name))
}

/// Returns whether the volume has a boot sector and a FAT that fit each other.
pub(crate) fn is_there(window: &Window<'_>, head: &[u8]) -> bool {
    Boot::parse(head, window.bytes()).is_some_and(|boot| boot.is_sure(head, window))
}

/// Returns whether there is a copy of a boot sector, where the first one is none.
pub(crate) fn has_copy(window: &Window<'_>) -> bool {
    Boot::copy(window).is_ok_and(|copy| copy.is_some())
}

/// Reads a FAT file system.
pub(crate) fn read<'d>(window: &Window<'d>, runs_max: usize) -> Result<FileSystem<'d>, Failure> {
    let failed = |error| Failure::raw("vfat", error);
    let Some((boot, copied)) = Boot::read(window).map_err(failed)? else {
        return Err(Failure::raw("vfat", "the boot sector is damaged"));
    };
    let fs = Fs { window: window.clone(), boot };
    let Some(shape) = boot.table(0) else {
        return Err(Failure::raw("vfat", "there is no FAT"));
    };
    let table = Table::read(window, &shape).map_err(failed)?;
    let (damaged, start) = (table.damaged, Extent::new(shape.at, boot.sector_bytes));
    let mut scan = scan::scan(&fs, table, runs_max).map_err(failed)?;
    let tally = &mut scan.tally;
    tally.count("boot sector read from its copy", u64::from(copied), Extent::new(0, boot.sector_bytes));
    tally.count("entries of the FAT that name no cluster", damaged, start);
    let missing = boot.clusters.saturating_sub(boot.clusters_here);
    tally.count("clusters behind the end of the volume", missing, Extent::new(0, boot.sector_bytes));
    for copy in (1_u64..).map_while(|copy| boot.table(copy)) {
        let same = shape.is_same(&copy, window).map_err(failed)?;
        tally.count("FATs that differ from the one that counts", u64::from(!same), Extent::new(copy.at, 1));
    }
    let dirty = boot.dirty || is_dirty(window, shape.at, boot.width).map_err(failed)?;
    let what = "the volume is marked dirty: it was in use, or waits for a check";
    tally.count(what, u64::from(dirty), start);
    Ok(finish(fs, scan))
}

/// Returns whether the second entry of the FAT says that the volume was not unmounted.
fn is_dirty(window: &Window<'_>, at: u64, width: Width) -> Result<bool, Error> {
    let entries = window.bytes_at("the FAT", at, 8)?;
    Ok(match width {
        Width::Sixteen => le16(&entries, 2) & 0x8000 == 0,
        Width::ThirtyTwo => le32(&entries, 4) & 0x0800_0000 == 0,
        Width::Twelve | Width::Whole => false,
    })
}

/// Puts together what a scan found.
fn finish(fs: Fs<'_>, scan: scan::Scan) -> FileSystem<'_> {
    let scan::Scan { nodes, names, claims, reasons, tally, limited, chains, .. } = scan;
    let behind = claims.len();
    FileSystem {
        content: "vfat",
        block_bytes: fs.boot.to_bytes(fs.boot.cluster_sectors),
        unit_bytes: fs.boot.sector_bytes,
        units: fs.units(),
        window: fs.window,
        nodes,
        names,
        root: Some(0),
        claims,
        rests: behind..behind,
        views: Views::default(),
        packs: Packs::default(),
        valid: Valid::default(),
        allocation: Box::new(Free { boot: fs.boot, table: chains.table }),
        shares: false,
        tally,
        limited,
        reasons,
        replays: Vec::new(),
    }
}

/// Tells free clusters by the FAT.
#[derive(Debug)]
struct Free {
    boot: Boot,
    table: Table,
}

impl Allocation for Free {
    fn stretch(&mut self, unit: u64, end: u64) -> Result<Stretch, Error> {
        let Some(relative) = unit.checked_sub(self.boot.data) else {
            return Ok(Stretch { end: end.min(self.boot.data), free: false });
        };
        let cluster = word(quotient(relative, self.boot.cluster_sectors).saturating_add(2));
        let (state, behind) = self.table.state(cluster);
        Ok(Stretch { end: self.boot.sector(behind).min(end), free: state == State::Free })
    }
}
