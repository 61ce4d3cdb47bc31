//! Content in which nearly every character is spelled by its number: `\x34`, `\u0034`, `\064`, `&#52;`, `&#x34;`,
//! `=34`.

use crate::hex::digit;
use crate::rewrite::{Rewrite, Rewriter};
use std::io::BufRead;

/// How characters are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Behind a backslash: `\xHH`, `\uHHHH`, `\u{H…}`, `\ooo`.
    Backslash,
    /// References to characters in XML and HTML.
    Entity,
    /// Quoted-printable.
    Quoted,
}

impl Style {
    /// Returns what layers are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Backslash => "escapes",
            Self::Entity => "entities",
            Self::Quoted => "quoted-printable",
        }
    }

    fn mark(self) -> u8 {
        match self {
            Self::Backslash => b'\\',
            Self::Entity => b'&',
            Self::Quoted => b'=',
        }
    }
}

/// Bytes in which there must be some mark for the rest to be looked at.
const FIRST_BYTES: usize = 512;
/// Marks that make content such content, at least.
const MARKS_MIN: usize = 16;
/// Longest spelling of one character: `&#x10ffff;`.
const SPELLED_BYTES_MAX: usize = 10;

/// Returns how content that begins with `head` is spelled: at least one byte in sixteen begins a character.
pub(crate) fn style_of(head: &[u8]) -> Option<Style> {
    let first = head.get(..FIRST_BYTES).unwrap_or(head);
    [Style::Backslash, Style::Entity, Style::Quoted].into_iter().find(|style| {
        let needed = |bytes: usize| bytes / 16;
        memchr::memchr(style.mark(), first).is_some()
            && count(*style, first) >= needed(first.len()).min(MARKS_MIN)
            && count(*style, head) >= needed(head.len()).max(MARKS_MIN)
    })
}

fn count(style: Style, bytes: &[u8]) -> usize {
    let spelled = |at: usize| {
        let rest = bytes.get(at..)?;
        let rest = rest.get(..SPELLED_BYTES_MAX).unwrap_or(rest);
        (1..=rest.len()).map(|length| read(style, rest.get(..length).unwrap_or_default())).find_map(|one| {
            match one {
                Spelled::Whole(_) => Some(true),
                Spelled::Not => Some(false),
                Spelled::Begun => None,
            }
        })
    };
    memchr::memchr_iter(style.mark(), bytes).filter(|at| spelled(*at) == Some(true)).count()
}

/// What bytes that begin with a mark are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelled {
    /// A character, or a byte where that is below 256 in a style of bytes.
    Whole(u32),
    /// The beginning of one.
    Begun,
    /// Nothing of the kind.
    Not,
}

fn number(digits: &[u8], base: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()
}

fn read(style: Style, bytes: &[u8]) -> Spelled {
    let hexadecimal = |digits: &[u8], wanted: usize| match digits {
        _ if digits.iter().any(|byte| digit(*byte).is_none()) => Spelled::Not,
        _ if digits.len() < wanted => Spelled::Begun,
        _ => number(digits, 16).map_or(Spelled::Not, Spelled::Whole),
    };
    match (style, bytes) {
        (Style::Backslash, [_, b'x', digits @ ..]) | (Style::Quoted, [_, digits @ ..]) => {
            hexadecimal(digits, 2)
        }
        (Style::Backslash, [_, b'u', b'{', digits @ .., b'}'])
        | (Style::Entity, [_, b'#', b'x' | b'X', digits @ .., b';']) => hexadecimal(digits, 1),
        (Style::Backslash, [_, b'0'..=b'3', rest @ ..]) => match rest {
            [] => Spelled::Begun,
            _ if !rest.iter().all(|byte| matches!(byte, b'0'..=b'7')) => Spelled::Not,
            [_] => Spelled::Begun,
            _ => number(bytes.get(1..).unwrap_or_default(), 8).map_or(Spelled::Not, Spelled::Whole),
        },
        (Style::Backslash, [_, b'u', b'{', digits @ ..])
        | (Style::Entity, [_, b'#', b'x' | b'X', digits @ ..]) => hexadecimal(digits, SPELLED_BYTES_MAX),
        (Style::Backslash, [_, b'u', digits @ ..]) => hexadecimal(digits, 4),
        (Style::Entity, [_, b'#', digits @ .., b';']) => {
            number(digits, 10).map_or(Spelled::Not, Spelled::Whole)
        }
        (Style::Entity, [_, b'#', digits @ ..]) if digits.iter().all(u8::is_ascii_digit) => Spelled::Begun,
        (_, [_]) => Spelled::Begun,
        _ => Spelled::Not,
    }
}

