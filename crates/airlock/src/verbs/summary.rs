//! The model of reports, put together from what a run knows.

use crate::stats;
use airlock_checks::{Rules, SystemReport};
use airlock_inventory::Inventory;
use airlock_manager::Source;
use airlock_model::{Coverage, Decision, Escaped, Finding, MemberKind};
use airlock_report::{Disk, Feeds, Report, Transfer, Verb};
use std::os::unix::ffi::OsStrExt;

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

/// Puts the model together.
pub(crate) fn summary<'s>(
    source: &'s Source,
    (rules, policy): (&Rules, String),
    (inventory, system): (&'s Inventory, &'s SystemReport),
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
        inventory,
        feeds: system.feeds.as_ref().map(|used| Feeds {
            digest: format!("blake3:{}", hex::encode(used.digest)),
            stale: used.stale,
            valid_until: used.valid_until,
            assessed: used.coverage.assessed.values().sum(),
            unknown: used.coverage.unknown.values().sum(),
        }),
        assessments: &system.assessments,
        licences: system.licences.as_deref().unwrap_or_default(),
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
