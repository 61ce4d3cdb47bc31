//! `airlock scan`.

use super::Context;
use super::assess::{Assessed, Licensed, assessed, licensed};
use super::report::{Clock, CoverageJson, ResultLine, Usage, code_of, coverage_text, decision_text, limited};
use super::summary::{Ending, name_of, summary};
use crate::cli::{Format, ScanArgs};
use crate::failure::{Code, Failure};
use crate::progress::{Meter, cancel_on_interrupt};
use crate::reports::Outputs;
use crate::{output, site, stats};
use airlock_checks::memo::Memo;
use airlock_checks::{Progress, Report, StationError, SystemReport};
use airlock_inventory::Inventory;
use airlock_manager::Source;
use airlock_model::{Escaped, Extent, Finding, Machine, MemberKind, PlaceKind, Site};
use airlock_policy::Effective;
use airlock_report::Verb;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Serialize)]
struct ScanJson<'s> {
    schema: &'static str,
    result: ResultLine,
    bundle: Bundle<'s>,
    coverage: CoverageJson,
    places: BTreeMap<&'static str, u64>,
    findings: &'s [Finding],
    findings_total: u64,
    oddities: Vec<OddityJson>,
    replays: Vec<ReplayJson<'s>>,
    inventory: &'s Inventory,
    #[serde(skip_serializing_if = "Option::is_none")]
    vulnerabilities: Option<Assessed<'s>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licences: Option<Vec<Licensed<'s>>>,
    stats: Stats,
}

#[derive(Serialize)]
struct Bundle<'s> {
    name: String,
    kind: &'static str,
    machine: Option<&'s Machine>,
    disks: Vec<DiskJson<'s>>,
    files: Vec<FileJson>,
}

#[derive(Serialize)]
struct DiskJson<'s> {
    id: &'s str,
    name: &'s str,
    format: &'s str,
    virtual_size: u64,
    root: String,
    volumes: Vec<VolumeJson>,
}

#[derive(Serialize)]
struct VolumeJson {
    label: String,
    content: String,
    offset: u64,
    length: u64,
}

#[derive(Serialize)]
struct FileJson {
    path: String,
    size: u64,
}

#[derive(Serialize)]
struct OddityJson {
    volume: String,
    what: String,
    offset: u64,
    length: u64,
}

#[derive(Serialize)]
struct ReplayJson<'s> {
    volume: &'s str,
    log: &'static str,
    done: bool,
    transactions: u64,
    blocks: u64,
}

#[derive(Serialize)]
struct Stats {
    bytes_read: u64,
    bytes_inspected: u64,
    bytes_memoised: u64,
    #[serde(flatten)]
    usage: Usage,
}

/// Runs the verb.
pub(crate) fn run(context: Context, args: &ScanArgs) -> Result<Code, Failure> {
    let clock = Clock::start();
    let outputs = Outputs::open(&args.output)?;
    let progress = Arc::new(Progress::default());
    cancel_on_interrupt(&progress);
    let meter = Meter::start("scanning", Arc::clone(&progress), context.progress);
    let home = site::home()?;
    let (policy, _) = site::policy(args.rules.policy.as_deref())?;
    let effective = Effective::merge(&policy, &policy);
    let rules = site::rules(&args.rules, &home)?;
    let source = site::source(&args.source, false)?;
    let threads = args.threads.unwrap_or_else(stats::processors);
    let memo = site::memo(&args.memo, &home)?;
    let mut report = inspect(&source, &rules, &effective, memo.as_ref(), threads, &progress)?;
    meter.phase("taking the inventory", None);
    let inventory = airlock_inventory::take(source.disk(), source.space(), source.survey());
    let system = rules.judge_system(&inventory, &[], &effective, Site::Source, stats::now());
    report.add_system(&system);
    drop(meter);
    let code = code_of(report.decision, report.incomplete);
    let limit = args.rules.findings_limit;
    let json = json(&source, &report, (&inventory, &system), code, limit, &clock, &progress);
    let table = || text(&source, &report, &inventory, limit, &clock);
    if !outputs.is_empty() {
        let ending = Ending {
            verb: Verb::Scan,
            code: code as u8,
            decision: report.decision,
            incomplete: report.incomplete,
            coverage: &report.coverage,
            roots: report.members.iter().map(|member| format!("blake3:{}", member.root)).collect(),
            findings: limited(&report.findings, limit),
            findings_total: json.findings_total,
            transfer: None,
        };
        let policy = effective.digest().to_string();
        let summary = summary(&source, (&rules, policy), (&inventory, &system), ending);
        outputs.write(&summary, &json, &table)?;
    }
    match context.format {
        Format::Json => output::json(&json)?,
        Format::Table => output::print(&table())?,
    }
    Ok(code)
}

/// Inspects a source and checks that every byte is accounted for.
pub(crate) fn inspect(
    source: &Source,
    rules: &airlock_checks::Rules,
    policy: &Effective,
    memo: Option<&Memo>,
    threads: usize,
    progress: &Progress,
) -> Result<Report, Failure> {
    let report =
        airlock_manager::scan(source, rules, policy, memo, threads, progress).map_err(
            |error| match error {
                StationError::Cancelled => Failure::of(Code::Cancelled, &error),
                _ => Failure::of(Code::Error, &error),
            },
        )?;
    airlock_model::invariant::coverage_sums(&report.coverage)
        .map_err(|text| Failure::new(Code::Error, format!("this is a bug: {text}")))?;
    Ok(report)
}

