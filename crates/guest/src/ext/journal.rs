//! The journal of ext3 and ext4: where its blocks are, and what its superblock says
//! (kernel Documentation/filesystems/ext4/journal.rst).

use super::Fs;
use super::inode::{Inode, Kind, Mapping, Walk};
use crate::Error;
use crate::checksum::crc32c;
use crate::field::{be32, narrow, u8_at};

const MAGIC: u32 = 0xc03b_3998;
pub(crate) const DESCRIPTOR: u32 = 1;
pub(crate) const COMMIT: u32 = 2;
const SUPERBLOCK_V1: u32 = 3;
const SUPERBLOCK_V2: u32 = 4;
pub(crate) const REVOKE: u32 = 5;

const COMPAT_CHECKSUM: u32 = 0x1;
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
const INCOMPAT_CHECKSUM_2: u32 = 0x8;
const INCOMPAT_CHECKSUM_3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
/// Those, and revoke records.
const INCOMPAT_KNOWN: u32 = 0x3f;

/// Fast commits have so many blocks, where the superblock does not say otherwise.
const FAST_BLOCKS: u32 = 256;
/// A journal is never cut below this by its fast-commit area.
const BLOCKS_MIN: u32 = 1024;

const SUPERBLOCK_BYTES: usize = 1024;
const CRC32C: u8 = 4;

