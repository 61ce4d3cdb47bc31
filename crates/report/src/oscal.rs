//! Assessment results of the Open Security Controls Assessment Language 1.1 (NIST, `oscal_assessment-results`).
//!
//! What Airlock checks is given as controls of NIST SP 800-53 revision 5, each with what was observed.

use crate::stream::{Each, line};
use crate::text::{place_of, plain};
use crate::{Report, facts, next_steps, time, uuid};
use airlock_model::{Action, Check, Finding};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Name space of the properties.
const NAMESPACE: &str = "urn:airlock:oscal:1";
/// Most observations that a finding points at; all are listed as observations.
const RELATED_MAX: usize = 1000;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Document<R> {
    assessment_results: R,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AssessmentResults<R> {
    uuid: String,
    metadata: Value,
    import_ap: Value,
    results: [R; 1],
    back_matter: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Results<O> {
    uuid: String,
    title: String,
    description: String,
    start: String,
    end: String,
    props: Vec<Value>,
    reviewed_controls: Value,
    observations: O,
    findings: Vec<Value>,
    remarks: String,
}

/// The controls that a check is about (NIST SP 800-53 revision 5).
const fn controls(check: Check) -> &'static [&'static str] {
    match check {
        // Information flow enforcement; PII processing.
        Check::Financial | Check::Health | Check::Regulated => &["ac-4", "pt-2"],
        // Authenticator management.
        Check::Secrets => &["ia-5"],
        // Malicious code protection.
        Check::Malware => &["si-3"],
        // Vulnerability monitoring and scanning; flaw remediation.
        Check::Vulnerability => &["ra-5", "si-2"],
        // Software usage restrictions.
        Check::Licensing => &["cm-10"],
    }
}

/// Writes the results: an observation for each finding and one for the coverage, and for each control that was
/// looked at whether it is satisfied.
pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (run, now) = (facts::run_id(report), time::rfc3339(report.at));
    let steps = next_steps(report).join(" ");
    let coverage = std::iter::once(coverage_observation(report, &run, &now));
    let findings = report.findings.iter().enumerate();
    let observations = findings.map(|(index, finding)| observation(finding, &run, index, &now));
    let results = Results {
        uuid: uuid::of(&[&run, "result"]),
        title: format!("Airlock {} of {}", report.verb.name(), report.subject),
        description: format!(
            "Every byte of {} was inspected, or is counted with the reason why not. Decision: {}.",
            report.subject,
            decision(report)
        ),
        start: now.clone(),
        end: now.clone(),
        props: props(report),
        reviewed_controls: reviewed(report),
        observations: Each(coverage.chain(observations)),
        findings: conclusions(report, &run),
        remarks: if steps.is_empty() { "Nothing is to be done.".to_owned() } else { steps },
    };
    let document = Document {
        assessment_results: AssessmentResults {
            uuid: run.clone(),
            metadata: json!({
                "title": format!("Assessment of {}", report.subject), "last-modified": now,
                "version": report.version, "oscal-version": "1.1.3",
            }),
            import_ap: json!({ "href": format!("#{}", uuid::of(&[&report.policy, "plan"])) }),
            results: [results],
            back_matter: json!({ "resources": [{
                "uuid": uuid::of(&[&report.policy, "plan"]), "title": "The effective policy",
                "description": format!("The policy with the digest {}", report.policy),
            }] }),
        },
    };
    line(out, &document)
}

