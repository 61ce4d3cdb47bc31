//! Primary account numbers of payment cards (ISO/IEC 7812).
//!
//! Prefix, length and check digit let one in some hundred random numbers through;
//! what stands around a number decides how sure the detector is. Numbers that are published
//! for tests are a class of their own, `pan_test`, and never more than likely: the built-in
//! policy warns of them.

use super::issuer::{IssuerRule, Issuers};
use super::track::{run, track1, track2};
use crate::detectors::context::{Words, key_before};
use crate::detectors::rule::load;
use crate::regulated::ssn_parts_valid;
use airlock_inspect::{Anchor, Detector, Hit, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// The class of numbers that gateways publish for tests: `pan_test`.
const TEST_CLASS: usize = 0;

/// Characters on each side in which other numbers count.
const NEIGHBOURS: usize = 320;

/// Longest run of digits in which a record of fixed width is looked for.
const RECORD_RUN_MAX: usize = 160;

/// Other records that must hold a number in the same columns. Each of them does by
/// chance once in fifty times.
const RECORDS_MIN: i32 = 3;

/// Digits of the longest number.
const DIGITS_MAX: usize = 19;

/// What the rule of the card numbers holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PanData {
    /// Who issues which numbers.
    pub issuers: Vec<IssuerRule>,
    /// Numbers that gateways publish for tests.
    pub test_numbers: Vec<String>,
    /// Words around a number.
    pub words: Words,
}

/// Finds card numbers.
#[derive(Debug)]
pub struct Pan {
    check: Check,
    severity: Severity,
    issuers: Issuers,
    test_numbers: Vec<String>,
    words: Words,
    iban: super::Iban,
}

impl Default for Pan {
    fn default() -> Self {
        Self::new()
    }
}

/// A number in a window.
struct Number {
    /// Its first character, from the anchor.
    first: usize,
    digits: [u8; DIGITS_MAX],
    count: usize,
    /// Characters, separators included.
    length: usize,
    grouped: bool,
    /// What the characters next to it say.
    score: i32,
}

impl Number {
    fn digits(&self) -> &[u8] {
        &self.digits[..self.count]
    }
}

impl Pan {
    /// Reads the rule.
    pub fn new() -> Self {
        let rule = load::<PanData>("financial/pan");
        Self {
            check: rule.check,
            severity: rule.severity,
            issuers: Issuers::new(&rule.data.issuers),
            test_numbers: rule.data.test_numbers,
            words: rule.data.words,
            iban: super::Iban::new(),
        }
    }

    /// Reads a number without separators.
    fn plain(&self, window: &Window<'_>) -> Option<Number> {
        let count = window.run;
        let number = |count: usize, score: i32| {
            let mut number =
                Number { digits: [0; DIGITS_MAX], first: 0, count, length: count, grouped: false, score };
            number.digits[..count].copy_from_slice(&window.after[..count]);
            number
        };
        if count > 13 && window.after.get(count) == Some(&b'-') {
            // Packed records have no separators: the number of a person may follow.
            let area = count - 3;
            let tail = window.after.get(area..area + 11).unwrap_or_default();
            let fits = area <= DIGITS_MAX && packed_ssn(tail) && self.issuers.valid(&window.after[..area]);
            if fits {
                return Some(number(area, 2));
            }
        }
        if count > DIGITS_MAX || !self.issuers.valid(&window.after[..count]) {
            return self.in_records(window, count);
        }
        let score = self.left(window, 0)? + right(window, count)?;
        Some(number(count, score))
    }

    /// Looks for a number in a longer run of digits, in lines of one length with a
    /// valid number in the same columns: records of fixed width have no separators.
    fn in_records(&self, window: &Window<'_>, count: usize) -> Option<Number> {
        let next = window.after.get(count).copied();
        let part = count > DIGITS_MAX || next.is_some_and(|byte| byte == b' ' || byte.is_ascii_alphabetic());
        if !part || !(14..=RECORD_RUN_MAX).contains(&count) {
            return None;
        }
        let end = memchr::memchr(b'\n', window.after)?;
        let column = match memchr::memrchr(b'\n', window.before) {
            Some(start) => window.before.len() - start - 1,
            None if window.from_start => window.before.len(),
            None => return None,
        };
        let line = column + end + 1;
        for start in 0..=count - 13 {
            for length in [16, 15, 14, 19] {
                let Some(digits) = window.after[..count].get(start..start + length) else { continue };
                if self.issuers.valid(digits) && self.in_other_records(window, line, start, digits) {
                    let mut number = Number {
                        digits: [0; DIGITS_MAX],
                        first: start,
                        count: length,
                        length,
                        grouped: false,
                        score: 2,
                    };
                    number.digits[..length].copy_from_slice(digits);
                    return Some(number);
                }
            }
        }
        None
    }

