//! Codes of diagnoses (ICD-10-CM) and procedures (CPT) of somebody: beside a word that names them, and
//! near one that says that a patient is spoken of. A code alone tells nothing about anyone.
//!
//! ICD-10-CM: CMS, "ICD-10-CM Official Guidelines for Coding and Reporting", section I.A: a letter, a
//! digit, a digit or A or B, and up to four characters behind a point. CPT: American Medical Association,
//! five digits, or four and F, T or U.

use crate::detectors::context::WordList;
use crate::detectors::rule::load;
use airlock_inspect::{Detector, Hit, Literal, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// Characters behind a label in which a code is looked for.
const CODE_AFTER: usize = 96;
/// Characters on each side in which a patient is spoken of, and a date or number of theirs stands.
const PATIENT_REACH: usize = 300;

/// What the rule of a code holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeData {
    /// Words that say that a patient is spoken of.
    patient: WordList,
    /// How sure a code near such a word makes, in percent.
    near_patient: u8,
    /// How sure one makes that is not, in percent.
    alone: u8,
}

/// What the code knows of a kind of codes.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    labels: &'static [Literal],
    /// Returns how many characters a code takes at the start of a text.
    code: fn(&[u8]) -> Option<usize>,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "icd10",
        labels: &[
            Literal::new(b"icd-10").any_case().wide(),
            Literal::new(b"icd10").any_case().wide(),
            Literal::new(b"diagnos").any_case().wide(),
        ],
        code: icd10,
    },
    Kind {
        name: "cpt",
        labels: &[
            Literal::new(b"cpt code").any_case().wide(),
            Literal::new(b"cpt_code").any_case().wide(),
            Literal::new(b"procedure code").any_case().wide(),
            Literal::new(b"procedure_code").any_case().wide(),
        ],
        code: cpt,
    },
];

/// Makes the detectors.
pub(crate) fn codes() -> impl Iterator<Item = Box<dyn Detector>> {
    KINDS.into_iter().map(|kind| {
        let rule = load::<CodeData>(&format!("health/{}", kind.name));
        Box::new(Code { kind, severity: rule.severity, data: rule.data }) as Box<dyn Detector>
    })
}

/// Finds codes of one kind.
#[derive(Debug)]
struct Code {
    kind: Kind,
    severity: Severity,
    data: CodeData,
}

fn icd10(text: &[u8]) -> Option<usize> {
    let [letter, digit, third, rest @ ..] = text else { return None };
    let category = letter.is_ascii_uppercase()
        && digit.is_ascii_digit()
        && (third.is_ascii_digit() || matches!(third, b'A' | b'B'));
    // Without a point, words such as those of parts and models look the same.
    let [b'.', tail @ ..] = rest else { return None };
    let length = tail.iter().take_while(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()).count();
    (category && (1..=4).contains(&length)).then_some(4 + length)
}

fn cpt(text: &[u8]) -> Option<usize> {
    let [a, b, c, d, last, ..] = text else { return None };
    let digits = [a, b, c, d].iter().all(|byte| byte.is_ascii_digit());
    (digits && (last.is_ascii_digit() || matches!(last, b'F' | b'T' | b'U'))).then_some(5)
}

impl Code {
    /// Returns where a code stands behind the label, and how long it is.
    fn find(&self, window: &Window<'_>, label: usize) -> Option<(usize, usize)> {
        let text = window.after.get(..window.after.len().min(label + CODE_AFTER))?;
        (label..text.len()).find_map(|at| {
            let length = (self.kind.code)(&text[at..])?;
            let beside = |byte: Option<&u8>| {
                byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
            };
            let behind = window.after.get(at + length..).unwrap_or_default();
            let ends = match behind {
                [b'.' | b'-', next, ..] => !next.is_ascii_alphanumeric(),
                [next, ..] => !next.is_ascii_alphanumeric() && *next != b'_',
                [] => true,
            };
            (!beside(text.get(at - 1)) && ends).then_some((at, length))
        })
    }
}

impl Detector for Code {
    fn name(&self) -> &'static str {
        self.kind.name
    }

    fn check(&self) -> Check {
        Check::Health
    }

    fn severity(&self) -> Severity {
        self.severity
    }

    fn literals(&self) -> &[Literal] {
        self.kind.labels
    }

    fn verify_literal(&self, which: usize, window: &Window<'_>) -> Option<Hit> {
        let label = self.kind.labels.get(which)?.bytes().len();
        let (at, length) = self.find(window, label)?;
        let first = isize::try_from(at).ok()?;
        // Another label of the same code is nearer to it.
        let between = &window.after[label..at];
        let again = |literal: &Literal| {
            let word = literal.bytes();
            between.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
        };
        if self.kind.labels.iter().any(again) {
            return None;
        }
        let patient = &self.data.patient;
        let around = [
            window.before(0, PATIENT_REACH),
            window.after(isize::try_from(label).ok()?, at - label),
            window.after(first + isize::try_from(length).ok()?, PATIENT_REACH),
        ];
        // A patient is somebody: a date of birth or a number is near, or it is a text about patients.
        let near = around.iter().any(|text| patient.stand_in(text))
            && around.iter().any(|text| text.windows(4).any(|four| four.iter().all(u8::is_ascii_digit)));
        let percent = if near { self.data.near_patient } else { self.data.alone };
        (percent > 0).then(|| {
            Hit::Value(Value {
                first,
                length,
                confidence: Confidence::percent(percent),
                normal: Normal::of(window.after(first, length)),
                display: format!("{} code", self.kind.name),
            })
        })
    }
}
