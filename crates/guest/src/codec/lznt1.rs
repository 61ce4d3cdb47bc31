//! LZNT1 as NTFS uses it ([MS-XCA] section 2.5).
//!
//! The stored bytes are chunks that unpack to 4096 bytes each; a chunk that unpacks to
//! fewer is filled up with zeros, as the drivers do it.

use super::UnpackError;
use crate::field::le16;

/// Bytes that a chunk unpacks to.
const CHUNK_BYTES: usize = 4096;

/// Set in the header of a chunk that is compressed.
const COMPRESSED: u16 = 0x8000;

/// Fills `into`, which is zeros, and returns how many of the stored bytes were used.
pub(super) fn unpack(stored: &[u8], into: &mut [u8]) -> Result<usize, UnpackError> {
    let mut at = 0_usize;
    for chunk in into.chunks_mut(CHUNK_BYTES) {
        let rest = stored.get(at..).unwrap_or_default();
        if rest.len() < 2 {
            return Ok(stored.len());
        }
        let header = le16(rest, 0);
        if header == 0 {
            return Ok(at.saturating_add(2));
        }
        let end = usize::from(header & 0xfff).saturating_add(3);
        let data = rest.get(2..end).ok_or(UnpackError::Damaged)?;
        if header & COMPRESSED != 0 {
            unpack_chunk(data, chunk)?;
        } else {
            chunk.iter_mut().zip(data).for_each(|(byte, stored)| *byte = *stored);
        }
        at = at.saturating_add(end);
    }
    Ok(at)
}

/// Unpacks one chunk. What does not fit is left out where `into` is the end of a file, and
/// damage where it is a whole chunk.
fn unpack_chunk(data: &[u8], into: &mut [u8]) -> Result<(), UnpackError> {
    let mut input = data.iter();
    let mut at = 0_usize;
    while let Some(flags) = input.next() {
        for bit in 0..8_u8 {
            let Some(&byte) = input.next() else {
                return Ok(());
            };
            if flags >> bit & 1 == 0 {
                let Some(slot) = into.get_mut(at) else {
                    return full(into);
                };
                *slot = byte;
                at = at.saturating_add(1);
                continue;
            }
            let high = input.next().ok_or(UnpackError::Damaged)?;
            let token = u16::from_le_bytes([byte, *high]);
            let (distance, length) = split(token, at).ok_or(UnpackError::Damaged)?;
            let from = at.checked_sub(distance).ok_or(UnpackError::Damaged)?;
            let end = at.saturating_add(length);
            let until = end.min(into.len());
            copy(into, from, at, until);
            at = until;
            if until < end {
                return full(into);
            }
        }
    }
    Ok(())
}

fn full(into: &[u8]) -> Result<(), UnpackError> {
    if into.len() == CHUNK_BYTES { Err(UnpackError::Damaged) } else { Ok(()) }
}

/// Splits a token into distance and length: the further into the chunk, the more bits the
/// distance has.
fn split(token: u16, at: usize) -> Option<(usize, usize)> {
    let last = u32::try_from(at.checked_sub(1)?).ok()?;
    let bits = last.checked_ilog2().unwrap_or(0).saturating_sub(3).min(8);
    let distance = token.checked_shr(12_u32.saturating_sub(bits))?;
    let length = token & 0xfff_u16.checked_shr(bits)?;
    Some((usize::from(distance).saturating_add(1), usize::from(length).saturating_add(3)))
}

/// Copies bytes from `from` on to `at..until`, which may begin before the copy ends.
fn copy(into: &mut [u8], from: usize, at: usize, until: usize) {
    let (mut at, mut have) = (at, at.saturating_sub(from));
    while at < until && have > 0 {
        let part = have.min(until.saturating_sub(at));
        into.copy_within(from..from.saturating_add(part), at);
        at = at.saturating_add(part);
        have = have.saturating_add(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stored: &[u8], room: usize, expected: Result<(usize, &[u8]), UnpackError>) {
        let mut into = vec![0; room];
        let used = unpack(stored, &mut into);
        assert_eq!(used.map(|used| (used, into.as_slice())), expected);
    }

    #[test]
    fn chunks_are_unpacked() {
        // The example of [MS-XCA] section 3.3.
        let text = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# \
            G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let stored = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2, 0x47, 0x01,
            0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0, 0x45, 0x20, 0x05, 0x24,
            0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58, 0x02, 0x8c, 0x09, 0x16, 0x01, 0x48,
            0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01, 0x18, 0x90, 0x00,
        ];
        check(&stored, text.len(), Ok((59, text)));
        let mut padded = text.to_vec();
        padded.resize(4096, 0);
        padded.extend_from_slice(b"xyz");
        let stored = [&stored[..], &[2, 0x30, b'x', b'y', b'z', 0, 0], b"old bytes"].concat();
        check(&stored[..stored.len() - 11], 4099, Ok((64, &padded)));
        padded.resize(8192 + 5, 0);
        check(&stored, padded.len(), Ok((66, &padded)));
        // A run, and what is impossible: before the start, behind the end, cut off.
        check(&[3, 0xb0, 2, b'a', 0xfc, 0x0f], 4096, Ok((6, &[b'a'; 4096])));
        check(&[3, 0xb0, 2, b'a', 0xfd, 0x0f], 4096, Err(UnpackError::Damaged));
        check(&[3, 0xb0, 2, b'a', 0xfd, 0x0f], 4000, Ok((6, &[b'a'; 4000])));
        check(&[3, 0xb0, 2, b'a', 0xfc, 0x1f], 4096, Err(UnpackError::Damaged));
        check(&[2, 0xb0, 1, b'a', 0xfc], 4096, Err(UnpackError::Damaged));
        check(&[9, 0xb0, 2, b'a'], 4096, Err(UnpackError::Damaged));
        check(&[], 4096, Ok((0, &[0; 4096])));
    }
}
