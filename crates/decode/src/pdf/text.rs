//! The text that a content stream shows (section 9.4), in the order in which it shows it.
//!
//! Characters are taken for what they are in the encodings of Latin text (annex D). Fonts with
//! encodings of their own are not looked up.

use crate::hex::digit;
use crate::rewrite::{Rewrite, Rewriter};
use std::io::BufRead;

/// Longest operator or number.
const WORD_BYTES_MAX: usize = 32;

/// How far, in thousandths of the size of the font, a piece of text must be moved to the right so
/// that there is a blank before it.
const BLANK: f64 = -180.0;

/// Where in the stream a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Comment,
    Name,
    /// In a string, within so many parentheses.
    String(u32),
    /// Behind a backslash in it.
    Escape(u32),
    /// In the digits of a character, and how many were seen.
    Octal(u32, u32),
    Hex,
    /// In the pixels of an inline image (section 8.9.7).
    Pixels,
}

/// Follows a content stream.
pub(super) struct Text {
    place: Place,
    word: Vec<u8>,
    /// The last numbers before an operator.
    numbers: Vec<f64>,
    array: bool,
    /// The value of digits of a character so far.
    value: u32,
    high: Option<u8>,
    /// Where the last line of text was placed, from below.
    line: f64,
}

/// Reads the text of a content stream.
pub(super) fn text<R: BufRead>(stream: R) -> Rewrite<R, Text> {
    let text = Text {
        place: Place::Outside,
        word: Vec::new(),
        numbers: Vec::new(),
        array: false,
        value: 0,
        high: None,
        line: f64::NAN,
    };
    Rewrite::new(stream, text)
}

impl Text {
    fn outside(&mut self, byte: u8, out: &mut Vec<u8>) {
        if is_regular(byte) {
            if self.word.len() < WORD_BYTES_MAX {
                self.word.push(byte);
            }
            return;
        }
        self.end_word(out);
        match byte {
            b'(' => self.place = Place::String(0),
            b'<' => self.place = Place::Hex,
            b'%' => self.place = Place::Comment,
            b'/' => self.place = Place::Name,
            b'[' => self.array = true,
            b']' => self.array = false,
            _ => {}
        }
    }

    fn end_word(&mut self, out: &mut Vec<u8>) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        if let Some(number) = std::str::from_utf8(&word).ok().and_then(|word| word.parse::<f64>().ok()) {
            if self.array && number < BLANK {
                out.push(b' ');
            }
            if self.numbers.len() >= 6 {
                self.numbers.remove(0);
            }
            self.numbers.push(number);
            return;
        }
        let last = self.numbers.last().copied().unwrap_or(0.0);
        match word.as_slice() {
            // Text is moved: to another line, or along the same one.
            b"Td" | b"TD" => out.push(if last == 0.0 { b'\t' } else { b'\n' }),
            b"Tm" => {
                let same = (last - self.line).abs() < 0.5;
                self.line = last;
                out.push(if same { b'\t' } else { b'\n' });
            }
            b"T*" | b"'" | b"\"" | b"ET" => out.push(b'\n'),
            b"ID" => self.place = Place::Pixels,
            _ => {}
        }
        self.numbers.clear();
    }
}

/// Puts out a character, unless it is the high byte of one of two.
fn character(byte: u8, out: &mut Vec<u8>) {
    if byte != 0 {
        out.push(byte);
    }
}

/// Whether a byte is neither white space nor a delimiter (section 7.2.2).
fn is_regular(byte: u8) -> bool {
    !matches!(byte, 0 | b'\t' | b'\n' | 12 | b'\r' | b' ')
        && !matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

impl Rewriter for Text {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.place {
            Place::Outside => self.outside(byte, out),
            Place::Comment if matches!(byte, b'\r' | b'\n') => self.place = Place::Outside,
            Place::Comment => {}
            Place::Name => {
                if !is_regular(byte) {
                    self.place = Place::Outside;
                    self.outside(byte, out);
                }
            }
            Place::String(depth) => match byte {
                b'\\' => self.place = Place::Escape(depth),
                b'(' => {
                    out.push(byte);
                    self.place = Place::String(depth.saturating_add(1));
                }
                b')' if depth == 0 => self.place = Place::Outside,
                b')' => {
                    out.push(byte);
                    self.place = Place::String(depth.saturating_sub(1));
                }
                _ => character(byte, out),
            },
            Place::Escape(depth) => {
                self.place = Place::String(depth);
                match byte {
                    b'n' | b'r' | b't' | b'b' | b'f' => out.push(b' '),
                    b'\r' | b'\n' => {}
                    b'0'..=b'7' => {
                        self.value = u32::from(byte.wrapping_sub(b'0'));
                        self.place = Place::Octal(depth, 1);
                    }
                    _ => out.push(byte),
                }
            }
            Place::Octal(depth, count) => match byte {
                b'0'..=b'7' if count < 3 => {
                    self.value = self.value.wrapping_mul(8).wrapping_add(u32::from(byte.wrapping_sub(b'0')));
                    self.place = Place::Octal(depth, count.saturating_add(1));
                }
                _ => {
                    character(u8::try_from(self.value & 0xff).unwrap_or(0), out);
                    self.place = Place::String(depth);
                    self.step(byte, out);
                }
            },
            Place::Hex => match (byte, self.high) {
                (b'>', high) => {
                    if let Some(high) = high {
                        character(high << 4, out);
                    }
                    self.high = None;
                    self.place = Place::Outside;
                }
                (b'<', None) => self.place = Place::Outside,
                (_, None) => self.high = digit(byte),
                (_, Some(high)) => {
                    if let Some(low) = digit(byte) {
                        self.high = None;
                        character(high << 4 | low, out);
                    }
                }
            },
            Place::Pixels => {
                let last = self.word.last().copied();
                if last == Some(b'E') && byte == b'I' {
                    self.place = Place::Outside;
                    self.word.clear();
                } else {
                    self.word.clear();
                    self.word.push(byte);
                }
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.end_word(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    fn check(content: &str, expected: &str) {
        for size in [1, 5, 1000] {
            let inner = BufReader::with_capacity(size, content.as_bytes());
            let mut made = String::new();
            text(inner).read_to_string(&mut made).expect("text");
            assert_eq!(made, expected, "{content}");
        }
    }

    #[test]
    fn strings_are_shown_in_order() {
        check("BT /F1 12 Tf 72 700 Td (card 4539) Tj 0 -14 Td (next) Tj ET", "\ncard 4539\nnext\n");
        check("[(45) -20 (39) -300 <31 34> (8\\0708)] TJ", "4539 14888");
        check("1 0 0 1 72 700 Tm (a) Tj 1 0 0 1 90 700 Tm (b\\)\\\\) Tj ", "\na\tb)\\");
        check("<004500390> Tj << /A (x) >> BI /W 1 ID )(EI (y) Tj", "E9xy");
    }
}
