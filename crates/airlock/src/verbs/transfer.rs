//! `airlock transfer`.

use super::Context;
use super::report::{Clock, CoverageJson, ResultLine, Usage, coverage_text, limited};
use super::summary::{Ending, summary};
use crate::cli::{Format, OnFail, TransferArgs};
use crate::failure::{Code, Failure};
use crate::progress::{Meter, cancel_on_interrupt};
use crate::reports::Outputs;
use crate::{leash, output, site, stats};
use airlock_checks::Progress;
use airlock_checks::memo::Memo;
use airlock_director::{Config, DEFAULT_VDC, Director, Error as DirectorError};
use airlock_link::{Connector, Identity, Link, Pace, pair};
use airlock_manager::{Connect, Offer, Outcome, Source, Stage, TransferError};
use airlock_model::{Coverage, Decision, Escaped, Finding, Site};
use airlock_policy::{Document, Effective};
use airlock_report::{Transfer, Verb};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[derive(Serialize)]
struct TransferJson<'t> {
    schema: &'static str,
    result: ResultLine,
    transfer: TransferId<'t>,
    vm: &'t str,
    evidence: String,
    coverage: CoverageJson,
    coverage_destination: CoverageJson,
    findings: &'t [Finding],
    findings_total: u64,
    stats: Stats,
}

#[derive(Serialize)]
struct TransferId<'t> {
    id: &'t str,
    state: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'t str>,
}

#[derive(Serialize)]
struct Stats {
    bytes_read: u64,
    bytes_sent: u64,
    bytes_known: u64,
    bytes_withheld: u64,
    bytes_resumed: u64,
    #[serde(flatten)]
    usage: Usage,
}

/// Where a transfer goes.
enum Destination {
    Directory(PathBuf),
    Remote { address: String, vdc: String },
}

/// Runs the verb.
pub(crate) fn run(context: Context, args: &TransferArgs) -> Result<Code, Failure> {
    let clock = Clock::start();
    let outputs = Outputs::open(&args.output)?;
    let destination = parse_destination(&args.dest)?;
    let progress = Arc::new(Progress::default());
    cancel_on_interrupt(&progress);
    let pace = Arc::new(Pace::new(args.bwlimit.clone()));
    if args.managed {
        leash::hold(Arc::clone(&progress), Arc::clone(&pace));
    }
    let meter = Meter::start("opening", Arc::clone(&progress), context.progress);
    let home = site::home()?;
    let (policy, policy_yaml) = site::policy(args.rules.policy.as_deref())?;
    let rules = site::rules(&args.rules, &home)?;
    let source = site::source(&args.source, true)?;
    if !source.has_disk() {
        // Said before a directory is made for it.
        return Err(TransferError::NoDisk(source.path().to_path_buf()).into());
    }
    let memo = site::memo(&args.memo, &home)?;
    if args.plan {
        return plan(context, args, &source, (&rules, memo.as_ref()), &policy, &progress, meter);
    }
    let key = site::signing_key(&home)?;
    let vdc = match &destination {
        Destination::Directory(_) => DEFAULT_VDC.to_owned(),
        Destination::Remote { vdc, .. } => vdc.clone(),
    };
    let offer = Offer {
        source: &source,
        vm: args.name.clone().unwrap_or_else(|| default_name(args, &source)),
        vdc,
        policy: &policy,
        policy_yaml: &policy_yaml,
        on_fail: match args.on_fail {
            OnFail::Withhold => airlock_policy::OnFail::Withhold,
            OnFail::Terminate => airlock_policy::OnFail::Terminate,
        },
        rules: &rules,
        memo: memo.as_ref(),
        key: &key,
        streams: usize::from(args.streams),
        resume: args.resume,
        now: stats::now(),
    };
    let outcome = match &destination {
        Destination::Directory(directory) => {
            let director = embedded(directory, args.dest_policy.as_deref(), &rules)?;
            to_embedded(&director, &offer, &pace, &progress, &meter)?
        }
        Destination::Remote { address, .. } => {
            let connector = connector(args.identity.as_deref())?.paced(pace);
            let connect = || {
                let link: Box<dyn Link> = Box::new(connector.connect(address)?);
                Ok(link)
            };
            send(&offer, &connect, &progress, &meter)?
        }
    };
    drop(meter);
    let evidence = write_evidence(args, &destination, &home, &outcome)?;
    let done = Done {
        args,
        offer: &offer,
        outcome: &outcome,
        evidence: &evidence,
        clock: &clock,
        progress: &progress,
    };
    report(context, &done, outputs)
}

