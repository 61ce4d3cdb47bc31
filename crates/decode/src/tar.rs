//! Tape archives: POSIX ustar and pax, GNU, and the oldest form.

use crate::layer::Relation;
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::field::narrow;
use airlock_model::{Escaped, Reason};
use std::io::Read;

const BLOCK_BYTES: usize = 512;
const BLOCK: u64 = 512;

/// Longest name in a header of its own, and most attributes of pax.
const EXTRA_BYTES_MAX: u64 = 1 << 20;

/// Returns whether `head` begins with a header (POSIX.1-2017, pax, "ustar Interchange Format"):
/// its checksum is right, and something else than blanks has a sum.
pub(crate) fn is_header(head: &[u8]) -> bool {
    Header::read(head).is_some()
}

struct Header<'h> {
    block: &'h [u8],
    size: u64,
    kind: u8,
}

impl<'h> Header<'h> {
    fn read(head: &'h [u8]) -> Option<Self> {
        let block = head.get(..BLOCK_BYTES)?;
        let stored = octal(block.get(148..156)?)?;
        let sum = |outside: fn(u8) -> i64| {
            let counted = block.iter().enumerate().map(|(place, &byte)| {
                if (148..156).contains(&place) { i64::from(b' ') } else { outside(byte) }
            });
            counted.fold(0_i64, i64::saturating_add)
        };
        // Some old writers summed bytes with a sign.
        let unsigned = sum(i64::from);
        let signed = sum(|byte| i64::from(byte.cast_signed()));
        let stored = i64::try_from(stored).ok()?;
        if (stored != unsigned && stored != signed) || block.first() == Some(&0) {
            return None;
        }
        let size = number(block.get(124..136)?)?;
        Some(Self { block, size, kind: *block.get(156)? })
    }

    /// Returns the name with its prefix.
    fn name(&self) -> Vec<u8> {
        let field = |range: std::ops::Range<usize>| {
            let bytes = self.block.get(range).unwrap_or_default();
            bytes.split(|byte| *byte == 0).next().unwrap_or_default()
        };
        let prefix = if self.block.get(257..263) == Some(b"ustar\0") { field(345..500) } else { &[] };
        let joint: &[u8] = if prefix.is_empty() { b"" } else { b"/" };
        [prefix, joint, field(0..100)].concat()
    }
}

/// Reads an octal number that blanks or zero bytes end.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start().split(|byte| matches!(byte, 0 | b' ')).next()?;
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit.wrapping_sub(b'0'))),
        _ => None,
    })
}

/// Reads a number that GNU tar may have written in base 256.
fn number(field: &[u8]) -> Option<u64> {
    match field {
        [0x80, rest @ ..] => {
            rest.iter().try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)))
        }
        [0xff, ..] => None,
        _ => octal(field).or_else(|| field.iter().all(|byte| matches!(byte, 0 | b' ')).then_some(0)),
    }
}

/// What headers before a member said about it.
#[derive(Default)]
struct Extra {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extra {
    /// Reads records of pax: the length of the record in decimal, a blank, a key, `=`, a value and
    /// a line feed.
    fn read_pax(&mut self, mut records: &[u8]) {
        while let Some(blank) = records.iter().position(|byte| *byte == b' ') {
            let (length, _) = records.split_at(blank);
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse::<usize>().ok());
            let Some((record, rest)) = length.and_then(|length| records.split_at_checked(length)) else {
                return;
            };
            let Some(record) = record.get(blank.saturating_add(1)..) else { return };
            let value = |key: &[u8]| record.strip_prefix(key).map(<[u8]>::trim_ascii_end);
            if let Some(path) = value(b"path=") {
                self.name = Some(path.to_vec());
            } else if let Some(size) = value(b"size=") {
                self.size = std::str::from_utf8(size).ok().and_then(|text| text.parse().ok());
            }
            records = rest;
        }
    }
}

/// Opens every member that is a file.
pub(crate) fn open(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let mut extra = Extra::default();
    let mut blank = 0_u32;
    loop {
        let head = stream.peek(BLOCK_BYTES);
        if head.len() < BLOCK_BYTES {
            if !head.is_empty() || blank == 0 {
                walk.note_if(!head.iter().all(|byte| *byte == 0), Reason::Unsupported);
            }
            return;
        }
        if head.iter().all(|byte| *byte == 0) {
            // Two of them end an archive; another one may be behind it.
            blank = blank.saturating_add(1);
            stream.take(BLOCK_BYTES);
            continue;
        }
        let Some(header) = Header::read(head) else {
            if blank == 0 {
                walk.note(Reason::Unsupported);
            }
            // What is behind it, or beside a damaged header, may be another archive.
            stream.take(BLOCK_BYTES);
            continue;
        };
        let (kind, mut size, name) = (header.kind, header.size, header.name());
        blank = 0;
        stream.take(BLOCK_BYTES);
        match kind {
            b'L' | b'x' | b'K' | b'g' if size <= EXTRA_BYTES_MAX => {
                let bytes = stream.spool(narrow(size));
                stream.skip(padding(size));
                match kind {
                    b'L' => {
                        extra.name = Some(bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec());
                    }
                    b'x' => extra.read_pax(&bytes),
                    _ => {}
                }
                continue;
            }
            b'1'..=b'6' => size = 0,
            _ => size = extra.size.unwrap_or(size),
        }
        let Extra { name: long, .. } = std::mem::take(&mut extra);
        let name = format!("tar:{}", Escaped(&long.unwrap_or(name)));
        let start = stream.position();
        if size > 0 {
            let (depth, member) = (stream.depth(), Read::take(&mut *stream, size));
            walk.open(depth, (&name, start), Relation::Same, Box::new(member));
        }
        let end = start.saturating_add(size).saturating_add(padding(size));
        if !stream.skip(end.saturating_sub(stream.position())) {
            walk.note(Reason::Unsupported);
            return;
        }
    }
}

/// Returns how many bytes fill the last block of a member.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(octal(b"0000644\0"), Some(0o644));
        assert_eq!(octal(b"   644 \0"), Some(0o644));
        assert_eq!(octal(b"0000698\0"), None);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn pax_records_name_a_member() {
        let mut extra = Extra::default();
        extra.read_pax(b"18 path=some/name\n16 size=1234567\n99 path=cut\n");
        assert_eq!(extra.name.as_deref(), Some(b"some/name".as_slice()));
        assert_eq!(extra.size, Some(1_234_567));
    }
}
