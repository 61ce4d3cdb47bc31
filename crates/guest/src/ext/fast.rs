//! Fast commits of ext4 (kernel Documentation/filesystems/ext4/journal.rst, "Fast commits";
//! `fs/ext4/fast_commit.h`).
//!
//! Behind the last transaction, a journal may have records of what changed since: inodes,
//! ranges of their blocks, names. They are not blocks to be put over others, so they are
//! applied to inodes and directories while these are read.

use super::Fs;
use super::extents;
use super::inode::{BLOCK_AT, BLOCK_BYTES, Inode, Mapping, Walk};
use super::journal::{Journal, Refusal};
use super::scan::inode_at;
use crate::Error;
use crate::checksum::crc32c;
use crate::field::{halves, le16, le32, narrow, wide};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

const ADD_RANGE: u16 = 1;
const DELETE_RANGE: u16 = 2;
const CREATE: u16 = 3;
const LINK: u16 = 4;
const UNLINK: u16 = 5;
const INODE: u16 = 6;
const PAD: u16 = 7;
const TAIL: u16 = 8;
const HEAD: u16 = 9;

/// Bytes in front of a record: its kind and how many bytes follow.
const FRONT_BYTES: usize = 4;

/// Most records, and bytes of them.
const RECORDS_MAX: usize = 1 << 20;
const BYTES_MAX: usize = 64 << 20;

/// Position of the number of links in an inode.
const LINKS_AT: usize = 26;

/// Longer extents are unwritten, by their length minus this.
const WRITTEN_MAX: u16 = 32_768;

/// A record, and at which byte of the volume its value is.
#[derive(Debug)]
struct Record {
    kind: u16,
    at: u64,
    value: Vec<u8>,
}

/// The records of whole fast commits, in order.
#[derive(Debug, Default)]
pub(crate) struct Records {
    list: Vec<Record>,
    /// Number of fast commits.
    pub(crate) commits: u64,
}

impl Records {
    /// Reads the fast commits that continue behind the transaction before `next`.
    pub(crate) fn read(journal: &Journal<'_, '_>, next: u32) -> Result<Self, Refusal> {
        let mut records = Self::default();
        let Some((first, last)) = journal.fast else { return Ok(records) };
        let (mut whole, mut bytes, mut crc) = (0, 0_usize, 0);
        let mut block = journal.block();
        'blocks: for number in first..last {
            journal.read(number, &mut block)?;
            let place = journal.at(number)?;
            let mut at = 0_usize;
            // A record is in one block; behind the last one there is no room for another.
            while let Some(front) = block.get(at..at.saturating_add(FRONT_BYTES)) {
                let (kind, length) = (le16(front, 0), usize::from(le16(front, 2)));
                let start = at.saturating_add(FRONT_BYTES);
                let end = start.saturating_add(length);
                let Some(value) = block.get(start..end) else { break 'blocks };
                let record = block.get(at..end).unwrap_or_default();
                match kind {
                    HEAD if le32(value, 0) != 0 => return Err(Refusal::Features(le32(value, 0))),
                    HEAD if le32(value, 4) != next || length < 8 => break 'blocks,
                    TAIL => {
                        let sum = crc32c(crc, record.get(..8).unwrap_or_default());
                        if length < 8 || le32(value, 0) != next || le32(value, 4) != sum {
                            break 'blocks;
                        }
                        (whole, crc) = (records.list.len(), 0);
                        records.commits = records.commits.saturating_add(1);
                    }
                    ADD_RANGE..=PAD | HEAD => crc = crc32c(crc, record),
                    _ => break 'blocks,
                }
                if (ADD_RANGE..=INODE).contains(&kind) {
                    bytes = bytes.saturating_add(length);
                    if records.list.len() >= RECORDS_MAX || bytes > BYTES_MAX {
                        return Err(Refusal::Budget { what: "records of fast commits", max: RECORDS_MAX });
                    }
                    let at = place.saturating_add(wide(start));
                    records.list.push(Record { kind, at, value: value.to_vec() });
                }
                at = end;
            }
        }
        records.list.truncate(whole);
        Ok(records)
    }
}

