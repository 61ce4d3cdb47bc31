//! What a person should do now.

use crate::text::amount;
use crate::{Report, Verb};
use airlock_model::{Action, Check, Decision, Reason};
use airlock_vulnerability::Problem;
use std::collections::BTreeSet;

/// Returns what to do next, most urgent first; nothing when nothing is to be done.
pub fn next_steps(report: &Report<'_>) -> Vec<String> {
    let mut steps = Vec::new();
    decision(report, &mut steps);
    unscannable(report, &mut steps);
    found(report, &mut steps);
    packages(report, &mut steps);
    if report.findings_omitted > 0 {
        steps.push(format!(
            "Findings that are not listed here: {}. What cannot all be listed is counted in the result.",
            report.findings_omitted
        ));
    }
    steps
}

fn decision(report: &Report<'_>, steps: &mut Vec<String>) {
    let files: BTreeSet<_> = report
        .findings
        .iter()
        .filter(|finding| finding.action >= Action::Hold)
        .map(|finding| (&finding.disk, &finding.path))
        .collect();
    let held = amount(report.coverage.held);
    match (report.verb, report.decision) {
        (Verb::Scan, Decision::Withhold) => steps.push(format!(
            "{held} in {} files or places would be held. Remove what was found from the source, or transfer with \
             --on-fail withhold, which goes on without it.",
            files.len()
        )),
        (Verb::Transfer, Decision::Withhold) => steps.push(format!(
            "{held} in {} files or places stayed behind; at the destination they read as zeros. The evidence \
             lists each with its reason.",
            files.len()
        )),
        (_, Decision::Terminate) if !report.incomplete => steps.push(
            "The policy refuses the VM as a whole. Remove what was found at the source, or have the owner of the \
             policy decide otherwise."
                .to_owned(),
        ),
        _ => {}
    }
    if let Some(transfer) = &report.transfer {
        steps.push(format!("Keep the evidence, and check it with: airlock verify {}", transfer.evidence));
    }
}

fn unscannable(report: &Report<'_>, steps: &mut Vec<String>) {
    for (reason, bytes) in report.coverage.unscannable.iter().filter(|(_, bytes)| **bytes > 0) {
        let what = match reason {
            Reason::Encrypted => "are encrypted. Decrypt the volume before the transfer",
            Reason::Unreadable => "could not be read. Check the source for defects",
            Reason::Limit => {
                "hit a limit, such as the depth of archives in archives. Look at these files by hand"
            }
            Reason::Unsupported => "belong to formats that are not understood. Look at them by hand",
        };
        steps.push(format!(
            "{} {what}, or have the policy accept it (unscannable: {}).",
            amount(*bytes),
            reason.name()
        ));
    }
}

fn found(report: &Report<'_>, steps: &mut Vec<String>) {
    let has = |check| report.findings.iter().any(|finding| finding.check == check);
    if has(Check::Malware) {
        steps.push("Take the VM off the network and find out how the malicious files came there.".into());
    }
    if has(Check::Secrets) {
        steps.push(
            "Replace the keys, tokens and passwords that were found: whoever can read the disk has them."
                .into(),
        );
    }
    if report.findings.iter().any(|finding| finding.deleted) {
        steps.push(
            "Some findings lie in deleted data. Overwrite free space (for example with fstrim or zerofree), or \
             let the policy drop it (free_space: drop)."
                .into(),
        );
    }
    if has(Check::Licensing) {
        steps.push(
            "Clear the licences that are missing, expired or bound to this site with their owners.".into(),
        );
    }
}

fn packages(report: &Report<'_>, steps: &mut Vec<String>) {
    let exploited = |problem: &Problem| matches!(problem, Problem::Vulnerable { exploited: true, .. });
    let urgent: BTreeSet<usize> =
        report.assessments.iter().filter(|one| exploited(&one.problem)).map(|one| one.package).collect();
    let all: BTreeSet<usize> = report.assessments.iter().map(|one| one.package).collect();
    if !urgent.is_empty() {
        steps.push(format!("Packages to update at once, known to be exploited: {}.", urgent.len()));
    }
    if all.len() > urgent.len() {
        steps.push(format!("Other packages to update or to look at: {}.", all.len() - urgent.len()));
    }
    match &report.feeds {
        None if !report.inventory.packages.is_empty() => {
            steps.push("Packages were not looked up. `airlock rules import` and --feeds do that.".into());
        }
        Some(feeds) if feeds.stale => {
            steps.push("The feeds are too old to say that a package is fine. Import new ones.".into());
        }
        _ => {}
    }
}
