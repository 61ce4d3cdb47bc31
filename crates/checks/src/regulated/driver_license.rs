//! Numbers of driver licences, beside words that name them.
//!
//! Forms: American Association of Motor Vehicle Administrators and the pages of the states' authorities for
//! the United States and Canada; DVLA, "Driving licence number format", for Great Britain; the authorities'
//! own pages for the others. Only Great Britain's has a structure that says something alone.

use super::check_digit::number;
use crate::detectors::labelled::{Identifier, Kind, Labelled};
use airlock_inspect::{Anchor, Detector, Window};

/// Characters in front of an anchor that a number may have: letters, or a first group.
const HEAD_MAX: usize = 5;
/// Characters before a number in which a label is looked for first.
const HINT_BEFORE: usize = 48;
/// Letters and digits of the longest number.
const LENGTH_MAX: usize = 18;

/// Forms without separators: `A` for a letter, `9` for a digit.
const FORMS: &[&str] = &[
    // Alaska, Delaware, Maine, Oregon, Rhode Island, West Virginia, British Columbia.
    "9999999",
    // Alabama, Louisiana, Pennsylvania, South Dakota, Tennessee, Texas, Vermont; Australia.
    "99999999",
    // Arizona, Arkansas, Colorado, Connecticut, Georgia, New York, Utah and others; Alberta.
    "999999999",
    // Indiana, Nevada; the Netherlands, Australia.
    "9999999999",
    // South Carolina; Brazil.
    "99999999999",
    // North Carolina, Nevada; France, Japan.
    "999999999999",
    // Montana.
    "9999999999999",
    // California, Rhode Island.
    "A9999999",
    // Arizona, Hawaii, Kansas, Kentucky, Massachusetts, Missouri, Nebraska, Virginia.
    "A99999999",
    // Missouri, Oklahoma.
    "A999999999",
    // Illinois.
    "A99999999999",
    // Florida, Maryland, Michigan, Minnesota; Quebec.
    "A999999999999",
    // Wisconsin.
    "A9999999999999",
    // New Jersey; Ontario.
    "A99999999999999",
    // Ohio, Idaho, North Dakota.
    "AA999999",
    "AA999999A",
    "AAA999999",
    // Iowa, New Hampshire, Kansas.
    "999AA9999",
    "99AAA99999",
    // Italy, Spain.
    "AA9999999A",
    "A9999999A",
    "99999999A",
    // India.
    "AA9999999999999",
    // Germany.
    "A999AAA9A99",
    "A999AA9AA99",
];

const KIND: Kind = Kind {
    name: "driver_license",
    check: "regulated",
    anchors: &[
        Anchor::SevenRun,
        Anchor::EightRun,
        Anchor::NineRun,
        Anchor::TenRun,
        Anchor::ElevenRun,
        Anchor::TwelveRun,
        Anchor::LongRun,
        Anchor::GroupedRun,
        Anchor::SplitNine,
        Anchor::LetterPair,
        Anchor::NameCode,
    ],
    find,
};

/// Makes the detector.
pub(crate) fn driver_license() -> Box<dyn Detector> {
    Box::new(Labelled::new(KIND))
}

fn find(anchor: Anchor, window: &Window<'_>) -> Option<Identifier> {
    if anchor == Anchor::NameCode {
        return british(window);
    }
    if window.header.is_none() && !hinted(window.before(0, HINT_BEFORE)) {
        return None;
    }
    let head = window.before(0, HEAD_MAX + 1);
    let of_number = |byte: &&u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || **byte == b'-';
    let taken = head.iter().rev().take_while(of_number).count();
    if taken > HEAD_MAX {
        return None;
    }
    let head = &head[head.len() - taken..];
    let dashes = head.iter().take_while(|byte| **byte == b'-').count();
    let head = &head[dashes..];
    let first = -isize::try_from(head.len()).ok()?;
    let joint = head.contains(&b'-').then_some(b'-');
    let before = head.iter().filter(|byte| **byte != b'-').count();
    let (length, count) = extent(window, joint, before)?;
    let found = Identifier::read(window, first, head.len() + length, count)?;
    FORMS.iter().any(|form| fits(found.text(), form)).then_some(found)
}

/// Returns how many characters a number takes from the anchor on, and how many letters and digits it has with
/// the `count` before it: one dash or space may stand between groups of digits.
fn extent(window: &Window<'_>, mut joint: Option<u8>, mut count: usize) -> Option<(usize, usize)> {
    let mut length = 0;
    while let Some(byte) = window.after.get(length) {
        let next = window.after.get(length + 1).copied().unwrap_or(b' ');
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' => count += 1,
            b'-' | b' ' if joint.is_none_or(|joint| joint == *byte) && next.is_ascii_digit() => {
                joint = Some(*byte);
            }
            _ => break,
        }
        length += 1;
        if count > LENGTH_MAX {
            return None;
        }
    }
    Some((length, count))
}

fn fits(text: &[u8], form: &str) -> bool {
    let same = |(byte, kind): (&u8, u8)| match kind {
        b'A' => byte.is_ascii_uppercase(),
        _ => byte.is_ascii_digit(),
    };
    text.len() == form.len() && text.iter().zip(form.bytes()).all(same)
}

/// Returns whether what a label has in it stands in `text`, so that it is worth looking closer.
fn hinted(text: &[u8]) -> bool {
    const HINTS: [&[u8]; 9] =
        [b"licen", b"driv", b"dl", b"hrerschein", b"permis", b"patente", b"rijbewijs", b"conduc", b"cnh"];
    let starts = |at: usize, hint: &[u8]| {
        text[at..].get(..hint.len()).is_some_and(|part| part.eq_ignore_ascii_case(hint))
    };
    (0..text.len()).any(|at| HINTS.iter().any(|hint| starts(at, hint)))
}

/// Great Britain: five letters of the name, filled up with 9; decade, month (and 50 for women), day and year of
/// birth; two initials; three characters of the computer's.
fn british(window: &Window<'_>) -> Option<Identifier> {
    // The anchor is at the last two letters of the name, or before digits that fill it up.
    let found = (-3..=-2).find_map(|first| Identifier::read(window, first, 16, 16))?;
    let text = found.text();
    let name = text[..5].iter().position(|byte| *byte == b'9').unwrap_or(5);
    let month = number(&text[6..8]) % 50;
    let right = text[..name].iter().all(u8::is_ascii_uppercase)
        && name >= 2
        && text[name..5].iter().all(|byte| *byte == b'9')
        && text[5..11].iter().all(u8::is_ascii_digit)
        && (1..=12).contains(&month)
        && number(&text[6..8]) < 63
        && (1..=31).contains(&number(&text[8..10]))
        && text[11].is_ascii_uppercase()
        && (text[12].is_ascii_uppercase() || text[12] == b'9')
        && text[14..].iter().all(u8::is_ascii_uppercase);
    right.then_some(found)
}
