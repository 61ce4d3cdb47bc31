//! UTF-32, of both byte orders.

use crate::rewrite::{Rewrite, Rewriter};
use std::io::BufRead;

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

/// Makes UTF-8 of units.
pub(crate) struct Utf32 {
    big: bool,
    unit: Vec<u8>,
}

/// Reads UTF-32 as UTF-8.
pub(crate) fn text<R: BufRead>(inner: R, big: bool) -> Rewrite<R, Utf32> {
    Rewrite::new(inner, Utf32 { big, unit: Vec::new() })
}

impl Rewriter for Utf32 {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.unit.push(byte);
        let Some(unit) = self.unit.first_chunk::<4>() else { return };
        let number = if self.big { u32::from_be_bytes(*unit) } else { u32::from_le_bytes(*unit) };
        let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.unit.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

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
                super::text(BufReader::with_capacity(3, bytes.as_slice()), big)
                    .read_to_string(&mut made)
                    .expect("text");
                assert_eq!(made, text);
            }
        }
        assert_eq!(order_of(b"plain text that is long enough to be told from anything else......"), None);
        assert_eq!(order_of(&[0; 64]), None);
    }
}
