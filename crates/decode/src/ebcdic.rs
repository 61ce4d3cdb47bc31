//! EBCDIC, as mainframes write it: code pages 037, 500 and 1047 agree in letters, digits and blanks.

use crate::rewrite::{Rewrite, Rewriter};
use std::io::BufRead;

/// Bytes at the beginning that are judged, at least.
const JUDGED_MIN: usize = 64;

/// The letters of the common part, sixteen in a line from 0x40 on; blanks are none of it.
const LETTERS: [&[u8; 16]; 12] = [
    b"           .<(+ ",
    b"&          $*); ",
    b"-/         ,%_>?",
    b"          :#@'=\"",
    b" abcdefghi      ",
    b" jklmnopqr      ",
    b"  stuvwxyz      ",
    b"                ",
    b" ABCDEFGHI      ",
    b" JKLMNOPQR      ",
    b"  STUVWXYZ      ",
    b"0123456789      ",
];

/// What is a character of the common part: letters, digits, blanks, punctuation, ends of lines; else zero.
fn ascii(byte: u8) -> u8 {
    match byte {
        0x40 | 0x41 => b' ',
        0x15 | 0x25 => b'\n',
        0x0d => b'\r',
        0x05 => b'\t',
        _ => {
            let line = usize::from(byte >> 4).checked_sub(4).and_then(|line| LETTERS.get(line));
            line.and_then(|line| line.get(usize::from(byte & 15)))
                .copied()
                .filter(|letter| *letter != b' ')
                .unwrap_or(0)
        }
    }
}

/// Whether content begins like text in EBCDIC: nearly all of it is text so, with letters or digits in good part,
/// and little of it is text in ASCII.
pub(crate) fn is_text(head: &[u8]) -> bool {
    // Most files are told from it by their first bytes.
    let few = head.get(..JUDGED_MIN).unwrap_or_default();
    few.len() == JUDGED_MIN && is_text_all(few) && is_text_all(head)
}

fn is_text_all(bytes: &[u8]) -> bool {
    let (mut text, mut words, mut plain) = (0_usize, 0_usize, 0_usize);
    for byte in bytes {
        let letter = ascii(*byte);
        text = text.saturating_add(usize::from(letter != 0));
        words = words.saturating_add(usize::from(letter.is_ascii_alphanumeric()));
        plain = plain.saturating_add(usize::from(byte.is_ascii_alphanumeric()));
    }
    let share =
        |count: usize, percent: usize| count.saturating_mul(100) >= bytes.len().saturating_mul(percent);
    share(text, 95) && share(words, 25) && !share(plain, 25)
}

/// Makes ASCII of it.
pub(crate) struct Ebcdic;

/// Reads EBCDIC as ASCII, byte by byte.
pub(crate) fn text<R: BufRead>(inner: R) -> Rewrite<R, Ebcdic> {
    Rewrite::new(inner, Ebcdic)
}

impl Rewriter for Ebcdic {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        let letter = ascii(byte);
        out.push(if letter == 0 { b'?' } else { letter });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn ebcdic(text: &str) -> Vec<u8> {
        let find = |letter: u8| (0..=255).find(|byte| ascii(*byte) == letter).unwrap();
        text.bytes().map(find).collect()
    }

    #[test]
    fn text_is_told_and_read() {
        let words = "Card number: 4539 1488 0343 6467, expiry 12/29, name: Test Person\nand so on\n";
        let bytes = ebcdic(words);
        assert!(is_text(&bytes));
        let mut made = String::new();
        text(bytes.as_slice()).read_to_string(&mut made).unwrap();
        assert_eq!(made, words);
        assert!(!is_text(words.as_bytes()) && !is_text(&[0x40; 200]) && !is_text(&bytes[..20]));
        assert!(!is_text("é è à ù ".repeat(40).as_bytes()));
        let noise: Vec<u8> = (0..200_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(!is_text(&noise));
    }
}