fn decision(report: &Report<'_>) -> String {
    serde_json::to_value(report.decision)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// A property; its value is a single word or line without blanks at its ends.
fn prop(name: &str, value: &str) -> Value {
    let value = plain(value);
    let value = value.trim();
    json!({ "name": name, "ns": NAMESPACE, "value": if value.is_empty() { "-" } else { value } })
}

fn props(report: &Report<'_>) -> Vec<Value> {
    let mut props = vec![
        prop("decision", &decision(report)),
        prop("exit-code", &report.code.to_string()),
        prop("rules", &report.rules),
        prop("policy", &report.policy),
    ];
    for disk in &report.disks {
        props.push(prop("root", &format!("{} {}", disk.id, disk.root)));
    }
    if let Some(feeds) = &report.feeds {
        props.push(prop("feeds", &feeds.digest));
    }
    if let Some(transfer) = &report.transfer {
        props.push(prop("transfer", transfer.id));
        props.push(prop("state", transfer.state));
    }
    if report.findings_omitted > 0 {
        props.push(prop("findings-omitted", &report.findings_omitted.to_string()));
    }
    props
}

fn reviewed(report: &Report<'_>) -> Value {
    let mut ids: Vec<&str> =
        facts::checks_that_ran(report).into_iter().flat_map(controls).copied().chain(["au-12"]).collect();
    ids.sort_unstable();
    ids.dedup();
    let controls: Vec<Value> = ids.iter().map(|id| json!({ "control-id": id })).collect();
    json!({ "control-selections": [{ "description": "Controls of NIST SP 800-53 revision 5", "include-controls": controls }] })
}

fn coverage_observation(report: &Report<'_>, run: &str, now: &str) -> Value {
    let classes: Vec<String> =
        facts::classes(report.coverage).iter().map(|(name, _, bytes)| format!("{name} {bytes}")).collect();
    json!({
        "uuid": uuid::of(&[run, "coverage"]), "title": "Coverage",
        "description": format!("Of {} bytes: {}", report.coverage.total, classes.join(", ")),
        "methods": ["TEST"], "types": ["control-objective"], "collected": now,
    })
}

fn observation(finding: &Finding, run: &str, index: usize, now: &str) -> Value {
    json!({
        "uuid": observation_id(run, index),
        "title": format!("{} in {}", finding.detector, place_of(finding)),
        "description": format!("{} at byte {}: {}", finding.detector, finding.offset, if finding.display.is_empty() { "-" } else { &finding.display }),
        "props": [
            prop("check", finding.check.name()), prop("detector", &finding.detector),
            prop("action", finding.action.name()), prop("severity", facts::severity(finding.severity)),
            prop("confidence", &finding.confidence.to_string()), prop("site", facts::site(finding.site)),
        ],
        "methods": ["TEST"], "types": ["finding"], "collected": now,
        "relevant-evidence": [{ "description": finding.trail }],
    })
}

fn observation_id(run: &str, index: usize) -> String {
    uuid::of(&[run, "observation", &index.to_string()])
}

/// Says of each control that was looked at whether it is satisfied.
fn conclusions(report: &Report<'_>, run: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for check in facts::checks_that_ran(report) {
        let found = report.findings.iter().enumerate().filter(|(_, finding)| finding.check == check);
        let (mut count, mut acted, mut related) = (0_u64, 0_u64, Vec::new());
        for (index, finding) in found {
            count += 1;
            acted += u64::from(finding.action >= Action::Hold);
            if related.len() < RELATED_MAX {
                related.push(json!({ "observation-uuid": observation_id(run, index) }));
            }
        }
        related.push(json!({ "observation-uuid": uuid::of(&[run, "coverage"]) }));
        let state = if count == 0 && report.findings_omitted == 0 { "satisfied" } else { "not-satisfied" };
        for control in controls(check) {
            all.push(json!({
                "uuid": uuid::of(&[run, "finding", check.name(), control]),
                "title": format!("{control}: {}", check.name()),
                "description": format!("{}: {count} findings listed, {acted} of them held or refused.", facts::about(check)),
                "target": { "type": "objective-id", "target-id": format!("{control}_obj"), "status": { "state": state } },
                "related-observations": related,
            }));
        }
    }
    let complete = !report.incomplete && report.coverage.unscannable.values().all(|bytes| *bytes == 0);
    all.push(json!({
        "uuid": uuid::of(&[run, "finding", "coverage"]), "title": "au-12: every byte is accounted for",
        "description": if complete { "All bytes were inspected for what they are." } else { "Some bytes could not be inspected for what they are." },
        "target": { "type": "objective-id", "target-id": "au-12_obj", "status": { "state": if complete { "satisfied" } else { "not-satisfied" } } },
        "related-observations": [{ "observation-uuid": uuid::of(&[run, "coverage"]) }],
    }));
    all
}