/// Why a journal could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the journal needs recovery and is on another device")]
    External,
    #[error("the journal needs recovery and {0}")]
    Damaged(&'static str),
    #[error("the journal needs recovery and has unknown features {0:#x}")]
    Features(u32),
    #[error("the journal needs recovery and has more than {max} {what}")]
    Budget { what: &'static str, max: usize },
    #[error(transparent)]
    Source(#[from] Error),
}

/// How the checksums of a journal work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksums {
    None,
    /// Of whole transactions, in their commit blocks.
    V1,
    /// Of every block, 16 bits of it for data.
    V2,
    V3,
}

/// A journal and its superblock.
#[derive(Debug)]
pub(crate) struct Journal<'f, 'd> {
    fs: &'f Fs<'d>,
    /// Runs of the journal's inode.
    runs: Vec<Mapping>,
    /// The log goes round from the first block to before the last one.
    pub(crate) first: u32,
    pub(crate) end: u32,
    /// Where fast commits are, if there can be any.
    pub(crate) fast: Option<(u32, u32)>,
    /// Where the log starts; 0 if it is empty.
    pub(crate) start: u32,
    /// Number of its first transaction.
    pub(crate) sequence: u32,
    pub(crate) wide: bool,
    pub(crate) asynchronous: bool,
    pub(crate) checksums: Checksums,
    /// What checksums start with.
    pub(crate) seed: u32,
}

impl<'f, 'd> Journal<'f, 'd> {
    /// Opens the journal of a file system.
    pub(crate) fn open(fs: &'f Fs<'d>) -> Result<Self, Refusal> {
        let damaged = |what| Err(Refusal::Damaged(what));
        let number = fs.superblock.journal_inode;
        if number == 0 {
            return if fs.superblock.journal_outside {
                Err(Refusal::External)
            } else {
                damaged("there is no journal")
            };
        }
        let Some(at) = super::scan::inode_at(fs, number) else {
            return damaged("its inode is nowhere");
        };
        let bytes = fs.window.bytes_at("the journal's inode", at, narrow(fs.superblock.inode_bytes))?;
        let inode = Inode::parse(&bytes).filter(|inode| inode.kind == Kind::File && !inode.is_inline());
        let Some(inode) = inode else {
            return damaged("its inode is no file");
        };
        let mut walk = Walk::default();
        inode.map(fs, &mut walk)?;
        let (mut runs, blocks) = (walk.mappings, inode.size.div_ceil(fs.superblock.block_bytes));
        runs.retain(|run| run.written);
        let mut journal = Self {
            fs,
            runs,
            first: 0,
            end: 0,
            fast: None,
            start: 0,
            sequence: 0,
            wide: false,
            asynchronous: false,
            checksums: Checksums::None,
            seed: 0,
        };
        let mut block = journal.block();
        journal.read(0, &mut block)?;
        journal.parse(&block, blocks)?;
        Ok(journal)
    }

    /// Returns a buffer for a block.
    pub(crate) fn block(&self) -> Vec<u8> {
        vec![0; narrow(self.fs.superblock.block_bytes)]
    }

    /// Returns at which byte of the volume a block of the journal is.
    pub(crate) fn at(&self, block: u32) -> Result<u64, Refusal> {
        let behind = self.runs.partition_point(|run| run.logical <= block);
        let run = behind.checked_sub(1).and_then(|last| self.runs.get(last));
        let skipped = |run: &Mapping| block.checked_sub(run.logical).filter(|skipped| *skipped < run.length);
        let found = run.and_then(|run| Some(run.block.saturating_add(u64::from(skipped(run)?))));
        let found = found.ok_or(Refusal::Damaged("has a block that is nowhere"))?;
        Ok(self.fs.superblock.to_bytes(found))
    }

    /// Reads a block of the journal.
    pub(crate) fn read(&self, block: u32, into: &mut [u8]) -> Result<(), Refusal> {
        let at = self.at(block)?;
        Ok(self.fs.window.read_beneath("the journal", at, into)?)
    }

    fn parse(&mut self, bytes: &[u8], blocks: u64) -> Result<(), Refusal> {
        let damaged = |what| Err(Refusal::Damaged(what));
        let Some((version @ (SUPERBLOCK_V1 | SUPERBLOCK_V2), _)) = header(bytes) else {
            return damaged("its superblock has no magic number");
        };
        let feature = |at| if version == SUPERBLOCK_V2 { be32(bytes, at) } else { 0 };
        let (compat, incompat, ro_compat) = (feature(36), feature(40), feature(44));
        if incompat & !INCOMPAT_KNOWN != 0 || ro_compat != 0 {
            return Err(Refusal::Features(incompat & !INCOMPAT_KNOWN | ro_compat));
        }
        if u64::from(be32(bytes, 12)) != self.fs.superblock.block_bytes {
            return damaged("its blocks have another size");
        }
        self.checksums = match (
            compat & COMPAT_CHECKSUM,
            incompat & INCOMPAT_CHECKSUM_2,
            incompat & INCOMPAT_CHECKSUM_3,
        ) {
            (0, 0, 0) => Checksums::None,
            (_, 0, 0) => Checksums::V1,
            (0, _, 0) => Checksums::V2,
            (0, 0, _) => Checksums::V3,
            _ => return damaged("has two kinds of checksums"),
        };
        if matches!(self.checksums, Checksums::V2 | Checksums::V3) {
            let superblock = bytes.get(..SUPERBLOCK_BYTES).unwrap_or_default();
            let right = without(u32::MAX, superblock, 252) == be32(bytes, 252);
            if u8_at(bytes, 80) != CRC32C || !right {
                return damaged("its superblock has a wrong checksum");
            }
            self.seed = crc32c(u32::MAX, bytes.get(48..64).unwrap_or_default());
        }
        self.wide = incompat & INCOMPAT_64BIT != 0;
        self.asynchronous = incompat & INCOMPAT_ASYNC_COMMIT != 0;
        (self.first, self.end) = (be32(bytes, 20), be32(bytes, 16));
        if u64::from(self.end) > blocks {
            return damaged("is shorter than its superblock says");
        }
        if incompat & INCOMPAT_FAST_COMMIT != 0 {
            let all = self.end;
            let count = if be32(bytes, 84) == 0 { FAST_BLOCKS } else { be32(bytes, 84) };
            self.end = all.checked_sub(count).filter(|left| *left >= BLOCKS_MIN).unwrap_or(all);
            self.fast = Some((self.end.saturating_add(1), all));
        }
        (self.sequence, self.start) = (be32(bytes, 24), be32(bytes, 28));
        if self.first == 0 || self.first >= self.end {
            return damaged("its superblock has an impossible size");
        }
        if self.start != 0 && !(self.first..self.end).contains(&self.start) {
            return damaged("its superblock has an impossible start");
        }
        Ok(())
    }
}

/// Returns kind and sequence of a block of the journal, if it is one of the journal's own.
pub(crate) fn header(bytes: &[u8]) -> Option<(u32, u32)> {
    (be32(bytes, 0) == MAGIC).then(|| (be32(bytes, 4), be32(bytes, 8)))
}

/// Returns the first bytes that a block had before it was escaped.
pub(crate) fn escaped() -> [u8; 4] {
    MAGIC.to_be_bytes()
}

/// Returns the checksum of bytes whose four at `at` count as zeros.
pub(crate) fn without(seed: u32, bytes: &[u8], at: usize) -> u32 {
    let crc = crc32c(seed, bytes.get(..at).unwrap_or_default());
    let crc = crc32c(crc, &[0; 4]);
    crc32c(crc, bytes.get(at.saturating_add(4)..).unwrap_or_default())
}
