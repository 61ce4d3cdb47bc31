//! XFS, versions 4 and 5 (XFS Algorithms & Data Structures, third edition).
//!
//! The inodes of every allocation group are read by the tree that lists them, and then
//! directories for names; an inode that only a directory knows of is read, too. What is
//! free is in another tree of each group. Both may be out of date until the log is
//! replayed, which happens first and in memory.
//!
//! A block of the file system has the number of its allocation group in its upper bits.
//! Claims count from the first block of the volume.

mod copies;
mod directory;
mod extents;
mod groups;
mod inode;
mod log;
mod scan;
mod superblock;
mod tree;

use crate::Error;
use crate::checksum::crc32c;
use crate::field::{le32, wide, word};
use crate::fs::{Allocation, Failure, FileSystem, Packs, Reader, Reasons, Stretch};
use crate::window::Window;
use airlock_model::Extent;
pub(crate) use copies::has_copy;
use superblock::Superblock;

/// What the modules of a survey read from.
#[derive(Debug)]
pub(crate) struct Fs<'d> {
    pub(crate) window: Window<'d>,
    pub(crate) superblock: Superblock,
}

impl Fs<'_> {
    /// Returns whether the checksum at `field` of a structure that was read from `at` is right.
    /// What the log has is newer than its checksum.
    pub(crate) fn is_sum_right(&self, bytes: &[u8], field: usize, at: u64) -> bool {
        if !self.superblock.checksums || is_sum_right(bytes, field) {
            return true;
        }
        let patched = self.window.overlay().and_then(|overlay| overlay.next(at));
        patched.is_some_and(|next| next < at.saturating_add(wide(bytes.len())))
    }
}

/// Returns whether the checksum at `field` is that of the rest.
pub(crate) fn is_sum_right(bytes: &[u8], field: usize) -> bool {
    let crc = crc32c(u32::MAX, bytes.get(..field).unwrap_or_default());
    let crc = crc32c(crc, &[0; 4]);
    let crc = crc32c(crc, bytes.get(field.saturating_add(4)..).unwrap_or_default());
    !crc == le32(bytes, field)
}

const _: Reader = read;

/// Reads an XFS file system.
pub(crate) fn read<'d>(window: &Window<'d>, runs_max: usize) -> Result<FileSystem<'d>, Failure> {
    let superblock = Superblock::read(window)?;
    let mut fs = Fs { window: window.clone(), superblock };
    let refused = |refusal| {
        let limited = matches!(refusal, log::Refusal::Budget);
        Failure::raw("xfs", refusal).of_log("xfs").limited(limited)
    };
    let replayed = log::replay(&fs).map_err(refused)?;
    let (mut replays, mut unfinished) = (Vec::new(), 0);
    if let Some(replayed) = replayed {
        let window = window.with_overlay(replayed.overlay);
        let superblock = fs.superblock.read_replayed(&window)?;
        fs = Fs { window, superblock };
        replays.push(replayed.replay);
        unfinished = replayed.unfinished;
    }
    let mut scan = scan::scan(&fs, runs_max).map_err(|error| Failure::raw("xfs", error))?;
    let at_superblock = Extent::new(0, fs.superblock.sector_bytes);
    let copy = fs.superblock.copy;
    scan.tally.count("the superblock is damaged, a copy of it is used", u64::from(copy), at_superblock);
    let what = "operations that are in the log and that a mount would finish";
    scan.tally.count(what, unfinished, at_superblock);
    let missing = fs.superblock.blocks_claimed.saturating_sub(fs.superblock.blocks);
    scan.tally.count("blocks behind the end of the volume", missing, at_superblock);
    let read = FileSystem { replays, ..finish(fs, scan) };
    if copy && read.root.is_none() {
        return Err(Failure::raw("xfs", "a copy of a superblock without a root directory"));
    }
    Ok(read)
}

/// Puts together what a scan found.
fn finish(fs: Fs<'_>, scan: scan::Scan) -> FileSystem<'_> {
    let scan::Scan { nodes, names, claims, views, groups, tally, limited, .. } = scan;
    let root = nodes.iter().position(|node| node.inode == fs.superblock.root);
    let behind = claims.len();
    FileSystem {
        content: "xfs",
        block_bytes: fs.superblock.block_bytes,
        unit_bytes: fs.superblock.block_bytes,
        units: fs.superblock.blocks,
        root: root.map(|root| word(wide(root))),
        shares: fs.superblock.reflink,
        nodes,
        names,
        claims,
        rests: behind..behind,
        views,
        packs: Packs::default(),
        valid: crate::fs::Valid::default(),
        tally,
        limited: limited || groups.limited,
        reasons: Reasons::default(),
        replays: Vec::new(),
        allocation: Box::new(Free(groups.free)),
        window: fs.window,
    }
}

/// Free runs in order.
#[derive(Debug)]
struct Free(Vec<(u64, u64)>);

impl Allocation for Free {
    fn stretch(&mut self, unit: u64, end: u64) -> Result<Stretch, Error> {
        let behind = self.0.partition_point(|(block, _)| *block <= unit);
        let run = behind.checked_sub(1).and_then(|last| self.0.get(last));
        let run_end = run.map_or(0, |(block, length)| block.saturating_add(*length));
        if run_end > unit {
            return Ok(Stretch { end: run_end.min(end), free: true });
        }
        let next = self.0.get(behind).map_or(end, |(block, _)| *block);
        Ok(Stretch { end: next.min(end), free: false })
    }
}
