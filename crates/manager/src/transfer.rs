//! One transfer, as the source runs it.

use crate::Source;
use crate::conclusion::Expected;
use crate::stream::{Shared, Stream, attach};
use airlock_checks::memo::Memo;
use airlock_checks::{MemberReport, Progress, Report, Rules, Station, StationError, SystemReport};
use airlock_evidence::{Hole, Replayed, SiteKey, SourceDisk, SourceReport, Statement, count_of};
use airlock_inventory::Inventory;
use airlock_link::Link;
use airlock_model::{Decision, DiskRoot, Extent, Finding, Fingerprint, Site, Space, SpaceRoots};
use airlock_policy::{Document, Effective, OnFail, PolicyDigest};
use airlock_transfer::{Hello, Message, ProtocolError, Refusal, SenderStats, VERSION, Welcome};
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// How often a director hears that this site is at work: often within what it takes for the end.
const SIGN_INTERVAL: Duration = Duration::from_secs(10);
/// Most findings that the source reports one by one; all are counted.
const FINDINGS_LISTED_MAX: usize = 10_000;

/// Opens links to the director: one for control, then one for each stream.
pub type Connect<'c> = dyn Fn() -> Result<Box<dyn Link>, airlock_link::Error> + Sync + 'c;

/// What is to be done.
#[derive(Debug)]
pub struct Offer<'o> {
    /// What to move.
    pub source: &'o Source,
    /// What the VM shall be called.
    pub vm: String,
    /// The virtual data center that it shall go to.
    pub vdc: String,
    /// The policy of this site.
    pub policy: &'o Document,
    /// The same, as it was written.
    pub policy_yaml: &'o str,
    /// What to do when something is held.
    pub on_fail: OnFail,
    /// What to inspect with.
    pub rules: &'o Rules,
    /// What was inspected before.
    pub memo: Option<&'o Memo>,
    /// The signing key of this site.
    pub key: &'o SiteKey,
    /// Number of data streams, and of threads.
    pub streams: usize,
    /// Whether to go on with an unfinished transfer.
    pub resume: bool,
    /// The time, in seconds since 1970-01-01 UTC: feeds and entitlements end some day.
    pub now: u64,
}

/// Which part of a transfer is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// This site inspects and sends.
    Sending,
    /// The director inspects: bytes done, and of how many.
    Checking(u64, u64),
    /// The record is being signed.
    Signing,
}

/// How a transfer ended.
#[derive(Debug)]
pub struct Outcome {
    /// The id of the transfer, in hexadecimal.
    pub id: String,
    /// `active`, `active-withheld` or `discarded`.
    pub state: String,
    /// The evidence file, signed by both sites.
    pub evidence: Vec<u8>,
    /// What it says.
    pub statement: Statement,
    /// What this site found.
    pub report: Report,
    /// What is installed.
    pub inventory: Inventory,
    /// What feeds and entitlements say of it.
    pub system: SystemReport,
    /// What the streams did.
    pub stats: SenderStats,
    /// Bytes that were durable at the director before.
    pub resumed_bytes: u64,
}

/// Why a transfer did not come to an end that both sites signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Only disks can be moved.
    #[error("{0:?} is no disk image, and only disks can be moved")]
    NoDisk(std::path::PathBuf),
    /// The connection failed.
    #[error(transparent)]
    Link(#[from] airlock_link::Error),
    /// The director said no.
    #[error("the director refused: {}", .0.text)]
    Refused(Refusal),
    /// The director broke the protocol.
    #[error(transparent)]
    Protocol(ProtocolError),
    /// The director said something that this site cannot accept.
    #[error("the director cannot be believed: {0}")]
    Director(String),
    /// The two sites do not mean the same policy.
    #[error("the sites computed different effective policies: {here} here, {there} at the director")]
    Policy {
        /// As computed here.
        here: PolicyDigest,
        /// As the director computed it.
        there: PolicyDigest,
    },
    /// Inspection failed.
    #[error("cannot inspect the source")]
    Station(#[source] StationError),
}

impl From<ProtocolError> for TransferError {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Protocol(other),
        }
    }
}

