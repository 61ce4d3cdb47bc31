//! The log and its replay into memory ([MS-VHDX] 2.3).
//!
//! The log is a ring of entries. The newest sound entry says where the oldest one
//! that still matters begins (*Tail*); all from there to the newest are applied, in
//! order, to an [`Overlay`] of the file.

use super::crc32c::crc32c;
use super::header::{Guid, Header};
use super::{damaged, unsupported};
use crate::Error;
use crate::field::{array, le32, le64, narrow, wide};
use crate::file::HostFile;
use crate::overlay::Overlay;
use std::collections::BTreeMap;
use std::sync::Arc;

const SECTOR: u64 = 4096;
const SECTOR_LEN: usize = 4096;
/// Longest log that is read into memory; Windows writes 1 MiB.
const LOG_BYTES_MAX: u64 = 32 << 20;
/// Most bytes of entries that are checked, because hostile entries may overlap.
const CHECKED_BYTES_MAX: u64 = 4 * LOG_BYTES_MAX;
/// Most entries that are walked over while the newest sequence is looked for.
const STEPS_MAX: u32 = 1 << 20;
/// Most runs of the overlay.
const RUNS_MAX: usize = 100_000;

/// One sound entry.
#[derive(Debug, Clone)]
struct Entry {
    at: u64,
    sequence: u64,
    length: u64,
    tail: u64,
    descriptors: u32,
    flushed: u64,
    last: u64,
}

/// Returns the changes that the log holds, or nothing if it is empty.
pub(super) fn replay(host: &HostFile, header: &Header) -> Result<Option<Overlay>, Error> {
    if header.log_id == [0; 16] {
        return Ok(None);
    }
    if header.log_version != 0 {
        return Err(unsupported(format!("a log of version {}", header.log_version)));
    }
    let (offset, length) = (header.log_offset, header.log_bytes);
    if length > LOG_BYTES_MAX {
        return Err(unsupported("a log above 32 MiB that has to be replayed"));
    }
    if length < SECTOR || length & (SECTOR - 1) != 0 || !host.holds(offset, length) {
        return Err(damaged("the log is not inside the file", offset));
    }
    let mut bytes = vec![0; narrow(length)];
    host.read("read log", offset, &mut bytes)?;
    let log = Log { bytes, offset };
    let entries = log.entries(header.log_id)?;
    if entries.is_empty() {
        // Nothing was written since the log was opened.
        return if log.has_traces(header.log_id) { Err(log.damaged(0)) } else { Ok(None) };
    }
    let mut overlay = Overlay::default();
    for entry in log.newest(&entries)? {
        if entry.flushed > host.bytes {
            return Err(damaged("the file is shorter than its log says", host.bytes));
        }
        log.apply(entry, &mut overlay)?;
    }
    Ok(Some(overlay))
}

/// The bytes of the log, a ring.
struct Log {
    bytes: Vec<u8>,
    offset: u64,
}

impl Log {
    fn damaged(&self, at: u64) -> Error {
        damaged("the log has to be replayed and is damaged", self.offset.saturating_add(at))
    }

    fn length(&self) -> u64 {
        wide(self.bytes.len())
    }

    /// Returns a place in the ring `bytes` behind `at`.
    fn ahead(&self, at: u64, bytes: u64) -> u64 {
        at.saturating_add(bytes).checked_rem(self.length()).unwrap_or(0)
    }

    /// Returns the sector at `at`, which is inside.
    fn sector(&self, at: u64) -> Result<&[u8], Error> {
        let start = narrow(at);
        self.bytes.get(start..start.saturating_add(SECTOR_LEN)).ok_or_else(|| self.damaged(at))
    }

    /// Returns the sectors of an entry.
    fn sectors(&self, at: u64, length: u64) -> (&[u8], &[u8]) {
        let start = narrow(at);
        let end = start.saturating_add(narrow(length));
        let first = self.bytes.get(start..end.min(self.bytes.len())).unwrap_or_default();
        let wrapped = end.saturating_sub(self.bytes.len());
        (first, self.bytes.get(..wrapped).unwrap_or_default())
    }

    /// Returns whether any sector claims to begin an entry of this log.
    fn has_traces(&self, id: Guid) -> bool {
        let sectors = self.bytes.as_chunks::<SECTOR_LEN>().0;
        sectors.iter().any(|sector| sector.starts_with(b"loge") && array(sector, 32) == Some(id))
    }

    /// Returns all sound entries by their places.
    fn entries(&self, id: Guid) -> Result<BTreeMap<u64, Entry>, Error> {
        let mut entries = BTreeMap::new();
        let mut checked = 0_u64;
        for (number, sector) in (0_u64..).zip(self.bytes.as_chunks::<SECTOR_LEN>().0) {
            let at = number.saturating_mul(SECTOR);
            let Some(entry) = self.entry(at, sector, id) else {
                continue;
            };
            checked = checked.saturating_add(entry.length);
            if checked > CHECKED_BYTES_MAX {
                return Err(unsupported("a log whose entries overlap"));
            }
            let (first, second) = self.sectors(at, entry.length);
            let head = first.get(..4).unwrap_or_default();
            let sum = crc32c([head, &[0; 4], first.get(8..).unwrap_or_default(), second]);
            if le32(sector, 4) == Some(sum) {
                entries.insert(at, entry);
            }
        }
        Ok(entries)
    }

