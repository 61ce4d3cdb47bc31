//! Where the log begins and where it ends.
//!
//! Every block of the log starts with the number of the round in which it was written,
//! so the head is where that number falls. The last record before it says where the tail is.

use super::record::{self, Header};
use super::{BASIC_BYTES, Log, Refusal, cycle_of};
use crate::field::{be32, narrow, u8_at, wide};

/// Blocks that may be written at once: eight records of 256 KiB. They may arrive in any order.
const AT_ONCE: u64 = 4096;

/// How often the head is taken back to before a record that did not arrive whole.
const TORN_MAX: usize = 9;

const FLAG_UNMOUNT: u8 = 0x20;

/// Returns tail and head of the log, unless it is clean.
pub(crate) fn find(log: &Log<'_, '_>) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(mut head) = head(log)? else {
        return Ok(None);
    };
    let first_head = head;
    for _ in 0..TORN_MAX {
        let Some((at, header)) = last_record(log, head)? else {
            return Err(Refusal::Damaged("it has no record"));
        };
        let end = log.behind(at, header.all_blocks());
        if log.distance(at, head) < header.all_blocks() && end != head {
            // The last record did not arrive whole.
            head = at;
            continue;
        }
        if end == head && is_unmount(log, at, &header)? {
            return Ok(None);
        }
        let (tail, _) = record::place(header.tail_lsn);
        if tail >= log.blocks {
            return Err(Refusal::Damaged("its tail is nowhere"));
        }
        match record::walk(log, tail, end, |_, _| Ok(()))? {
            Ok(()) => return Ok(Some((tail, end))),
            Err(torn) if log.distance(torn, first_head) <= AT_ONCE && torn != head => head = torn,
            Err(_) => return Err(Refusal::Damaged("a record is damaged")),
        }
    }
    Err(Refusal::Damaged("too many records at its end are damaged"))
}

/// Returns the block behind the last one that was written; nothing if none ever was.
fn head(log: &Log<'_, '_>) -> Result<Option<u64>, Refusal> {
    let last = log.blocks.saturating_sub(1);
    let (first_cycle, last_cycle) = (log.cycle(0)?, log.cycle(last)?);
    if first_cycle == 0 {
        return Ok(None);
    }
    // Blocks that were written in an earlier round, or never, lie behind the head.
    let (found, older) = if first_cycle == last_cycle {
        (log.blocks, last_cycle.wrapping_sub(1))
    } else {
        (boundary(log, last_cycle)?, last_cycle)
    };
    let before = AT_ONCE.min(log.blocks);
    let from = found.saturating_sub(before);
    let hole = if found < before && older != 0 {
        // Round the end of the log, blocks of the round before are as old.
        let start = log.blocks.saturating_sub(before.saturating_sub(found));
        first_with(log, start.max(found), log.blocks, older.wrapping_sub(1))?
    } else {
        None
    };
    let hole = match hole {
        Some(hole) => Some(hole),
        None => first_with(log, from, found, older)?,
    };
    let found = hole.unwrap_or(found);
    Ok(Some(if found >= log.blocks { 0 } else { found }))
}

/// Returns the first block of a round that goes on to the end of the log.
fn boundary(log: &Log<'_, '_>, cycle: u32) -> Result<u64, Refusal> {
    let (mut low, mut high) = (0_u64, log.blocks.saturating_sub(1));
    while low.saturating_add(1) < high {
        let middle = low.midpoint(high);
        if log.cycle(middle)? == cycle {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

/// Returns the first of the blocks that was written in a round.
fn first_with(log: &Log<'_, '_>, from: u64, until: u64, cycle: u32) -> Result<Option<u64>, Refusal> {
    let mut bytes = vec![0; narrow(until.saturating_sub(from).saturating_mul(BASIC_BYTES))];
    if bytes.is_empty() {
        return Ok(None);
    }
    log.read(from, &mut bytes)?;
    let found = bytes.chunks(narrow(BASIC_BYTES)).position(|block| cycle_of(block) == cycle);
    Ok(found.map(|found| from.saturating_add(wide(found))))
}

/// Returns the last header of a record before the head, and where it is.
fn last_record(log: &Log<'_, '_>, head: u64) -> Result<Option<(u64, Header)>, Refusal> {
    const AT_A_TIME: u64 = 512;
    let mut bytes = vec![0; narrow(AT_A_TIME.saturating_mul(BASIC_BYTES))];
    let mut searched = 0;
    while searched < log.blocks {
        let count = AT_A_TIME.min(log.blocks.saturating_sub(searched));
        let back = log.blocks.saturating_sub(searched).saturating_sub(count);
        let start = log.behind(head, back);
        bytes.resize(narrow(count.saturating_mul(BASIC_BYTES)), 0);
        log.read(start, &mut bytes)?;
        for (index, block) in
            (0_u64..).zip(bytes.chunks(narrow(BASIC_BYTES))).collect::<Vec<_>>().into_iter().rev()
        {
            if be32(block, 0) == record::MAGIC {
                let at = log.behind(start, index);
                return Ok(Header::parse(block, log).map(|header| (at, header)));
            }
        }
        searched = searched.saturating_add(count);
    }
    Ok(None)
}

/// Returns whether a record says that the file system was unmounted.
fn is_unmount(log: &Log<'_, '_>, at: u64, header: &Header) -> Result<bool, Refusal> {
    let mut block = vec![0; narrow(BASIC_BYTES)];
    log.read(log.behind(at, header.front_blocks), &mut block)?;
    Ok(header.operations == 1 && u8_at(&block, 9) & FLAG_UNMOUNT != 0)
}