impl From<StationError> for TransferError {
    fn from(error: StationError) -> Self {
        match error {
            // The station only carried what went wrong in a stream.
            StationError::Sink(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(inner) => Self::Station(StationError::Sink(inner)),
            },
            other => Self::Station(other),
        }
    }
}

/// Moves a disk. `progress` counts what this site does, `stage` hears of the rest.
pub fn transfer(
    offer: &Offer<'_>,
    connect: &Connect<'_>,
    progress: &Progress,
    stage: &mut dyn FnMut(Stage),
) -> Result<Outcome, TransferError> {
    if !offer.source.has_disk() {
        return Err(TransferError::NoDisk(offer.source.path().to_path_buf()));
    }
    let mut control = connect()?;
    let welcome = open(offer, &mut *control)?;
    let destination =
        Document::parse(&welcome.policy).map_err(|error| TransferError::Director(format!("its {error}")))?;
    let effective = Effective::merge(offer.policy, &destination);
    if effective.digest() != welcome.effective {
        return Err(TransferError::Policy { here: effective.digest(), there: welcome.effective });
    }
    let (source, space) = (offer.source, offer.source.space());
    let inventory = airlock_inventory::take(source.disk(), space, source.survey());
    let system = offer.rules.judge_system(&inventory, &[], &effective, Site::Source, offer.now);
    stage(Stage::Sending);
    let Sent { mut report, kept, stats, stopped } = with_signs_of_life(&mut *control, progress, || {
        if system.decision != Decision::Terminate {
            return send(offer, &welcome, &effective, connect, progress);
        }
        // Nothing of it will be kept, so nothing is sent. What it consists of is recorded all the same.
        let report = crate::scan(source, offer.rules, &effective, offer.memo, offer.streams, progress)?;
        Ok(Sent { report, kept: Vec::new(), stats: SenderStats::default(), stopped: false })
    })?;
    report.add_system(&system);
    let mut roots = SpaceRoots::new(space);
    for record in kept {
        roots.add(record);
    }
    let refused = report.decision == Decision::Terminate
        || (offer.on_fail == OnFail::Terminate && !report.held.is_empty());
    let mut counts = count_of(report.findings.iter());
    if report.findings_omitted > 0 {
        counts.insert("source/omitted".into(), report.findings_omitted);
    }
    let own = SourceReport {
        decision: if refused { Decision::Terminate } else { report.decision },
        rules: format!("blake3:{}", hex::encode(offer.rules.digest())),
        disks: disks_of(space, &report, &roots.finish()),
        replays: replays_of(offer.source),
        counts,
        findings: report.findings.iter().take(FINDINGS_LISTED_MAX).map(without_fingerprint).collect(),
    };
    let finish = serde_json::to_vec(&own).expect("a report is plain data");
    control.send(&Message::Finish { report: finish }, &[])?;
    let destination = destination.digest();
    let expected =
        Expected { offer, welcome: &welcome, destination, effective: effective.digest(), own: &own, stopped };
    let (evidence, statement) = expected.conclude(&mut *control, stage)?;
    let state = statement.predicate.transfer.state.clone();
    Ok(Outcome {
        id: hex::encode(welcome.transfer),
        state,
        evidence,
        statement,
        report,
        inventory,
        system,
        stats,
        resumed_bytes: welcome.durable,
    })
}

fn open(offer: &Offer<'_>, control: &mut dyn Link) -> Result<Welcome, TransferError> {
    let hello = Hello {
        version: VERSION,
        vdc: offer.vdc.clone(),
        vm: offer.vm.clone(),
        space: offer.source.space().clone(),
        machine: offer.source.machine().cloned(),
        policy: offer.policy_yaml.to_owned(),
        on_fail: offer.on_fail,
        rules: offer.rules.digest(),
        key: offer.key.public().0,
        resume: offer.resume,
    };
    control.send(&Message::Hello(Box::new(hello)), &[])?;
    match control.receive(&mut Vec::new())? {
        Message::Welcome(welcome) if welcome.version == VERSION => Ok(*welcome),
        Message::Welcome(welcome) => {
            Err(TransferError::Director(format!("it speaks protocol version {}", welcome.version)))
        }
        Message::Refuse(refusal) => Err(TransferError::Refused(refusal)),
        _ => Err(TransferError::Director("it answered with an unexpected message".into())),
    }
}