fn parse_destination(text: &str) -> Result<Destination, Failure> {
    if !text.starts_with("airlock://") {
        return Ok(Destination::Directory(PathBuf::from(text)));
    }
    parse_director(text).map(|(address, vdc)| Destination::Remote { address, vdc })
}

/// Reads `airlock://HOST:PORT/VDC`, of which only host and port are needed.
pub(crate) fn parse_director(text: &str) -> Result<(String, String), Failure> {
    let rest = text.strip_prefix("airlock://").unwrap_or(text);
    let (address, vdc) = rest.split_once('/').unwrap_or((rest, DEFAULT_VDC));
    if address.is_empty() || !address.contains(':') {
        let text = format!("{text:?} names no host and port");
        return Err(Failure::new(Code::Usage, text).hint("write airlock://HOST:PORT/VDC"));
    }
    let vdc = if vdc.is_empty() { DEFAULT_VDC } else { vdc };
    Ok((address.to_owned(), vdc.to_owned()))
}

fn default_name(args: &TransferArgs, source: &Source) -> String {
    if let Some((_, vm)) = site::in_vault(&args.source.source) {
        return vm.to_owned();
    }
    let stem = source.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
    stem.filter(|stem| !stem.is_empty()).unwrap_or_else(|| "vm".into())
}

/// Opens the director that runs in this process.
pub(crate) fn embedded(
    directory: &Path,
    policy: Option<&Path>,
    rules: &Arc<airlock_checks::Rules>,
) -> Result<Director, Failure> {
    let (_, policy_yaml) = site::policy(policy)?;
    let config = Config {
        directory: directory.to_path_buf(),
        policy_yaml,
        rules: Arc::clone(rules),
        threads: stats::processors(),
        clock: stats::now,
        // Source and destination are one process anyway.
        worker: None,
    };
    Ok(Director::open(config)?)
}

fn to_embedded(
    director: &Director,
    offer: &Offer<'_>,
    pace: &Arc<Pace>,
    progress: &Progress,
    meter: &Meter,
) -> Result<Outcome, Failure> {
    // What went wrong at the destination; that its links ended is only what came of it.
    let failed = Mutex::new(None);
    let sent = std::thread::scope(|scope| {
        let failed = &failed;
        let connect = || {
            let (here, mut there) = pair();
            scope.spawn(move || {
                if let Err(error) = director.serve(&mut there, DEFAULT_VDC) {
                    if !matches!(error, DirectorError::Link(_) | DirectorError::Peer(_)) {
                        let mut failed = failed.lock().expect("no holder of this lock panics");
                        failed.get_or_insert(Failure::of(Code::Error, &error).text);
                    }
                    tracing::info!(
                        error = &error as &dyn std::error::Error,
                        "the embedded director ended a stream"
                    );
                }
            });
            let link: Box<dyn Link> = Box::new(here.paced(Arc::clone(pace)));
            Ok(link)
        };
        send(offer, &connect, progress, meter)
    });
    let failed = failed.into_inner().expect("no holder of this lock panics");
    sent.map_err(|failure| match failed.filter(|_| failure.code == Code::Error) {
        Some(text) => Failure { text: format!("the destination failed: {text}"), hint: None, ..failure }
            .hint("what has arrived is kept; mend this, and go on with --resume"),
        None => failure,
    })
}

/// Reads the identity file that lets this site in.
pub(crate) fn connector(path: Option<&Path>) -> Result<Connector, Failure> {
    let path = path.ok_or_else(|| {
        Failure::new(Code::Usage, "a director needs to know who is there")
            .hint("--identity FILE; the director's operator has it (tls/manager.pem in its directory)")
    })?;
    let pem = std::fs::read_to_string(path).map_err(|error| Failure::io("read identity", path, &error))?;
    let identity = Identity::parse(&pem).map_err(|error| Failure::of(Code::Error, &error))?;
    Connector::new(&identity).map_err(|error| Failure::of(Code::Error, &error))
}

