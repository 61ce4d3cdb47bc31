//! Directory entries and the names in them.

use crate::field::{le16, le32, u8_at};
use crate::utf16::utf8;

/// Bytes of an entry.
pub(super) const ENTRY_BYTES: usize = 32;

/// Units of a long name in one entry, and entries of the longest one.
const UNITS: usize = 13;
const PARTS_MAX: u8 = 20;

const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG: u8 = 0x0f;
const DELETED: u8 = 0xe5;

/// A file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) directory: bool,
    pub(super) cluster: u32,
    pub(super) size: u64,
}

/// What an entry turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Behind it there are none.
    End,
    /// Deleted, a label or a part of a name.
    Nothing,
    /// A file or directory, called as [`Reader::name`] is.
    Entry(Entry),
}

/// Reads entries one after the other: a long name is spread over those before its file's.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The long name at hand, in UTF-16.
    units: Vec<u8>,
    /// Number of its part that was read last; the parts come in descending order.
    part: u8,
    checksum: u8,
    /// The name of the entry that was read last.
    pub(super) name: Vec<u8>,
}

impl Reader {
    /// Reads the next entry; `wide` tells whether clusters have 32 bits.
    pub(super) fn read(&mut self, entry: &[u8], wide: bool) -> Read {
        let (first, attributes) = (u8_at(entry, 0), u8_at(entry, 11));
        if first == 0 {
            return Read::End;
        }
        if first != DELETED && attributes & 0x3f == LONG {
            self.long(entry, first);
            return Read::Nothing;
        }
        let part = std::mem::replace(&mut self.part, 0);
        if first == DELETED || attributes & LABEL != 0 {
            return Read::Nothing;
        }
        let short = entry.get(..11).unwrap_or_default();
        if short == b".          " || short == b"..         " {
            return Read::Nothing;
        }
        self.name.clear();
        if part == 1 && self.checksum == checksum(short) {
            let end = self.units.chunks_exact(2).position(|unit| unit == [0, 0]);
            let end = end.map_or(self.units.len(), |end| end.saturating_mul(2));
            utf8(self.units.get(..end).unwrap_or_default(), &mut self.name);
        }
        if self.name.is_empty() {
            self.short(short, u8_at(entry, 12));
        }
        let high = if wide { u32::from(le16(entry, 20)) << 16 } else { 0 };
        Read::Entry(Entry {
            directory: attributes & DIRECTORY != 0,
            cluster: high | u32::from(le16(entry, 26)),
            size: u64::from(le32(entry, 28)),
        })
    }

    /// Reads a part of a long name.
    fn long(&mut self, entry: &[u8], first: u8) {
        let (number, checksum) = (first & 0x3f, u8_at(entry, 13));
        if first & 0x40 != 0 && (1..=PARTS_MAX).contains(&number) {
            self.units.clear();
            self.units.resize(usize::from(number).saturating_mul(UNITS).saturating_mul(2), 0);
            self.checksum = checksum;
        } else if number == 0 || number.checked_add(1) != Some(self.part) || checksum != self.checksum {
            self.part = 0;
            return;
        }
        self.part = number;
        let at = usize::from(number.saturating_sub(1)).saturating_mul(UNITS).saturating_mul(2);
        let parts = [(1, 11), (14, 26), (28, 32)].map(|(from, until)| entry.get(from..until));
        let bytes = parts.into_iter().flatten().flatten();
        let into = self.units.get_mut(at..).unwrap_or_default();
        into.iter_mut().zip(bytes).for_each(|(byte, new)| *byte = *new);
    }

    /// Takes a name of eight and three bytes. Which characters they are depends on the code page
    /// of whoever wrote them, so those that are not ASCII are kept as they are.
    fn short(&mut self, short: &[u8], case: u8) {
        let (base, extension) = short.split_at_checked(8).unwrap_or_default();
        for (part, lower) in [(base, 0x08), (extension, 0x10)] {
            let length = part.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last.saturating_add(1));
            if lower == 0x10 && length > 0 {
                self.name.push(b'.');
            }
            for &byte in part.iter().take(length) {
                match byte {
                    b'/' | 0 => self.name.extend_from_slice("\u{fffd}".as_bytes()),
                    0x05 if self.name.is_empty() => self.name.push(DELETED),
                    _ if case & lower != 0 => self.name.push(byte.to_ascii_lowercase()),
                    _ => self.name.push(byte),
                }
            }
        }
    }
}

fn checksum(short: &[u8]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(name: &[u8; 11], case: u8) -> Vec<u8> {
        let mut entry = name.to_vec();
        entry.extend([0x20, case]);
        entry.resize(32, 0);
        entry
    }

    fn long(number: u8, of: &[u8; 11], text: &str) -> Vec<u8> {
        let mut units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        if units.len() < 26 {
            units.extend([0, 0]);
        }
        units.resize(26, 0xff);
        let head = [&[number][..], &units[..10], &[LONG, 0, checksum(of)]].concat();
        [&head[..], &units[10..22], &[0, 0], &units[22..]].concat()
    }

    fn check(entries: &[Vec<u8>], expected: &[&[u8]]) {
        let mut reader = Reader::default();
        let mut names = Vec::new();
        for entry in entries {
            match reader.read(entry, false) {
                Read::End => break,
                Read::Nothing => {}
                Read::Entry(_) => names.push(reader.name.clone()),
            }
        }
        assert_eq!(names, expected);
    }

    #[test]
    fn names_are_short_or_long() {
        let of = b"LONG~1  TXT";
        check(&[short(b"README  TXT", 0)], &[b"README.TXT"]);
        check(&[short(b"README  TXT", 0x18), short(b"A          ", 8)], &[b"readme.txt", b"a"]);
        check(&[short(b"\x05\xe4 B    \xff  ", 0)], &[b"\xe5\xe4 B.\xff"]);
        check(&[long(0x41, of, "a long 1.txt"), short(of, 0)], &[b"a long 1.txt"]);
        let (second, first) = (long(0x42, of, "é"), long(1, of, "thirteen unit"));
        check(&[second.clone(), first.clone(), short(of, 0)], &["thirteen unité".as_bytes()]);
        // A part is missing, the checksum is another file's, the file was deleted.
        check(&[second.clone(), short(of, 0)], &[b"LONG~1.TXT"]);
        check(&[first.clone(), short(of, 0)], &[b"LONG~1.TXT"]);
        check(&[second.clone(), first.clone(), short(b"LONG~2  TXT", 0)], &[b"LONG~2.TXT"]);
        check(&[second, first, short(b"\xe5ONG~1  TXT", 0), short(of, 0)], &[b"LONG~1.TXT"]);
        check(&[short(b".          ", 0), vec![0; 32], short(of, 0)], &[]);
    }
}
