//! Replays the journal of ext3 and ext4 into an overlay, as a mount would.
//!
//! The log is read once to find its end: the last transaction whose commit block is
//! there and right. Then come revoke records, and last the blocks, which stay where they
//! are in the journal: the overlay only says which of them stands for which block.

use super::Fs;
use super::fast::Records;
use super::journal::{COMMIT, Checksums, DESCRIPTOR, Journal, REVOKE, Refusal, escaped, header, without};
use crate::Replay;
use crate::checksum::{crc32_be, crc32c};
use crate::field::{be16, be32, be64, halves, u8_at, wide};
use crate::overlay::{Overlay, Patch};
use std::collections::HashMap;

/// Most blocks that a log may patch, and most descriptor and revoke blocks; some 50 bytes each.
const BLOCKS_MAX: usize = 2 << 20;

/// Most revoke records.
const REVOKED_MAX: usize = 4 << 20;

const FLAG_ESCAPED: u32 = 1;
const FLAG_SAME_UUID: u32 = 2;
const FLAG_LAST: u32 = 8;

/// Bytes in front of tags and of revoke records.
const HEADER_BYTES: usize = 12;
const REVOKE_HEADER_BYTES: usize = 16;
const UUID_BYTES: usize = 16;
/// The part of a commit block that is used.
const COMMIT_BYTES: usize = 64;

/// A block of the log that says what others are.
#[derive(Debug, Clone, Copy)]
struct Entry {
    block: u32,
    sequence: u32,
    revokes: bool,
}

/// What a descriptor says of a block behind it.
#[derive(Debug, Clone, Copy)]
struct Tag {
    block: u64,
    flags: u32,
    checksum: u32,
}

/// What a journal has.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) overlay: Overlay,
    /// What is behind its transactions.
    pub(crate) fast: Records,
    pub(crate) replay: Replay,
}

/// Reads the journal; returns what it puts over the volume, if it is not empty.
pub(crate) fn replay(fs: &Fs<'_>) -> Result<Option<Replayed>, Refusal> {
    let journal = Journal::open(fs)?;
    let mut scan = Scan {
        entries: Vec::new(),
        transactions: 0,
        next: journal.sequence,
        unsure: false,
        last_time: 0,
        crc: u32::MAX,
        journal: &journal,
    };
    if journal.start != 0 {
        scan.run()?;
    }
    let fast = Records::read(&journal, scan.next)?;
    let Scan { entries, transactions, .. } = scan;
    let transactions = transactions.saturating_add(fast.commits);
    if transactions == 0 {
        return Ok(None);
    }
    let revoked = revoked(&journal, &entries)?;
    let overlay = copies(fs, &journal, &entries, &revoked)?;
    let blocks = wide(overlay.len());
    let replay = Replay { volume: String::new(), log: "jbd2", done: true, transactions, blocks };
    Ok(Some(Replayed { overlay, fast, replay }))
}

/// Finds the end of the log.
struct Scan<'j, 'f, 'd> {
    journal: &'j Journal<'f, 'd>,
    /// Descriptor and revoke blocks of whole transactions.
    entries: Vec<Entry>,
    transactions: u64,
    /// Number of the transaction that is read.
    next: u32,
    /// Whether a checksum was wrong: if what follows is older, it is no part of this log.
    unsure: bool,
    last_time: u64,
    /// Checksum of the transaction so far, where they are of that kind.
    crc: u32,
}

