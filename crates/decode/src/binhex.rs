//! `BinHex` 4.0 (RFC 1741): a file of the old Mac OS as text.

use crate::layer::Relation;
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::field::be32;
use airlock_model::{Escaped, Reason};
use std::io::{self, BufRead, Read};

/// What stands before the text (RFC 1741, section 4).
pub(crate) const MAGIC: &[u8] = b"(This file must be converted with BinHex";

/// The characters, in the order of their values (section 4).
const ALPHABET: &[u8; 64] = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr";

/// A byte that says how often the one before it stands there.
const REPEAT: u8 = 0x90;

/// Decodes the text from the first colon to the second one.
struct Decoder<R> {
    inner: R,
    bits: u32,
    count: u32,
    /// The last byte, and how often it is still to come.
    last: u8,
    left: u8,
    /// Whether the next byte is a number of repetitions.
    repeat: bool,
    begun: bool,
    ended: bool,
}

impl<R: BufRead> Decoder<R> {
    fn new(inner: R) -> Self {
        Self { inner, bits: 0, count: 0, last: 0, left: 0, repeat: false, begun: false, ended: false }
    }

    /// Returns the next byte as it was before characters were made of it.
    fn unpacked(&mut self) -> io::Result<Option<u8>> {
        while self.count < 8 && !self.ended {
            let Some(&byte) = self.inner.fill_buf()?.first() else {
                self.ended = true;
                break;
            };
            self.inner.consume(1);
            let value = ALPHABET.iter().position(|letter| *letter == byte);
            match (self.begun, value, byte) {
                (false, _, _) => self.begun = byte == b':',
                (true, Some(value), _) => {
                    self.bits = (self.bits << 6) | u32::try_from(value).unwrap_or(0);
                    self.count = self.count.saturating_add(6);
                }
                (true, None, b'\r' | b'\n' | b'\t' | b' ') => {}
                (true, None, _) => self.ended = true,
            }
        }
        if self.count < 8 {
            return Ok(None);
        }
        self.count = self.count.saturating_sub(8);
        let byte = u8::try_from((self.bits >> self.count) & 0xff).ok();
        self.bits &= (1_u32 << self.count).wrapping_sub(1);
        Ok(byte)
    }

    /// Returns the next byte of the file.
    fn next(&mut self) -> io::Result<Option<u8>> {
        loop {
            if self.left > 0 {
                self.left = self.left.saturating_sub(1);
                return Ok(Some(self.last));
            }
            let Some(byte) = self.unpacked()? else { return Ok(None) };
            if std::mem::take(&mut self.repeat) {
                if byte == 0 {
                    self.last = REPEAT;
                    return Ok(Some(REPEAT));
                }
                self.left = byte.saturating_sub(1);
            } else if byte == REPEAT {
                self.repeat = true;
            } else {
                self.last = byte;
                return Ok(Some(byte));
            }
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut made = 0;
        for slot in into {
            let Some(byte) = self.next()? else { break };
            *slot = byte;
            made = usize::saturating_add(made, 1);
        }
        Ok(made)
    }
}

/// Opens the data and the resources of the file.
pub(crate) fn open(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let (depth, at) = (stream.depth(), stream.position());
    let end = stream.peek(4096).iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    stream.take(end.unwrap_or(0));
    let mut decoder = Decoder::new(stream);
    let Some((name, sizes)) = read_header(&mut decoder) else {
        walk.note(Reason::Unsupported);
        return;
    };
    for (size, fork) in sizes.into_iter().zip(["", "/rsrc"]) {
        let name = format!("binhex:{}{fork}", Escaped(&name));
        let mut part = Read::take(&mut decoder, u64::from(size));
        if size > 0 {
            walk.open(depth, (&name, at), Relation::Decoded, Box::new(&mut part));
        }
        let mut rest = part.limit();
        let mut byte = [0];
        // What a limit left of it, and a checksum.
        rest = rest.saturating_add(2);
        while rest > 0 && decoder.read(&mut byte).is_ok_and(|had| had == 1) {
            rest = rest.saturating_sub(1);
        }
        walk.note_if(rest > 0, Reason::Unsupported);
    }
}

/// Reads the name and the lengths of both parts (section 4, "The Header").
fn read_header(decoder: &mut impl Read) -> Option<(Vec<u8>, [u32; 2])> {
    let mut length = [0];
    decoder.read_exact(&mut length).ok()?;
    let mut name = vec![0; usize::from(length[0])];
    decoder.read_exact(&mut name).ok()?;
    let mut rest = [0; 21];
    decoder.read_exact(&mut rest).ok()?;
    Some((name, [be32(&rest, 11)?, be32(&rest, 15)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_undone() {
        let text = |bytes: &[u8]| {
            let mut bits = 0_u32;
            let mut count = 0;
            let mut text = vec![b':'];
            for byte in bytes.iter().chain([&0, &0]) {
                bits = (bits << 8) | u32::from(*byte);
                count += 8;
                while count >= 6 {
                    count -= 6;
                    text.push(ALPHABET[(bits >> count & 63) as usize]);
                }
            }
            text.push(b':');
            text
        };
        let check = |packed: &[u8], expected: &[u8]| {
            let text = text(packed);
            let mut decoder = Decoder::new(text.as_slice());
            let mut out = vec![0; expected.len()];
            decoder.read_exact(&mut out).expect("enough");
            assert_eq!(out, expected);
        };
        check(b"plain", b"plain");
        check(&[b'a', 0x90, 4, b'b'], b"aaaab");
        check(&[0x2b, 0x90, 0, 0x90, 5, 1], &[0x2b, 0x90, 0x90, 0x90, 0x90, 0x90, 1]);
    }
}