/// Runs a transfer and tells the meter about it.
pub(crate) fn send(
    offer: &Offer<'_>,
    connect: &Connect<'_>,
    progress: &Progress,
    meter: &Meter,
) -> Result<Outcome, Failure> {
    meter.phase("connecting", None);
    let mut stage = |stage| match stage {
        Stage::Sending => meter.phase("inspecting and sending", None),
        Stage::Checking(done, total) => meter.phase("director inspects", Some((done, total))),
        Stage::Signing => meter.phase("signing", None),
    };
    Ok(airlock_manager::transfer(offer, connect, progress, &mut stage)?)
}

fn plan(
    context: Context,
    args: &TransferArgs,
    source: &Source,
    (rules, memo): (&airlock_checks::Rules, Option<&Memo>),
    policy: &Document,
    progress: &Progress,
    meter: Meter,
) -> Result<Code, Failure> {
    let (destination, _) = site::policy(args.dest_policy.as_deref())?;
    let effective = Effective::merge(policy, &destination);
    meter.phase("planning", None);
    let mut report = super::scan::inspect(source, rules, &effective, memo, stats::processors(), progress)?;
    let inventory = airlock_inventory::take(source.disk(), source.space(), source.survey());
    report.add_system(&rules.judge_system(&inventory, &[], &effective, Site::Source, stats::now()));
    drop(meter);
    let withheld: u64 = report.held.iter().map(|held| held.extent.length).sum();
    let coverage = &report.coverage;
    let sent = coverage.cleared + coverage.unscannable.values().sum::<u64>();
    let code = super::report::code_of(report.decision, report.incomplete);
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.plan/1",
            "result": { "code": code as u8, "decision": report.decision },
            "bytes_to_send": sent, "bytes_to_withhold": withheld,
            "coverage": CoverageJson::from(coverage),
            "findings": limited(&report.findings, args.rules.findings_limit),
        }))?,
        Format::Table => {
            let mut text = format!(
                "plan: {} to send at most, {} to withhold\n",
                output::bytes(sent),
                output::bytes(withheld)
            );
            coverage_text(coverage, &mut text);
            output::findings(&report.findings, args.rules.findings_limit, &mut text);
            text.push_str(&format!(
                "\n{}\n",
                super::report::decision_text(report.decision, report.incomplete)
            ));
            output::print(&text)?;
        }
    }
    Ok(code)
}

fn write_evidence(
    args: &TransferArgs,
    destination: &Destination,
    home: &Path,
    outcome: &Outcome,
) -> Result<PathBuf, Failure> {
    let path = match (&args.evidence, destination) {
        (Some(path), _) => path.clone(),
        // The embedded director has written it there.
        (None, Destination::Directory(directory)) => {
            return Ok(directory.join("evidence").join(format!("{}.json", outcome.id)));
        }
        (None, Destination::Remote { .. }) => home.join("evidence").join(format!("{}.json", outcome.id)),
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| Failure::io("create", folder, &error))?;
    }
    std::fs::write(&path, &outcome.evidence).map_err(|error| Failure::io("write evidence", &path, &error))?;
    Ok(path)
}

/// Returns the code that a transfer ends with.
pub(crate) fn code_of(outcome: &Outcome) -> Code {
    let held = |key: &String| key.ends_with("/hold") || key.ends_with("/terminate");
    match outcome.state.as_str() {
        "active" => Code::Clean,
        "active-withheld" => Code::Withheld,
        _ if outcome.statement.predicate.findings.counts.keys().any(held) => Code::Refused,
        _ if outcome.report.decision >= Decision::Withhold && !outcome.report.incomplete => Code::Refused,
        _ => Code::Incomplete,
    }
}

/// What was done, for those who write about it.
struct Done<'d> {
    args: &'d TransferArgs,
    offer: &'d Offer<'d>,
    outcome: &'d Outcome,
    evidence: &'d Path,
    clock: &'d Clock,
    progress: &'d Progress,
}