impl Scan<'_, '_, '_> {
    fn run(&mut self) -> Result<(), Refusal> {
        let journal = self.journal;
        let mut block = journal.block();
        let mut at = journal.start;
        let round = journal.end.saturating_sub(journal.first);
        // A log that is longer than the journal leads back into itself.
        let mut left = round;
        let mut committed = 0;
        while left > 0 {
            left = left.saturating_sub(1);
            let here = at;
            journal.read(here, &mut block)?;
            at = journal.behind(at, 1);
            let kind = match header(&block) {
                Some((kind, sequence)) if sequence == self.next => kind,
                _ => break,
            };
            match kind {
                DESCRIPTOR => {
                    self.note(here, false, &block)?;
                    let count = u32::try_from(tags(journal, &block).count()).unwrap_or(u32::MAX);
                    if count > left {
                        break;
                    }
                    left = left.saturating_sub(count);
                    if journal.checksums == Checksums::V1 {
                        self.sum(&block, at, count)?;
                    }
                    at = journal.behind(at, count);
                }
                REVOKE => self.note(here, true, &block)?,
                COMMIT => {
                    if !self.commit(&block)? {
                        break;
                    }
                    committed = self.entries.len();
                }
                _ => break,
            }
        }
        self.entries.truncate(committed);
        Ok(())
    }

    /// Notes a descriptor or revoke block.
    fn note(&mut self, block: u32, revokes: bool, bytes: &[u8]) -> Result<(), Refusal> {
        if self.entries.len() >= BLOCKS_MAX {
            return Err(Refusal::Budget { what: "descriptor blocks", max: BLOCKS_MAX });
        }
        // Blocks of an older log can follow the last transaction.
        self.unsure |= !self.journal.is_tail_right(bytes);
        self.entries.push(Entry { block, sequence: self.next, revokes });
        Ok(())
    }

    /// Continues the checksum of a transaction with a descriptor and the blocks behind it.
    fn sum(&mut self, descriptor: &[u8], first: u32, count: u32) -> Result<(), Refusal> {
        self.crc = crc32_be(self.crc, descriptor);
        let mut block = self.journal.block();
        for skipped in 0..count {
            self.journal.read(self.journal.behind(first, skipped), &mut block)?;
            self.crc = crc32_be(self.crc, &block);
        }
        Ok(())
    }

    /// Looks at a commit block; returns whether the log goes on behind it.
    fn commit(&mut self, block: &[u8]) -> Result<bool, Refusal> {
        const WRONG: Refusal = Refusal::Damaged("a transaction has a wrong checksum");
        let time = be64(block, 48);
        if self.unsure {
            return if time >= self.last_time { Err(WRONG) } else { Ok(false) };
        }
        if !self.is_commit_right(block) {
            if time < self.last_time {
                return Ok(false);
            }
            // Where the blocks of a transaction and its end are written at once, one that
            // a crash interrupted is the last one.
            return if self.journal.asynchronous { Ok(false) } else { Err(WRONG) };
        }
        self.last_time = time;
        self.crc = u32::MAX;
        self.next = self.next.wrapping_add(1);
        self.transactions = self.transactions.saturating_add(1);
        Ok(true)
    }

    fn is_commit_right(&self, block: &[u8]) -> bool {
        let (kind, size, found) = (u8_at(block, 12), u8_at(block, 13), be32(block, 16));
        match self.journal.checksums {
            Checksums::None => true,
            Checksums::V1 => (kind, size, found) == (1, 4, self.crc) || (kind, size, found) == (0, 0, 0),
            Checksums::V2 | Checksums::V3 => {
                let mut short = block.to_vec();
                short.iter_mut().skip(COMMIT_BYTES).for_each(|byte| *byte = 0);
                // Only the first part is certain to be written as one.
                [block, &short].iter().any(|block| without(self.journal.seed, block, 16) == found)
            }
        }
    }
}

impl Journal<'_, '_> {
    /// Returns the block `count` behind `block`, round the end.
    fn behind(&self, block: u32, count: u32) -> u32 {
        let round = self.end.saturating_sub(self.first);
        let sum = u64::from(block).saturating_add(u64::from(count));
        let over = sum.checked_sub(u64::from(self.end));
        let over = over.map(|over| crate::field::remainder(over, u64::from(round)));
        over.map_or_else(
            || crate::field::word(sum),
            |over| self.first.saturating_add(crate::field::word(over)),
        )
    }

    /// Returns how many bytes at the end of descriptor and revoke blocks are their checksum.
    fn tail_bytes(&self) -> usize {
        if matches!(self.checksums, Checksums::V2 | Checksums::V3) { 4 } else { 0 }
    }

    /// Returns whether the checksum at the end of a block is right.
    fn is_tail_right(&self, block: &[u8]) -> bool {
        let at = block.len().saturating_sub(self.tail_bytes());
        at == block.len() || without(self.seed, block, at) == be32(block, at)
    }

    fn tag_bytes(&self) -> usize {
        match (self.checksums, self.wide) {
            (Checksums::V3, _) => 16,
            (Checksums::V2, true) => 14,
            (_, true) => 12,
            (Checksums::V2, false) => 10,
            (_, false) => 8,
        }
    }
}