/// Works, and tells the director at times that it does: it takes long silence for the end.
fn with_signs_of_life<T>(control: &mut dyn Link, progress: &Progress, work: impl FnOnce() -> T) -> T {
    let (working, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(SIGN_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let done = progress.done.load(Ordering::Relaxed);
                let total = progress.total.load(Ordering::Relaxed);
                if control.send(&Message::Working { done, total }, &[]).is_err() {
                    // Whoever needs the connection next finds out why.
                    return;
                }
            }
        });
        let worked = work();
        drop(working);
        worked
    })
}

/// What this site found and sent.
struct Sent {
    report: Report,
    kept: Vec<airlock_model::ChunkRecord>,
    stats: SenderStats,
    /// Whether the director has refused all of it before its end.
    stopped: bool,
}

/// Inspects and sends; when it returns, the director has everything, durably.
fn send(
    offer: &Offer<'_>,
    welcome: &Welcome,
    effective: &Effective,
    connect: &Connect<'_>,
    progress: &Progress,
) -> Result<Sent, TransferError> {
    let shared = Shared::new(&progress.refused);
    let mut streams = Vec::new();
    for _ in 0..offer.streams.max(1) {
        let link = attach(connect()?, welcome.transfer, welcome.token)?;
        streams.push(Stream::new(
            link,
            offer.source.disk(),
            welcome.credit,
            &welcome.tenant_key,
            offer.on_fail,
            &shared,
        ));
    }
    let rules = offer.rules.asked_for(effective, Site::Source);
    let mut station = Station::new(&rules, effective, Site::Source);
    if let Some(memo) = offer.memo {
        station = station.with_memo(memo);
    }
    let source = offer.source;
    let report = station.run(source.space(), source.disk(), source.survey(), &mut streams, progress)?;
    let finished: Vec<_> = std::thread::scope(|scope| {
        let closing: Vec<_> = streams.into_iter().map(|stream| scope.spawn(|| stream.finish())).collect();
        closing.into_iter().map(|handle| handle.join().expect("a stream does not panic")).collect()
    });
    let mut kept = Vec::new();
    let mut stats = SenderStats::default();
    for stream in finished {
        let (records, one) = stream?;
        kept.extend(records);
        stats.sent += one.sent;
        stats.known += one.known;
        stats.durable += one.durable;
    }
    progress.done.store(progress.total.load(Ordering::Relaxed), Ordering::Relaxed);
    let stopped = shared.stopped.load(Ordering::Relaxed);
    Ok(Sent { report, kept, stats, stopped })
}

/// Reports the members of the bundle.
fn disks_of(space: &Space, report: &Report, kept: &[DiskRoot]) -> Vec<SourceDisk> {
    let disk = |(index, (found, kept)): (usize, (&MemberReport, &DiskRoot))| SourceDisk {
        root: found.root.to_string(),
        kept_root: kept.to_string(),
        coverage: found.coverage.clone(),
        holes: holes_of(space, index, report),
    };
    report.members.iter().zip(kept).enumerate().map(disk).collect()
}

/// Returns what is held of a member; extents count in it.
fn holes_of(space: &Space, index: usize, report: &Report) -> Vec<Hole> {
    let parts = report.held.iter().flat_map(|held| space.split(held.extent).map(move |part| (held, part)));
    let here = parts.filter(|(_, (member, _))| *member == index);
    let hole = |(held, (_, extent)): (&airlock_checks::HeldExtent, (usize, Extent))| Hole {
        extent,
        site: Site::Source,
        reasons: held.reasons.clone(),
        path: held.path.clone(),
    };
    here.map(hole).collect()
}

fn replays_of(source: &Source) -> Vec<Replayed> {
    let replayed = |replay: &airlock_guest::Replay| Replayed {
        site: Site::Source,
        volume: replay.volume.clone(),
        log: replay.log.to_owned(),
        done: replay.done,
        transactions: replay.transactions,
        blocks: replay.blocks,
    };
    source.survey().replays.iter().map(replayed).collect()
}

fn without_fingerprint(finding: &Finding) -> Finding {
    Finding { fingerprint: Fingerprint([0; 32]), ..finding.clone() }
}
