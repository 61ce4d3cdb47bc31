//! `rpmdb.sqlite`: the table `Packages` with a number and a header in each row (rpm, `lib/backend/sqlite.c`).
//!
//! Numbers of sections are those of "Database File Format" at sqlite.org.

use super::{HEADER_BYTES_MAX, Headers};
use airlock_model::field::{be16, be32, narrow, wide};

/// Pages of a table that refer to others, and such that have records (section 1.6).
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// Bytes of the header of the file, before that of the first page.
const FILE_HEAD_BYTES: usize = 100;
/// Serial types of the first blob and the first text (section 2.1).
const BLOB: u64 = 12;

struct Pages {
    bytes: u64,
    /// Bytes of a page that hold content.
    usable: usize,
}

/// Reads all packages; nothing if not all could be.
pub(super) fn read(headers: &mut Headers<'_>) -> Option<()> {
    let head = headers.part(0, wide(FILE_HEAD_BYTES))?;
    let bytes = match be16(&head, 16)? {
        1 => 65_536,
        bytes if bytes >= 512 && bytes.is_power_of_two() => u64::from(bytes),
        _ => return None,
    };
    let usable = narrow(bytes).checked_sub(usize::from(*head.get(20)?)).filter(|bytes| *bytes >= 480)?;
    let pages = Pages { bytes, usable };
    let mut root = None;
    for number in pages.leaves(headers, 1)? {
        for record in pages.records(headers, number)? {
            let record = record?;
            let columns = columns(&record)?;
            let [(_, kind), (_, name), _, (_, page), ..] = columns.as_slice() else { return None };
            if *kind == b"table" && *name == b"Packages" && page.len() <= 8 {
                root = Some(page.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)));
            }
        }
    }
    for number in pages.leaves(headers, root?)? {
        for record in pages.records(headers, number)? {
            let blob = record.as_deref().and_then(|record| {
                columns(record)?.into_iter().find(|(kind, _)| *kind >= BLOB && kind.is_multiple_of(2))
            });
            match blob {
                Some((_, blob)) => headers.add(number.saturating_sub(1) * pages.bytes, blob)?,
                None => headers.skip(),
            }
        }
    }
    Some(())
}

impl Pages {
    /// Reads a page, and returns where its own header begins. Pages are counted from one.
    fn page(&self, headers: &mut Headers<'_>, number: u64) -> Option<(Vec<u8>, usize)> {
        let page = headers.part(number.checked_sub(1)?.checked_mul(self.bytes)?, self.bytes)?;
        Some((page, if number == 1 { FILE_HEAD_BYTES } else { 0 }))
    }

    /// Returns the pages of a table that have records, in order. The budget of bytes ends a tree that is none.
    fn leaves(&self, headers: &mut Headers<'_>, root: u64) -> Option<Vec<u64>> {
        let mut leaves = Vec::new();
        let mut waiting = vec![root];
        while let Some(number) = waiting.pop() {
            let (page, start) = self.page(headers, number)?;
            match *page.get(start)? {
                LEAF => leaves.push(number),
                INTERIOR => {
                    waiting.push(u64::from(be32(&page, start + 8)?));
                    for cell in starts(&page, start, 12)?.into_iter().rev() {
                        waiting.push(u64::from(be32(&page, cell)?));
                    }
                }
                _ => return None,
            }
        }
        Some(leaves)
    }

    /// Returns the records of a page, each if it can be read.
    fn records(&self, headers: &mut Headers<'_>, number: u64) -> Option<Vec<Option<Vec<u8>>>> {
        let (page, start) = self.page(headers, number)?;
        let cells = starts(&page, start, 8)?;
        Some(cells.into_iter().map(|cell| self.payload(headers, page.get(cell..)?)).collect())
    }

    /// Returns the payload of a cell, with what of it lies on other pages (section 1.6).
    fn payload(&self, headers: &mut Headers<'_>, cell: &[u8]) -> Option<Vec<u8>> {
        let (length, rest) = varint(cell)?;
        let (_row, rest) = varint(rest)?;
        if length > HEADER_BYTES_MAX {
            return None;
        }
        let length = narrow(length);
        let inside = if length <= self.usable - 35 {
            length
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let inside = least + (length - least) % (self.usable - 4);
            if inside <= self.usable - 35 { inside } else { least }
        };
        let mut bytes = rest.get(..inside)?.to_vec();
        let mut next = if inside < length { be32(rest, inside)? } else { 0 };
        while bytes.len() < length {
            let (page, _) = self.page(headers, u64::from(next))?;
            next = be32(&page, 0)?;
            let room = (length - bytes.len()).min(self.usable - 4);
            bytes.extend(page.get(4..4 + room)?);
        }
        Some(bytes)
    }
}

/// Returns where the cells of a page begin.
fn starts(page: &[u8], start: usize, header_bytes: usize) -> Option<Vec<usize>> {
    let count = usize::from(be16(page, start + 3)?);
    (0..count).map(|index| be16(page, start + header_bytes + index * 2).map(usize::from)).collect()
}

/// Returns the serial types and bytes of the columns of a record (section 2.1).
fn columns(record: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let (header, _) = varint(record)?;
    let mut data = record.get(narrow(header)..)?;
    let mut types = record.get(..narrow(header))?;
    types = varint(types)?.1;
    let mut columns = Vec::new();
    while !types.is_empty() {
        let (kind, rest) = varint(types)?;
        types = rest;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - BLOB) / 2,
        };
        let (value, rest) = data.split_at_checked(narrow(length))?;
        columns.push((kind, value));
        data = rest;
    }
    Some(columns)
}

/// Reads an integer of variable length (section 1.6, "varint").
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(9).enumerate() {
        if place == 8 {
            return Some((value << 8 | u64::from(*byte), bytes.get(9..)?));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(place + 1..)?));
        }
    }
    None
}
