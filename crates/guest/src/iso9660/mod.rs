//! ISO 9660 with Rock Ridge and Joliet (ECMA-119, RRIP 1.12, the Joliet specification).
//!
//! The tree of the primary descriptor is read, and then the one of Joliet, where there is
//! one; names are those of Rock Ridge, else of Joliet, else plain ones. A file that only one
//! of the trees has is there all the same. Nothing is free: what no file has, such as boot
//! images and the first sixteen sectors, is the file system's own.

mod descriptor;
mod record;
mod scan;

use crate::Error;
use crate::field::quotient;
use crate::fs::{Allocation, Claims, Failure, FileSystem, Packs, Reader, Stretch, Valid, Views};
use crate::window::Window;
use airlock_model::Extent;
pub(crate) use descriptor::is_there;
use descriptor::{SECTOR_BYTES, START};
use scan::Scan;

/// What the modules of a survey read from.
#[derive(Debug)]
pub(crate) struct Fs<'d> {
    pub(crate) window: Window<'d>,
    pub(crate) block_bytes: u64,
    /// Blocks on the volume, cut to its size.
    pub(crate) blocks: u64,
}

impl Fs<'_> {
    /// Returns where so many bytes from a block on are.
    pub(crate) fn extent(&self, block: u64, bytes: u64) -> Extent {
        Extent::new(block.saturating_mul(self.block_bytes), bytes)
    }
}

const _: Reader = read;

/// Reads an ISO 9660 file system.
pub(crate) fn read<'d>(window: &Window<'d>, runs_max: usize) -> Result<FileSystem<'d>, Failure> {
    let found = descriptor::read(window)?;
    let block_bytes = found.block_bytes;
    let blocks = found.blocks.min(quotient(window.bytes(), block_bytes));
    let fs = Fs { window: window.clone(), block_bytes, blocks };
    let mut claims = Claims::new(blocks, runs_max);
    // The descriptors, and the room for boot code before them.
    claims.metadata(0, quotient(START.saturating_add(SECTOR_BYTES), block_bytes));
    let mut scan = Scan::new(claims);
    let trees = if has_rock_ridge(&fs, found.primary) {
        [Some(found.primary), found.joliet]
    } else {
        [found.joliet, Some(found.primary)]
    };
    for tree in trees.into_iter().flatten() {
        scan.tree(&fs, tree);
    }
    let place = Extent::new(START, SECTOR_BYTES);
    let missing = found.blocks.saturating_sub(blocks);
    scan.tally.count("blocks behind the end of the volume", missing, place);
    let Scan { nodes, names, mut claims, reasons, tally, limited, .. } = scan;
    let behind = claims.len();
    if !limited {
        claims.metadata(0, blocks);
    }
    Ok(FileSystem {
        content: "iso9660",
        block_bytes,
        unit_bytes: block_bytes,
        units: blocks,
        root: Some(0),
        shares: true,
        nodes,
        names,
        claims,
        rests: behind..behind,
        views: Views::default(),
        packs: Packs::default(),
        valid: Valid::default(),
        tally,
        limited,
        reasons,
        replays: Vec::new(),
        allocation: Box::new(Full),
        window: fs.window,
    })
}

/// Returns whether the root directory has names of Rock Ridge.
fn has_rock_ridge(fs: &Fs<'_>, tree: descriptor::Tree) -> bool {
    let (block, _) = tree.root;
    let sector = fs.window.bytes_at("a directory", fs.extent(block, SECTOR_BYTES).offset, 2048);
    let sector = sector.unwrap_or_default();
    let first = record::records(&sector).next();
    first.is_some_and(|first| {
        let extra = record::extra(&fs.window, fs.block_bytes, &first, 0);
        extra.found || extra.skip.is_some()
    })
}

/// Nothing is free.
#[derive(Debug)]
struct Full;

impl Allocation for Full {
    fn stretch(&mut self, _unit: u64, end: u64) -> Result<Stretch, Error> {
        Ok(Stretch { end, free: false })
    }
}
