//! ext2, ext3 and ext4 (kernel Documentation/filesystems/ext4).
//!
//! Inode tables are scanned from end to end and then directories for names: no path
//! is walked. Every inode's blocks become claims on the file system's blocks; when
//! all claims are settled, the block bitmaps tell free space from the rest.
//!
//! A journal that was in use is replayed first, into an overlay; fast commits behind it change
//! inodes and names while these are read.

mod bitmap;
mod directory;
mod extents;
mod fast;
mod groups;
mod indirect;
mod inline;
mod inode;
mod journal;
mod orphans;
mod recovery;
mod scan;
mod superblock;

use crate::field::{wide, word};
use crate::fs::{Failure, FileSystem, Reader, Reasons, Tally};
use crate::window::Window;
use airlock_model::Extent;
use journal::Refusal;
use superblock::{ROOT, Superblock};

/// What the modules of a survey read from.
#[derive(Debug)]
pub(crate) struct Fs<'d> {
    pub(crate) window: Window<'d>,
    pub(crate) superblock: Superblock,
    pub(crate) groups: Vec<groups::Group>,
}

const _: Reader = read;

/// Reads an ext2, ext3 or ext4 file system.
pub(crate) fn read<'d>(window: &Window<'d>, runs_max: usize) -> Result<FileSystem<'d>, Failure> {
    let (superblock, copy) = superblock(window)?;
    let content = superblock.content;
    // A copy does not say whether the journal was in use.
    let has_journal = superblock.journal_inode != 0 || superblock.journal_outside;
    let needs_recovery = superblock.needs_recovery || copy.is_some() && has_journal;
    let (mut fs, mut tally) = open(window, superblock, copy)?;
    let (mut replays, mut records) = (Vec::new(), fast::Records::default());
    if needs_recovery {
        let replayed = recovery::replay(&fs).map_err(|refusal| {
            let limited = matches!(refusal, Refusal::Budget { .. });
            Failure::raw(content, refusal).of_log("jbd2").limited(limited)
        })?;
        if let Some(recovery::Replayed { overlay, fast, replay }) = replayed {
            records = fast;
            let window = window.with_overlay(overlay);
            let (superblock, copy) = self::superblock(&window)?;
            (fs, tally) = open(&window, superblock, copy)?;
            replays.push(replay);
        }
    }
    let failed = |error| Failure::raw(content, error);
    let fast = fast::Fast::new(&fs, &records).map_err(failed)?;
    let mut scan = scan::scan(&fs, runs_max, tally, fast).map_err(failed)?;
    if copy.is_some() {
        let what = "the superblock is damaged, a copy of it is used";
        scan.tally.count(what, 1, Extent::new(1024, 1024));
    }
    let read = FileSystem { replays, ..finish(fs, scan) };
    if copy.is_some() && read.root.is_none() {
        // What was there before can leave copies behind.
        return Err(Failure::raw("unknown", "a copy of a superblock without a root directory"));
    }
    Ok(read)
}

/// Returns whether there is a superblock that can be read.
pub(crate) fn is_there(window: &Window<'_>) -> bool {
    Superblock::read(window).is_ok()
}

/// Returns whether there is a copy of a superblock, where the first one is none.
pub(crate) fn has_copy(window: &Window<'_>) -> bool {
    Superblock::read_copy(window).is_some()
}

/// Reads the superblock, or a copy of it and says of which group.
fn superblock(window: &Window<'_>) -> Result<(Superblock, Option<u64>), Failure> {
    Superblock::read(window).map(|superblock| (superblock, None)).or_else(|failure| {
        let copy = Superblock::read_copy(window).ok_or(failure);
        copy.map(|(superblock, group)| (superblock, Some(group)))
    })
}

/// Reads the group descriptors.
fn open<'d>(
    window: &Window<'d>,
    superblock: Superblock,
    copy: Option<u64>,
) -> Result<(Fs<'d>, Tally), Failure> {
    let mut tally = Tally::default();
    let groups = groups::read(window, &superblock, copy, &mut tally);
    let groups = groups.map_err(|error| Failure::raw(superblock.content, error))?;
    Ok((Fs { window: window.clone(), superblock, groups }, tally))
}

/// Puts together what a scan found.
fn finish(fs: Fs<'_>, scan: scan::Scan) -> FileSystem<'_> {
    let scan::Scan { nodes, names, mut claims, cluster_claims, views, mut tally, limited, .. } = scan;
    let superblock = &fs.superblock;
    let first_rest = claims.len();
    for claim in cluster_claims {
        claims.push(claim);
    }
    let rests = first_rest..claims.len();
    claims.rest_of_metadata(superblock.cluster_bits);
    let at_superblock = Extent::new(1024, 1024);
    if superblock.blocks_claimed > superblock.blocks {
        let missing = superblock.blocks_claimed.saturating_sub(superblock.blocks);
        tally.count("blocks behind the end of the volume", missing, at_superblock);
    }
    if superblock.journal_inode > 8 {
        tally.count("journal in an unusual inode", 1, at_superblock);
    }
    let root = nodes.iter().position(|node| node.inode == u64::from(ROOT));
    FileSystem {
        window: fs.window.clone(),
        content: superblock.content,
        block_bytes: superblock.block_bytes,
        unit_bytes: superblock.block_bytes,
        units: superblock.blocks,
        root: root.map(|root| word(wide(root))),
        shares: superblock.shared_blocks,
        nodes,
        names,
        claims,
        rests,
        views,
        packs: crate::fs::Packs::default(),
        valid: crate::fs::Valid::default(),
        tally,
        limited,
        reasons: Reasons::default(),
        replays: Vec::new(),
        allocation: Box::new(bitmap::Bitmaps::new(fs)),
    }
}