impl Done<'_> {
    /// Returns what both sites found.
    fn findings(&self) -> Vec<Finding> {
        let listed = &self.outcome.statement.predicate.findings.listed;
        let theirs = listed.iter().filter(|finding| finding.site == Site::Destination);
        self.outcome.report.findings.iter().chain(theirs).cloned().collect()
    }

    /// Returns what became of every byte at the destination.
    fn there(&self) -> Coverage {
        let mut there = Coverage::default();
        for disk in &self.outcome.statement.predicate.disks {
            there.merge(&disk.destination_coverage);
        }
        there
    }

    fn withheld(&self) -> u64 {
        let disks = &self.outcome.statement.predicate.disks;
        disks.iter().flat_map(|disk| &disk.holes).map(|hole| hole.extent.length).sum()
    }

    fn json<'j>(&'j self, findings: &'j [Finding], total: u64, there: &Coverage) -> TransferJson<'j> {
        use std::sync::atomic::Ordering;
        let outcome = self.outcome;
        TransferJson {
            schema: "airlock.transfer/1",
            result: ResultLine {
                code: code_of(outcome) as u8,
                decision: outcome.statement.predicate.transfer.decision,
            },
            transfer: TransferId {
                id: &outcome.id,
                state: &outcome.state,
                reason: outcome.statement.predicate.transfer.reason.as_deref(),
            },
            vm: &self.offer.vm,
            evidence: self.evidence.display().to_string(),
            coverage: (&outcome.report.coverage).into(),
            coverage_destination: there.into(),
            findings,
            findings_total: total,
            stats: Stats {
                bytes_read: self.progress.read.load(Ordering::Relaxed),
                bytes_sent: outcome.stats.sent,
                bytes_known: outcome.stats.known,
                bytes_withheld: self.withheld(),
                bytes_resumed: outcome.resumed_bytes,
                usage: self.clock.usage(),
            },
        }
    }

    fn text(&self, findings: &[Finding]) -> String {
        let (outcome, evidence) = (self.outcome, self.evidence.display());
        let mut text = format!("{}  {}  transfer {}\n", self.offer.vm, outcome.state, outcome.id);
        coverage_text(&outcome.report.coverage, &mut text);
        output::findings(findings, self.args.rules.findings_limit, &mut text);
        text.push_str(&format!(
            "\nsent {}, known {}, withheld {}, {:.1} s\nevidence {evidence}\n",
            output::bytes(outcome.stats.sent),
            output::bytes(outcome.stats.known),
            output::bytes(self.withheld()),
            self.clock.seconds(),
        ));
        let held = outcome.statement.predicate.findings.counts.contains_key("source/hold");
        if let Some(reason) = &outcome.statement.predicate.transfer.reason {
            text.push_str(&format!(
                "not inspected by the director, everything discarded: {}\n",
                Escaped(reason.as_bytes())
            ));
        } else if outcome.state.starts_with("active") {
            text.push_str(&format!("next: airlock verify {evidence} --vault DIRECTORY_OF_THE_DIRECTOR\n"));
        } else if self.offer.on_fail == airlock_policy::OnFail::Terminate && held {
            text.push_str("refused, everything discarded; --on-fail withhold goes on without what is held\n");
        } else {
            text.push_str("refused by policy, everything discarded\n");
        }
        text
    }
}

fn report(context: Context, done: &Done<'_>, outputs: Outputs) -> Result<Code, Failure> {
    let (outcome, offer) = (done.outcome, done.offer);
    let code = code_of(outcome);
    let (findings, there) = (done.findings(), done.there());
    let total = findings.len() as u64 + outcome.report.findings_omitted;
    let listed = limited(&findings, done.args.rules.findings_limit);
    let json = done.json(listed, total, &there);
    let table = || done.text(&findings);
    if !outputs.is_empty() {
        let source = offer.source;
        let predicate = &outcome.statement.predicate;
        let ending = Ending {
            verb: Verb::Transfer,
            code: code as u8,
            decision: predicate.transfer.decision,
            incomplete: code == Code::Incomplete,
            coverage: &outcome.report.coverage,
            roots: predicate.disks.iter().map(|disk| format!("blake3:{}", disk.source_root)).collect(),
            findings: listed,
            findings_total: total,
            transfer: Some(Transfer {
                id: &outcome.id,
                state: &outcome.state,
                evidence: done.evidence.display().to_string(),
                destination: &there,
            }),
        };
        let policy = predicate.policies.effective.clone();
        let guest = (&outcome.inventory, &outcome.system);
        let summary = summary(source, (offer.rules, policy), guest, ending);
        outputs.write(&summary, &json, &table)?;
    }
    match context.format {
        Format::Json => output::json(&json)?,
        Format::Table => output::print(&table())?,
    }
    Ok(code)
}
