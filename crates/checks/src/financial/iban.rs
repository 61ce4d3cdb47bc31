//! International bank account numbers (ISO 13616).

use crate::detectors::context::Words;
use crate::detectors::rule::load;
use airlock_inspect::{Anchor, Detector, Hit, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Longest number.
const LENGTH_MAX: usize = 34;

/// What the rule of the account numbers holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IbanData {
    /// For each country, the structure behind the check digits as the SWIFT registry
    /// writes it: `8n10n` is eight and ten digits, `4a` letters, `16c` both.
    pub countries: BTreeMap<String, String>,
    /// Numbers that documents use as examples.
    pub published: Vec<String>,
    /// Words around a number.
    pub words: Words,
}

/// What a character of the structure may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Digit,
    Letter,
    Either,
}

/// Finds account numbers.
#[derive(Debug)]
pub struct Iban {
    check: Check,
    severity: Severity,
    /// By country, `A` to `Z` twice; empty where there is none.
    structures: Vec<Vec<Kind>>,
    published: Vec<String>,
    words: Words,
}

impl Default for Iban {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the place of a country in the table.
fn country(first: u8, second: u8) -> usize {
    let letter = |byte: u8| usize::from(byte.to_ascii_uppercase().wrapping_sub(b'A'));
    letter(first) * 26 + letter(second)
}

/// Reads a structure such as `4a6n8n`.
fn structure(text: &str) -> Vec<Kind> {
    let mut kinds = Vec::new();
    let mut count = 0;
    for letter in text.chars() {
        let kind = match letter {
            'n' => Kind::Digit,
            'a' => Kind::Letter,
            'c' => Kind::Either,
            digit => {
                count = count * 10 + digit.to_digit(10).unwrap_or(0);
                continue;
            }
        };
        kinds.extend((0..count).map(|_| kind));
        count = 0;
    }
    kinds
}

/// Returns whether the remainder of ISO 7064 MOD 97-10 is right.
fn mod97(number: &[u8]) -> bool {
    let rotated = number.iter().skip(4).chain(number.iter().take(4));
    let remainder = rotated.fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.wrapping_sub(b'A')) + 10) % 97,
    });
    remainder == 1
}

impl Iban {
    /// Reads the rule.
    pub fn new() -> Self {
        let rule = load::<IbanData>("financial/iban");
        let mut structures = vec![Vec::new(); 26 * 26];
        for (code, text) in &rule.data.countries {
            if let [first, second] = code.as_bytes() {
                structures[country(*first, *second)] = structure(text);
            }
        }
        Self {
            check: rule.check,
            severity: rule.severity,
            structures,
            published: rule.data.published,
            words: rule.data.words,
        }
    }

    /// Returns whether a right number in groups of four starts `text`.
    pub(super) fn starts_grouped(&self, text: &[u8]) -> bool {
        self.read(text).is_some_and(|(.., grouped)| grouped)
    }

    /// Reads a number at the start of `text`: its letters in upper case, and the
    /// characters that it takes; whether it is grouped by four.
    fn read(&self, text: &[u8]) -> Option<([u8; LENGTH_MAX], usize, usize, bool)> {
        let structure = self.structures.get(country(*text.first()?, *text.get(1)?))?;
        if structure.is_empty() {
            return None;
        }
        let length = structure.len() + 4;
        let joint = text.get(4).copied().filter(|byte| matches!(byte, b' ' | b'-'));
        let mut number = [0; LENGTH_MAX];
        let mut at = 0;
        for (place, slot) in number.iter_mut().enumerate().take(length) {
            if joint.is_some() && place > 0 && place.is_multiple_of(4) {
                if text.get(at).copied() != joint {
                    return None;
                }
                at += 1;
            }
            let byte = text.get(at)?.to_ascii_uppercase();
            let fits = match place.checked_sub(4).map(|place| structure[place]) {
                None if place < 2 => byte.is_ascii_uppercase(),
                None | Some(Kind::Digit) => byte.is_ascii_digit(),
                Some(Kind::Letter) => byte.is_ascii_uppercase(),
                Some(Kind::Either) => byte.is_ascii_alphanumeric(),
            };
            if !fits {
                return None;
            }
            *slot = byte;
            at += 1;
        }
        mod97(&number[..length]).then_some((number, length, at, joint.is_some()))
    }
}

/// Returns whether the characters next to a number leave it alone.
fn alone(window: &Window<'_>, length: usize, characters: usize) -> bool {
    let before = window.before.last().copied().unwrap_or(b' ');
    // A short string in a page of a PostgreSQL table has one byte of length before it.
    let counted = usize::from(before) == (length + 1) * 2 + 1 && characters == length;
    let after = window.after.get(characters).copied().unwrap_or(b' ');
    let free = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'_';
    (counted || free(before)) && free(after)
}

impl Detector for Iban {
    fn name(&self) -> &'static str {
        "iban"
    }

    fn check(&self) -> Check {
        self.check
    }

    fn severity(&self) -> Severity {
        self.severity
    }

    fn anchors(&self) -> &[Anchor] {
        &[Anchor::LetterPair]
    }

    fn verify(&self, _: Anchor, window: &Window<'_>) -> Option<Hit> {
        let (number, length, characters, grouped) = self.read(window.after)?;
        if !alone(window, length, characters) {
            return None;
        }
        let end = isize::try_from(characters).ok()?;
        let lower = window.after[..characters].iter().any(u8::is_ascii_lowercase);
        let named =
            || window.column(0).is_some_and(|name| self.words.names(name)) || self.words.near(window, 0, end);
        if lower && !grouped && !named() {
            return None;
        }
        let number = &number[..length];
        let published = self.published.iter().any(|known| known.as_bytes() == number);
        Some(Hit::Value(Value {
            first: 0,
            length: characters,
            confidence: Confidence::percent(if published { 40 } else { 95 }),
            normal: Normal::of(number),
            display: format!("iban {}{}** ({length})", char::from(number[0]), char::from(number[1])),
        }))
    }
}
