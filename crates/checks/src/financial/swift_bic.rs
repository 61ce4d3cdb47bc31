//! Codes of banks (ISO 9362): four letters, a country, a place, perhaps a branch.
//!
//! They have no check digit and look like words, so they count only behind a label, and
//! are sure only near an account number.

use crate::detectors::context::WordList;
use crate::detectors::rule::load;
use airlock_inspect::{Detector, Hit, Literal, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// Characters between a label and a code.
const GAP_MAX: usize = 16;

/// Characters around a label in which an account number is looked for.
const NEAR: usize = 200;

/// What the rule holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct BicData {
    /// Codes of countries (ISO 3166-1).
    countries: Vec<String>,
    /// Words that name an account number.
    accounts: WordList,
    /// Codes in documents that everybody has.
    published: Vec<String>,
    /// How sure a label makes, in percent.
    labelled: u8,
    /// How sure an account number nearby makes, in percent.
    beside: u8,
}

/// Finds codes of banks.
#[derive(Debug)]
pub(crate) struct SwiftBic {
    check: Check,
    severity: Severity,
    data: BicData,
}

impl SwiftBic {
    /// Reads the rule.
    pub(crate) fn new() -> Self {
        let rule = load::<BicData>("financial/swift_bic");
        Self { check: rule.check, severity: rule.severity, data: rule.data }
    }

    /// Returns the length of the code that starts `text`.
    fn code(&self, text: &[u8]) -> Option<usize> {
        let length = text.iter().take(12).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let bank = text.get(..6)?.iter().all(u8::is_ascii_uppercase);
        let place =
            text.get(6..length)?.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let country = self.data.countries.iter().any(|code| code.as_bytes() == &text[4..6]);
        (matches!(length, 8 | 11) && bank && place && country).then_some(length)
    }
}

impl Detector for SwiftBic {
    fn name(&self) -> &'static str {
        "swift_bic"
    }

    fn check(&self) -> Check {
        self.check
    }

    fn severity(&self) -> Severity {
        self.severity
    }

    fn literals(&self) -> &[Literal] {
        const {
            &[
                Literal::new(b"BIC>"),
                Literal::new(b"BICFI>"),
                Literal::new(b"BIC: "),
                Literal::new(b"SWIFT").any_case(),
            ]
        }
    }

    fn verify_literal(&self, _: usize, window: &Window<'_>) -> Option<Hit> {
        let attached = window.before.last().is_some_and(u8::is_ascii_alphanumeric);
        let start = (3..5 + GAP_MAX).find(|start| {
            let before = window.after.get(start - 1).is_some_and(|byte| !byte.is_ascii_alphanumeric());
            before && window.after.get(*start..).is_some_and(|text| self.code(text).is_some())
        })?;
        let length = self.code(&window.after[start..])?;
        let first = isize::try_from(start).ok()?;
        let end = isize::try_from(start + length).ok()?;
        let accounts = &self.data.accounts;
        let beside = accounts.stand_in(window.before(0, NEAR)) || accounts.stand_in(window.after(end, NEAR));
        let code = &window.after[start..start + length];
        let published = self.data.published.iter().any(|known| code.starts_with(known.as_bytes()));
        let percent = if beside && !published { self.data.beside } else { self.data.labelled };
        (!attached).then(|| {
            Hit::Value(Value {
                first,
                length,
                confidence: Confidence::percent(percent),
                normal: Normal::of(code),
                display: format!("swift_bic ({length} characters)"),
            })
        })
    }
}
