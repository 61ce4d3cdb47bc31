//! What feeds say of an inventory, as findings.

use crate::failure::{Code, Failure};
use crate::{output, stats};
use airlock_checks::Rules;
use airlock_inventory::{Inventory, Package};
use airlock_model::{Action, Check, Confidence, Escaped, Finding, Severity, Site};
use airlock_policy::{Effective, Object};
use airlock_vulnerability::{Coverage, Feeds, Problem, judge};
use serde::Serialize;
use std::path::Path;

/// Days after which feeds that do not say how long they are valid count as stale.
const FEED_DAYS_MAX: u64 = 7;

/// What was judged by which feeds.
#[derive(Debug, Serialize)]
pub(crate) struct Assessed {
    feeds: FeedsLine,
    coverage: Coverage,
    packages: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct FeedsLine {
    digest: String,
    imported_at: u64,
    valid_until: u64,
    stale: bool,
    sources: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    version: String,
    #[serde(flatten)]
    problem: Problem,
}

/// Judges an inventory. Returns findings with what the policy says of them.
pub(crate) fn assess(
    inventory: &Inventory,
    path: &Path,
    rules: &Rules,
    policy: &Effective,
) -> Result<(Assessed, Vec<Finding>), Failure> {
    let (feeds, digest) = Feeds::open(path).map_err(|error| {
        Failure::of(Code::Error, &error).hint("`airlock rules import --to FILE FEED...` writes such a file")
    })?;
    let valid_until = feeds.valid_until.unwrap_or(feeds.imported_at + FEED_DAYS_MAX * 86_400);
    let stale = stats::now() > valid_until;
    if stale {
        output::note("note: the feeds are stale; packages without a finding count as unknown, not as clean");
    }
    let (assessments, coverage) = judge(inventory, &feeds, stale);
    let mut findings = Vec::new();
    let mut lines = Vec::new();
    for one in assessments {
        let Some(package) = inventory.packages.get(one.package) else { continue };
        findings.push(finding(package, &one.problem, rules));
        lines.push(Line {
            kind: package.ecosystem.name(),
            name: package.name.clone(),
            version: package.version.clone(),
            problem: one.problem,
        });
    }
    policy.judge(Site::Source, &Object::raw(512), &mut findings);
    let feeds = FeedsLine {
        digest: format!("blake3:{}", hex::encode(digest)),
        imported_at: feeds.imported_at,
        valid_until,
        stale,
        sources: feeds.sources,
    };
    Ok((Assessed { feeds, coverage, packages: lines }, findings))
}

fn finding(package: &Package, problem: &Problem, rules: &Rules) -> Finding {
    let (detector, percent, severity, what) = match problem {
        Problem::Vulnerable { id, fixed, exploited, .. } => {
            let fixed = fixed.as_ref().map_or_else(String::new, |fixed| format!(", fixed in {fixed}"));
            let known = if *exploited { ", known to be exploited" } else { "" };
            let severity = if *exploited { Severity::Critical } else { Severity::High };
            ("advisory", 95, severity, format!("{id}{fixed}{known}"))
        }
        Problem::Unpatched { fixed, suite } => {
            ("unpatched", 95, Severity::Medium, format!("{suite} has {fixed}"))
        }
        Problem::Unknown { id } => {
            ("advisory", 50, Severity::Medium, format!("{id}: cannot compare versions"))
        }
    };
    let at = &package.evidence;
    let subject = format!("{} {}", package.name, package.version);
    let text = format!("{subject}: {what}");
    Finding {
        check: Check::Vulnerability,
        detector: detector.to_owned(),
        confidence: Confidence::percent(percent),
        severity,
        action: Action::Allow,
        site: Site::Source,
        disk: at.disk.clone(),
        trail: format!("{}:{}:{}@{}", at.disk, at.volume, at.path, at.offset),
        place: "file".to_owned(),
        path: Some(at.path.clone()),
        offset: at.offset,
        length: 0,
        disk_offset: None,
        deleted: false,
        fingerprint: rules.engine().fingerprint(detector, text.as_bytes()),
        display: Escaped(text.as_bytes()).to_string(),
    }
}
