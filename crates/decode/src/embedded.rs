//! Finds containers in the middle of other content: self-extracting archives, programs and pictures with something
//! behind them, kernels, streams in files of a program's own format.
//!
//! All signatures are looked for in one pass. What follows a signature must be a header of its format, too, so that
//! a program which merely knows the signature is none.

use crate::sniff::{HEAD_BYTES, Kind, sniff};
use crate::source::{Cursor, ReadAt, bytes_at};
use crate::stream::Stream;
use crate::walk::Walk;
use aho_corasick::packed;
use airlock_model::Reason;
use airlock_model::field::{be16, le16, le32, narrow, wide};
use std::sync::LazyLock;

/// What containers begin with that are looked for in the middle of content, at least three bytes of it.
pub const SIGNATURES: [&[u8]; 12] = [
    b"PK\x03\x04",
    b"\x1f\x8b\x08",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"%PDF-",
    b"SQLite format 3\0",
    b"MSCF\0\0\0\0",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\xed\xab\xee\xdb",
];

/// Bytes of the longest signature but one: what of a piece may begin a signature that ends in the next.
pub(crate) const SEAM: usize = 15;

/// Places of signatures that are kept of one file.
const PLACES_MAX: usize = 4096;

/// Places of one signature that are kept where the first container is searched to the end of the content, so that
/// what begins behind it is found with it.
const SEARCHED_PLACES_MAX: usize = 256;

static SEARCHER: LazyLock<packed::Searcher> =
    LazyLock::new(|| packed::Searcher::new(SIGNATURES).expect("a dozen short signatures"));

/// Returns where signatures begin in `piece`.
pub(crate) fn places(piece: &[u8]) -> impl Iterator<Item = usize> + '_ {
    matches(piece).map(|(place, _)| place)
}

/// Returns where signatures begin in `piece`, and which.
fn matches(piece: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    SEARCHER.find_iter(piece).map(|found| (found.start(), found.pattern().as_usize()))
}

/// Whether a container that begins with a signature is searched to the end.
fn is_searched(signature: usize) -> bool {
    let parts: [&[u8]; 5] = [b"PK", b"%PDF", b"SQLi", b"MSCF", b"\xd0\xcf"];
    SIGNATURES.get(signature).is_some_and(|magic| parts.iter().any(|part| magic.starts_with(part)))
}

/// Returns what begins with `head`, if a container does that is looked for in the middle of content.
pub(crate) fn kind(head: &[u8]) -> Option<Kind> {
    let kind = sniff(head, 0)?;
    let is_right = match kind {
        Kind::Gzip => is_gzip(head),
        Kind::Zip => is_member(head),
        Kind::Bzip2 | Kind::Rpm => true,
        Kind::Xz => is_xz(head),
        Kind::Zstd => is_frame(head),
        Kind::Pdf => matches!(head.get(5..8), Some([b'1' | b'2', b'.', b'0'..=b'9'])),
        Kind::Sqlite => is_database(head),
        // The version of the format, 1.3 (MS-CAB, section 2.1).
        Kind::Cab => head.get(24..26) == Some(&[3, 1]),
        // The order of bytes (MS-CFB, section 2.2).
        Kind::Ole => head.get(28..30) == Some(&[0xfe, 0xff]),
        Kind::Closed(_) => is_seven_zip(head) || is_rar(head),
        _ => false,
    };
    is_right.then_some(kind)
}

/// RFC 1952, section 2.3: extra flags and operating systems that are written.
fn is_gzip(head: &[u8]) -> bool {
    let usual = |flags: u8, system: u8| matches!(flags, 0 | 2 | 4) && matches!(system, 0..=13 | 255);
    head.get(8).zip(head.get(9)).is_some_and(|(flags, system)| usual(*flags, *system))
}

/// The flags of a stream and their checksum (The .xz File Format 1.2, section 2.1.1).
fn is_xz(head: &[u8]) -> bool {
    head.get(6..8).is_some_and(|flags| le32(head, 8) == Some(checksum(flags)))
}