fn json<'s>(
    source: &'s Source,
    report: &'s Report,
    (inventory, system): (&'s Inventory, &'s SystemReport),
    code: Code,
    limit: usize,
    clock: &Clock,
    progress: &Progress,
) -> ScanJson<'s> {
    let mut places: BTreeMap<&'static str, u64> =
        PlaceKind::ALL.into_iter().map(|kind| (kind.name(), 0)).collect();
    places.extend(report.places.iter().map(|(name, bytes)| (*name, *bytes)));
    let oddities = source.survey().oddities.iter().map(|oddity| OddityJson {
        volume: oddity.volume.clone(),
        what: oddity.what.clone(),
        offset: oddity.extent.offset,
        length: oddity.extent.length,
    });
    let replays = source.survey().replays.iter().map(|replay| ReplayJson {
        volume: &replay.volume,
        log: replay.log,
        done: replay.done,
        transactions: replay.transactions,
        blocks: replay.blocks,
    });
    let coverage = &report.coverage;
    let memoised = progress.memoised.load(Ordering::Relaxed);
    ScanJson {
        schema: "airlock.scan/1",
        result: ResultLine { code: code as u8, decision: report.decision },
        bundle: bundle(source, report),
        coverage: coverage.into(),
        places,
        findings: limited(&report.findings, limit),
        findings_total: report.findings.len() as u64 + report.findings_omitted,
        oddities: oddities.collect(),
        replays: replays.collect(),
        inventory,
        vulnerabilities: assessed(inventory, system),
        licences: licensed(inventory, system),
        stats: Stats {
            bytes_read: progress.read.load(Ordering::Relaxed),
            bytes_inspected: coverage.sum() - coverage.hole - coverage.dropped - memoised,
            bytes_memoised: memoised,
            usage: clock.usage(),
        },
    }
}

fn bundle<'s>(source: &'s Source, report: &Report) -> Bundle<'s> {
    let (mut disks, mut files) = (Vec::new(), Vec::new());
    for ((member, extent), found) in source.space().iter().zip(&report.members) {
        match &member.kind {
            MemberKind::Disk { format, name } => disks.push(DiskJson {
                id: &member.id,
                name,
                format,
                virtual_size: member.size,
                root: format!("blake3:{}", found.root),
                volumes: volumes_of(source, extent).collect(),
            }),
            MemberKind::Files(list) => files.extend(
                list.iter().map(|file| FileJson { path: Escaped(&file.path).to_string(), size: file.size }),
            ),
        }
    }
    Bundle { name: name_of(source), kind: source.kind().name(), machine: source.machine(), disks, files }
}

/// Returns the volumes that begin on a disk of the bundle.
fn volumes_of(source: &Source, disk: Extent) -> impl Iterator<Item = VolumeJson> {
    let volumes = source.survey().map.volumes().iter();
    let here = volumes
        .filter(move |volume| disk.offset <= volume.extent.offset && volume.extent.offset < disk.end());
    here.map(move |volume| VolumeJson {
        label: volume.label.clone(),
        content: volume.content.clone(),
        offset: volume.extent.offset - disk.offset,
        length: volume.extent.length,
    })
}

fn text(source: &Source, report: &Report, inventory: &Inventory, limit: usize, clock: &Clock) -> String {
    let mut out = format!("{}  {}", name_of(source), source.kind().name());
    if let Some(machine) = source.machine() {
        let memory = output::bytes(machine.memory_bytes);
        out.push_str(&format!(", {} CPUs, {memory} of memory", machine.cpus));
    }
    out.push('\n');
    for ((member, extent), found) in source.space().iter().zip(&report.members) {
        let size = output::bytes(member.size);
        match &member.kind {
            MemberKind::Files(list) => out.push_str(&format!("  {} files, {size}\n", list.len())),
            MemberKind::Disk { format, name } => {
                let id = &member.id;
                out.push_str(&format!("  {id}  {format}, {size}, root blake3:{}  {name}\n", found.root));
                for volume in volumes_of(source, extent) {
                    let size = output::bytes(volume.length);
                    out.push_str(&format!("    {:<6} {:<12} {size}\n", volume.label, volume.content));
                }
            }
        }
    }
    for replay in &source.survey().replays {
        let (volume, log) = (&replay.volume, replay.log);
        out.push_str(&if replay.done {
            format!("  {volume}: {log} replayed, {} transactions\n", replay.transactions)
        } else {
            format!("  {volume}: {log} not replayed, so that the latest changes may be missing\n")
        });
    }
    out.push_str("\nPlaces\n");
    for (kind, bytes) in &report.places {
        out.push_str(&format!("  {kind:<16} {bytes:>16} bytes\n"));
    }
    coverage_text(&report.coverage, &mut out);
    inventory_text(inventory, &mut out);
    output::findings(&report.findings, limit, &mut out);
    let held: u64 = report.held.iter().map(|held| held.extent.length).sum();
    out.push_str(&format!(
        "\n{} findings, {} held, {:.1} s\n{}\n",
        report.findings.len() as u64 + report.findings_omitted,
        output::bytes(held),
        clock.seconds(),
        decision_text(report.decision, report.incomplete)
    ));
    out
}

fn inventory_text(inventory: &Inventory, out: &mut String) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for package in &inventory.packages {
        *counts.entry(package.ecosystem.name()).or_default() += 1;
    }
    if counts.is_empty() && inventory.products.is_empty() && inventory.systems.is_empty() {
        return;
    }
    out.push_str("\nInventory\n");
    for system in &inventory.systems {
        out.push_str(&format!("  {}\n", Escaped(system.name.as_bytes())));
    }
    for (kind, count) in counts {
        out.push_str(&format!("  {kind:<16} {count:>16} packages\n"));
    }
    for product in &inventory.products {
        let (name, version) = (Escaped(product.name.as_bytes()), Escaped(product.version.as_bytes()));
        out.push_str(&format!("  {name} {version}\n"));
    }
    if inventory.left_out > 0 {
        out.push_str(&format!("  {} files could not be read for it\n", inventory.left_out));
    }
}
