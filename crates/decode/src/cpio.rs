//! Archives of `cpio(5)`: the portable, the new and the binary format. Images for an early boot are
//! several of them behind each other, and something compressed at the end.

use crate::layer::Relation;
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::field::le16;
use airlock_model::{Escaped, Reason};
use std::io::Read;

/// Name of the member that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Longest name that is believed.
const NAME_BYTES_MAX: u64 = 64 << 10;

/// Bytes of the longest header.
const HEADER_BYTES_MAX: usize = 110;

/// A header, and to what its parts are filled up.
struct Header {
    bytes: usize,
    name_bytes: u64,
    size: u64,
    align: u64,
}

impl Header {
    fn read(head: &[u8]) -> Option<Self> {
        let digits = |from: usize, count: usize, base: u32| {
            let text = head.get(from..)?.get(..count)?;
            u64::from_str_radix(std::str::from_utf8(text).ok()?, base).ok()
        };
        let header = match head.get(..6)? {
            b"070707" => {
                Self { bytes: 76, name_bytes: digits(59, 6, 8)?, size: digits(65, 11, 8)?, align: 1 }
            }
            b"070701" | b"070702" => {
                Self { bytes: 110, name_bytes: digits(94, 8, 16)?, size: digits(54, 8, 16)?, align: 4 }
            }
            [0xc7, 0x71, ..] => {
                // Numbers of four bytes have their higher half first.
                let high = u64::from(le16(head, 22)?) << 16;
                let size = high | u64::from(le16(head, 24)?);
                Self { bytes: 26, name_bytes: u64::from(le16(head, 20)?), size, align: 2 }
            }
            _ => return None,
        };
        (1..=NAME_BYTES_MAX).contains(&header.name_bytes).then_some(header)
    }
}

/// Returns whether `head` begins with a header whose name ends where it says.
pub(crate) fn is_header(head: &[u8]) -> bool {
    let last = |header: &Header| {
        let name = usize::try_from(header.name_bytes).ok()?;
        head.get(header.bytes.checked_add(name)?.checked_sub(1)?).copied()
    };
    Header::read(head).is_some_and(|header| last(&header) == Some(0))
}

/// Opens every member, and what stands behind the last archive.
pub(crate) fn open(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let begin = stream.position();
    let pad = |stream: &mut Stream<'_, '_>, align: u64| {
        let done = stream.position().saturating_sub(begin);
        let over = done.checked_rem(align).unwrap_or(0);
        over == 0 || stream.skip(align.saturating_sub(over))
    };
    loop {
        let Some(header) = Header::read(stream.peek(HEADER_BYTES_MAX)) else {
            walk.note(Reason::Unsupported);
            return;
        };
        stream.take(header.bytes);
        let name = stream.spool(usize::try_from(header.name_bytes).unwrap_or(0));
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut whole = pad(stream, header.align);
        let start = stream.position();
        if name == TRAILER {
            break;
        }
        if header.size > 0 {
            let (depth, member) = (stream.depth(), Read::take(&mut *stream, header.size));
            let name = format!("cpio:{}", Escaped(name));
            walk.open(depth, (&name, start), Relation::Same, Box::new(member));
        }
        let left = start.saturating_add(header.size).saturating_sub(stream.position());
        whole = whole && stream.skip(left) && pad(stream, header.align);
        if !whole {
            walk.note(Reason::Unsupported);
            return;
        }
    }
    // Zeros fill up the last block.
    loop {
        let piece = stream.next_piece();
        let zeros = piece.iter().take_while(|byte| **byte == 0).count();
        if piece.is_empty() {
            return;
        }
        if zeros < piece.len() {
            stream.take(zeros);
            break;
        }
        stream.take(zeros);
    }
    let (depth, at) = (stream.depth(), stream.position());
    walk.open(depth, ("cpio:rest", at), Relation::Same, Box::new(&mut *stream));
}
