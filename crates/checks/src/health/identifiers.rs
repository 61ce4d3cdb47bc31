//! Identifiers of patients and of those who treat them.
//!
//! NPI: 45 CFR 162.406 and the CMS page on its check digit. DEA: 21 CFR 1301 and the
//! administration's page on numbers. MBI: CMS, "Understanding the Medicare Beneficiary
//! Identifier format". NHS number: NHS data dictionary.

use crate::detectors::labelled::{Identifier, Kind, Labelled};
use crate::financial::luhn_sum;
use crate::regulated::{digit, weighted};
use airlock_inspect::{Anchor, Detector, Window};

const KINDS: &[Kind] = &[
    Kind { name: "npi", check: "health", anchors: &[Anchor::TenRun], find: npi },
    Kind { name: "dea", check: "health", anchors: &[Anchor::LetterPair], find: dea },
    Kind { name: "mbi", check: "health", anchors: &[Anchor::CodeTail], find: mbi },
    Kind {
        name: "nhs_number",
        check: "health",
        anchors: &[Anchor::TenRun, Anchor::SplitTen],
        find: nhs_number,
    },
    Kind {
        name: "mrn",
        check: "health",
        anchors: &[Anchor::SevenRun, Anchor::EightRun, Anchor::NineRun, Anchor::TenRun],
        find: mrn,
    },
];

/// Makes the detectors of all of them.
pub(crate) fn identifiers() -> impl Iterator<Item = Box<dyn Detector>> {
    KINDS.iter().map(|kind| Box::new(Labelled::new(*kind)) as Box<dyn Detector>)
}

fn npi(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let found = Identifier::run(window, 10)?;
    // The sum of 80840, which stands before the number, is 24.
    let right = matches!(found.text()[0], b'1' | b'2') && (luhn_sum(found.text()) + 24).is_multiple_of(10);
    right.then_some(found)
}

fn dea(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let found = Identifier::run(window, 9)?;
    let text = found.text();
    let digits = text.get(2..9)?;
    let sum = weighted(digits, &[1, 2, 1, 2, 1, 2]);
    let right = b"ABCDEFGHJKLMPRSTUX".contains(&text[0])
        && digits.iter().all(u8::is_ascii_digit)
        && sum % 10 == digit(digits[6])
        && window.after[..2].iter().all(u8::is_ascii_uppercase);
    right.then_some(found)
}

fn mbi(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let dashed = window.get(-1) == Some(b'-');
    let found =
        if dashed { Identifier::read(window, -9, 13, 11) } else { Identifier::read(window, -7, 11, 11) }?;
    let dashes = !dashed || window.get(-5) == Some(b'-');
    let letter = |byte: u8| byte.is_ascii_uppercase() && !b"SLOIBZ".contains(&byte);
    let fits = |(byte, kind): (&u8, &u8)| match kind {
        b'C' => matches!(byte, b'1'..=b'9'),
        b'A' => letter(*byte),
        b'N' => byte.is_ascii_digit(),
        _ => letter(*byte) || byte.is_ascii_digit(),
    };
    let text = found.text();
    let right = text.len() == 11 && dashes && text.iter().zip(b"CAXNAXNAANN").all(fits);
    right.then_some(found)
}

fn nhs_number(anchor: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let split = anchor == Anchor::SplitTen;
    let found = if split { Identifier::read(window, -8, 12, 10) } else { Identifier::run(window, 10) }?;
    let same = !split || window.get(-1) == window.get(-5);
    let sum = weighted(found.text(), &[10, 9, 8, 7, 6, 5, 4, 3, 2]);
    let right = same && (11 - sum % 11) % 11 == digit(found.text()[9]);
    right.then_some(found)
}

/// Takes any digits. Nothing proves them, so the window must look as if it held a label
/// before more is spent on it.
fn mrn(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let near = window.before(0, 32);
    let hints = |text: &[u8]| {
        memchr::memchr3_iter(b'm', b'M', b'p', text).any(|at| {
            let rest = &text[at..];
            let starts =
                |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
            starts(b"mrn") || starts(b"medical") || starts(b"patient")
        })
    };
    if window.header.is_none() && !hints(near) {
        return None;
    }
    Identifier::run(window, window.run)
}
