//! Static Analysis Results Interchange Format 2.1.0 (OASIS standard, 27 March 2020).

use crate::stream::{Each, line};
use crate::text::{message, percent_encoded, unescaped};
use crate::{Report, facts, time};
use airlock_model::{Action, Finding, Severity};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

#[derive(Serialize)]
struct Log<R> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [R; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<R> {
    tool: Value,
    automation_details: Value,
    invocations: [Value; 1],
    original_uri_base_ids: BTreeMap<String, Value>,
    results: R,
    properties: Value,
}

/// Writes the findings, with fingerprints and without digits.
pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut rules: Vec<&str> = report.findings.iter().map(|finding| finding.detector.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let about: BTreeMap<&str, &Finding> =
        report.findings.iter().rev().map(|finding| (finding.detector.as_str(), finding)).collect();
    let descriptors: Vec<Value> =
        rules.iter().filter_map(|rule| about.get(rule)).map(|one| rule(one)).collect();
    let base = |disk: &crate::Disk<'_>| {
        let uri = format!("airlock:///{}/", percent_encoded(disk.id.as_bytes(), b""));
        (
            disk.id.to_owned(),
            json!({ "uri": uri, "description": { "text": format!("{} of {}", disk.id, report.subject) } }),
        )
    };
    let results = report.findings.iter().map(|finding| {
        let index = rules.binary_search(&finding.detector.as_str()).unwrap_or_default();
        result(finding, index)
    });
    let run = Run {
        tool: json!({ "driver": {
            "name": "Airlock", "semanticVersion": report.version, "rules": descriptors,
            "properties": { "rules": report.rules, "policy": report.policy },
        } }),
        automation_details: json!({ "id": format!("airlock/{}/", report.verb.name()), "guid": facts::run_id(report) }),
        invocations: [json!({
            "executionSuccessful": true, "exitCode": report.code, "endTimeUtc": time::rfc3339(report.at),
        })],
        original_uri_base_ids: report.disks.iter().map(base).collect(),
        results: Each(results),
        properties: json!({
            "subject": report.subject, "decision": report.decision, "coverage": report.coverage,
            "findingsOmitted": report.findings_omitted,
        }),
    };
    line(
        out,
        &Log {
            schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
            version: "2.1.0",
            runs: [run],
        },
    )
}

fn rule(example: &Finding) -> Value {
    json!({
        "id": example.detector,
        "shortDescription": { "text": format!("{} ({})", example.detector, example.check.name()) },
        "fullDescription": { "text": facts::about(example.check) },
        "properties": { "tags": ["security", example.check.name()], "security-severity": score(example.severity) },
    })
}

/// The scale of a code scanning service, from 0 to 10, as text.
const fn score(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "3.0",
        Severity::Medium => "5.5",
        Severity::High => "8.0",
        Severity::Critical => "9.5",
    }
}

fn result(finding: &Finding, rule: usize) -> Value {
    let level = match finding.action {
        Action::Allow => "note",
        Action::Warn => "warning",
        Action::Hold | Action::Terminate => "error",
    };
    let (file, offset) = match &finding.path {
        Some(path) => (unescaped(path), finding.offset),
        // Space that no file owns: where it lies on the disk.
        None => (Vec::new(), finding.disk_offset.unwrap_or(finding.offset)),
    };
    let uri = match file.strip_prefix(b"/").unwrap_or(&file) {
        b"" => format!(".{}", finding.place.replace(' ', "-")),
        relative => percent_encoded(relative, b"/"),
    };
    // Numbers beyond what a signed integer of 32 bits holds are legal; byte offsets of disks need them.
    json!({
        "ruleId": finding.detector, "ruleIndex": rule, "level": level, "kind": "fail",
        "message": { "text": message(finding) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri, "uriBaseId": finding.disk },
                "region": { "byteOffset": offset, "byteLength": finding.length },
            },
            "logicalLocations": [{ "fullyQualifiedName": finding.trail, "kind": "trail" }],
        }],
        "partialFingerprints": { "value/hmac-sha256": finding.fingerprint.to_string() },
        "rank": f64::from(finding.confidence.as_percent()),
        "properties": {
            "check": finding.check, "action": finding.action, "severity": finding.severity,
            "site": finding.site, "place": finding.place, "deleted": finding.deleted,
        },
    })
}
