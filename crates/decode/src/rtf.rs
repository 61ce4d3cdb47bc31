//! The text of RTF (Rich Text Format Specification 1.9.1).

use crate::hex::digit;
use crate::rewrite::{Rewrite, Rewriter};
use std::io::BufRead;

pub(crate) const MAGIC: &[u8] = b"{\\rtf";

/// Longest control word with its number.
const WORD_BYTES_MAX: usize = 40;

/// Groups within each other that are told apart.
const DEPTH_MAX: u32 = 1 << 20;

/// Groups that hold no text of the document.
const OTHER: [&[u8]; 9] = [
    b"fonttbl",
    b"colortbl",
    b"stylesheet",
    b"listtable",
    b"listoverridetable",
    b"pict",
    b"themedata",
    b"datastore",
    b"rsidtbl",
];

/// Where in the document a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Text,
    /// Behind a backslash, in the name and number of a control word.
    Word,
    /// In the two digits of a character.
    Hex,
    /// In so many bytes of binary data.
    Binary(u32),
}

/// Takes a document apart.
#[derive(Default)]
pub(crate) struct Text {
    place: Place,
    word: Vec<u8>,
    depth: u32,
    /// The depth of the group that is passed over.
    hidden: Option<u32>,
    /// Characters that stand for the last one in programs without Unicode.
    replaced: u32,
}

/// Reads the text.
pub(crate) fn text<R: BufRead>(document: R) -> Rewrite<R, Text> {
    Rewrite::new(document, Text::default())
}

impl Text {
    fn put(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.replaced > 0 {
            self.replaced = self.replaced.saturating_sub(1);
        } else if self.hidden.is_none() {
            out.push(byte);
        }
    }

    fn word_byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.word.is_empty() && !byte.is_ascii_alphabetic() {
            self.place = Place::Text;
            match byte {
                b'\'' => self.place = Place::Hex,
                b'*' => {
                    self.hidden.get_or_insert(self.depth);
                }
                b'~' => self.put(b' ', out),
                b'_' => self.put(b'-', out),
                b'\\' | b'{' | b'}' => self.put(byte, out),
                b'\r' | b'\n' => self.put(b'\n', out),
                _ => {}
            }
        } else if (byte.is_ascii_alphanumeric() || byte == b'-') && self.word.len() < WORD_BYTES_MAX {
            self.word.push(byte);
        } else {
            self.place = Place::Text;
            self.end_word(out);
            if byte != b' ' {
                self.step(byte, out);
            }
        }
    }

    fn end_word(&mut self, out: &mut Vec<u8>) {
        let word = std::mem::take(&mut self.word);
        let split = word.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(word.len());
        let (name, number) = word.split_at(split);
        let number: i32 = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        match name {
            b"par" | b"line" | b"row" | b"sect" | b"page" => self.put(b'\n', out),
            b"tab" | b"cell" => self.put(b'\t', out),
            b"emdash" | b"endash" => self.put(b'-', out),
            b"bin" if number > 0 => self.place = Place::Binary(number.unsigned_abs()),
            b"u" => {
                // A number below zero stands for one of the upper half of 16 bits.
                let number = u32::try_from(number & 0xffff).unwrap_or(0);
                let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
                self.replaced = 0;
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    self.put(byte, out);
                }
                self.replaced = 1;
            }
            _ if OTHER.contains(&name) => {
                self.hidden.get_or_insert(self.depth);
            }
            _ => {}
        }
    }
}

impl Rewriter for Text {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.place {
            Place::Text => match byte {
                b'\\' => {
                    self.word.clear();
                    self.place = Place::Word;
                }
                b'{' => self.depth = self.depth.saturating_add(1).min(DEPTH_MAX),
                b'}' => {
                    if self.hidden.is_some_and(|hidden| hidden >= self.depth) {
                        self.hidden = None;
                    }
                    self.depth = self.depth.saturating_sub(1);
                }
                b'\r' | b'\n' => {}
                _ => self.put(byte, out),
            },
            Place::Word => self.word_byte(byte, out),
            Place::Hex => {
                self.word.push(byte);
                if let [high, low] = *self.word.as_slice() {
                    self.place = Place::Text;
                    if let (Some(high), Some(low)) = (digit(high), digit(low)) {
                        self.put(high << 4 | low, out);
                    }
                }
            }
            Place::Binary(left) => {
                let left = left.saturating_sub(1);
                self.place = if left == 0 { Place::Text } else { Place::Binary(left) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    fn check(document: &str, expected: &str) {
        for size in [1, 4, 1000] {
            let mut made = Vec::new();
            let inner = BufReader::with_capacity(size, document.as_bytes());
            text(inner).read_to_end(&mut made).expect("text");
            assert_eq!(String::from_utf8_lossy(&made), expected, "{document}");
        }
    }

    #[test]
    fn text_is_read_without_its_form() {
        check("{\\rtf1{\\fonttbl{\\f0 Arial;}}\\f0 card 4539 {\\b 14}88\\par next}", "card 4539 1488\nnext");
        check("{\\rtf1 {\\*\\generator x;}a\\'20b\\u228?\\{\\~c\\tab d\\bin3 {}{e}", "a b\u{e4}{ c\tde");
        check("{\\rtf1 {\\pict 00ff}a}", "a");
    }
}
