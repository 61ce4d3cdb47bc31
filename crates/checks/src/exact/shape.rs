//! What values look like: only what looks like one of a list is looked up in it.

use serde::{Deserialize, Serialize};

/// Bytes of a normalised value.
pub(super) const VALUE_BYTES: std::ops::RangeInclusive<usize> = 4..=63;
/// Most runs of letters or digits in a value.
pub(super) const RUNS_MAX: usize = 12;
/// Digits in a group of a number that is written in groups.
const GROUP_DIGITS: usize = 3;

/// What a byte is to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// No value goes across it.
    Break,
    /// One or two of these may stand between the words of a value.
    Joint,
    /// A digit.
    Digit,
    /// A letter of ASCII, or part of another character.
    Letter,
}

impl Class {
    pub(super) const fn of(byte: u8) -> Self {
        match byte {
            b'0'..=b'9' => Self::Digit,
            b'A'..=b'Z' | b'a'..=b'z' | 0x80.. => Self::Letter,
            b' ' | b'\t' | b'-' | b'.' | b',' | b'/' | b'(' | b')' | b'\'' | b'_' => Self::Joint,
            _ => Self::Break,
        }
    }

    /// Returns whether it is of a value itself.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Digit | Self::Letter)
    }
}

/// The lengths that the values of a list have, as bits, by what they consist of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shapes {
    digits: u64,
    letters: u64,
    mixed: u64,
    /// Most runs of letters or digits.
    runs: usize,
}

impl Shapes {
    /// Adds the shape of a value. `written` is how many runs it has as it is written.
    pub(super) fn add(&mut self, value: &[u8], written: usize) {
        let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
        *self.lengths(digits > 0, digits < value.len()) |= 1 << value.len();
        // Numbers may be written in groups.
        let grouped = if digits > 6 { value.len().div_ceil(GROUP_DIGITS) } else { 0 };
        self.runs = self.runs.max(written).max(grouped).min(RUNS_MAX);
    }

    fn lengths(&mut self, digits: bool, letters: bool) -> &mut u64 {
        match (digits, letters) {
            (true, false) => &mut self.digits,
            (false, _) => &mut self.letters,
            (true, true) => &mut self.mixed,
        }
    }

    /// Returns whether some value has this many bytes of these classes.
    pub(super) fn has(&self, length: usize, digits: bool, letters: bool) -> bool {
        let lengths = match (digits, letters) {
            (true, false) => self.digits,
            (false, _) => self.letters,
            (true, true) => self.mixed,
        };
        length < 64 && lengths & (1 << length) != 0
    }

    /// Returns how many runs a value has at most.
    pub(super) fn runs(&self) -> usize {
        self.runs
    }

    /// Returns whether a list could have it.
    pub(super) fn is_sound(&self) -> bool {
        self.runs <= RUNS_MAX
    }

    /// Adds the shapes of another list.
    pub(super) fn join(&mut self, other: &Self) {
        self.digits |= other.digits;
        self.letters |= other.letters;
        self.mixed |= other.mixed;
        self.runs = self.runs.max(other.runs);
    }
}

/// Returns the letters and digits of `value`, in upper case, and the number of runs of either in it.
pub(super) fn normalised(value: &[u8]) -> (Vec<u8>, usize) {
    let mut last = Class::Break;
    let mut runs = 0;
    let mut normal = Vec::with_capacity(value.len());
    for &byte in value {
        let class = Class::of(byte);
        if class.is_text() {
            runs += usize::from(class != last);
            normal.push(byte.to_ascii_uppercase());
        }
        last = class;
    }
    (normal, runs)
}