    /// Returns whether the lines around have a valid number in the same columns.
    fn in_other_records(&self, window: &Window<'_>, line: usize, start: usize, own: &[u8]) -> bool {
        let text = |place: isize| -> Option<&[u8]> {
            if let Ok(ahead) = usize::try_from(place) {
                window.after.get(ahead..ahead + own.len())
            } else {
                let start = window.before.len().checked_sub(place.unsigned_abs())?;
                window.before.get(start..start + own.len())
            }
        };
        let (mut lines, mut valid) = (0, 0);
        for step in [-3_isize, -2, -1, 1, 2, 3] {
            let Ok(place) = isize::try_from(start) else { return false };
            let Some(digits) = isize::try_from(line).ok().and_then(|line| text(place + step * line)) else {
                continue;
            };
            lines += 1;
            valid += i32::from(
                digits != own && digits.iter().all(u8::is_ascii_digit) && self.issuers.valid(digits),
            );
        }
        valid >= RECORDS_MIN && valid * 4 >= lines * 3
    }

    /// Reads a number in groups: 4-4-4-4, 4-4-4-4-3, 4-6-5 or 4-6-4.
    fn grouped(&self, window: &Window<'_>) -> Option<Number> {
        let joint = *window.after.get(4)?;
        let mut groups = [0; 6];
        let (mut known, mut at) = (0, 0);
        while known < groups.len() {
            let length = run(window.after.get(at..)?);
            groups[known] = length;
            known += 1;
            at += length + 1;
            let next = window.after.get(at).is_some_and(u8::is_ascii_digit);
            if length == 0 || !next || window.after.get(at - 1) != Some(&joint) {
                break;
            }
        }
        let mut digits = [0; DIGITS_MAX];
        let taken = match groups {
            [4, 4, 4, 4, 1..=3, 0] => {
                let (count, _) = collect(window.after, 5, &mut digits)?;
                if self.issuers.valid(&digits[..count]) { 5 } else { 4 }
            }
            [4, 4, 4, 4, ..] => 4,
            [4, 6, 5 | 4, ..] => 3,
            _ => return None,
        };
        let (count, length) = collect(window.after, taken, &mut digits)?;
        if !self.issuers.valid(&digits[..count]) {
            return None;
        }
        let mut score = 1;
        if let Some(&next) = groups.get(taken).filter(|next| **next > 0) {
            // More numbers on the line: a sea of groups of four holds no card.
            if next == 4 || joint == b'-' {
                return None;
            }
            score -= 2 * i32::from(!expiry(&window.after[length + 1..]));
        }
        if sea(&window.after[length..]) || sea_before(window.before) {
            return None;
        }
        let before = window.before;
        if let [.., digit, last] = before
            && *last == joint
            && digit.is_ascii_digit()
        {
            let group =
                before[..before.len() - 1].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            if group == 4 || joint == b'-' {
                return None;
            }
            score -= 2;
        } else {
            score += self.left(window, 0)?;
        }
        score += right(window, length)?;
        Some(Number { digits, first: 0, count, length, grouped: true, score })
    }

    /// What stands right before a number; none if that makes it part of something else.
    fn left(&self, window: &Window<'_>, first: isize) -> Option<i32> {
        let before = window.before(first, 16);
        let Some((&last, rest)) = before.split_last() else { return Some(0) };
        match last {
            b'A'..=b'Z' | b'a'..=b'z' => {
                let letters = before.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
                self.words.names(&before[before.len() - letters..]).then_some(0)
            }
            b'_' | b'*' => None,
            b'.' if rest.last().is_some_and(u8::is_ascii_digit) => None,
            b'-' => {
                let token = rest.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
                let token = &rest[rest.len() - token..];
                let hexadecimal = token.len() >= 4 && token.iter().all(u8::is_ascii_hexdigit);
                (!hexadecimal).then_some(-i32::from(!token.is_empty()))
            }
            b'/' | b'+' => Some(-2),
            _ => Some(0),
        }
    }

