//! ext2, ext3 and ext4 (kernel Documentation/filesystems/ext4).
//!
//! Inode tables are scanned from end to end and then directories for names: no path
//! is walked. Every inode's blocks become claims on the file system's blocks; when
//! all claims are settled, the block bitmaps tell free space from the rest.

mod bitmap;
mod claims;
mod directory;
mod emit;
mod extents;
mod groups;
mod indirect;
mod inline;
mod inode;
mod names;
mod scan;
mod superblock;
mod tally;

use crate::Error;
use crate::volumes::Findings;
use crate::window::Window;
use superblock::Superblock;

/// Why a volume with the magic number of ext is not read as such.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For people.
    pub(crate) what: String,
    /// The name of what is there.
    pub(crate) content: &'static str,
}

/// What the modules of a survey read from.
#[derive(Debug)]
pub(crate) struct Fs<'d> {
    pub(crate) window: Window<'d>,
    pub(crate) superblock: Superblock,
    pub(crate) groups: Vec<groups::Group>,
}

/// Divides a volume into places; nothing is added where it fails.
pub(crate) fn survey(window: &Window<'_>, label: &str, findings: &mut Findings) -> Result<(), Failure> {
    let superblock = Superblock::read(window)?;
    let content = superblock.content;
    let cannot_read =
        |error: Error| Failure { what: format!("{error}; the volume is taken as raw bytes"), content };
    let mut tally = tally::Tally::default();
    let groups = groups::read(window, &superblock, &mut tally).map_err(cannot_read)?;
    let fs = Fs { window: *window, superblock, groups };
    let scan = scan::scan(&fs, findings.runs_left, tally).map_err(cannot_read)?;
    emit::emit(&fs, scan, label, findings).map_err(cannot_read)
}