    /// Reads the header of an entry, if it is one that could be sound.
    fn entry(&self, at: u64, sector: &[u8], id: Guid) -> Option<Entry> {
        if !sector.starts_with(b"loge") || array(sector, 32) != Some(id) {
            return None;
        }
        let entry = Entry {
            at,
            sequence: le64(sector, 16)?,
            length: u64::from(le32(sector, 8)?),
            tail: u64::from(le32(sector, 12)?),
            descriptors: le32(sector, 24)?,
            flushed: le64(sector, 48)?,
            last: le64(sector, 56)?,
        };
        let aligned = [entry.length, entry.tail].iter().all(|bytes| bytes & (SECTOR - 1) == 0);
        let fits = (SECTOR..=self.length()).contains(&entry.length) && entry.tail < self.length();
        (aligned && fits && entry.sequence > 0).then_some(entry)
    }

    /// Returns the entries that matter: from the tail of the newest entry that has all of them.
    fn newest<'e>(&self, entries: &'e BTreeMap<u64, Entry>) -> Result<Vec<&'e Entry>, Error> {
        let mut heads: Vec<&Entry> = entries.values().collect();
        heads.sort_by_key(|entry| std::cmp::Reverse(entry.sequence));
        let mut steps = 0_u32;
        for head in heads {
            let mut sequence: Vec<&Entry> = Vec::new();
            let mut at = head.tail;
            while let Some(entry) = entries.get(&at) {
                steps = steps.saturating_add(1);
                if steps > STEPS_MAX {
                    return Err(unsupported("a log whose entries are tangled"));
                }
                let before = sequence.last().map(|before| before.sequence);
                if before.is_some_and(|before| before.checked_add(1) != Some(entry.sequence)) {
                    break;
                }
                sequence.push(entry);
                if entry.at == head.at {
                    return Ok(sequence);
                }
                at = self.ahead(at, entry.length);
            }
        }
        Err(self.damaged(0))
    }

    /// Applies the descriptors of an entry.
    fn apply(&self, entry: &Entry, overlay: &mut Overlay) -> Result<(), Error> {
        const HEADER: u64 = 64;
        const DESCRIPTOR: u64 = 32;
        let broken = || self.damaged(entry.at);
        let count = u64::from(entry.descriptors);
        let described = HEADER.saturating_add(count.saturating_mul(DESCRIPTOR)).next_multiple_of(SECTOR);
        if described > entry.length {
            return Err(broken());
        }
        // Behind the descriptors there is one sector for each that has data.
        let mut data = described;
        for number in 0..count {
            let place = HEADER.saturating_add(number.saturating_mul(DESCRIPTOR));
            let sector = self.sector(self.ahead(entry.at, place & !(SECTOR - 1)))?;
            let start = narrow(place & (SECTOR - 1));
            let bytes = sector.get(start..start.saturating_add(32)).ok_or_else(broken)?;
            let offset = le64(bytes, 16).ok_or_else(broken)?;
            if le64(bytes, 24) != Some(entry.sequence) || offset & (SECTOR - 1) != 0 {
                return Err(broken());
            }
            let fits = |length| offset.checked_add(length).is_some_and(|end| end <= entry.last);
            if bytes.starts_with(b"zero") {
                let length = le64(bytes, 8).filter(|length| fits(*length)).ok_or_else(broken)?;
                overlay.zero(offset, length);
            } else if bytes.starts_with(b"desc") {
                if data >= entry.length || !fits(SECTOR) {
                    return Err(broken());
                }
                let sector = self.sector(self.ahead(entry.at, data))?;
                overlay.put(offset, data_sector(bytes, sector, entry.sequence).ok_or_else(broken)?);
                data = data.saturating_add(SECTOR);
            } else {
                return Err(broken());
            }
            if overlay.len() > RUNS_MAX {
                return Err(unsupported("a log of too many changes"));
            }
        }
        Ok(())
    }
}

/// Puts a sector together: its first 8 and last 4 bytes are in the descriptor.
fn data_sector(descriptor: &[u8], sector: &[u8], sequence: u64) -> Option<Arc<[u8]>> {
    let written = u64::from(le32(sector, 4)?) << 32 | u64::from(le32(sector, 4092)?);
    if !sector.starts_with(b"data") || written != sequence {
        return None;
    }
    let parts = [descriptor.get(8..16)?, sector.get(8..4092)?, descriptor.get(4..8)?];
    Some(parts.concat().into())
}