/// An inode as fast commits left it.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) bytes: Vec<u8>,
    /// Where on the volume its bytes are.
    pub(crate) at: u64,
}

/// What fast commits come to.
#[derive(Debug, Default)]
pub(crate) struct Fast {
    pub(crate) inodes: BTreeMap<u32, Changed>,
    ranges: HashMap<u32, Vec<Change>>,
    /// What a name in a directory leads to; nothing if it is gone.
    names: BTreeMap<(u32, Vec<u8>), Option<u32>>,
    /// Inodes that were created: the blocks of such directories have nothing yet.
    created: HashSet<u32>,
}

/// A change of the blocks of an inode.
#[derive(Debug, Clone, Copy)]
enum Change {
    Add(Mapping),
    Delete { first: u32, end: u32 },
}

impl Fast {
    /// Applies records to the inodes of a file system, on which the journal was replayed.
    pub(crate) fn new(fs: &Fs<'_>, records: &Records) -> Result<Self, Error> {
        let mut fast = Self::default();
        for Record { kind, at, value } in &records.list {
            let number = le32(value, 0);
            match *kind {
                ADD_RANGE => {
                    let length = le16(value, 8);
                    let written = length <= WRITTEN_MAX;
                    let length = if written { length } else { length.saturating_sub(WRITTEN_MAX) };
                    let block = halves(le32(value, 12), u32::from(le16(value, 10)));
                    let logical = le32(value, 4);
                    let mapping = Mapping { logical, block, length: u32::from(length), written };
                    fast.ranges.entry(number).or_default().push(Change::Add(mapping));
                }
                DELETE_RANGE => {
                    let first = le32(value, 4);
                    let end = first.saturating_add(le32(value, 8));
                    fast.ranges.entry(number).or_default().push(Change::Delete { first, end });
                }
                INODE => fast.inode(fs, number, at.saturating_add(4), value.get(4..).unwrap_or_default())?,
                _ => fast.name(fs, *kind, value)?,
            }
        }
        Ok(fast)
    }

    /// Returns an inode as it is so far.
    fn changed(&mut self, fs: &Fs<'_>, number: u32) -> Result<Option<&mut Changed>, Error> {
        Ok(match self.inodes.entry(number) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) => {
                let Some(at) = inode_at(fs, number) else { return Ok(None) };
                let bytes = fs.window.bytes_at("an inode", at, narrow(fs.superblock.inode_bytes))?;
                Some(entry.insert(Changed { bytes, at }))
            }
        })
    }

    /// Takes an inode from a record, but for its blocks.
    fn inode(&mut self, fs: &Fs<'_>, number: u32, at: u64, value: &[u8]) -> Result<(), Error> {
        let Some(changed) = self.changed(fs, number)? else { return Ok(()) };
        let inline = Inode::parse_any(value).is_inline();
        let behind = BLOCK_AT.saturating_add(BLOCK_BYTES);
        for (position, (into, byte)) in changed.bytes.iter_mut().zip(value).enumerate() {
            if inline || !(BLOCK_AT..behind).contains(&position) {
                *into = *byte;
            }
        }
        changed.at = at;
        let extents = Inode::parse_any(&changed.bytes).has_extents();
        if let Some(root) = changed.bytes.get_mut(BLOCK_AT..behind)
            && extents
            && le16(root, 0) != extents::MAGIC
        {
            // It had none before.
            root.fill(0);
            root.iter_mut().zip(extents::MAGIC.to_le_bytes()).for_each(|(byte, magic)| *byte = magic);
        }
        Ok(())
    }

    fn name(&mut self, fs: &Fs<'_>, kind: u16, value: &[u8]) -> Result<(), Error> {
        let (parent, number) = (le32(value, 0), le32(value, 4));
        let name = value.get(8..).unwrap_or_default().to_vec();
        self.names.insert((parent, name), (kind != UNLINK).then_some(number));
        if kind == CREATE {
            self.created.insert(number);
        }
        let Some(Changed { bytes, .. }) = self.changed(fs, number)? else { return Ok(()) };
        let links = le16(bytes, LINKS_AT);
        let links = match kind {
            CREATE => 1,
            LINK => links.saturating_add(1),
            _ => links.saturating_sub(1),
        };
        if let Some(field) = bytes.get_mut(LINKS_AT..LINKS_AT.saturating_add(2)) {
            field.copy_from_slice(&links.to_le_bytes());
        }
        Ok(())
    }

    /// Returns whether a directory was created, so that its blocks have no entries yet.
    pub(crate) fn is_created(&self, number: u32) -> bool {
        self.created.contains(&number)
    }

    /// Returns whether an entry of a directory is no longer as its block says.
    pub(crate) fn is_renamed(&self, parent: u64, name: &[u8]) -> bool {
        let Ok(parent) = u32::try_from(parent) else { return false };
        !self.names.is_empty() && self.names.contains_key(&(parent, name.to_vec()))
    }

    /// Returns the names that were added: directory, name and inode.
    pub(crate) fn added(&self) -> impl Iterator<Item = (u32, &[u8], u32)> {
        self.names.iter().filter_map(|((parent, name), number)| Some((*parent, name.as_slice(), (*number)?)))
    }

    /// Changes the blocks of an inode, which were mapped.
    pub(crate) fn map(&self, fs: &Fs<'_>, number: u32, walk: &mut Walk) {
        let Some(changes) = self.ranges.get(&number) else { return };
        let mappings = std::mem::take(&mut walk.mappings);
        let mut map: BTreeMap<u32, Mapping> =
            mappings.into_iter().map(|mapping| (mapping.logical, mapping)).collect();
        for change in changes {
            match *change {
                Change::Add(mapping) => {
                    cut(&mut map, mapping.logical, mapping.logical.saturating_add(mapping.length));
                    map.insert(mapping.logical, mapping);
                }
                Change::Delete { first, end } => cut(&mut map, first, end),
            }
        }
        for mapping in map.into_values() {
            walk.map(fs, mapping);
        }
    }
}

