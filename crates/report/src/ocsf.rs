//! Events of the Open Cybersecurity Schema Framework 1.5, one on each line, for a SIEM.
//!
//! Classes: Detection Finding (2004) for what was found in bytes, Vulnerability Finding (2002) and Software
//! Inventory Info (5020) for what is installed, Compliance Finding (2003) for licences and for the run as a whole.

use crate::stream::line;
use crate::text::{message, plain, shows_a_name, unescaped};
use crate::{Report, facts, next_steps, purl, uuid};
use airlock_inventory::Package;
use airlock_model::{Action, Check, Decision, Finding, Severity};
use airlock_vulnerability::Problem;
use serde_json::{Value, json};
use std::io::{self, Write};

const VERSION: &str = "1.5.0";
const CREATE: u32 = 1;
const COLLECT: u32 = 2;

/// Writes the run, then an event for each finding, each vulnerable package, and each package.
pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let run = facts::run_id(report);
    line(out, &whole(report, &run))?;
    for (index, finding) in report.findings.iter().enumerate() {
        match finding.check {
            // Told by package, below.
            Check::Vulnerability if !report.assessments.is_empty() => {}
            Check::Licensing => line(out, &licence(report, &run, index, finding))?,
            _ => line(out, &detection(report, &run, index, finding))?,
        }
    }
    for (index, one) in report.assessments.iter().enumerate() {
        if let Some(package) = report.inventory.packages.get(one.package) {
            line(out, &vulnerability(report, &run, index, package, &one.problem))?;
        }
    }
    for package in &report.inventory.packages {
        line(out, &installed(report, &run, package))?;
    }
    Ok(())
}

/// What every event has.
fn event(
    report: &Report<'_>,
    run: &str,
    (category, class, activity): (u32, u32, u32),
    severity: u8,
) -> Value {
    let metadata = json!({
        "version": VERSION, "correlation_uid": run,
        "product": { "name": "Airlock", "vendor_name": "Airlock", "version": report.version },
    });
    json!({
        "category_uid": category, "class_uid": class, "activity_id": activity,
        "type_uid": class * 100 + activity, "severity_id": severity, "time": report.at.saturating_mul(1000),
        "metadata": metadata,
    })
}

/// A finding of a category that has a common shape.
fn finding(report: &Report<'_>, run: &str, class: u32, severity: u8, info: Value) -> Value {
    let mut event = event(report, run, (2, class, CREATE), severity);
    event["category_name"] = "Findings".into();
    event["status_id"] = 1.into();
    event["finding_info"] = info;
    event
}

const fn severity_of(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    }
}

fn resource(report: &Report<'_>, disk: &str) -> Value {
    json!([{ "name": report.subject, "type": "Virtual Machine", "uid": format!("{}/{disk}", report.subject) }])
}

/// The run as a whole, against the policy.
fn whole(report: &Report<'_>, run: &str) -> Value {
    let (severity, status) = match report.decision {
        Decision::Allow => (1, 1),
        Decision::Warn => (2, 2),
        Decision::Withhold => (4, 3),
        Decision::Terminate => (5, 3),
    };
    let steps = next_steps(report).join(" ");
    let info = json!({
        "uid": run, "title": format!("Airlock {} of {}", report.verb.name(), report.subject),
        "desc": format!("{} findings listed, {} more", report.findings.len(), report.findings_omitted),
    });
    let mut event = finding(report, run, 2003, severity, info);
    event["compliance"] = json!({
        "control": "airlock policy", "status_id": status, "standards": [report.policy],
    });
    event["resources"] = resource(report, "");
    if !steps.is_empty() {
        event["remediation"] = json!({ "desc": steps });
    }
    event["unmapped"] =
        json!({ "coverage": report.coverage, "rules": report.rules, "exit_code": report.code });
    event
}

fn uid(run: &str, kind: &str, index: usize) -> String {
    uuid::of(&[run, kind, &index.to_string()])
}

