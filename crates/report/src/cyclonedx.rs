//! `CycloneDX` 1.6 (ECMA-424, first edition): what is installed, with evidence, licences, and what is known to be
//! wrong with it.

use crate::stream::{Each, line};
use crate::text::plain;
use crate::{Report, facts, purl, time};
use airlock_inventory::{Ecosystem, Evidence, Package, Product, System};
use airlock_licensing::Verdict;
use airlock_vulnerability::{Assessment, Problem};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom<C, V> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    #[serde(rename = "bomFormat")]
    format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Value,
    components: C,
    vulnerabilities: V,
}

/// Writes the inventory.
pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let inventory = report.inventory;
    // What is wrong, by package; and by vulnerability, which is listed once.
    let mut unpatched: BTreeMap<usize, &Problem> = BTreeMap::new();
    let mut known: BTreeMap<&str, Vec<&Assessment>> = BTreeMap::new();
    for one in report.assessments {
        match &one.problem {
            Problem::Unpatched { .. } => {
                unpatched.insert(one.package, &one.problem);
            }
            Problem::Vulnerable { id, .. } | Problem::Unknown { id } => {
                known.entry(id).or_default().push(one);
            }
        }
    }
    let systems = inventory.systems.iter().enumerate().map(|(index, one)| system(index, one));
    let packages = inventory.packages.iter().enumerate();
    let packages = packages.map(|(index, one)| package(report, index, one, unpatched.get(&index).copied()));
    let products = inventory.products.iter().enumerate();
    let products = products.map(|(index, one)| product(index, one, report.licences.get(index).copied()));
    let vulnerabilities = known.iter().map(|(id, all)| vulnerability(id, all));
    line(
        out,
        &Bom {
            schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
            format: "CycloneDX",
            spec_version: "1.6",
            serial_number: format!("urn:uuid:{}", facts::run_id(report)),
            version: 1,
            metadata: metadata(report),
            components: Each(systems.chain(packages).chain(products)),
            vulnerabilities: Each(vulnerabilities),
        },
    )
}

fn metadata(report: &Report<'_>) -> Value {
    let mut properties =
        vec![property("airlock:rules", &report.rules), property("airlock:policy", &report.policy)];
    for disk in &report.disks {
        properties.push(property(&format!("airlock:root:{}", disk.id), &disk.root));
    }
    if report.inventory.left_out > 0 {
        properties.push(property("airlock:files-left-out", &report.inventory.left_out.to_string()));
    }
    if let Some(feeds) = &report.feeds {
        properties.push(property("airlock:feeds", &feeds.digest));
        properties.push(property("airlock:feeds-stale", if feeds.stale { "true" } else { "false" }));
    }
    json!({
        "timestamp": time::rfc3339(report.at),
        "tools": { "components": [{ "type": "application", "name": "airlock", "version": report.version }] },
        "component": { "type": "platform", "bom-ref": "subject", "name": report.subject },
        "properties": properties,
    })
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": plain(value) })
}

fn evidence(at: &Evidence, technique: &str) -> Value {
    let location = format!("{}:{}:{}", at.disk, at.volume, at.path);
    let mut occurrence = json!({ "location": location, "additionalContext": at.digest });
    // The schema knows no offset of more than what a signed integer holds.
    occurrence["offset"] = i64::try_from(at.offset).unwrap_or(i64::MAX).into();
    json!({
        "identity": [{ "field": "name", "confidence": 1, "methods": [{ "technique": technique, "confidence": 1, "value": location }] }],
        "occurrences": [occurrence],
    })
}

fn system(index: usize, system: &System) -> Value {
    let mut value = json!({
        "type": "operating-system", "bom-ref": format!("system-{index}"),
        "name": plain(&system.id), "version": plain(&system.version), "description": plain(&system.name),
    });
    if let Some(at) = &system.evidence {
        value["evidence"] = evidence(at, "filename");
    }
    value
}

fn package(report: &Report<'_>, index: usize, package: &Package, unpatched: Option<&Problem>) -> Value {
    let kind = if package.ecosystem == Ecosystem::Kernel { "operating-system" } else { "library" };
    let technique = match package.ecosystem {
        Ecosystem::Kernel => "filename",
        _ => "manifest-analysis",
    };
    let mut value = json!({
        "type": kind, "bom-ref": format!("package-{index}"),
        "name": plain(&package.name), "version": plain(&package.version),
        "purl": purl::of(report.inventory, package), "evidence": evidence(&package.evidence, technique),
    });
    if let Some(licence) = &package.licence {
        // As the record says it; whether that is an SPDX expression is for whoever reads it.
        value["licenses"] = json!([{ "license": { "name": plain(licence), "acknowledgement": "declared" } }]);
    }
    let mut properties = Vec::new();
    if let Some(source) = &package.source {
        properties.push(property("airlock:source", source));
    }
    if let Some(Problem::Unpatched { fixed, suite }) = unpatched {
        properties.push(property("airlock:unpatched", &format!("{suite} has {fixed}")));
    }
    if !properties.is_empty() {
        value["properties"] = properties.into();
    }
    value
}

fn product(index: usize, product: &Product, verdict: Option<Verdict>) -> Value {
    let mut value = json!({
        "type": "application", "bom-ref": format!("product-{index}"),
        "name": plain(&product.name), "version": plain(&product.version),
        "evidence": evidence(&product.evidence, "manifest-analysis"),
    });
    if !product.publisher.is_empty() {
        value["publisher"] = plain(&product.publisher).into();
    }
    if let Some(verdict) = verdict {
        value["properties"] = json!([property("airlock:entitlement", verdict.name())]);
    }
    value
}

fn vulnerability(id: &str, all: &[&Assessment]) -> Value {
    let affects: Vec<Value> =
        all.iter().map(|one| json!({ "ref": format!("package-{}", one.package) })).collect();
    let mut value =
        json!({ "bom-ref": format!("vulnerability-{}", plain(id)), "id": plain(id), "affects": affects });
    let mut fixes = Vec::new();
    let mut state = "in_triage";
    for one in all {
        if let Problem::Vulnerable { aliases, fixed, exploited, .. } = &one.problem {
            state = "exploitable";
            if !aliases.is_empty() {
                let reference =
                    |alias: &String| json!({ "id": plain(alias), "source": { "name": source_of(alias) } });
                value["references"] = aliases.iter().map(reference).collect();
            }
            fixes.extend(fixed.as_deref().map(plain));
            if *exploited {
                value["properties"] = json!([property("airlock:known-exploited", "true")]);
            }
        }
    }
    value["source"] = json!({ "name": source_of(id) });
    value["analysis"] = json!({ "state": state });
    fixes.sort();
    fixes.dedup();
    if !fixes.is_empty() {
        value["recommendation"] = format!("Update to {}", fixes.join(" or ")).into();
    }
    value
}

/// Returns who gives ids of this form.
fn source_of(id: &str) -> &'static str {
    match id.split('-').next().unwrap_or_default() {
        "CVE" => "CVE",
        "GHSA" => "GitHub",
        "PYSEC" => "PyPI",
        "RUSTSEC" => "RustSec",
        "GO" => "Go",
        "DSA" | "DLA" | "DEBIAN" => "Debian",
        "ALPINE" => "Alpine",
        _ => "OSV",
    }
}
