//! One JSON object on each line, for pipelines.
//!
//! The first line is about the run, the last one counts the others: a file without it is cut off.

use crate::stream::line;
use crate::text::{plain, shows_a_name};
use crate::{Report, time};
use airlock_model::Finding;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Writes the run, its findings with fingerprints and without digits, and what is installed.
pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    line(out, &run(report))?;
    let mut lines = 0_u64;
    let mut next = |out: &mut dyn Write, value: &Value| {
        lines += 1;
        line(out, value)
    };
    for finding in report.findings {
        next(out, &finding_line(finding)?)?;
    }
    for package in &report.inventory.packages {
        next(out, &escaped(typed("package", serde_json::to_value(package)?)))?;
    }
    for one in report.assessments {
        let Some(package) = report.inventory.packages.get(one.package) else { continue };
        let mut value = escaped(typed("assessment", serde_json::to_value(&one.problem)?));
        value["ecosystem"] = package.ecosystem.name().into();
        value["package"] = plain(&package.name).into();
        value["version"] = plain(&package.version).into();
        next(out, &value)?;
    }
    for (index, product) in report.inventory.products.iter().enumerate() {
        let mut value = escaped(typed("product", serde_json::to_value(product)?));
        if let Some(verdict) = report.licences.get(index) {
            value["entitlement"] = verdict.name().into();
        }
        next(out, &value)?;
    }
    line(out, &json!({ "type": "end", "lines": lines, "findings_omitted": report.findings_omitted }))
}

fn run(report: &Report<'_>) -> Value {
    let disk = |disk: &crate::Disk<'_>| json!({ "id": disk.id, "format": disk.format, "bytes": disk.bytes, "root": disk.root });
    json!({
        "type": "run", "schema": "airlock.report/1", "version": report.version, "verb": report.verb.name(),
        "id": crate::facts::run_id(report), "at": time::rfc3339(report.at), "subject": report.subject, "kind": report.kind,
        "result": { "code": report.code, "decision": report.decision },
        "transfer": report.transfer.as_ref().map(|transfer| json!({ "id": transfer.id, "state": transfer.state })),
        "disks": report.disks.iter().map(disk).collect::<Vec<_>>(),
        "coverage": report.coverage, "rules": report.rules, "policy": report.policy,
        "feeds": report.feeds.as_ref().map(|feeds| json!({ "digest": feeds.digest, "stale": feeds.stale })),
    })
}

fn finding_line(finding: &Finding) -> io::Result<Value> {
    let mut value = typed("finding", serde_json::to_value(finding)?);
    if !shows_a_name(finding)
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove("display");
    }
    Ok(value)
}

/// Escapes the members that are as a guest or a feed wrote them.
fn escaped(mut value: Value) -> Value {
    let raw = [
        "name",
        "version",
        "source",
        "source_version",
        "architecture",
        "licence",
        "publisher",
        "id",
        "fixed",
        "suite",
    ];
    for name in raw {
        if let Some(Value::String(text)) = value.get_mut(name) {
            *text = plain(text);
        }
    }
    if let Some(Value::Array(aliases)) = value.get_mut("aliases") {
        for alias in aliases {
            *alias = plain(alias.as_str().unwrap_or_default()).into();
        }
    }
    value
}

fn typed(kind: &str, mut value: Value) -> Value {
    value["type"] = match value.get("type") {
        // What an ecosystem calls its packages; `type` says what the line is.
        Some(ecosystem) => {
            let ecosystem = ecosystem.clone();
            value["ecosystem"] = ecosystem;
            kind.into()
        }
        None => kind.into(),
    };
    value
}
