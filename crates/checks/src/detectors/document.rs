//! Documents that are known by their structure: messages, statements, images.
//!
//! What is said is the class of the document and how many protected fields it has,
//! never what these hold.

use super::rule::load;
use airlock_inspect::{Detector, Hit, Literal, Normal, Part, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// What the rule of a document holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentData {
    /// How sure the structure makes without protected fields, in percent.
    pub bare: u8,
    /// How sure it makes with some, in percent.
    pub full: u8,
    /// What counts as a protected field: its name in this kind of document, and the
    /// identifier of 45 CFR 164.514(b)(2) that it is.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Names of what the document may consist of.
    #[serde(default)]
    pub contents: Vec<String>,
}

/// A protected field.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    /// What it is called.
    pub name: String,
    /// The letter of the identifier in 45 CFR 164.514(b)(2)(i), `A` to `R`.
    pub hipaa: char,
}

/// What was seen of a document around a literal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Its first character, from the literal.
    pub first: isize,
    /// Characters that were looked at.
    pub length: usize,
    /// Protected fields in these.
    pub fields: u64,
}

/// Looks at the literal at a place of [`Kind::literals`].
pub(crate) type Look = fn(usize, &Window<'_>, &DocumentData) -> Option<Seen>;

/// What the code knows of a kind of document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// The name of the detector.
    pub name: &'static str,
    /// The name of the check.
    pub check: &'static str,
    /// Strings that such documents have.
    pub literals: &'static [Literal],
    /// How one is recognised.
    pub look: Look,
}

/// Finds documents of one kind.
#[derive(Debug)]
pub(crate) struct Document {
    kind: Kind,
    check: Check,
    severity: Severity,
    data: DocumentData,
}

impl Document {
    /// Reads the rule of a kind.
    pub(crate) fn new(kind: Kind) -> Self {
        let rule = load::<DocumentData>(&format!("{}/{}", kind.check, kind.name));
        debug_assert!(rule.data.fields.iter().all(|field| field.hipaa.is_ascii_uppercase()));
        Self { kind, check: rule.check, severity: rule.severity, data: rule.data }
    }
}

impl Detector for Document {
    fn name(&self) -> &'static str {
        self.kind.name
    }

    fn check(&self) -> Check {
        self.check
    }

    fn severity(&self) -> Severity {
        self.severity
    }

    fn literals(&self) -> &[Literal] {
        self.kind.literals
    }

    fn verify_literal(&self, which: usize, window: &Window<'_>) -> Option<Hit> {
        let seen = (self.kind.look)(which, window, &self.data)?;
        let start = window.after(0, seen.length.min(64));
        Some(Hit::Part(Part {
            first: seen.first,
            length: seen.length,
            fields: seen.fields,
            bare: Confidence::percent(self.data.bare),
            full: Confidence::percent(self.data.full),
            normal: Normal::of(start),
            display: self.kind.name.to_owned(),
        }))
    }
}

/// Returns whether `text` holds `word`.
pub(crate) fn holds(text: &[u8], word: &str) -> bool {
    memchr::memmem::find(text, word.as_bytes()).is_some()
}

/// Counts how often the names of the fields stand in `text`, each made a pattern first.
pub(crate) fn count_fields(text: &[u8], data: &DocumentData, pattern: impl Fn(&str) -> String) -> u64 {
    let occurrences =
        |field: &Field| memchr::memmem::find_iter(text, pattern(&field.name).as_bytes()).count();
    data.fields.iter().map(|field| u64::try_from(occurrences(field)).unwrap_or(0)).sum()
}
