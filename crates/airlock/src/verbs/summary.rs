//! The model of reports, put together from what a run knows.

use super::assess::{Assessed, Licensed};
use crate::stats;
use airlock_checks::Rules;
use airlock_inventory::Inventory;
use airlock_licensing::Verdict;
use airlock_manager::Source;
use airlock_model::{Coverage, Decision, Escaped, Finding, MemberKind};
use airlock_report::{Disk, Report, Transfer, Verb};
use std::os::unix::ffi::OsStrExt;

/// What is known of what is installed.
#[derive(Debug)]
pub(crate) struct Guest<'s> {
    /// What it is.
    pub(crate) inventory: &'s Inventory,
    /// What feeds say of it.
    pub(crate) vulnerabilities: Option<&'s Assessed>,
    /// What entitlements say of it.
    pub(crate) licences: Option<&'s [Licensed<'s>]>,
}

impl Guest<'_> {
    /// Returns the verdicts on products, in their order; none where there were no entitlements.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        self.licences.unwrap_or_default().iter().map(Licensed::verdict).collect()
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ending<'s> {
    pub(crate) verb: Verb,
    pub(crate) code: u8,
    pub(crate) decision: Decision,
    pub(crate) incomplete: bool,
    pub(crate) coverage: &'s Coverage,
    pub(crate) roots: Vec<String>,
    pub(crate) findings: &'s [Finding],
    pub(crate) findings_total: u64,
    pub(crate) transfer: Option<Transfer<'s>>,
}

/// Puts the model together. `verdicts` are those of `guest`.
pub(crate) fn summary<'s>(
    source: &'s Source,
    (rules, policy): (&Rules, String),
    guest: &Guest<'s>,
    verdicts: &'s [Verdict],
    ending: Ending<'s>,
) -> Report<'s> {
    let disks = source.space().members().iter().zip(ending.roots).map(|(member, root)| Disk {
        id: &member.id,
        format: match &member.kind {
            MemberKind::Disk { format, .. } => format,
            MemberKind::Files(_) => "files",
        },
        bytes: member.size,
        root,
    });
    Report {
        version: env!("CARGO_PKG_VERSION"),
        verb: ending.verb,
        at: stats::now(),
        subject: name_of(source),
        kind: source.kind().name(),
        disks: disks.collect(),
        code: ending.code,
        decision: ending.decision,
        incomplete: ending.incomplete,
        coverage: ending.coverage,
        findings: ending.findings,
        findings_omitted: ending.findings_total.saturating_sub(ending.findings.len() as u64),
        inventory: guest.inventory,
        feeds: guest.vulnerabilities.map(Assessed::feeds),
        assessments: guest.vulnerabilities.map_or(&[], Assessed::assessments),
        licences: verdicts,
        rules: format!("blake3:{}", hex::encode(rules.digest())),
        policy,
        transfer: ending.transfer,
    }
}

/// Returns the name of the source without its folder, escaped.
pub(crate) fn name_of(source: &Source) -> String {
    let name = source.path().file_name().map(std::ffi::OsStr::as_bytes).unwrap_or_default();
    Escaped(name).to_string()
}
