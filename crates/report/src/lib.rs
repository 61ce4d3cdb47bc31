//! What a run has to say, in the formats that people and programs read.
//!
//! ```text
//!                     ┌▶ Html, Csv                 people
//! scan, transfer ─▶ Report ─┼▶ Ndjson, Sarif, Ocsf      pipelines, code scanning, SIEM
//!                     └▶ CycloneDx, Oscal          inventories, auditors
//! ```
//!
//! There is one model, [`Report`], which borrows what a run has in memory anyway, and one writer
//! for each [`Format`]. Writers stream: one finding or package at a time, so that a report costs no
//! memory to speak of. They are deterministic: the same run gives the same bytes.
//!
//! A report never holds a value that was found; a [`Finding`] does not have it. What may be shown of
//! it and its keyed fingerprint never stand together in one report of this crate (PCI DSS 3.5.1):
//! each format carries the one that its readers need. Names come from hostile guests: each writer
//! escapes for its own format, and what could steer a terminal is escaped before that.
//!
//! Deliberately absent: files and clocks. The caller says where and when.
#![forbid(unsafe_code)]

mod csv;
mod cyclonedx;
mod facts;
mod html;
mod ndjson;
mod next;
mod ocsf;
mod oscal;
mod purl;
mod sarif;
mod stream;
mod text;
mod time;
mod uuid;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use airlock_inventory::Inventory;
use airlock_licensing::Verdict;
use airlock_model::{Coverage, Decision, Finding};
use airlock_vulnerability::Assessment;
use std::io::{self, Write};

pub use next::next_steps;

/// What was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Nothing was sent.
    Scan,
    /// A VM was moved, or refused.
    Transfer,
}

impl Verb {
    /// Returns its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Transfer => "transfer",
        }
    }
}

/// A disk of the bundle, or its other files.
#[derive(Debug, Clone)]
pub struct Disk<'r> {
    /// What findings call it.
    pub id: &'r str,
    /// The format of its image.
    pub format: &'r str,
    /// Bytes that the guest sees.
    pub bytes: u64,
    /// Hash over all of it, as `blake3:` and hexadecimal digits.
    pub root: String,
}

/// How a transfer ended.
#[derive(Debug, Clone)]
pub struct Transfer<'r> {
    /// Its id.
    pub id: &'r str,
    /// `active`, `active-withheld`, `rejected`, `discarded` or `failed`.
    pub state: &'r str,
    /// Where its evidence was written.
    pub evidence: String,
    /// What became of every byte at the destination.
    pub destination: &'r Coverage,
}

/// The feeds that packages were looked up in.
#[derive(Debug, Clone)]
pub struct Feeds {
    /// `blake3:` and hexadecimal digits.
    pub digest: String,
    /// Whether they are too old to say that anything is fine.
    pub stale: bool,
    /// Until when they are valid, in seconds since 1970-01-01 UTC.
    pub valid_until: u64,
    /// Packages that they are about, and packages of which nothing is known.
    pub assessed: u64,
    /// See `assessed`.
    pub unknown: u64,
}

/// What a run has to say, whoever reads it.
#[derive(Debug, Clone)]
pub struct Report<'r> {
    /// The version of Airlock.
    pub version: &'r str,
    /// What was run.
    pub verb: Verb,
    /// When it ended, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// What was inspected, escaped.
    pub subject: String,
    /// What kind of bundle that is.
    pub kind: &'r str,
    /// Its disks and other files.
    pub disks: Vec<Disk<'r>>,
    /// The exit code of the run.
    pub code: u8,
    /// What the policy decides.
    pub decision: Decision,
    /// Whether it decides so because of what could not be inspected.
    pub incomplete: bool,
    /// What became of every byte.
    pub coverage: &'r Coverage,
    /// What was found, above `allow`.
    pub findings: &'r [Finding],
    /// How many findings are not listed.
    pub findings_omitted: u64,
    /// What is installed.
    pub inventory: &'r Inventory,
    /// The feeds, where packages were looked up.
    pub feeds: Option<Feeds>,
    /// What is wrong with packages of the inventory.
    pub assessments: &'r [Assessment],
    /// The verdict on each product of the inventory, where there were entitlements.
    pub licences: &'r [Verdict],
    /// What identifies the rules, as `blake3:` and hexadecimal digits.
    pub rules: String,
    /// What identifies the effective policy.
    pub policy: String,
    /// How a transfer ended.
    pub transfer: Option<Transfer<'r>>,
}

/// A format of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// One page to read and print.
    Html,
    /// Findings as a table (RFC 4180).
    Csv,
    /// One JSON object on each line.
    Ndjson,
    /// Static Analysis Results Interchange Format 2.1.0 (OASIS).
    Sarif,
    /// `CycloneDX` 1.6 (ECMA-424, first edition): the inventory with what is wrong with it.
    CycloneDx,
    /// Assessment results of the Open Security Controls Assessment Language 1.1 (NIST).
    Oscal,
    /// Events of the Open Cybersecurity Schema Framework, one on each line.
    Ocsf,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 7] =
        [Self::Html, Self::Csv, Self::Ndjson, Self::Sarif, Self::CycloneDx, Self::Oscal, Self::Ocsf];

    /// Returns its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Sarif => "sarif",
            Self::CycloneDx => "cyclonedx",
            Self::Oscal => "oscal",
            Self::Ocsf => "ocsf",
        }
    }
}

/// Writes a report. `out` should be buffered.
///
/// # Errors
///
/// Only those of `out`.
pub fn write(report: &Report<'_>, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Html => html::write(report, out),
        Format::Csv => csv::write(report, out),
        Format::Ndjson => ndjson::write(report, out),
        Format::Sarif => sarif::write(report, out),
        Format::CycloneDx => cyclonedx::write(report, out),
        Format::Oscal => oscal::write(report, out),
        Format::Ocsf => ocsf::write(report, out),
    }
}