    /// Adds up what speaks for a number and against it.
    fn score(&self, window: &Window<'_>, number: &Number) -> Option<i32> {
        let end = isize::try_from(number.first + number.length).ok()?;
        let key = key_before(window, 0);
        let column = window.column(0).unwrap_or_default();
        let named = self.words.names(key) || self.words.names(column);
        let denied = !named && (self.words.denies(key) || self.words.denies(column));
        let context = named || self.words.near(window, 0, end);
        let mut score = number.score + variety(number.digits(), context);
        score += i32::from(context) * 2 - i32::from(denied) * 2;
        score += match expiry_after(window, end) {
            Some(near) if near <= 12 => 2,
            Some(_) => 1,
            None => 0,
        };
        let (valid, invalid) = self.neighbours(window, number);
        score += match (valid, invalid) {
            (0, 0..=1) => 0,
            (0, _) => -2,
            (1, 0..=2) => 1,
            (2.., _) if valid > invalid => 2,
            _ => 0,
        };
        score -= match number.count {
            13 if !context => return None,
            13 | 17.. => 2,
            14 => i32::from(!named),
            _ => 0,
        };
        Some(score)
    }

    /// Returns whether groups from `first` on are the later groups of an account number.
    fn is_inside_iban(&self, window: &Window<'_>, first: usize) -> bool {
        let ahead = isize::try_from(first).unwrap_or(0);
        (1..=4).any(|groups| {
            let before = window.before(ahead, groups * 5);
            let heads = matches!(before, [a, b, c, d, ..]
                if a.is_ascii_uppercase() && b.is_ascii_uppercase() && c.is_ascii_digit() && d.is_ascii_digit());
            heads && self.iban.starts_grouped(&[before, window.after(ahead, 40)].concat())
        })
    }

    /// Counts other numbers nearby that are card numbers, and that are not.
    fn neighbours(&self, window: &Window<'_>, number: &Number) -> (usize, usize) {
        let before = window.before(0, NEIGHBOURS);
        let after = window.after(isize::try_from(number.first + number.length).unwrap_or(0), NEIGHBOURS);
        let (mut valid, mut invalid) = (0, 0);
        for text in [before, after] {
            let mut at = 0;
            while at < text.len() {
                let count = run(&text[at..]);
                if count == 0 {
                    at += 1;
                    continue;
                }
                let mut grouped = [0; DIGITS_MAX];
                let (length, digits) = match groups_at(&text[at..], count, &mut grouped) {
                    Some((length, digits)) => (length, &grouped[..digits]),
                    None => (count, &text[at..at + count]),
                };
                let fraction = at > 0 && text[at - 1] == b'.';
                let cut = at == 0 || at + length == text.len();
                if (13..=19).contains(&digits.len()) && !fraction && !cut && digits != number.digits() {
                    if self.issuers.valid(digits) {
                        valid += 1;
                    } else if digits.len() == number.count {
                        invalid += 1;
                    }
                }
                at += length;
            }
        }
        (valid, invalid)
    }
}

/// Collects the digits of the first groups of `text`, which one character each
/// separates; returns the number of digits and of characters.
fn collect(text: &[u8], groups: usize, into: &mut [u8; DIGITS_MAX]) -> Option<(usize, usize)> {
    let (mut count, mut at) = (0, 0);
    for group in 0..groups {
        let length = run(text.get(at..)?);
        into.get_mut(count..count + length)?.copy_from_slice(&text[at..at + length]);
        count += length;
        at += length + usize::from(group + 1 < groups);
    }
    Some((count, at))
}

/// Reads a number in groups at the start of `text`, whose first group has `first`
/// digits: the number of its characters and of its digits.
fn groups_at(text: &[u8], first: usize, into: &mut [u8; DIGITS_MAX]) -> Option<(usize, usize)> {
    let joint = *text.get(4).filter(|byte| first == 4 && matches!(byte, b' ' | b'-'))?;
    let second = run(text.get(5..)?);
    if second < 4 || text.get(5 + second) != Some(&joint) {
        return None;
    }
    let (count, length) = collect(text, if second == 4 { 4 } else { 3 }, into)?;
    Some((length, count))
}

/// Returns whether a group of hexadecimal digits stands behind a number: it is a part
/// of a table of code points or of a dump.
fn sea(text: &[u8]) -> bool {
    let Some((b' ' | b'-' | b':', rest)) = text.split_first() else { return false };
    let length = rest.iter().take(9).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    hexadecimal(&rest[..length])
}

/// Returns whether a group of hexadecimal digits stands before a number.
fn sea_before(text: &[u8]) -> bool {
    let Some((b' ' | b'-' | b':', rest)) = text.split_last() else { return false };
    let length = rest.iter().rev().take(9).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    hexadecimal(&rest[rest.len() - length..])
}

fn hexadecimal(group: &[u8]) -> bool {
    matches!(group.len(), 2 | 4 | 5 | 8)
        && group.iter().all(u8::is_ascii_hexdigit)
        && group.iter().any(u8::is_ascii_digit)
        && group.iter().any(u8::is_ascii_alphabetic)
}

