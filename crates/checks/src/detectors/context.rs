//! What the words around a value say about it.

use airlock_inspect::{Encoding, Window};
use serde::Deserialize;

/// Characters before a value in which words count.
pub const WORDS_BEFORE: usize = 64;

/// Characters after a value in which words count.
pub const WORDS_AFTER: usize = 32;

/// Longest name of a column.
const COLUMN_MAX: usize = 48;

/// Words that raise or lower the confidence, in lower case.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Name the value.
    pub positive: Vec<String>,
    /// Name something else that looks like it.
    #[serde(default)]
    pub negative: Vec<String>,
}

impl Words {
    /// Returns whether a positive word stands near the value of `length` characters
    /// that starts at the place `first`.
    pub fn near(&self, window: &Window<'_>, first: isize, end: isize) -> bool {
        any_word(window.before(first, WORDS_BEFORE), &self.positive)
            || any_word(window.after(end, WORDS_AFTER), &self.positive)
    }

    /// Returns whether `name`, a key or a column, names the value.
    pub fn names(&self, name: &[u8]) -> bool {
        any_word(name, &self.positive)
    }

    /// Returns whether `name`, a key or a column, names something else.
    pub fn denies(&self, name: &[u8]) -> bool {
        any_word(name, &self.negative) && !any_word(name, &self.positive)
    }
}

/// Returns whether one of `words` stands in `text` as a word of its own: between
/// non-letters, or by a change of case as in `cardNumber`. A plural counts.
pub fn any_word(text: &[u8], words: &[String]) -> bool {
    let mut at = 0;
    while at < text.len() {
        let begins = text[at].is_ascii_alphabetic()
            && (at == 0
                || !text[at - 1].is_ascii_alphabetic()
                || text[at - 1].is_ascii_lowercase() && text[at].is_ascii_uppercase());
        if begins && words.iter().any(|word| stands(&text[at..], word.as_bytes())) {
            return true;
        }
        at += 1;
    }
    false
}

/// Returns whether `text` starts with `word` and goes on with something else.
fn stands(text: &[u8], word: &[u8]) -> bool {
    if text.len() < word.len() || !text[..word.len()].eq_ignore_ascii_case(word) {
        return false;
    }
    let ends = |rest: &[u8]| match rest.first() {
        Some(next) if next.is_ascii_lowercase() => false,
        Some(next) if next.is_ascii_uppercase() => text[word.len() - 1].is_ascii_lowercase(),
        _ => true,
    };
    let rest = &text[word.len()..];
    ends(rest) || rest.first().is_some_and(|next| next.eq_ignore_ascii_case(&b's')) && ends(&rest[1..])
}

/// Returns the name that stands right before the place `first`: `card` in `card=`,
/// `cardNumber` in `"cardNumber": "`, `Number` in `<Number>`.
pub fn key_before<'a>(window: &'a Window<'_>, first: isize) -> &'a [u8] {
    let before = window.before(first, WORDS_BEFORE);
    let part_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let joint = |byte: &u8| {
        matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'=' | b':' | b'>' | b'#' | b'(' | b'[' | b'\\')
    };
    let gap = before.iter().rev().take(6).take_while(|byte| joint(byte)).count();
    if gap == 0 {
        return &[];
    }
    let name = &before[..before.len() - gap];
    let length = name.iter().rev().take(40).take_while(|byte| part_of_name(byte)).count();
    &name[name.len() - length..]
}

/// Returns the name of the column that the place `first` is in, if the stream begins
/// with a header row and the place is in a later row.
pub fn column_of(window: &Window<'_>, first: isize) -> Option<([u8; COLUMN_MAX], usize)> {
    let mut header = [0; 512];
    let header = header_row(window, &mut header)?;
    let delimiter = [b',', b';', b'\t', b'|']
        .into_iter()
        .max_by_key(|delimiter| header.iter().filter(|byte| *byte == delimiter).count())?;
    let before = window.before(first, usize::MAX);
    let row = before.len() - before.iter().rev().position(|byte| *byte == b'\n')?;
    let column = fields(&before[row..], delimiter);
    let mut name = [0; COLUMN_MAX];
    let mut length = 0;
    let (mut field, mut quoted) = (0, false);
    for &byte in header {
        match byte {
            b'"' => quoted = !quoted,
            _ if byte == delimiter && !quoted => field += 1,
            _ if field == column => {
                *name.get_mut(length)? = byte;
                length += 1;
            }
            _ => {}
        }
    }
    let named = name[..length].iter().any(u8::is_ascii_alphabetic)
        && name[..length].iter().filter(|byte| byte.is_ascii_digit()).count() < 4;
    named.then_some((name, length))
}

/// Returns the first line of the stream, if it is whole, short and printable.
fn header_row<'a>(window: &Window<'_>, into: &'a mut [u8; 512]) -> Option<&'a [u8]> {
    let skip = match window.encoding {
        Encoding::Bytes | Encoding::Utf16Le => 0,
        Encoding::Utf16Be => 1,
    };
    let step = if window.encoding == Encoding::Bytes { 1 } else { 2 };
    let mut length = 0;
    for &byte in window.head.iter().skip(skip).step_by(step) {
        match byte {
            b'\n' => return (length > 0).then(|| &into[..length]),
            b'\r' => {}
            0..=8 | 11..=31 | 127 => return None,
            _ => {
                *into.get_mut(length)? = byte;
                length += 1;
            }
        }
    }
    None
}

/// Counts the fields that end in `row`.
fn fields(row: &[u8], delimiter: u8) -> usize {
    let (mut count, mut quoted) = (0, false);
    for &byte in row {
        match byte {
            b'"' => quoted = !quoted,
            _ if byte == delimiter && !quoted => count += 1,
            _ => {}
        }
    }
    count
}
