//! Sets of directory entries.

use crate::field::{le16, le32, le64, u8_at};
use crate::utf16::utf8;

pub(super) const ENTRY_BYTES: usize = 32;

const BITMAP: u8 = 0x81;
const UP_CASE: u8 = 0x82;
const FILE: u8 = 0x85;
const STREAM: u8 = 0xc0;
const NAME: u8 = 0xc1;

/// Set in the type of an entry in use, and of one that belongs to the one before it.
const IN_USE: u8 = 0x80;
const SECONDARY: u8 = 0x40;

const DIRECTORY: u16 = 0x10;

/// Where something is, and how much of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) cluster: u32,
    /// Whether its clusters follow each other on the volume, and are not in the FAT.
    pub(super) contiguous: bool,
    pub(super) size: u64,
    /// Bytes that were written; the others read as zeros.
    pub(super) valid: u64,
}

/// What an entry, or a set of them, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Behind it there are none.
    End,
    /// Deleted, a part of a set, or of no interest.
    Nothing,
    /// A set that is not whole.
    Damaged,
    /// An allocation bitmap: whether it is the second one.
    Bitmap(Stream, bool),
    UpCase(Stream),
    /// A file or directory, called as [`Reader::name`] is.
    Entry {
        directory: bool,
        stream: Stream,
        is_sum_right: bool,
    },
}

/// Reads entries one after the other.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The set at hand.
    set: Vec<u8>,
    /// Entries that are missing of it.
    missing: u8,
    pub(super) name: Vec<u8>,
}

impl Reader {
    pub(super) fn read(&mut self, entry: &[u8]) -> Read {
        let kind = u8_at(entry, 0);
        let place = |size| Stream { cluster: le32(entry, 20), contiguous: false, size, valid: size };
        if self.missing > 0 && kind & (IN_USE | SECONDARY) == IN_USE | SECONDARY {
            self.set.extend_from_slice(entry);
            self.missing = self.missing.saturating_sub(1);
            return if self.missing == 0 { self.whole() } else { Read::Nothing };
        }
        let cut = std::mem::replace(&mut self.missing, 0) > 0;
        match kind {
            0 => Read::End,
            FILE => {
                self.set.clear();
                self.set.extend_from_slice(entry);
                // A file has at least a stream and a name.
                let count = u8_at(entry, 1);
                self.missing = if count < 2 { 0 } else { count };
                if cut || count < 2 { Read::Damaged } else { Read::Nothing }
            }
            BITMAP => Read::Bitmap(place(le64(entry, 24)), u8_at(entry, 1) & 1 != 0),
            UP_CASE => Read::UpCase(place(le64(entry, 24))),
            _ if cut => Read::Damaged,
            _ => Read::Nothing,
        }
    }

    /// Returns what a whole set says.
    fn whole(&mut self) -> Read {
        self.name.clear();
        let entries = || self.set.chunks_exact(ENTRY_BYTES).skip(1);
        let Some(stream) = entries().next().filter(|stream| u8_at(stream, 0) == STREAM) else {
            return Read::Damaged;
        };
        let names = entries().filter(|entry| u8_at(entry, 0) == NAME);
        let units: Vec<u8> = names.flat_map(|entry| entry.get(2..).unwrap_or_default()).copied().collect();
        let length = usize::from(u8_at(stream, 3)).saturating_mul(2).min(units.len());
        utf8(units.get(..length).unwrap_or_default(), &mut self.name);
        let (flags, size) = (u8_at(stream, 1), le64(stream, 24).min(u64::MAX >> 1));
        let cluster = if flags & 1 == 0 { 0 } else { le32(stream, 20) };
        let valid = le64(stream, 8).min(size);
        Read::Entry {
            directory: le16(&self.set, 4) & DIRECTORY != 0,
            stream: Stream { cluster, contiguous: flags & 2 != 0, size, valid },
            is_sum_right: checksum(&self.set) == le16(&self.set, 2),
        }
    }
}

/// Returns the checksum of a set, without its own place.
fn checksum(set: &[u8]) -> u16 {
    let bytes = set.iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
    bytes.fold(0, |sum: u16, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(head: &[u8]) -> Vec<u8> {
        let mut entry = head.to_vec();
        entry.resize(ENTRY_BYTES, 0);
        entry
    }

    fn check(entries: &[Vec<u8>], expected: &str) {
        let mut reader = Reader::default();
        let mut found = Vec::new();
        for entry in entries {
            found.push(match reader.read(entry) {
                Read::Entry { is_sum_right, .. } => {
                    format!("{} {is_sum_right}", String::from_utf8_lossy(&reader.name))
                }
                other => format!("{other:?}").split('(').next().expect("a name").to_owned(),
            });
        }
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn sets_are_whole_or_damaged() {
        let (stream, name) = (entry(&[0xc0, 1, 0, 2]), entry(&[0xc1, 0, b'a', 0, b'b', 0, b'c', 0]));
        let mut file = entry(&[0x85, 2, 0, 0]);
        let sum = checksum(&[file.clone(), stream.clone(), name.clone()].concat()).to_le_bytes();
        file[2..4].copy_from_slice(&sum);
        let wrong = entry(&[0x85, 2, 1, 0]);
        check(&[file.clone(), stream.clone(), name.clone(), entry(&[0])], "Nothing Nothing ab true End");
        check(&[wrong, stream.clone(), name.clone()], "Nothing Nothing ab false");
        check(&[file.clone(), name.clone(), name.clone()], "Nothing Nothing Damaged");
        check(
            &[file.clone(), stream.clone(), file.clone(), stream, name],
            "Nothing Nothing Damaged Nothing ab true",
        );
        check(&[file, entry(&[0x41]), entry(&[0x81]), entry(&[0x82])], "Nothing Damaged Bitmap UpCase");
        check(&[entry(&[0x85, 1]), entry(&[0x05]), entry(&[0x83])], "Damaged Nothing Nothing");
    }
}
