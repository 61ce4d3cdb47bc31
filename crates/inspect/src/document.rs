//! Documents that are seen part by part: messages, resources, tables of tags.

use crate::detector::Part;
use airlock_model::{Confidence, Fingerprint};

/// Parts of one kind that lie no farther apart make one document.
pub(crate) const GAP_BYTES: u64 = 64 * 1024;

/// The parts of a document so far.
#[derive(Debug)]
pub(crate) struct Open {
    /// Index of the detector that recognised the parts.
    pub(crate) detector: usize,
    pub(crate) start: u64,
    pub(crate) end: u64,
    fields: u64,
    parts: u64,
    bare: Confidence,
    full: Confidence,
    pub(crate) fingerprint: Fingerprint,
    display: String,
}

impl Open {
    /// Starts a document with its first part, which takes the bytes from `start` to `end`.
    pub(crate) fn new(
        detector: usize,
        part: Part,
        (start, end): (u64, u64),
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            detector,
            start,
            end,
            fields: part.fields,
            parts: 1,
            bare: part.bare,
            full: part.full,
            fingerprint,
            display: part.display,
        }
    }

    /// Takes a part that starts at `start`, unless it is too far away.
    pub(crate) fn join(&mut self, part: &Part, (start, end): (u64, u64)) -> bool {
        if start.saturating_sub(self.end) > GAP_BYTES {
            return false;
        }
        self.start = self.start.min(start);
        self.end = self.end.max(end);
        self.fields = self.fields.saturating_add(part.fields);
        self.parts = self.parts.saturating_add(1);
        self.bare = self.bare.max(part.bare);
        self.full = self.full.max(part.full);
        true
    }

    /// Returns how sure the detector is.
    pub(crate) fn confidence(&self) -> Confidence {
        if self.fields == 0 { self.bare } else { self.full }
    }

    /// Returns what may be shown.
    pub(crate) fn display(&self) -> String {
        format!("{}, parts: {}, protected fields: {}", self.display, self.parts, self.fields)
    }
}
