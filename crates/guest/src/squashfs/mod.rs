//! squashfs, version 4 (the documentation of the Linux kernel, "Squashfs 4.0 Filesystem").
//!
//! Every table is compressed in blocks, which are unpacked into memory within a budget: all
//! inodes are read, one behind the other, and then directories for names. Every file is
//! packed; the ends of small files share a fragment, which the first of them has.
//!
//! Nothing is aligned, so that claims count in bytes. Nothing is free.

mod inode;
mod scan;
mod table;

use crate::Error;
use crate::fs::{Allocation, Claims, Failure, FileSystem, Reader, Stretch, Valid, Views};
use crate::window::Window;
use scan::Scan;
use table::{SUPERBLOCK_BYTES, Superblock, Table};

/// What the modules of a survey read from.
#[derive(Debug)]
pub(crate) struct Fs<'d> {
    pub(crate) window: Window<'d>,
    pub(crate) superblock: Superblock,
    /// Where fragments are, and their sizes as stored.
    pub(crate) fragments: Vec<(u64, u32)>,
}

const _: Reader = read;

/// Reads a squashfs.
pub(crate) fn read<'d>(window: &Window<'d>, runs_max: usize) -> Result<FileSystem<'d>, Failure> {
    let superblock = Superblock::read(window)?;
    let (fragments, complete) = superblock.read_fragments(window);
    let fs = Fs { window: window.clone(), superblock, fragments };
    let Superblock { inode_table, directory_table, bytes, bytes_claimed, .. } = fs.superblock;
    let inodes = Table::read(&fs.superblock, window, inode_table, directory_table);
    if inodes.bytes.is_empty() {
        return Err(Failure::raw("squashfs", "the table of inodes cannot be read"));
    }
    let end = fs.superblock.directories_end(window);
    let directories = Table::read(&fs.superblock, window, directory_table, end);
    let mut claims = Claims::new(bytes, runs_max);
    claims.metadata(0, SUPERBLOCK_BYTES);
    claims.metadata(inode_table, bytes.saturating_sub(inode_table));
    let mut scan = Scan::new(claims);
    scan.inodes(&fs, &inodes, &directories);
    let root = scan.name_all(&fs, &inodes, &directories);
    scan.tally.count("fragments that cannot be read", u64::from(!complete), fs.place());
    scan.limited |= inodes.limited || directories.limited || fs.superblock.has_too_many_fragments();
    let missing = bytes_claimed.saturating_sub(bytes);
    scan.tally.count("bytes behind the end of the volume", missing, fs.place());
    let Scan { nodes, names, mut claims, packs, reasons, tally, limited, .. } = scan;
    let behind = claims.len();
    if !limited {
        claims.metadata(0, bytes);
    }
    Ok(FileSystem {
        content: "squashfs",
        block_bytes: fs.superblock.block_bytes,
        unit_bytes: 1,
        units: bytes,
        root,
        shares: true,
        nodes,
        names,
        claims,
        rests: behind..behind,
        views: Views::default(),
        packs,
        valid: Valid::default(),
        tally,
        limited,
        reasons,
        replays: Vec::new(),
        allocation: Box::new(Full),
        window: fs.window,
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
