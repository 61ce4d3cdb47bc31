//! Social security numbers of the United States, and the taxpayer numbers that look
//! like them.
//!
//! Which areas, groups and serials are never issued is from the Social Security
//! Administration's page on randomisation; the ranges of taxpayer numbers are from
//! the instructions of form W-7.

use crate::detectors::context::{WordList, Words, key_before};
use crate::detectors::rule::load;
use crate::financial::Issuers;
use airlock_inspect::{Anchor, Detector, Hit, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// Characters on each side in which other numbers count.
const NEIGHBOURS: usize = 256;

/// What the rules hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SsnData {
    /// Numbers that were printed in advertisements and examples.
    #[serde(default)]
    pub published: Vec<String>,
    /// Words that make nine digits without dashes a number.
    #[serde(default)]
    pub bare_words: WordList,
    /// Words around a number.
    pub words: Words,
}

/// Returns whether a number of nine digits can have been issued.
pub(crate) fn ssn_parts_valid(digits: &[u8]) -> bool {
    let Some((area, rest)) = digits.split_first_chunk::<3>() else { return false };
    let Some((group, serial)) = rest.split_first_chunk::<2>() else { return false };
    serial.len() == 4
        && area != b"000"
        && area != b"666"
        && area[0] != b'9'
        && group != b"00"
        && serial != b"0000"
}

