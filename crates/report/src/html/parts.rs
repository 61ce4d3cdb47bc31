//! The tables of the page.

use super::Safe;
use crate::text::{place_of, plain};
use crate::{Report, facts, time};
use airlock_licensing::Verdict;
use airlock_model::{Action, Confidence, Finding};
use airlock_vulnerability::Problem;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Most rows of a table: what a person still turns over. What is beyond is counted.
const ROWS_MAX: usize = 2000;
/// Most values of one file that are shown masked.
const SHOWN_MAX: usize = 5;

/// Writes what each check found.
pub(super) fn checks(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<h2>Findings by check</h2>")?;
    if report.findings.is_empty() && report.findings_omitted == 0 {
        return writeln!(out, "<p>None.</p>");
    }
    writeln!(
        out,
        "<table><thead><tr><th>Check</th><th>Detector</th><th class=\"number\">Findings</th><th>About</th></tr></thead><tbody>"
    )?;
    for ((check, detector), count) in facts::by_detector(report) {
        let (name, about) = (check.name(), facts::about(check));
        writeln!(
            out,
            "<tr><td>{name}</td><td class=\"name\">{}</td><td class=\"number\">{count}</td><td>{about}</td></tr>",
            Safe(detector)
        )?;
    }
    writeln!(out, "</tbody></table>")?;
    if report.findings_omitted > 0 {
        writeln!(out, "<p>{} more findings are counted, and not listed.</p>", report.findings_omitted)?;
    }
    Ok(())
}

/// What was found by one detector in one file.
struct Row<'r> {
    action: Action,
    count: u64,
    confidence: Confidence,
    deleted: u64,
    shown: Vec<&'r str>,
}

/// Writes what was found in each file or other place, the strictest action first.
pub(super) fn files(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut rows: BTreeMap<(String, &str, &str), Row<'_>> = BTreeMap::new();
    for finding in report.findings {
        add(&mut rows, finding);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let mut strictest: BTreeMap<&str, Action> = BTreeMap::new();
    for ((place, ..), row) in &rows {
        let action = strictest.entry(place).or_default();
        *action = (*action).max(row.action);
    }
    let mut order: Vec<_> = rows.iter().collect();
    order.sort_by_key(|((place, ..), row)| {
        (
            std::cmp::Reverse(strictest.get(place.as_str()).copied()),
            place.as_str(),
            std::cmp::Reverse(row.action),
        )
    });
    writeln!(
        out,
        "<h2>Findings by file</h2>\n<table><thead><tr><th>File or place</th><th>Detector</th><th class=\"number\">Findings</th><th>Action</th><th>Confidence</th><th>Shown masked</th></tr></thead><tbody>"
    )?;
    for ((place, _, detector), row) in order.iter().take(ROWS_MAX) {
        let deleted =
            if row.deleted > 0 { format!(" ({} in deleted data)", row.deleted) } else { String::new() };
        writeln!(
            out,
            "<tr><td class=\"name\">{}</td><td class=\"name\">{}</td><td class=\"number\">{}{deleted}</td><td>{}</td><td>{}</td><td class=\"name\">{}</td></tr>",
            Safe(place),
            Safe(detector),
            row.count,
            row.action.name(),
            row.confidence,
            Safe(row.shown.join(", "))
        )?;
    }
    writeln!(out, "</tbody></table>")?;
    rest(order.len(), out)
}

fn add<'r>(rows: &mut BTreeMap<(String, &'r str, &'r str), Row<'r>>, finding: &'r Finding) {
    let row = rows.entry((place_of(finding), &finding.disk, &finding.detector)).or_insert(Row {
        action: Action::Allow,
        count: 0,
        confidence: Confidence::percent(0),
        deleted: 0,
        shown: Vec::new(),
    });
    row.action = row.action.max(finding.action);
    row.confidence = row.confidence.max(finding.confidence);
    row.count += 1;
    row.deleted += u64::from(finding.deleted);
    let display = finding.display.as_str();
    if row.shown.len() < SHOWN_MAX && !display.is_empty() && !row.shown.contains(&display) {
        row.shown.push(display);
    }
}

fn rest(rows: usize, out: &mut dyn Write) -> io::Result<()> {
    match rows.saturating_sub(ROWS_MAX) {
        0 => Ok(()),
        more => writeln!(out, "<p>{more} more rows are not on this page; the other formats have them.</p>"),
    }
}

