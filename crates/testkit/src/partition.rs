//! Disks with a partition table around file systems.

use crate::error::IoContext;
use crate::{Error, Result, Tool};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SECTOR: u64 = 512;
const ALIGN: u64 = 1 << 20;

/// A kind of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartitionTable {
    /// The table of the first sector, four primary partitions.
    Mbr,
    /// GUID partition table.
    Gpt,
}

/// A raw disk with partitions.
#[derive(Debug, Clone)]
pub struct PartitionedDisk {
    /// The disk.
    pub path: PathBuf,
    /// Where each partition begins, in bytes.
    pub offsets: Vec<u64>,
    /// Size of the disk in bytes.
    pub size: u64,
}

impl PartitionedDisk {
    /// Writes a disk that holds each of `contents` in a partition of its own.
    ///
    /// Identifiers are fixed, so that the same contents give the same disk.
    pub fn build(disk: impl Into<PathBuf>, table: PartitionTable, contents: &[&Path]) -> Result<Self> {
        let path = disk.into();
        let mut offsets = Vec::new();
        let mut next = ALIGN;
        let mut script = match table {
            PartitionTable::Mbr => "label: dos\nlabel-id: 0x6b1d5e0a\n".to_owned(),
            PartitionTable::Gpt => "label: gpt\nlabel-id: 6B1D5E0A-0002-4C7E-9B5E-000000000002\n".to_owned(),
        };
        for (index, content) in contents.iter().enumerate() {
            let bytes = content.metadata().on("inspect", content)?.len().next_multiple_of(SECTOR);
            let _ = write!(script, "start={}, size={}, ", next / SECTOR, bytes / SECTOR);
            let _ = match table {
                PartitionTable::Mbr => writeln!(script, "type=83"),
                PartitionTable::Gpt => {
                    writeln!(script, "type=linux, name=part{index}, uuid=6B1D5E0A-0003-4C7E-9B5E-{index:012}")
                }
            };
            offsets.push(next);
            next = (next + bytes).next_multiple_of(ALIGN);
        }
        let size = next + ALIGN;
        let file = File::create(&path).on("create", &path)?;
        file.set_len(size).on("size", &path)?;
        drop(file);
        Tool::new("sfdisk")?
            .args(["--quiet", "--no-reread", "--no-tell-kernel"])
            .arg(&path)
            .input(script)
            .run()?;
        for (content, offset) in contents.iter().zip(&offsets) {
            copy_sparse(content, &path, *offset)?;
        }
        Ok(Self { path, offsets, size })
    }
}

/// Copies a file into another at `offset` and leaves out what is zero.
pub(crate) fn copy_sparse(from: &Path, to: &Path, offset: u64) -> Result<()> {
    let mut source = File::open(from).on("open", from)?;
    let target = OpenOptions::new().write(true).open(to).on("open", to)?;
    let mut buffer = vec![0; 1 << 16];
    let mut at = offset;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match source.read(&mut buffer[filled..]).on("read", from)? {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            return Ok(());
        }
        if buffer[..filled].iter().any(|byte| *byte != 0) {
            target.write_all_at(&buffer[..filled], at).on("write", to)?;
        }
        at = at
            .checked_add(filled as u64)
            .ok_or_else(|| Error::Layout(format!("{} is too large", from.display())))?;
    }
}