/// Returns whether a number of nine digits can be a taxpayer number.
fn itin_parts_valid(digits: &[u8]) -> bool {
    let [b'9', _, _, d, e, serial @ ..] = digits else { return false };
    let group = (d.wrapping_sub(b'0')) * 10 + e.wrapping_sub(b'0');
    serial.len() == 4 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// A number in a window.
struct Number {
    digits: [u8; 9],
    first: isize,
    length: usize,
    /// A dash or space, if there is one between its parts.
    joint: Option<u8>,
    /// A card number stands right before it, without anything between.
    packed: bool,
}

/// What both kinds of number share.
#[derive(Debug)]
struct Shared {
    check: Check,
    severity: Severity,
    published: Vec<String>,
    bare_words: WordList,
    words: Words,
    issuers: Issuers,
    valid: fn(&[u8]) -> bool,
    name: &'static str,
}

impl Shared {
    fn new(rule: &str, name: &'static str, valid: fn(&[u8]) -> bool) -> Self {
        let rule = load::<SsnData>(rule);
        Self {
            check: rule.check,
            severity: rule.severity,
            published: rule.data.published,
            bare_words: rule.data.bare_words,
            words: rule.data.words,
            issuers: crate::financial::issuers(),
            valid,
            name,
        }
    }

    /// Reads a number in three parts, the last of which starts at the anchor.
    fn parts(&self, window: &Window<'_>) -> Option<Number> {
        let front = window.before.last_chunk::<7>()?;
        let joint = front[3];
        let mut digits = [0; 9];
        digits[..3].copy_from_slice(&front[..3]);
        digits[3..5].copy_from_slice(&front[4..6]);
        digits[5..].copy_from_slice(window.after.first_chunk::<4>()?);
        if joint != front[6] || !(self.valid)(&digits) {
            return None;
        }
        let outside = &window.before[..window.before.len() - 7];
        let packed = match outside.last() {
            Some(byte) if byte.is_ascii_digit() => {
                let count = outside.iter().rev().take(20).take_while(|byte| byte.is_ascii_digit()).count();
                if !self.issuers.valid(&outside[outside.len() - count..]) {
                    return None;
                }
                true
            }
            _ => false,
        };
        if !packed && !self.left(outside) {
            return None;
        }
        let next = window.after.get(4).copied().unwrap_or(b' ');
        let then = window.after.get(5).copied().unwrap_or(b' ');
        let cut = match next {
            b'0'..=b'9' => packed && !then.is_ascii_digit(),
            b'A'..=b'Z' | b'a'..=b'z' => packed,
            b'_' => false,
            b'-' | b'.' | b'/' => !then.is_ascii_alphanumeric(),
            _ => true,
        };
        cut.then_some(Number { digits, first: -7, length: 11, joint: Some(joint), packed })
    }

    /// Reads a number of nine digits in a row, which starts at the anchor.
    fn bare(&self, window: &Window<'_>) -> Option<Number> {
        let digits = *window.after.first_chunk::<9>()?;
        let next = window.after.get(9).copied().unwrap_or(b' ');
        let then = window.after.get(10).copied().unwrap_or(b' ');
        let ended = match next {
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => false,
            b'-' | b'.' | b'/' => !then.is_ascii_alphanumeric(),
            _ => true,
        };
        if !ended || !(self.valid)(&digits) || !self.left(window.before) {
            return None;
        }
        Some(Number { digits, first: 0, length: 9, joint: None, packed: false })
    }

    /// Returns whether what stands before a number leaves it alone.
    fn left(&self, before: &[u8]) -> bool {
        let Some((&last, rest)) = before.split_last() else { return true };
        match last {
            b'A'..=b'Z' | b'a'..=b'z' => {
                let near = &before[before.len().saturating_sub(16)..];
                let letters = near.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
                self.words.names(&near[near.len() - letters..])
            }
            b'_' => false,
            b'-' | b'.' | b'/' | b'+' => rest.last().is_none_or(|byte| !byte.is_ascii_alphanumeric()),
            _ => true,
        }
    }

    /// Counts numbers of the same shape nearby that can be issued, and that cannot.
    fn neighbours(&self, window: &Window<'_>, number: &Number) -> (usize, usize) {
        let end = number.first + 11;
        let (mut valid, mut invalid) = (0, 0);
        for text in [window.before(number.first, NEIGHBOURS), window.after(end, NEIGHBOURS)] {
            for dash in memchr::memchr_iter(b'-', text) {
                let Some(piece) = dash.checked_sub(4).and_then(|start| text.get(start..start + 13)) else {
                    continue;
                };
                if piece[7] != b'-' || piece[0].is_ascii_digit() || piece[12].is_ascii_digit() {
                    continue;
                }
                let digits = [1, 2, 3, 5, 6, 8, 9, 10, 11].map(|place| piece[place]);
                if digits.iter().all(u8::is_ascii_digit) {
                    if (self.valid)(&digits) {
                        valid += 1;
                    } else {
                        invalid += 1;
                    }
                }
            }
        }
        (valid, invalid)
    }

    /// Returns whether a card number stands nearby.
    fn card_near(&self, window: &Window<'_>, number: &Number) -> bool {
        let end = isize::try_from(number.length).unwrap_or(0) + number.first;
        [window.before(number.first, 128), window.after(end, 128)].into_iter().any(|text| {
            text.split(|byte| !byte.is_ascii_digit())
                .any(|digits| digits.len() > 13 && self.issuers.valid(digits))
        })
    }

    fn verify(&self, anchor: Anchor, window: &Window<'_>) -> Option<Hit> {
        let number = match anchor {
            Anchor::NineRun => self.bare(window)?,
            _ => self.parts(window)?,
        };
        if self.published.iter().any(|known| known.as_bytes() == number.digits)
            || number.digits.iter().all(|digit| *digit == number.digits[0])
        {
            return None;
        }
        let end = number.first + isize::try_from(number.length).ok()?;
        let words = if number.joint.is_some() { &self.words.positive } else { &self.bare_words };
        let near = words.stand_in(window.before(number.first, 64))
            || number.joint.is_some() && words.stand_in(window.after(end, 32));
        let column = if near { None } else { window.column(number.first) };
        let column = column.unwrap_or_default();
        let named = near || words.stand_in(column) || number.joint.is_some() && in_patient_segment(window);
        let percent = match number.joint {
            _ if number.packed => 85,
            Some(_) if named => 95,
            None if named => 88,
            None | Some(b' ') => return None,
            Some(_) if self.words.denies(key_before(window, number.first)) || self.words.denies(column) => 40,
            Some(_) if self.card_near(window, &number) => 88,
            Some(_) => match self.neighbours(window, &number) {
                (valid, invalid) if invalid > valid / 8 && invalid > 0 => 40,
                (2.., _) => 75,
                _ => 60,
            },
        };
        let shape = if number.joint.is_some() { "***-**-****" } else { "*********" };
        // What manuals and tests begin with.
        let percent = if number.digits.starts_with(b"12345") { percent.min(60) } else { percent };
        Some(Hit::Value(Value {
            first: number.first,
            length: number.length,
            confidence: Confidence::percent(percent),
            normal: Normal::of(&number.digits),
            display: format!("{} {shape}", self.name),
        }))
    }
}

/// Returns whether the anchor lies in a `PID` segment of HL7 version 2.
fn in_patient_segment(window: &Window<'_>) -> bool {
    let start = window.before.iter().rposition(|byte| matches!(byte, b'\r' | b'\n' | 0x0b));
    window.before[start.map_or(0, |start| start + 1)..].starts_with(b"PID|")
}

macro_rules! number {
    ($type:ident, $name:literal, $rule:literal, $valid:expr, $anchors:expr, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug)]
        pub struct $type(Shared);

        impl $type {
            /// Reads the rule.
            pub fn new() -> Self {
                Self(Shared::new($rule, $name, $valid))
            }
        }

        impl Default for $type {
            fn default() -> Self {
                Self::new()
            }
        }

        impl Detector for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn check(&self) -> Check {
                self.0.check
            }

            fn severity(&self) -> Severity {
                self.0.severity
            }

            fn anchors(&self) -> &[Anchor] {
                $anchors
            }

            fn verify(&self, anchor: Anchor, window: &Window<'_>) -> Option<Hit> {
                self.0.verify(anchor, window)
            }
        }
    };
}

number!(
    UsSsn,
    "us_ssn",
    "regulated/us_ssn",
    ssn_parts_valid,
    &[Anchor::Triple, Anchor::NineRun],
    "Finds social security numbers."
);
number!(
    UsItin,
    "us_itin",
    "regulated/us_itin",
    itin_parts_valid,
    &[Anchor::Triple],
    "Finds individual taxpayer identification numbers."
);