/// Spells characters as they are.
pub(crate) struct Escapes {
    style: Style,
    /// The bytes behind a mark so far, the mark included.
    waiting: Vec<u8>,
}

/// Reads content of a style.
pub(crate) fn text<R: BufRead>(inner: R, style: Style) -> Rewrite<R, Escapes> {
    Rewrite::new(inner, Escapes { style, waiting: Vec::new() })
}

impl Escapes {
    fn push(&self, character: u32, length: usize, out: &mut Vec<u8>) {
        let is_byte = self.style == Style::Backslash && length == 4;
        match (u8::try_from(character), char::from_u32(character)) {
            // `\xHH` and `\ooo` are bytes.
            (Ok(byte), _) if is_byte => out.push(byte),
            (_, Some(character)) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            // Half of a pair; digits and letters never are.
            _ => out.push(b'?'),
        }
    }
}

impl Rewriter for Escapes {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.waiting.is_empty() && byte != self.style.mark() {
            out.push(byte);
            return;
        }
        self.waiting.push(byte);
        match read(self.style, &self.waiting) {
            Spelled::Whole(character) => {
                self.push(character, self.waiting.len(), out);
                self.waiting.clear();
            }
            Spelled::Begun if self.waiting.len() < SPELLED_BYTES_MAX => {}
            _ => {
                // A mark that marks nothing stays; what is behind it may be another one.
                let last = self.waiting.pop().filter(|_| !self.waiting.is_empty());
                out.append(&mut self.waiting);
                match last {
                    Some(last) => self.step(last, out),
                    None => out.push(byte),
                }
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    const TEXT: &str = "Card 4539 1488 0343 6467 of Zoë";

    fn check(style: Style, content: &str, expected: &str) {
        assert_eq!(style_of(content.as_bytes()), Some(style), "{content}");
        for size in [1, 3, 100] {
            let mut made = Vec::new();
            let inner = BufReader::with_capacity(size, content.as_bytes());
            text(inner, style).read_to_end(&mut made).unwrap();
            assert_eq!(String::from_utf8(made).unwrap(), expected, "{content}");
        }
    }

    #[test]
    fn numbers_become_characters() {
        let spell = |each: &dyn Fn(char) -> String| TEXT.chars().map(each).collect::<String>();
        let bytes = |each: &dyn Fn(u8) -> String| TEXT.bytes().map(each).collect::<String>();
        check(
            Style::Backslash,
            &format!("x={}\\", bytes(&|b| format!("\\x{b:02x}"))),
            &format!("x={TEXT}\\"),
        );
        check(Style::Backslash, &bytes(&|b| format!("\\{b:03o}")), TEXT);
        check(Style::Backslash, &spell(&|c| format!("\\u{:04X}", u32::from(c))), TEXT);
        check(Style::Backslash, &spell(&|c| format!("\\u{{{:x}}}", u32::from(c))), TEXT);
        check(
            Style::Entity,
            &format!("<p>{}</p>", spell(&|c| format!("&#{};", u32::from(c)))),
            &format!("<p>{TEXT}</p>"),
        );
        check(Style::Entity, &spell(&|c| format!("&#x{:x};", u32::from(c))), TEXT);
    }

    #[test]
    fn other_content_is_left() {
        for content in ["a = b == c\n".repeat(40), "C:\\temp\\x\\n ".repeat(40), "a&b &amp; c; ".repeat(40)] {
            assert_eq!(style_of(content.as_bytes()), None, "{content}");
        }
        assert_eq!(style_of(b""), None);
    }
}