/// Returns what a descriptor says of the blocks behind it.
fn tags<'b>(journal: &'b Journal<'_, '_>, block: &'b [u8]) -> impl Iterator<Item = Tag> + 'b {
    let end = block.len().saturating_sub(journal.tail_bytes());
    let tag_bytes = journal.tag_bytes();
    let mut at = HEADER_BYTES;
    std::iter::from_fn(move || {
        let behind = at.saturating_add(tag_bytes);
        let tag = block.get(at..behind).filter(|_| behind <= end)?;
        let third = journal.checksums == Checksums::V3;
        let (flags, checksum) = if third {
            (be32(tag, 4), be32(tag, 12))
        } else {
            (u32::from(be16(tag, 6)), u32::from(be16(tag, 4)))
        };
        let high = if journal.wide { be32(tag, 8) } else { 0 };
        at = behind.saturating_add(if flags & FLAG_SAME_UUID == 0 { UUID_BYTES } else { 0 });
        if flags & FLAG_LAST != 0 {
            at = block.len();
        }
        Some(Tag { block: halves(be32(tag, 0), high), flags, checksum })
    })
}

/// Reads the revoke records: blocks, and the last transaction that does not want them replayed.
fn revoked(journal: &Journal<'_, '_>, entries: &[Entry]) -> Result<HashMap<u64, u32>, Refusal> {
    let mut revoked = HashMap::new();
    let mut block = journal.block();
    for entry in entries.iter().filter(|entry| entry.revokes) {
        journal.read(entry.block, &mut block)?;
        let room = block.len().saturating_sub(journal.tail_bytes());
        let end = usize::try_from(be32(&block, 12)).unwrap_or(usize::MAX);
        let records = block.get(REVOKE_HEADER_BYTES..end).filter(|_| end <= room);
        let records = records.ok_or(Refusal::Damaged("a revoke record has an impossible length"))?;
        let each = if journal.wide { 8 } else { 4 };
        for record in records.chunks_exact(each) {
            let number = if journal.wide { be64(record, 0) } else { u64::from(be32(record, 0)) };
            let last = revoked.entry(number).or_insert(entry.sequence);
            if is_after(entry.sequence, *last) {
                *last = entry.sequence;
            }
        }
        if revoked.len() > REVOKED_MAX {
            return Err(Refusal::Budget { what: "revoke records", max: REVOKED_MAX });
        }
    }
    Ok(revoked)
}

/// Returns whether a transaction comes after another one; the numbers go round.
fn is_after(sequence: u32, other: u32) -> bool {
    let ahead = sequence.wrapping_sub(other);
    ahead != 0 && ahead < 1 << 31
}

/// Puts the blocks of all transactions in their places.
fn copies(
    fs: &Fs<'_>,
    journal: &Journal<'_, '_>,
    entries: &[Entry],
    revoked: &HashMap<u64, u32>,
) -> Result<Overlay, Refusal> {
    let mut overlay = Overlay::new(fs.superblock.block_bytes);
    let (mut descriptor, mut data) = (journal.block(), journal.block());
    for entry in entries.iter().filter(|entry| !entry.revokes) {
        journal.read(entry.block, &mut descriptor)?;
        let mut log = entry.block;
        for tag in tags(journal, &descriptor) {
            log = journal.behind(log, 1);
            if revoked.get(&tag.block).is_some_and(|last| !is_after(entry.sequence, *last)) {
                continue;
            }
            if tag.block >= fs.superblock.blocks_claimed {
                return Err(Refusal::Damaged("has a block of no place in the file system"));
            }
            if journal.tail_bytes() > 0 {
                journal.read(log, &mut data)?;
                let crc = crc32c(crc32c(journal.seed, &entry.sequence.to_be_bytes()), &data);
                let mask = if journal.checksums == Checksums::V3 { u32::MAX } else { 0xffff };
                if crc & mask != tag.checksum {
                    return Err(Refusal::Damaged("a block of it has a wrong checksum"));
                }
            }
            if overlay.len() >= BLOCKS_MAX {
                return Err(Refusal::Budget { what: "blocks", max: BLOCKS_MAX });
            }
            let front = (tag.flags & FLAG_ESCAPED != 0).then(escaped);
            overlay.put(tag.block, Patch::Copy { at: journal.at(log)?, front });
        }
    }
    Ok(overlay)
}
