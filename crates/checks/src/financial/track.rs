//! The magnetic stripe of a card (ISO/IEC 7813).
//!
//! Track 1 is `%B` number `^` name `^` expiry, service code, discretionary data `?`;
//! track 2 is `;` number `=` expiry, service code, discretionary data `?`.

use super::issuer::luhn;
use crate::detectors::rule::load;
use airlock_inspect::{Anchor, Detector, Hit, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// Longest track 1, sentinels included.
const TRACK1_MAX: usize = 79;

/// Longest track 2, sentinels included.
const TRACK2_MAX: usize = 40;

/// What the rules of the tracks hold besides their examples: nothing.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrackData {}

/// Where a track is in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    first: isize,
    length: usize,
    digits: usize,
}

/// Returns the number of digits that `text` starts with.
pub(crate) fn run(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Returns whether `text` starts with an expiry date (`YYMM`) and a service code, and
/// has nothing but digits up to its end or end sentinel; if so, its length.
fn stripe(text: &[u8], room: usize) -> Option<usize> {
    let digits = run(text);
    let month = (digits >= 7).then(|| (text[2] - b'0') * 10 + (text[3] - b'0'))?;
    let service = &text[4..7];
    let coherent = (1..=12).contains(&month)
        && matches!(service[0], b'1' | b'2' | b'5' | b'6' | b'7' | b'9')
        && matches!(service[1], b'0' | b'2' | b'4')
        && service[2] <= b'7';
    // Discretionary data may hold more than digits; it ends at the sentinel.
    let body = text.iter().take(room).take_while(|byte| stripe_character(**byte)).count();
    let length = if text.get(body) == Some(&b'?') { body + 1 } else { digits };
    (coherent && length <= room).then_some(length)
}

fn stripe_character(byte: u8) -> bool {
    matches!(byte, b' '..=b'_') && byte != b'?' && byte != b'%' && byte != b';'
}

/// Returns track 1 around the card number that starts at the anchor.
pub(crate) fn track1(window: &Window<'_>) -> Option<Shape> {
    let digits = window.run;
    if !(12..=19).contains(&digits) || window.after.get(digits) != Some(&b'^') {
        return None;
    }
    let sentinel = window.before.ends_with(b"%B");
    if !sentinel && !window.before.last().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'B')) {
        return None;
    }
    let name = window.after(index(digits + 1), 27);
    let name_length =
        name.iter().position(|byte| *byte == b'^').filter(|length| (2..=26).contains(length))?;
    let clean = name[..name_length].iter().all(|byte| matches!(byte, b' '..=b'~'));
    let start = digits + 1 + name_length + 1;
    let length = stripe(window.after.get(start..)?, TRACK1_MAX - start.min(TRACK1_MAX))?;
    let lead = if sentinel { 2 } else { 1 };
    (clean && luhn(&window.after[..digits])).then_some(Shape {
        first: -index(lead),
        length: lead + start + length,
        digits,
    })
}

/// Returns track 2 around the card number that starts at the anchor.
pub(crate) fn track2(window: &Window<'_>) -> Option<Shape> {
    let digits = window.run;
    if !(12..=19).contains(&digits) {
        return None;
    }
    let sentinel = window.before.last() == Some(&b';');
    match window.after.get(digits)? {
        b'=' => {}
        b'D' | b'd' if sentinel => {}
        _ => return None,
    }
    let start = digits + 1;
    let length = stripe(window.after.get(start..)?, TRACK2_MAX - start)?;
    let closed = window.after.get(start + length - 1) == Some(&b'?');
    let alone = window.before.last().is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let enough = sentinel || closed || alone && length >= 10;
    let lead = usize::from(sentinel);
    (enough && luhn(&window.after[..digits])).then_some(Shape {
        first: -index(lead),
        length: lead + start + length,
        digits,
    })
}

/// A small count as a place in the window.
fn index(count: usize) -> isize {
    isize::try_from(count).unwrap_or(isize::MAX)
}

fn hit(shape: Shape, window: &Window<'_>, display: &str) -> Hit {
    Hit::Value(Value {
        first: shape.first,
        length: shape.length,
        confidence: Confidence::percent(97),
        normal: Normal::of(&window.after[..shape.digits]),
        display: display.to_owned(),
    })
}

macro_rules! track {
    ($type:ident, $name:literal, $rule:literal, $find:ident, $display:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug)]
        pub struct $type {
            check: Check,
            severity: Severity,
        }

        impl $type {
            /// Reads the rule.
            pub fn new() -> Self {
                let rule = load::<TrackData>($rule);
                Self { check: rule.check, severity: rule.severity }
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
                self.check
            }

            fn severity(&self) -> Severity {
                self.severity
            }

            fn anchors(&self) -> &[Anchor] {
                &[Anchor::LongRun]
            }

            fn verify(&self, _: Anchor, window: &Window<'_>) -> Option<Hit> {
                $find(window).map(|shape| hit(shape, window, $display))
            }
        }
    };
}

track!(Track1, "track1", "financial/track1", track1, "track1 %B****^****^****?", "Track 1 of a card.");
track!(Track2, "track2", "financial/track2", track2, "track2 ;****=****?", "Track 2 of a card.");
