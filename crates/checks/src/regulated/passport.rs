//! Passports and identity cards: the machine readable zone (ICAO Doc 9303, parts 4 and
//! 5), and numbers of passports beside a word that names them.

use super::check_digit::digit;
use crate::detectors::labelled::{Identifier, Kind, Labelled};
use airlock_inspect::{Anchor, Detector, Hit, Literal, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};

/// Four fillers: nearly every zone has some behind the names.
const FILLER: Literal = Literal::new(b"<<<<");

const NUMBER: Kind = Kind {
    name: "passport",
    check: "regulated",
    anchors: &[Anchor::SevenRun, Anchor::EightRun, Anchor::NineRun],
    find: number,
};

/// Finds passports.
#[derive(Debug)]
pub(crate) struct Passport(Labelled);

impl Passport {
    /// Reads the rule.
    pub(crate) fn new() -> Self {
        Self(Labelled::new(NUMBER))
    }
}

/// Takes seven digits behind one or two letters, eight behind one, or nine.
fn number(anchor: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let letters = window.before.iter().rev().take(3).take_while(|byte| byte.is_ascii_uppercase()).count();
    let fits = match anchor {
        Anchor::SevenRun => matches!(letters, 1 | 2),
        Anchor::EightRun => letters == 1,
        _ => letters == 0,
    };
    let length = letters + window.run;
    let first = -isize::try_from(letters).ok()?;
    if fits { Identifier::read(window, first, length, length) } else { None }
}

/// Returns whether the digit behind `text` is its check digit: weights 7, 3, 1, letters
/// from 10 on, fillers zero.
fn checked(text: &[u8], check: u8) -> bool {
    let value = |byte: u8| match byte {
        b'0'..=b'9' => digit(byte),
        b'A'..=b'Z' => u32::from(byte - b'A') + 10,
        _ => 0,
    };
    let sum: u32 =
        text.iter().zip([7, 3, 1].into_iter().cycle()).map(|(byte, weight)| value(*byte) * weight).sum();
    sum % 10 == if check == b'<' { 0 } else { digit(check) } && (check.is_ascii_digit() || check == b'<')
}

fn of_zone(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'<'
}

/// Splits a line of the zone and what ends it off `text`.
fn line(text: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (line, rest) = text.split_at_checked(length)?;
    let rest = rest.strip_prefix(b"\r").unwrap_or(rest);
    let rest = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b" ")).unwrap_or(rest);
    line.iter().all(|byte| of_zone(*byte)).then_some((line, rest))
}

/// Reads a zone at the start of `text`: the number of the document and the characters
/// that its lines take.
fn zone(text: &[u8]) -> Option<(&[u8], usize)> {
    let dates =
        |born: &[u8], check: u8, expires: &[u8], last: u8| checked(born, check) && checked(expires, last);
    if text.first() == Some(&b'P') {
        let (first, rest) = line(text, 44)?;
        let (second, rest) = line(rest, 44)?;
        let state = first[2..5].iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'<');
        let right = checked(&second[..9], second[9])
            && dates(&second[13..19], second[19], &second[21..27], second[27]);
        return (state && right).then_some((&second[..9], text.len() - rest.len()));
    }
    if !matches!(text.first(), Some(b'I' | b'A' | b'C')) {
        return None;
    }
    let (first, rest) = line(text, 30)?;
    let (second, rest) = line(rest, 30)?;
    let right =
        checked(&first[5..14], first[14]) && dates(&second[..6], second[6], &second[8..14], second[14]);
    right.then_some((&first[5..14], text.len() - rest.len()))
}

impl Detector for Passport {
    fn name(&self) -> &'static str {
        "passport"
    }

    fn check(&self) -> Check {
        self.0.check()
    }

    fn severity(&self) -> Severity {
        self.0.severity()
    }

    fn anchors(&self) -> &[Anchor] {
        self.0.anchors()
    }

    fn literals(&self) -> &[Literal] {
        const { &[FILLER] }
    }

    fn verify(&self, anchor: Anchor, window: &Window<'_>) -> Option<Hit> {
        self.0.verify(anchor, window)
    }

    fn verify_literal(&self, _: usize, window: &Window<'_>) -> Option<Hit> {
        if window.before.last() == Some(&b'<') {
            return None;
        }
        let back = window.before.iter().rev().take(44).take_while(|byte| of_zone(**byte)).count();
        let start = window.before.len() - back;
        let text = [&window.before[start..], window.after(0, 96)].concat();
        let (number, length) = zone(&text)?;
        Some(Hit::Value(Value {
            first: -isize::try_from(back).ok()?,
            length,
            confidence: Confidence::percent(97),
            normal: Normal::of(number),
            display: "passport machine readable zone".to_owned(),
        }))
    }
}
