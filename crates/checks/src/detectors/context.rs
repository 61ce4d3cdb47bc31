//! What the words around a value say about it.

use airlock_inspect::Window;
use serde::Deserialize;

/// Characters before a value in which words count.
pub const WORDS_BEFORE: usize = 64;

/// Characters after a value in which words count.
pub const WORDS_AFTER: usize = 32;

/// Words in lower case, by their first letter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Vec<String>")]
pub struct WordList {
    by_letter: [Vec<Box<[u8]>>; 26],
}

impl From<Vec<String>> for WordList {
    fn from(words: Vec<String>) -> Self {
        let mut list = Self::default();
        for word in words {
            let first =
                word.as_bytes().first().map_or(0, |first| first.to_ascii_lowercase().wrapping_sub(b'a'));
            if let Some(words) = list.by_letter.get_mut(usize::from(first)) {
                words.push(word.into_bytes().into());
            }
        }
        list
    }
}

impl WordList {
    /// Returns whether one of the words stands in `text` as a word of its own: between
    /// non-letters, or by a change of case as in `cardNumber`. A plural counts.
    pub fn stand_in(&self, text: &[u8]) -> bool {
        let mut last = b' ';
        for (at, &byte) in text.iter().enumerate() {
            let letter = byte.is_ascii_alphabetic();
            let begins = letter
                && (!last.is_ascii_alphabetic() || last.is_ascii_lowercase() && byte.is_ascii_uppercase());
            last = byte;
            if begins {
                let words = &self.by_letter[usize::from((byte | 0x20) - b'a')];
                if words.iter().any(|word| stands(&text[at..], word)) {
                    return true;
                }
            }
        }
        false
    }
}

/// Words that raise or lower the confidence.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Name the value.
    pub positive: WordList,
    /// Name something else that looks like it.
    #[serde(default)]
    pub negative: WordList,
}

impl Words {
    /// Returns whether a positive word stands near the value between two places.
    pub fn near(&self, window: &Window<'_>, first: isize, end: isize) -> bool {
        self.positive.stand_in(window.before(first, WORDS_BEFORE))
            || self.positive.stand_in(window.after(end, WORDS_AFTER))
    }

    /// Returns whether `name`, a key or a column, names the value.
    pub fn names(&self, name: &[u8]) -> bool {
        self.positive.stand_in(name)
    }

    /// Returns whether `name`, a key or a column, names something else.
    pub fn denies(&self, name: &[u8]) -> bool {
        self.negative.stand_in(name) && !self.positive.stand_in(name)
    }
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
