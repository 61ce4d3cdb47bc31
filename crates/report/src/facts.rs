//! What several formats say with the same words.

use crate::Report;
use airlock_model::{Check, Coverage, Severity, Site};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the name of a severity.
pub(crate) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// Returns the name of a site.
pub(crate) const fn site(site: Site) -> &'static str {
    match site {
        Site::Source => "source",
        Site::Destination => "destination",
    }
}

/// What a check looks for, for people.
pub(crate) const fn about(check: Check) -> &'static str {
    match check {
        Check::Financial => "Payment cards, bank accounts and bank messages",
        Check::Health => "Health records and identifiers of patients",
        Check::Licensing => "Software that may not run, or not move to the other site",
        Check::Malware => "Malicious software",
        Check::Vulnerability => "Software with known vulnerabilities or without the latest security fixes",
        Check::Secrets => "Keys, tokens and passwords",
        Check::Regulated => "National identifiers and other regulated data",
    }
}

/// Returns the classes of a coverage that have bytes, in one order, with what they mean.
pub(crate) fn classes(coverage: &Coverage) -> Vec<(&'static str, &'static str, u64)> {
    let mut classes = vec![
        ("cleared", "inspected, and passed", coverage.cleared),
        ("known", "inspected before under the same rules, and passed", coverage.known),
        ("hole", "zeros", coverage.hole),
        ("dropped", "free space that the policy leaves out", coverage.dropped),
        ("held", "failed a check, and is not kept", coverage.held),
    ];
    for (reason, bytes) in &coverage.unscannable {
        let what = match reason.name() {
            "encrypted" => "not inspected: encrypted",
            "unreadable" => "not inspected: could not be read",
            "limit" => "not inspected to its end: a limit was hit",
            _ => "not understood; inspected as plain bytes only",
        };
        classes.push((reason.name(), what, *bytes));
    }
    classes.retain(|(_, _, bytes)| *bytes > 0);
    classes
}

/// Counts findings by check and detector.
pub(crate) fn by_detector<'r>(report: &Report<'r>) -> BTreeMap<(Check, &'r str), u64> {
    let mut counts = BTreeMap::new();
    for finding in report.findings {
        *counts.entry((finding.check, finding.detector.as_str())).or_default() += 1;
    }
    counts
}

/// Returns the checks that ran: those over bytes always, those over the inventory where they had something to
/// compare it with.
pub(crate) fn checks_that_ran(report: &Report<'_>) -> Vec<Check> {
    let ran = |check: &Check| match check {
        Check::Vulnerability => report.feeds.as_ref().is_some_and(|feeds| !feeds.stale),
        Check::Licensing => !report.licences.is_empty() || report.inventory.products.is_empty(),
        _ => true,
    };
    let found: BTreeSet<Check> = report.findings.iter().map(|finding| finding.check).collect();
    Check::ALL.into_iter().filter(|check| ran(check) || found.contains(check)).collect()
}

/// Returns what names the run: the id of the transfer, or what was inspected and when.
pub(crate) fn run_id(report: &Report<'_>) -> String {
    let (at, roots) = (report.at.to_string(), report.disks.iter().map(|disk| disk.root.as_str()));
    let roots: Vec<&str> = roots.collect();
    match &report.transfer {
        Some(transfer) => crate::uuid::of(&["transfer", transfer.id]),
        None => crate::uuid::of(&["scan", &report.subject, &at, &roots.join(" ")]),
    }
}
