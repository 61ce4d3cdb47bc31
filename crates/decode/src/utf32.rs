//! UTF-32, of both byte orders.

use std::io::{self, BufRead, Read};

/// Characters at the beginning that must be of the first plane's beginning where no mark stands.
const CHARACTERS_MIN: usize = 16;

/// Returns whether the high byte comes first, if `head` begins like UTF-32: with a byte order mark,
/// or with characters of Latin text.
pub(crate) fn order_of(head: &[u8]) -> Option<bool> {
    let (units, _) = head.as_chunks::<4>();
    let units = units.get(..CHARACTERS_MIN.min(units.len()))?;
    match units.first()? {
        [0xff, 0xfe, 0, 0] if units.len() > 1 => return Some(false),
        [0, 0, 0xfe, 0xff] => return Some(true),
        _ => {}
    }
    let latin = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0xa0..);
    let little = units.iter().all(|unit| matches!(*unit, [low, 0, 0, 0] if latin(low)));
    let big = units.iter().all(|unit| matches!(*unit, [0, 0, 0, low] if latin(low)));
    (units.len() == CHARACTERS_MIN && (little || big)).then_some(big)
}

/// Reads UTF-32 as UTF-8.
pub(crate) struct Utf32<R> {
    inner: R,
    big: bool,
    unit: Vec<u8>,
    ready: Vec<u8>,
    taken: usize,
}

impl<R: BufRead> Utf32<R> {
    pub(crate) fn new(inner: R, big: bool) -> Self {
        Self { inner, big, unit: Vec::new(), ready: Vec::new(), taken: 0 }
    }

    fn step(&mut self, byte: u8) {
        self.unit.push(byte);
        let Some(unit) = self.unit.first_chunk::<4>() else { return };
        let number = if self.big { u32::from_be_bytes(*unit) } else { u32::from_le_bytes(*unit) };
        let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.ready.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.unit.clear();
    }
}

impl<R: BufRead> Read for Utf32<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken >= self.ready.len() {
            self.ready.clear();
            self.taken = 0;
            let piece = self.inner.fill_buf()?.to_vec();
            self.inner.consume(piece.len());
            if piece.is_empty() {
                return Ok(0);
            }
            for byte in piece {
                self.step(byte);
            }
        }
        let ready = self.ready.get(self.taken..).unwrap_or_default();
        let count = ready.len().min(into.len());
        into.iter_mut().zip(ready).for_each(|(slot, byte)| *slot = *byte);
        self.taken = self.taken.saturating_add(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_are_told_and_read() {
        let text = "card 4539 \u{e4} and more";
        for big in [false, true] {
            let unit = |letter: char| {
                let number = u32::from(letter);
                if big { number.to_be_bytes() } else { number.to_le_bytes() }
            };
            for text in [text.to_owned(), format!("\u{feff}{text}")] {
                let bytes: Vec<u8> = text.chars().flat_map(unit).collect();
                assert_eq!(order_of(&bytes), Some(big));
                let mut made = String::new();
                Utf32::new(io::BufReader::with_capacity(3, bytes.as_slice()), big)
                    .read_to_string(&mut made)
                    .expect("text");
                assert_eq!(made, text);
            }
        }
        assert_eq!(order_of(b"plain text that is long enough to be told from anything else......"), None);
        assert_eq!(order_of(&[0; 64]), None);
    }
}