/// Writes what is wrong with packages.
pub(super) fn packages(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let Some(feeds) = &report.feeds else { return Ok(()) };
    writeln!(out, "<h2>Vulnerable packages</h2>")?;
    let until = time::rfc3339(feeds.valid_until);
    writeln!(
        out,
        "<p>{} packages were looked up; of {} more nothing is known, which does not mean that they are fine. Feeds <span class=\"name\">{}</span>, valid until {until}{}.</p>",
        feeds.assessed,
        feeds.unknown,
        Safe(&feeds.digest),
        if feeds.stale { ": <strong>too old</strong>" } else { "" }
    )?;
    if report.assessments.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<table><thead><tr><th>Package</th><th>Version</th><th>Problem</th><th>Fixed in</th></tr></thead><tbody>"
    )?;
    for one in report.assessments.iter().take(ROWS_MAX) {
        let Some(package) = report.inventory.packages.get(one.package) else { continue };
        let (what, fixed) = match &one.problem {
            Problem::Vulnerable { id, aliases, fixed, exploited } => {
                let names =
                    std::iter::once(id).chain(aliases).map(|name| plain(name)).collect::<Vec<_>>().join(", ");
                let known = if *exploited { " <strong>known to be exploited</strong>" } else { "" };
                (format!("{}{known}", Safe(names)), fixed.clone().unwrap_or_default())
            }
            Problem::Unpatched { fixed, suite } => {
                (format!("{} has a newer one", Safe(plain(suite))), fixed.clone())
            }
            Problem::Unknown { id } => {
                (format!("{}: the versions cannot be compared", Safe(plain(id))), String::new())
            }
        };
        writeln!(
            out,
            "<tr><td class=\"name\">{}</td><td class=\"name\">{}</td><td>{what}</td><td class=\"name\">{}</td></tr>",
            Safe(plain(&package.name)),
            Safe(plain(&package.version)),
            Safe(plain(&fixed))
        )?;
    }
    writeln!(out, "</tbody></table>")?;
    rest(report.assessments.len(), out)
}

/// Writes the products with what entitlements say of them.
pub(super) fn products(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    if report.inventory.products.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<h2>Products</h2>\n<table><thead><tr><th>Product</th><th>Version</th><th>Publisher</th><th>Entitlement</th></tr></thead><tbody>"
    )?;
    for (index, product) in report.inventory.products.iter().enumerate().take(ROWS_MAX) {
        let verdict = report.licences.get(index).map_or("not looked up", |verdict| said(*verdict));
        writeln!(
            out,
            "<tr><td class=\"name\">{}</td><td class=\"name\">{}</td><td>{}</td><td>{verdict}</td></tr>",
            Safe(plain(&product.name)),
            Safe(plain(&product.version)),
            Safe(plain(&product.publisher))
        )?;
    }
    writeln!(out, "</tbody></table>")?;
    rest(report.inventory.products.len(), out)
}

const fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Unknown => "unknown: counted by something that a disk does not tell",
        Verdict::NotCloudEligible => "does not move to another site",
        Verdict::OverDeployed => "more are installed than there are rights",
        Verdict::Expired => "expired",
        Verdict::NoEntitlement => "none",
        Verdict::Activator => "a tool that makes products run without their licence",
    }
}

/// Writes how much is installed.
pub(super) fn inventory(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let inventory = report.inventory;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for package in &inventory.packages {
        *counts.entry(package.ecosystem.name()).or_default() += 1;
    }
    if counts.is_empty() && inventory.systems.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Installed</h2>\n<table><tbody>")?;
    for system in &inventory.systems {
        writeln!(
            out,
            "<tr><td>operating system</td><td class=\"name\">{}</td></tr>",
            Safe(plain(&system.name))
        )?;
    }
    for (kind, count) in counts {
        writeln!(out, "<tr><td>{kind}</td><td>{count} packages</td></tr>")?;
    }
    writeln!(out, "</tbody></table>")?;
    match inventory.left_out {
        0 => Ok(()),
        files => writeln!(out, "<p>{files} files could not be read for this.</p>"),
    }
}

/// Writes what identifies the run.
pub(super) fn facts(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<h2>What was inspected, and with what</h2>\n<table><tbody>")?;
    let mut row = |name: &str, value: &str| {
        writeln!(out, "<tr><td>{}</td><td class=\"name\">{}</td></tr>", Safe(name), Safe(value))
    };
    for disk in &report.disks {
        row(disk.id, &format!("{}, {} bytes, {}", disk.format, disk.bytes, disk.root))?;
    }
    row("rules", &report.rules)?;
    row("policy", &report.policy)?;
    row("run", &facts::run_id(report))?;
    if let Some(transfer) = &report.transfer {
        row("transfer", &format!("{}, {}", transfer.id, transfer.state))?;
        row("evidence", &transfer.evidence)?;
    }
    writeln!(out, "</tbody></table>")
}
