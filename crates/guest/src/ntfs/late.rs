//! Files of several records.
//!
//! A file whose attributes have no room in one record has an attribute list, and further
//! records that name the first one. They are kept until the MFT has been read, and then
//! sorted by file and stream.

use super::record::{Attribute, Sizes, Title, split};
use super::runs::Mapping;
use airlock_model::Run;

/// Most attributes that are kept.
const PARTS_MAX: usize = 1 << 20;

/// Most runs that are kept; 24 bytes each.
const RUNS_MAX: usize = 4 << 20;

/// A record with an attribute list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    pub(super) number: u64,
    pub(super) sequence: u16,
    pub(super) directory: bool,
}

/// How a stream is kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Form {
    pub(super) resident: bool,
    pub(super) compressed: bool,
    pub(super) encrypted: bool,
    pub(super) unit_bits: u8,
    pub(super) sizes: Sizes,
}

impl Form {
    pub(super) fn of(attribute: &Attribute<'_>) -> Self {
        Self {
            resident: false,
            compressed: attribute.is_compressed(),
            encrypted: attribute.is_encrypted(),
            unit_bits: attribute.unit_bits(),
            sizes: attribute.sizes(),
        }
    }

    pub(super) fn resident(bytes: u64) -> Self {
        Self { resident: true, sizes: Sizes { size: bytes, valid: bytes }, ..Self::default() }
    }
}

/// What an attribute says of a file.
#[derive(Debug)]
pub(super) enum What {
    Title {
        parent: u64,
        short: bool,
    },
    /// A part of a stream: from which cluster to which, where it lies.
    Part {
        first: u64,
        end: u64,
        form: Form,
        runs: Vec<Mapping>,
        inside: Vec<Run>,
    },
}

/// An attribute of a file of several records.
#[derive(Debug)]
pub(super) struct Part {
    /// The record that it belongs to, and its sequence.
    pub(super) base: u64,
    pub(super) sequence: u16,
    /// Name of the file or of the stream, in UTF-16.
    pub(super) name: Box<[u8]>,
    pub(super) what: What,
}

impl Part {
    fn key(&self) -> (u64, bool, &[u8], u64) {
        let first = match &self.what {
            What::Title { .. } => None,
            What::Part { first, .. } => Some(*first),
        };
        (self.base, first.is_some(), &self.name, first.unwrap_or(0))
    }
}

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Late {
    pub(super) bases: Vec<Base>,
    parts: Vec<Part>,
    runs: usize,
    /// Whether some had no room.
    pub(super) full: bool,
}

impl Late {
    pub(super) fn add_base(&mut self, base: Base) {
        if self.bases.len() < PARTS_MAX {
            self.bases.push(base);
        } else {
            self.full = true;
        }
    }

    pub(super) fn add_title(&mut self, reference: u64, title: &Title<'_>) {
        let what = What::Title { parent: title.parent, short: title.short };
        self.add(reference, title.name, what, 0);
    }

    pub(super) fn add_part(&mut self, reference: u64, name: &[u8], what: What) {
        let runs = match &what {
            What::Title { .. } => 0,
            What::Part { runs, inside, .. } => runs.len().saturating_add(inside.len()),
        };
        self.add(reference, name, what, runs);
    }

    fn add(&mut self, reference: u64, name: &[u8], what: What, runs: usize) {
        self.runs = self.runs.saturating_add(runs);
        if self.parts.len() >= PARTS_MAX || self.runs > RUNS_MAX {
            self.full = true;
            return;
        }
        let (base, sequence) = split(reference);
        self.parts.push(Part { base, sequence, name: name.into(), what });
    }

    /// Returns all parts by file, names first, then streams in their order.
    pub(super) fn take(&mut self) -> (Vec<Base>, Vec<Part>) {
        self.parts.sort_by(|a, b| a.key().cmp(&b.key()));
        (std::mem::take(&mut self.bases), std::mem::take(&mut self.parts))
    }
}
