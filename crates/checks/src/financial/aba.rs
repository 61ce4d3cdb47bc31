//! Routing numbers of banks of the United States, and accounts beside them.
//!
//! The check digit and the prefixes are those of the American Bankers Association's
//! "Routing number policy and procedures".

use crate::detectors::labelled::{Identifier, Kind, Labelled};
use crate::regulated::{number, weighted};
use airlock_inspect::{Anchor, Detector, Window};

const ROUTING: Kind = Kind {
    name: "aba",
    check: "financial",
    anchors: &[Anchor::NineRun],
    find: |_, window| Identifier::run(window, 9).filter(|found| routing_number(found.text())),
};

/// Looked for from a routing number on: an account number by itself could be any number.
const ACCOUNT: Kind =
    Kind { name: "us_bank_account", check: "financial", anchors: &[Anchor::NineRun], find: account };

/// Characters after a routing number in which its account number may start, and before
/// it in which that may end.
const REACH: usize = 48;

/// Makes the detectors.
pub(crate) fn bank_numbers() -> impl Iterator<Item = Box<dyn Detector>> {
    [ROUTING, ACCOUNT].into_iter().map(|kind| Box::new(Labelled::new(kind)) as Box<dyn Detector>)
}

/// Returns whether nine digits can be a routing number.
pub(crate) fn routing_number(digits: &[u8]) -> bool {
    digits.len() == 9
        && matches!(number(&digits[..2]), 0..=12 | 21..=32 | 61..=72 | 80)
        && digits.iter().any(|byte| *byte != b'0')
        && weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

/// Takes the number of 5 to 17 digits that stands next after a routing number on the
/// same line, or next before it.
fn account(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    if !routing_number(window.after.get(..9)?) {
        return None;
    }
    let digit = u8::is_ascii_digit;
    let fits = |count: &usize| (5..=17).contains(count);
    let after = window.after(9, REACH);
    let after = &after[..after.iter().position(|byte| *byte == b'\n').unwrap_or(after.len())];
    if let Some(start) = after.iter().position(digit) {
        let count = after[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if fits(&count) {
            return Identifier::read(window, isize::try_from(start + 9).ok()?, count, count);
        }
    }
    let before = window.before(0, REACH);
    let before = &before[before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)..];
    let end = before.iter().rposition(digit)? + 1;
    let count = before[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let first = isize::try_from(before.len() - end + count).ok()?;
    if fits(&count) { Identifier::read(window, -first, count, count) } else { None }
}
