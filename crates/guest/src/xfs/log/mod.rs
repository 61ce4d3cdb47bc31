//! The log of XFS (XFS Algorithms & Data Structures, "Journaling Log").
//!
//! A replay reads the log from its tail to its head twice, as the kernel does: first for
//! buffers that were given up, then for all others. What it puts over the volume is kept
//! by the sector, in memory and within a budget.

mod ends;
mod items;
mod record;
mod transaction;

use super::Fs;
use crate::field::{be32, narrow, remainder, wide};
use crate::overlay::{Overlay, Patch};
use crate::{Error, Replay};

/// The log counts in blocks of this size, whatever the file system does.
const BASIC_BYTES: u64 = 512;

/// Most sectors that a replay may change: 64 MiB, and what keeps them apart.
const SECTORS_MAX: usize = 128 << 10;

/// Why a log could not be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the log is on another device, so that it may have to be replayed")]
    External,
    #[error("the log cannot be replayed: {0}")]
    Damaged(&'static str),
    #[error("the log needs a replay that takes more memory than is set aside")]
    Budget,
    #[error(transparent)]
    Source(#[from] Error),
}

/// What a log puts over the volume.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) overlay: Overlay,
    pub(crate) replay: Replay,
    /// Operations that are not finished.
    pub(crate) unfinished: u64,
}

/// The log of a file system; its blocks have 512 bytes and go round.
#[derive(Debug)]
struct Log<'f, 'd> {
    fs: &'f Fs<'d>,
    /// Where on the volume it starts.
    start: u64,
    blocks: u64,
}

impl Log<'_, '_> {
    /// Returns the block `count` behind `block`.
    fn behind(&self, block: u64, count: u64) -> u64 {
        remainder(block.saturating_add(count), self.blocks)
    }

    /// Returns how many blocks there are from `from` to `until`.
    fn distance(&self, from: u64, until: u64) -> u64 {
        remainder(until.saturating_add(self.blocks).saturating_sub(from), self.blocks)
    }

    /// Reads blocks, round the end of the log.
    fn read(&self, block: u64, into: &mut [u8]) -> Result<(), Refusal> {
        let block = remainder(block, self.blocks);
        let left = narrow(self.blocks.saturating_sub(block).saturating_mul(BASIC_BYTES));
        let (first, second) = into.split_at_mut(left.min(into.len()));
        let at = self.start.saturating_add(block.saturating_mul(BASIC_BYTES));
        self.fs.window.read_beneath("the log", at, first)?;
        if !second.is_empty() {
            self.fs.window.read_beneath("the log", self.start, second)?;
        }
        Ok(())
    }

    /// Returns the round of the log in which a block was written.
    fn cycle(&self, block: u64) -> Result<u32, Refusal> {
        let mut bytes = [0; 8];
        let at = self.start.saturating_add(block.saturating_mul(BASIC_BYTES));
        self.fs.window.read_beneath("the log", at, &mut bytes)?;
        Ok(cycle_of(&bytes))
    }
}

/// Returns the round in which a block of the log was written: its first bytes, but
/// for the header of a record.
fn cycle_of(block: &[u8]) -> u32 {
    if be32(block, 0) == record::MAGIC { be32(block, 4) } else { be32(block, 0) }
}

/// Replays the log, if it is not clean.
pub(crate) fn replay(fs: &Fs<'_>) -> Result<Option<Replayed>, Refusal> {
    let superblock = &fs.superblock;
    if superblock.log_start == 0 {
        return Err(Refusal::External);
    }
    let start = superblock.block(superblock.log_start).ok_or(Refusal::Damaged("it is nowhere"))?;
    if superblock.log_blocks == 0 || superblock.log_blocks > superblock.left_in_group(start) {
        return Err(Refusal::Damaged("it has an impossible size"));
    }
    let blocks = superblock.to_bytes(superblock.log_blocks) / BASIC_BYTES;
    let log = Log { fs, start: superblock.to_bytes(start), blocks };
    let Some((tail, head)) = ends::find(&log)? else {
        return Ok(None);
    };
    let mut items = items::Items::new(fs);
    for pass in [items::Pass::Cancels, items::Pass::Replay] {
        items.begin(pass);
        let mut transactions = transaction::Transactions::default();
        record::walk(&log, tail, head, |header, data| transactions.read(header, data, &mut items))?
            .map_err(|_| Refusal::Damaged("a record is damaged"))?;
    }
    let items::Done { overlay, transactions, unfinished } = items.finish();
    let blocks = wide(overlay.len());
    let replay = Replay { volume: String::new(), log: "xfs", done: true, transactions, blocks };
    Ok(Some(Replayed { overlay, replay, unfinished }))
}

/// Writes into an overlay of sectors what the log says of the bytes from `at` on.
fn write(fs: &Fs<'_>, overlay: &mut Overlay, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
    let end = at.saturating_add(wide(bytes.len()));
    if end > fs.window.bytes() {
        // What is behind the end of a volume that is cut short cannot be read anyway.
        return Ok(());
    }
    let mut done = 0_u64;
    while done < wide(bytes.len()) {
        let here = at.saturating_add(done);
        let sector = here / BASIC_BYTES;
        let within = here % BASIC_BYTES;
        let length = BASIC_BYTES.saturating_sub(within).min(wide(bytes.len()).saturating_sub(done));
        if overlay.get_mut(sector).is_none() {
            if overlay.len() >= SECTORS_MAX {
                return Err(Refusal::Budget);
            }
            let mut beneath = vec![0; narrow(BASIC_BYTES)];
            let start = sector.saturating_mul(BASIC_BYTES);
            fs.window.read_beneath("what the log changes", start, &mut beneath)?;
            overlay.put(sector, Patch::Bytes(beneath.into()));
        }
        let from = bytes.get(narrow(done)..narrow(done.saturating_add(length))).unwrap_or_default();
        if let Some(Patch::Bytes(into)) = overlay.get_mut(sector) {
            let into = into.get_mut(narrow(within)..narrow(within.saturating_add(length)));
            if let Some(into) = into {
                into.copy_from_slice(from);
            }
        }
        done = done.saturating_add(length);
    }
    Ok(())
}

/// Reads bytes of the volume with what the log has put over it so far.
fn read(fs: &Fs<'_>, overlay: &Overlay, at: u64, into: &mut [u8]) -> Result<(), Refusal> {
    fs.window.read_beneath("what the log changes", at, into)?;
    Ok(overlay.apply(&fs.window, "what the log changes", at, into)?)
}