/// A frame whose header has no reserved bit, with a block of a known type and a size that there may be (RFC 8878,
/// sections 3.1.1.1.1 and 3.1.1.2).
fn is_frame(head: &[u8]) -> bool {
    const BLOCK_BYTES_MAX: u32 = 128 << 10;
    let Some(&flags) = head.get(4) else { return false };
    let single = usize::from(flags >> 5 & 1);
    let dictionary = usize::from([0_u8, 1, 2, 4].get(usize::from(flags & 3)).copied().unwrap_or(0));
    let content = match flags >> 6 {
        0 => single,
        exponent => 1_usize << exponent,
    };
    let block = 6_usize.saturating_sub(single).saturating_add(dictionary).saturating_add(content);
    let Some([low, middle, high]) = head.get(block..).and_then(<[u8]>::first_chunk) else { return false };
    let header = u32::from_le_bytes([*low, *middle, *high, 0]);
    flags & 8 == 0 && header >> 1 & 3 != 3 && header >> 3 <= BLOCK_BYTES_MAX && header >> 3 > 0
}

/// A local header (APPNOTE 4.3.7) with a version and a method that there are, and a name.
fn is_member(head: &[u8]) -> bool {
    let field = |at| le16(head, at).unwrap_or(u16::MAX);
    field(4) & 0xff <= 63 && matches!(field(8), 0..=19 | 93..=99) && (1..=1024).contains(&field(26))
}

/// The header of a database ("Database File Format", section 1.3): size of pages, versions and payload fractions.
fn is_database(head: &[u8]) -> bool {
    let page = be16(head, 16).unwrap_or(0);
    let versions = head.get(18).zip(head.get(19)).is_some_and(|(write, read)| *write <= 2 && *read <= 2);
    (page == 1 || (page >= 512 && page.is_power_of_two()))
        && versions
        && head.get(21..24) == Some(&[64, 32, 32])
}

/// The start header and its checksum (7z Format description, "`SignatureHeader`").
fn is_seven_zip(head: &[u8]) -> bool {
    let start = head.get(12..32);
    head.starts_with(b"7z") && start.is_some_and(|start| le32(head, 8) == Some(checksum(start)))
}

