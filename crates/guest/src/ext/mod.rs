//! ext2, ext3 and ext4 (kernel Documentation/filesystems/ext4).
//!
//! Inode tables are scanned from end to end and then directories for names: no path
//! is walked. Every inode's blocks become claims on the file system's blocks; when
//! all claims are settled, the block bitmaps tell free space from the rest.

mod bitmap;
mod directory;
mod extents;
mod groups;
mod indirect;
mod inline;
mod inode;
mod scan;
mod superblock;

use crate::field::{wide, word};
use crate::fs::{Failure, FileSystem, Reader, Tally};
use crate::window::Window;
use airlock_model::Extent;
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
    let superblock = Superblock::read(window)?;
    let content = superblock.content;
    let cannot_read = |error| Failure::raw(content, error);
    let mut tally = Tally::default();
    let groups = groups::read(window, &superblock, &mut tally).map_err(cannot_read)?;
    let fs = Fs { window: window.clone(), superblock, groups };
    let scan = scan::scan(&fs, runs_max, tally).map_err(cannot_read)?;
    Ok(finish(fs, scan))
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
    if superblock.needs_recovery {
        tally.count("journal needs recovery", 1, at_superblock);
    }
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
        tally,
        limited,
        replay: None,
        allocation: Box::new(bitmap::Bitmaps::new(fs)),
    }
}