/// Takes blocks out of runs that are apart from each other.
fn cut(map: &mut BTreeMap<u32, Mapping>, first: u32, end: u32) {
    if end <= first {
        return;
    }
    let end_of = |mapping: &Mapping| mapping.logical.saturating_add(mapping.length);
    let before = map.range(..first).next_back().map(|(start, _)| *start);
    let from = before.unwrap_or(first);
    let touched: Vec<Mapping> =
        map.range(from..end).map(|(_, mapping)| *mapping).filter(|mapping| end_of(mapping) > first).collect();
    for mapping in touched {
        map.remove(&mapping.logical);
        let head = first.saturating_sub(mapping.logical);
        if head > 0 {
            map.insert(mapping.logical, Mapping { length: head, ..mapping });
        }
        let tail = end_of(&mapping).saturating_sub(end);
        if tail > 0 {
            let skipped = mapping.length.saturating_sub(tail);
            let block = mapping.block.saturating_add(u64::from(skipped));
            map.insert(end, Mapping { logical: end, block, length: tail, ..mapping });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(first: u32, end: u32, expected: &[(u32, u64, u32)]) {
        let run = |(logical, block, length)| Mapping { logical, block, length, written: true };
        let mut map: BTreeMap<_, _> = [(0, 100, 10), (10, 200, 10), (40, 300, 5)]
            .map(run)
            .into_iter()
            .map(|mapping| (mapping.logical, mapping))
            .collect();
        cut(&mut map, first, end);
        let left: Vec<_> =
            map.values().map(|mapping| (mapping.logical, mapping.block, mapping.length)).collect();
        assert_eq!(left, expected);
    }

    #[test]
    fn blocks_are_cut_out_of_runs() {
        check(3, 5, &[(0, 100, 3), (5, 105, 5), (10, 200, 10), (40, 300, 5)]);
        check(5, 15, &[(0, 100, 5), (15, 205, 5), (40, 300, 5)]);
        check(0, u32::MAX, &[]);
        check(20, 40, &[(0, 100, 10), (10, 200, 10), (40, 300, 5)]);
        check(42, 50, &[(0, 100, 10), (10, 200, 10), (40, 300, 2)]);
        check(9, 3, &[(0, 100, 10), (10, 200, 10), (40, 300, 5)]);
    }
}