/// Returns whether `text` is `ddd-dd-dddd` with parts that are issued.
fn packed_ssn(text: &[u8]) -> bool {
    match text {
        [a @ .., _, _, _, _] if a.len() == 7 && a[3] == b'-' && a[6] == b'-' => {
            let digits = [&a[..3], &a[4..6], &text[7..]].concat();
            digits.iter().all(u8::is_ascii_digit) && ssn_parts_valid(&digits)
        }
        _ => false,
    }
}

/// What stands right behind a number; none if that makes it part of something else.
fn right(window: &Window<'_>, length: usize) -> Option<i32> {
    let next = window.after.get(length).copied();
    let then = window.after.get(length + 1).copied().unwrap_or(b' ');
    match next {
        Some(b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'*') => None,
        Some(b'.') if then.is_ascii_digit() => None,
        Some(b'.') if then.is_ascii_alphabetic() => Some(-2),
        Some(b'@') => Some(-2),
        Some(b'-') if then.is_ascii_alphanumeric() => Some(-1),
        _ => Some(0),
    }
}

/// Returns whether `text` starts with a month, a slash and a year.
fn expiry(text: &[u8]) -> bool {
    let [a, b, b'/', c, d, rest @ ..] = text else { return false };
    let month = matches!((a, b), (b'0', b'1'..=b'9') | (b'1', b'0'..=b'2'));
    let century =
        matches!((c, d), (b'2', b'0')) && rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_digit);
    let tail = if century { &rest[2..] } else { rest };
    let ended = tail.first().is_none_or(|byte| !byte.is_ascii_digit() && *byte != b'/');
    month && matches!(c, b'2'..=b'4') && d.is_ascii_digit() && ended
}

/// Returns how far behind a number its expiry date stands.
fn expiry_after(window: &Window<'_>, end: isize) -> Option<usize> {
    let text = window.after(end, 48);
    (1..text.len()).find(|at| !text[at - 1].is_ascii_digit() && text[at - 1] != b'/' && expiry(&text[*at..]))
}

/// What the digits themselves say: people type 4444444444444448, banks do not.
fn variety(digits: &[u8], context: bool) -> i32 {
    let mut counts = [0_usize; 10];
    for digit in digits {
        counts[usize::from(digit.wrapping_sub(b'0') % 10)] += 1;
    }
    let distinct = counts.iter().filter(|count| **count > 0).count();
    let monotonous =
        counts.iter().any(|count| *count > 7) || counts.iter().filter(|count| **count > 4).count() > 1;
    let few = match distinct {
        0..=4 => -3,
        // Words that say what it is count for more than how often a digit comes.
        _ if context => return 0,
        5 if digits.len() > 14 => -2,
        _ => 0,
    };
    few - i32::from(monotonous) * 2
}

/// Returns how sure a score makes.
fn confidence(score: i32) -> Option<Confidence> {
    let percent = match score {
        5.. => 97,
        4 => 93,
        3 => 90,
        2 => 85,
        1 => 70,
        0 => 60,
        -1 => 40,
        _ => return None,
    };
    Some(Confidence::percent(percent))
}

impl Detector for Pan {
    fn name(&self) -> &'static str {
        "pan"
    }

    fn classes(&self) -> &[(&'static str, Severity)] {
        &[("pan_test", Severity::Low)]
    }

    fn check(&self) -> Check {
        self.check
    }

    fn severity(&self) -> Severity {
        self.severity
    }

    fn anchors(&self) -> &[Anchor] {
        &[Anchor::LongRun, Anchor::GroupedRun]
    }

    fn verify(&self, anchor: Anchor, window: &Window<'_>) -> Option<Hit> {
        let number = match anchor {
            Anchor::LongRun => self.plain(window)?,
            _ => self.grouped(window)?,
        };
        if !number.grouped && (track1(window).is_some() || track2(window).is_some()) {
            return None;
        }
        if number.grouped && self.is_inside_iban(window, number.first) {
            return None;
        }
        let brand = self.issuers.brand(number.digits())?;
        let published = self.test_numbers.iter().any(|known| known.as_bytes() == number.digits());
        let confidence = match confidence(self.score(window, &number)?) {
            sure if published => sure.unwrap_or_default().clamp(Confidence::MEDIUM, Confidence::percent(70)),
            Some(sure) => sure,
            None => return None,
        };
        let digits = number.digits();
        let last: String = digits[digits.len() - 4..].iter().map(|digit| char::from(*digit)).collect();
        let value = Value {
            first: isize::try_from(number.first).ok()?,
            length: number.length,
            confidence,
            normal: Normal::of(digits),
            display: format!("{brand} {}{last}", "*".repeat(digits.len() - 4)),
        };
        Some(if published { Hit::OfClass(TEST_CLASS, value) } else { Hit::Value(value) })
    }
}