fn detection(report: &Report<'_>, run: &str, index: usize, found: &Finding) -> Value {
    let info = json!({
        "uid": uid(run, "finding", index), "title": message(found), "types": [found.check.name(), found.detector],
        "analytic": { "name": found.detector, "type_id": 1, "type": "Rule", "uid": found.detector },
    });
    let mut event = finding(report, run, 2004, severity_of(found.severity), info);
    event["confidence_score"] = found.confidence.as_percent().into();
    event["resources"] = resource(report, &found.disk);
    if let Some(path) = &found.path {
        let bytes = unescaped(path);
        let name =
            plain(&String::from_utf8_lossy(bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default()));
        event["evidences"] =
            json!([{ "file": { "name": name, "path": path, "type_id": 1 }, "data": place(found) }]);
    } else {
        event["evidences"] = json!([{ "data": place(found) }]);
    }
    event["disposition_id"] = match found.action {
        Action::Allow => 1,
        Action::Warn => 19,
        Action::Hold | Action::Terminate => 2,
    }
    .into();
    event
}

/// Where it was found, and which other findings are of the same value.
fn place(found: &Finding) -> Value {
    json!({
        "trail": found.trail, "place": found.place, "offset": found.offset, "length": found.length,
        "disk": found.disk, "disk_offset": found.disk_offset, "deleted": found.deleted,
        "site": found.site, "action": found.action, "fingerprint": found.fingerprint,
        "display": if shows_a_name(found) { found.display.as_str() } else { "" },
    })
}

fn licence(report: &Report<'_>, run: &str, index: usize, found: &Finding) -> Value {
    let info =
        json!({ "uid": uid(run, "finding", index), "title": message(found), "types": [found.check.name()] });
    let mut event = finding(report, run, 2003, severity_of(found.severity), info);
    event["compliance"] = json!({ "control": found.detector, "status_id": 3, "standards": [report.policy] });
    event["resources"] = resource(report, &found.disk);
    event
}

fn package_of(report: &Report<'_>, package: &Package) -> Value {
    let mut value = json!({
        "name": plain(&package.name), "version": plain(&package.version),
        "purl": purl::of(report.inventory, package), "type": package.ecosystem.name(),
    });
    if let Some(architecture) = &package.architecture {
        value["architecture"] = plain(architecture).into();
    }
    if let Some(licence) = &package.licence {
        value["license"] = plain(licence).into();
    }
    value
}

fn vulnerability(
    report: &Report<'_>,
    run: &str,
    index: usize,
    package: &Package,
    problem: &Problem,
) -> Value {
    let mut affected = package_of(report, package);
    affected["path"] = package.evidence.path.as_str().into();
    let (id, severity, exploited) = match problem {
        Problem::Vulnerable { id, fixed, exploited, .. } => {
            if let Some(fixed) = fixed {
                affected["fixed_in_version"] = plain(fixed).into();
            }
            (plain(id), if *exploited { Severity::Critical } else { Severity::High }, *exploited)
        }
        Problem::Unpatched { fixed, suite } => {
            affected["fixed_in_version"] = plain(fixed).into();
            (format!("unpatched:{}", plain(suite)), Severity::Medium, false)
        }
        Problem::Unknown { id } => (plain(id), Severity::Low, false),
    };
    let title = format!("{} {}: {id}", plain(&package.name), plain(&package.version));
    let info = json!({ "uid": uid(run, "assessment", index), "title": title, "types": ["vulnerability"] });
    let mut event = finding(report, run, 2002, severity_of(severity), info);
    let mut entry = json!({ "advisory": { "uid": id }, "affected_packages": [affected], "is_exploit_available": exploited });
    let aliases = match problem {
        Problem::Vulnerable { id, aliases, .. } => std::iter::once(id).chain(aliases).collect(),
        _ => Vec::new(),
    };
    if let Some(cve) = aliases.iter().find(|name| name.starts_with("CVE-")) {
        entry["cve"] = json!({ "uid": plain(cve) });
    }
    event["vulnerabilities"] = json!([entry]);
    event["resources"] = resource(report, &package.evidence.disk);
    event
}

fn installed(report: &Report<'_>, run: &str, package: &Package) -> Value {
    let mut event = event(report, run, (5, 5020, COLLECT), 1);
    event["category_name"] = "Discovery".into();
    event["device"] =
        json!({ "type_id": 6, "type": "Virtual", "name": report.subject, "uid": report.subject });
    event["package"] = package_of(report, package);
    event
}
