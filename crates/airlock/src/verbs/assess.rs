//! What feeds and entitlements say of an inventory, as findings.

use crate::failure::{Code, Failure};
use crate::{output, stats};
use airlock_checks::Rules;
use airlock_inventory::{Evidence, Inventory, Package};
use airlock_licensing::{Date, Entitlements, Verdict};
use airlock_model::{Action, Check, Confidence, Escaped, Finding, Severity, Site};
use airlock_policy::{Effective, Object};
use airlock_vulnerability::{Assessment, Coverage, Feeds, Problem, judge};
use serde::Serialize;
use std::path::Path;

/// Days after which feeds that do not say how long they are valid count as stale.
const FEED_DAYS_MAX: u64 = 7;

/// What is said of products by entitlements.
#[derive(Debug, Serialize)]
pub(crate) struct Licensed<'i> {
    name: &'i str,
    version: &'i str,
    verdict: Verdict,
}

/// What was judged by which feeds.
#[derive(Debug, Serialize)]
pub(crate) struct Assessed {
    feeds: FeedsLine,
    coverage: Coverage,
    packages: Vec<Line>,
    #[serde(skip)]
    assessments: Vec<Assessment>,
}

impl Assessed {
    /// Returns what is wrong with packages.
    pub(crate) fn assessments(&self) -> &[Assessment] {
        &self.assessments
    }

    /// Returns what reports say of the feeds.
    pub(crate) fn feeds(&self) -> airlock_report::Feeds {
        airlock_report::Feeds {
            digest: self.feeds.digest.clone(),
            stale: self.feeds.stale,
            valid_until: self.feeds.valid_until,
            assessed: self.coverage.assessed.values().sum(),
            unknown: self.coverage.unknown.values().sum(),
        }
    }
}

impl Licensed<'_> {
    /// Returns the verdict.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }
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

/// Judges the packages of an inventory. Returns findings with what the policy says of them.
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
    for one in &assessments {
        let Some(package) = inventory.packages.get(one.package) else { continue };
        findings.push(finding_of(package, &one.problem, rules));
        lines.push(Line {
            kind: package.ecosystem.name(),
            name: package.name.clone(),
            version: package.version.clone(),
            problem: one.problem.clone(),
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
    Ok((Assessed { feeds, coverage, packages: lines, assessments }, findings))
}

/// Judges the products of an inventory. Returns findings with what the policy says of them.
pub(crate) fn license<'i>(
    inventory: &'i Inventory,
    path: &Path,
    rules: &Rules,
    policy: &Effective,
) -> Result<(Vec<Licensed<'i>>, Vec<Finding>), Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::io("read entitlements", path, &error))?;
    let entitlements = Entitlements::parse(&text).map_err(|error| Failure::of(Code::Error, &error))?;
    let verdicts = airlock_licensing::judge(inventory, &entitlements, Date::of_seconds(stats::now()));
    let mut findings = Vec::new();
    let mut lines = Vec::new();
    for (product, verdict) in inventory.products.iter().zip(verdicts) {
        lines.push(Licensed { name: &product.name, version: &product.version, verdict });
        let (percent, severity) = match verdict {
            Verdict::Ok => continue,
            Verdict::Unknown => (50, Severity::Low),
            Verdict::Activator => (95, Severity::Critical),
            _ => (95, Severity::Medium),
        };
        let text = format!("{} {}: {}", product.name, product.version, verdict.name());
        let about = About { check: Check::Licensing, detector: verdict.name(), percent, severity, text };
        findings.push(finding(&product.evidence, about, rules));
    }
    policy.judge(Site::Source, &Object::raw(512), &mut findings);
    Ok((lines, findings))
}

/// What a finding says.
struct About {
    check: Check,
    detector: &'static str,
    percent: u8,
    severity: Severity,
    text: String,
}

fn finding_of(package: &Package, problem: &Problem, rules: &Rules) -> Finding {
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
    let text = format!("{} {}: {what}", package.name, package.version);
    let about = About { check: Check::Vulnerability, detector, percent, severity, text };
    finding(&package.evidence, about, rules)
}

fn finding(at: &Evidence, about: About, rules: &Rules) -> Finding {
    let About { check, detector, percent, severity, text } = about;
    Finding {
        check,
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