/// The main header of either format (RAR 4: type 0x73 and its size; RAR 5: a checksum over the header).
fn is_rar(head: &[u8]) -> bool {
    match head {
        [b'R', b'a', b'r', b'!', 0x1a, 7, 0, _, _, 0x73, _, _, 13, 0, ..] => true,
        [b'R', b'a', b'r', b'!', 0x1a, 7, 1, 0, _, _, _, _, size @ 1..=127, rest @ ..] => {
            let header = rest.get(..usize::from(*size)).unwrap_or_default();
            let sum = checksum(&[std::slice::from_ref(size), header].concat());
            le32(head, 8) == Some(sum)
        }
        _ => false,
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// Places of signatures in content that passes by.
#[derive(Debug, Default)]
pub(crate) struct Places {
    found: Vec<u64>,
    /// How often each signature was found.
    counts: [usize; SIGNATURES.len()],
    /// Whether there are more than are kept.
    pub(crate) too_many: bool,
}

impl Places {
    /// Looks for signatures that end in `piece`, which begins at `at`; `tail` are the bytes before it.
    pub(crate) fn look(&mut self, at: u64, piece: &[u8], tail: &[u8]) {
        let tail = tail.get(tail.len().saturating_sub(SEAM)..).unwrap_or_default();
        if !tail.is_empty() {
            let mut seam = tail.to_vec();
            seam.extend_from_slice(piece.get(..SEAM).unwrap_or(piece));
            let start = at.saturating_sub(wide(tail.len()));
            // What begins in the piece is found there, if it ends there.
            let crossing = matches(&seam).filter(|(place, _)| *place < tail.len());
            for (place, signature) in crossing {
                self.add(start.saturating_add(wide(place)), signature);
            }
        }
        for (place, signature) in matches(piece) {
            self.add(at.saturating_add(wide(place)), signature);
        }
    }

    /// Takes note that a signature stands at a place; places come in order.
    pub(crate) fn add(&mut self, place: u64, signature: usize) {
        // A short signature that lies whole in a tail was found with it.
        if self.found.last().is_some_and(|last| *last >= place) {
            return;
        }
        let Some(count) = self.counts.get_mut(signature) else { return };
        *count = count.saturating_add(1);
        if is_searched(signature) && *count > SEARCHED_PLACES_MAX {
            return;
        }
        if self.found.len() < PLACES_MAX {
            self.found.push(place);
        } else {
            self.too_many = true;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Opens what begins at the places. What is damaged is no container that somebody left, and not said;
    /// limits, encryption and archives that are not read are.
    pub(crate) fn open(self, walk: &Walk<'_>, source: &mut dyn ReadAt) {
        walk.note_if(self.too_many, Reason::Limit);
        let mut searched: Vec<Kind> = Vec::new();
        let mut over = 0;
        for &place in self.found.iter().filter(|place| **place > 0) {
            if place < over {
                continue;
            }
            let Some(kind) = kind(&bytes_at(source, place, HEAD_BYTES)) else { continue };
            if !walk.opens_containers() {
                walk.note(Reason::Unsupported);
                return;
            }
            // These are searched to the end: what begins behind is found with the first one.
            if kind.in_any_order() {
                if searched.contains(&kind) {
                    continue;
                }
                searched.push(kind);
            }
            walk.rebase(narrow(place));
            over = place.saturating_add(walk.enter_embedded(kind, &mut From { source: &mut *source, place }));
        }
        let left_out = |(signature, count): (usize, &usize)| {
            let began =
                |kind: &Kind| SIGNATURES.get(signature).is_some_and(|magic| sniff(magic, 0) == Some(*kind));
            *count > SEARCHED_PLACES_MAX && is_searched(signature) && !searched.iter().any(began)
        };
        walk.note_if(self.counts.iter().enumerate().any(left_out), Reason::Limit);
    }
}

/// A source from a place on.
struct From<'a> {
    source: &'a mut dyn ReadAt,
    place: u64,
}

impl ReadAt for From<'_> {
    fn size(&self) -> u64 {
        self.source.size().saturating_sub(self.place)
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> usize {
        self.source.read_at(self.place.saturating_add(offset), into)
    }
}

impl Walk<'_> {
    /// Opens a container in the middle of a file. Returns how many bytes it took.
    fn enter_embedded(&self, kind: Kind, source: &mut dyn ReadAt) -> u64 {
        self.forgiving(kind, || {
            if kind.in_any_order() {
                self.enter_source(kind, 0, source);
                return 0;
            }
            let end = source.size();
            let mut stream = Stream::shown(self, Box::new(Cursor::new(source, 0, end)));
            self.enter_stream(kind, &mut stream);
            stream.position()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_found_in_any_two_pieces() {
        for signature in SIGNATURES {
            let content = [b"something before ".as_slice(), signature, b" and something behind it"].concat();
            for cut in 0..content.len() {
                let mut found = Places::default();
                let (one, other) = content.split_at(cut);
                found.look(100, one, b"");
                found.look(100 + cut as u64, other, one);
                assert_eq!(found.found, [117], "{signature:?} cut at {cut}");
            }
        }
        assert!(SIGNATURES.iter().all(|signature| (3..=SEAM + 1).contains(&signature.len())));
    }

    #[test]
    fn a_signature_alone_is_no_container() {
        for signature in SIGNATURES {
            let mut head = signature.to_vec();
            head.extend_from_slice(b" is what such files begin with; nothing else of them is here at all");
            let whole = b"\xed\xab\xee\xdb".as_slice();
            assert_eq!(kind(&head).is_some(), signature == whole, "{signature:?}");
        }
        assert_eq!(kind(b"%PDF-1.7\n"), Some(Kind::Pdf));
        assert_eq!(kind(b"BZh91AY&SY"), Some(Kind::Bzip2));
    }
}
