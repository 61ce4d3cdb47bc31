//! btrfs on one device (the documentation of btrfs, "On-disk Format").
//!
//! Addresses of the file system are turned into bytes of the volume by chunks. The tree of
//! roots knows the trees of all subvolumes and snapshots, which are read leaf by leaf: inodes,
//! names and extents come side by side. What was synchronised since the last commit is in
//! logs, which are put over the trees while they are read. What is free is what the tree of
//! extents does not have.
//!
//! Claims count in sectors of the volume. Of what is there twice (DUP), the first copy has the
//! files, and the second one is the file system's own, with views to read it as files.

mod chunks;
mod file;
mod item;
mod log;
mod roots;
mod scan;
mod space;
mod sum;
mod superblock;
mod tree;

use crate::Replay;
use crate::field::{quotient, wide};
use crate::fs::{Claims, Failure, FileSystem, Reader, Tally, Valid};
use crate::window::Window;
use airlock_model::Extent;
use chunks::Chunks;
use log::Logs;
use roots::{FS_TREE, Roots};
use scan::Scan;
use space::Space;
use superblock::Superblock;
pub(crate) use superblock::has_copy;
use tree::Walker;

/// The first bytes of the volume, in which there are no extents.
const RESERVED_BYTES: u64 = 1 << 20;

/// What the modules of a survey read from.
#[derive(Debug)]
pub(crate) struct Fs<'d> {
    pub(crate) window: Window<'d>,
    pub(crate) superblock: Superblock,
    pub(crate) chunks: Chunks,
}

const _: Reader = read;

/// Reads a btrfs file system.
pub(crate) fn read<'d>(window: &Window<'d>, runs_max: usize) -> Result<FileSystem<'d>, Failure> {
    let (superblock, chunks) = superblock::read(window)?;
    let mut fs = Fs { window: window.clone(), superblock, chunks };
    let mut walker = Walker::new(&fs);
    let mut tally = Tally::default();
    let sector = Extent::new(superblock::PLACES[0], superblock::BYTES);
    let damaged = roots::read_chunks(&mut fs, &mut walker)?;
    tally.count("damaged chunks", damaged, sector);
    let mut roots = Roots::read(&fs, &mut walker);
    if roots.subvolumes.is_empty() {
        return Err(Failure::raw("btrfs", "the tree of roots cannot be read"));
    }
    roots.read_relocation(&fs, &mut walker);
    let space = Space::read(&fs, &mut walker, roots.extent_tree);
    tally.count("extents outside the file system", space.outside, sector);
    tally.count(
        "the tree of extents is damaged, so that nothing is known to be free",
        u64::from(space.damaged),
        sector,
    );
    let mut logs = Logs::default();
    let mut replays = Vec::new();
    if let Some(root) = fs.superblock.log_root {
        logs = Logs::read(&fs, &mut walker, root);
        if logs.damaged {
            let what = "the log trees cannot be read, and would have to be replayed";
            return Err(Failure::raw("btrfs", what)
                .of_log("btrfs")
                .limited(logs.limited || walker.exhausted));
        }
        let transactions = wide(logs.by_root.len());
        let blocks = logs.blocks;
        replays.push(Replay { volume: String::new(), log: "btrfs", done: true, transactions, blocks });
    }
    let claims = claim_own(&fs, &space, &roots, runs_max);
    let mut scan = Scan::new(claims, roots.subvolumes.len() > 1, tally);
    for subvolume in &roots.subvolumes {
        let log = logs.by_root.remove(&subvolume.number);
        scan.subvolume(&fs, &mut walker, subvolume, log);
    }
    scan.limited |= walker.exhausted || roots.limited || space.limited;
    let root = scan.hang(&roots.subvolumes, FS_TREE);
    count(&fs, &mut scan.tally, &walker);
    Ok(FileSystem { root, replays, ..finish(fs, scan, space, walker) })
}

/// Claims what the file system has for itself.
fn claim_own(fs: &Fs<'_>, space: &Space, roots: &Roots, runs_max: usize) -> Claims {
    let sector_bytes = fs.superblock.sector_bytes;
    let mut claims = Claims::new(fs.superblock.sectors, runs_max);
    for at in superblock::PLACES {
        claims.metadata(quotient(at, sector_bytes), superblock::BYTES.div_ceil(sector_bytes));
    }
    for (start, length) in &space.metadata {
        claims.metadata(*start, *length);
    }
    for (address, length) in &roots.own {
        for at in fs.chunks.locate(*address, *length).iter().flat_map(|copies| copies.iter()) {
            claims.metadata(quotient(at, sector_bytes), length.div_ceil(sector_bytes));
        }
    }
    claims
}

/// Counts what was wrong with blocks.
fn count(fs: &Fs<'_>, tally: &mut Tally, walker: &Walker) {
    let place = Extent::new(superblock::PLACES[0], superblock::BYTES);
    let tree::Damage { blocks, repeated, sums, copies, disorder } = walker.damage;
    tally.count("blocks of trees that are damaged", blocks, place);
    tally.count("blocks that a tree has twice", repeated, place);
    tally.count("blocks of trees with a wrong checksum", sums, place);
    tally.count("blocks of trees whose first copy is damaged", copies, place);
    tally.count("items of trees that are out of order", disorder, place);
    let what = "checksums of a kind that is not checked";
    tally.count(what, u64::from(fs.superblock.sum.is_none()), place);
    tally.count("superblock damaged; a copy is used", u64::from(fs.superblock.copy), place);
    let missing = fs.superblock.sectors_claimed.saturating_sub(fs.superblock.sectors);
    tally.count("blocks behind the end of the volume", missing, place);
}

/// Puts together what a scan found.
fn finish(fs: Fs<'_>, mut scan: Scan, space: Space, walker: Walker) -> FileSystem<'_> {
    let sector_bytes = fs.superblock.sector_bytes;
    let behind = scan.claims.len();
    for claim in std::mem::take(&mut scan.rests) {
        scan.claims.push(claim);
    }
    let rests = behind..scan.claims.len();
    // Blocks that are in use and that the tree of extents does not have, as those of logs.
    let mut blocks = walker.blocks;
    blocks.sort_unstable();
    blocks.dedup();
    for block in blocks {
        let copies = fs.chunks.locate(block, fs.superblock.node_bytes);
        for at in copies.iter().flat_map(|copies| copies.iter()) {
            let sector = quotient(at, sector_bytes);
            if !space.is_own(sector) {
                scan.claims.metadata(sector, quotient(fs.superblock.node_bytes, sector_bytes));
            }
        }
    }
    scan.claims.metadata(0, quotient(RESERVED_BYTES, sector_bytes));
    let Scan { nodes, names, claims, views, packs, reasons, tally, limited, .. } = scan;
    FileSystem {
        content: "btrfs",
        block_bytes: sector_bytes,
        unit_bytes: sector_bytes,
        units: fs.superblock.sectors,
        root: None,
        shares: true,
        nodes,
        names,
        claims,
        rests,
        views,
        packs,
        valid: Valid::default(),
        tally,
        limited,
        reasons,
        replays: Vec::new(),
        allocation: Box::new(space),
        window: fs.window,
    }
}
