//! From everything that has arrived to a sealed VM or a discarded transfer.

use crate::chamber::{Arrival, Chamber};
use crate::inspector::Inspector;
use crate::ledger::{Sealing, state};
use crate::manifest::Manifest;
use crate::sealed_disk::Placement;
use crate::worker::Lost;
use crate::{Director, Error, keys};
use airlock_checks::{Early, NoSink, Progress, Report, Station, SystemReport};
use airlock_disk::BlockSource;
use airlock_evidence::{
    Disk, Envelope, Findings, Hole, PREDICATE_TYPE, Policies, Predicate, PublicKey, Rules, STATEMENT_TYPE,
    Signature, Sites, SourceDisk, SourceReport, Statement, Subject, Transfer, count_of,
};
use airlock_guest::Survey;
use airlock_link::Link;
use airlock_model::{
    Coverage, Decision, DiskRoot, Extent, Finding, Fingerprint, Member, MemberKind, Site, Space, invariant,
    subtract,
};
use airlock_policy::{Cleared, Document, OnFail};
use airlock_transfer::Message;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Most findings that a record lists; all are counted.
const FINDINGS_LISTED_MAX: usize = 10_000;
/// How often a waiting manager hears that the director is still at work.
const WORKING_INTERVAL: Duration = Duration::from_millis(20);

/// What was judged, or why it could not be.
type Judged<T> = Result<T, Error>;

/// Why a transfer is not kept.
#[derive(Debug, Clone, Copy)]
enum Refusal<'v> {
    /// The source wants it so.
    Source,
    /// This site's verdict.
    Policy(&'v Report),
    /// Nobody could say what it is: the verdict is that of what was not inspected.
    Lost(&'v Lost),
}

/// How a transfer ends.
#[derive(Debug)]
struct End {
    state: &'static str,
    reason: Option<String>,
}

impl End {
    fn is_kept(&self) -> bool {
        self.state.starts_with("active")
    }
}

impl Director {
    /// Waits for the end of a transfer, judges it, has the record signed, and seals or discards.
    pub(crate) fn finish(&self, link: &mut dyn Link, chamber: &Chamber) -> Result<(), Error> {
        let inspector = self.inspector(chamber);
        let finished = self.finish_with(link, chamber, &inspector);
        if inspector.end().is_ok() {
            chamber.draft.commit(&chamber.memo);
        }
        finished
    }

    fn finish_with(
        &self,
        link: &mut dyn Link,
        chamber: &Chamber,
        inspector: &Inspector,
    ) -> Result<(), Error> {
        let rules = self.rules.asked_for(&chamber.effective, Site::Destination);
        let station = Station::new(&rules, &chamber.effective, Site::Destination)
            .without_hashing()
            .with_draft(&chamber.memo, &chamber.draft);
        let station = inspector.station(station);
        let (report, early) = self.receive_finish(link, chamber, inspector, &station)?;
        if chamber.streams.load(Ordering::Acquire) != 0 {
            return Err(Error::Peer("it finished while a stream was open".into()));
        }
        let source: SourceReport =
            serde_json::from_slice(&report).map_err(|_| Error::Peer("its report cannot be read".into()))?;
        check_report(chamber, &source)?;
        let mut arrival = chamber.arrival();
        if source.decision == Decision::Terminate {
            return self.refuse(link, chamber, &source, Refusal::Source);
        }
        let judged = early.and_then(|early| {
            let judged = self.judge(link, chamber, (inspector, &station), early, &arrival)?;
            inspector.end()?;
            Ok(judged)
        });
        let (verdict, products) = match judged {
            Ok(judged) => judged,
            // Whatever else went wrong is what came of it.
            Err(error) => match inspector.failure() {
                Some(lost) => return self.refuse(link, chamber, &source, Refusal::Lost(&lost)),
                None => return Err(error),
            },
        };
        let stop = !verdict.held.is_empty() && chamber.hello.on_fail == OnFail::Terminate;
        if verdict.decision == Decision::Terminate || stop {
            return self.refuse(link, chamber, &source, Refusal::Policy(&verdict));
        }
        self.ledger.set_state(&chamber.id, state::COMMITTING)?;
        self.keep(link, chamber, &source, (&verdict, &products), &mut arrival)
    }

    /// Judges what arrives until the manager says that it has sent everything. Returns what it
    /// reports, and what is judged so far.
    fn receive_finish<'c>(
        &self,
        link: &mut dyn Link,
        chamber: &'c Chamber,
        inspector: &Inspector,
        station: &Station<'c>,
    ) -> Result<(Vec<u8>, Judged<Option<Early<'c>>>), Error> {
        std::thread::scope(|scope| {
            let judging = scope.spawn(move || self.judge_arriving(chamber, inspector, station));
            let received = link.receive(&mut Vec::new());
            chamber.end();
            // A long file may be in work.
            while received.is_ok() && !judging.is_finished() {
                wait(link, &Progress::default());
            }
            let early = judging.join().expect("a station does not panic");
            match received? {
                Message::Finish { report } => Ok((report, early)),
                _ => Err(Error::Peer("it sent something else than the end".into())),
            }
        })
    }

    /// Runs the station over what of the chamber is not judged, and judges what is installed. Returns the
    /// products with it, where rights to them are counted.
    fn judge<'c>(
        &self,
        link: &mut dyn Link,
        chamber: &'c Chamber,
        (inspector, station): (&Inspector, &Station<'c>),
        early: Option<Early<'c>>,
        arrival: &Arrival,
    ) -> Judged<(Report, Vec<String>)> {
        let space = &chamber.hello.space;
        let disk = arrival.source(space.size(), &self.segments)?;
        let elsewhere = self.elsewhere(chamber)?;
        let progress = Progress::default();
        std::thread::scope(|scope| {
            let elsewhere = &elsewhere;
            let mut sinks = vec![NoSink; self.threads];
            let (disk, progress) = (&disk, &progress);
            let working = scope.spawn(move || {
                let early = match early {
                    Some(early) => early,
                    None => station.begin(space, inspector.survey(disk, space)?),
                };
                let (system, products) =
                    self.judge_system(chamber, inspector, (disk, early.survey()), elsewhere)?;
                let station = station.by_name(disk);
                let mut report = station.finish(disk, early, &mut sinks, progress)?;
                report.add_system(&system);
                check_coverage(&report)?;
                Ok((report, products))
            });
            while !working.is_finished() {
                wait(link, progress);
            }
            working.join().expect("a station does not panic")
        })
    }

    /// Returns the products of other VMs of the tenant, where rights to them are counted.
    fn elsewhere(&self, chamber: &Chamber) -> Result<Vec<String>, Error> {
        if !self.rules.system().has_entitlements() {
            return Ok(Vec::new());
        }
        self.ledger.products_elsewhere(&chamber.tenant, &chamber.hello.vdc, &chamber.hello.vm)
    }

    /// Judges what is installed on what has arrived, where there is something to compare it with.
    fn judge_system(
        &self,
        chamber: &Chamber,
        inspector: &Inspector,
        (disk, survey): (&dyn BlockSource, &Survey),
        elsewhere: &[String],
    ) -> Judged<(SystemReport, Vec<String>)> {
        if self.rules.system().is_empty() {
            return Ok(Default::default());
        }
        let inventory = inspector.inventory(disk, &chamber.hello.space, survey)?;
        let now = (self.clock)();
        let (policy, site) = (&chamber.effective, Site::Destination);
        let report = self.rules.judge_system(&inventory, elsewhere, policy, site, now);
        let counted = inventory.products.into_iter().filter(|_| self.rules.system().has_entitlements());
        Ok((report, counted.map(|product| product.name).collect()))
    }

    fn keep(
        &self,
        link: &mut dyn Link,
        chamber: &Chamber,
        source: &SourceReport,
        (verdict, products): (&Report, &[String]),
        arrival: &mut Arrival,
    ) -> Result<(), Error> {
        let mut writer = self.writer(chamber);
        let space = &chamber.hello.space;
        for ((member, root), claimed) in space.members().iter().zip(arrival.roots(space)).zip(&source.disks) {
            if root.to_string() != claimed.kept_root {
                let id = &member.id;
                return Err(Error::Peer(format!("what arrived of {id} is not what it says it sent")));
            }
        }
        let held: Vec<Extent> = verdict.held.iter().map(|held| held.extent).collect();
        arrival.withhold(&held, &chamber.tenant_key, &self.segments, &mut writer)?;
        let mut disks = disk_records(chamber, source, Some(verdict), &arrival.roots(space));
        let own = arrival.compact(&chamber.id, &self.segments, &mut writer)?;
        let manifest = self.write_manifest(chamber, arrival, verdict)?;
        for disk in &mut disks {
            disk.manifest = Some(manifest.clone());
        }
        let withheld = disks.iter().any(|disk| !disk.holes.is_empty());
        let end = if withheld { "active-withheld" } else { "active" };
        let decision = verdict.decision.max(source.decision);
        let findings = findings_of(source, Some(verdict));
        let statement =
            self.statement(chamber, source, End { state: end, reason: None }, decision, disks, findings);
        let evidence = self.have_signed(link, chamber, &statement)?;
        self.write_evidence(chamber, &evidence)?;
        let sealing = Sealing {
            transfer: chamber.id,
            tenant: &chamber.tenant,
            vdc: &chamber.hello.vdc,
            vm: &chamber.hello.vm,
            state: end,
            products,
            now: (self.clock)(),
        };
        self.ledger.seal(&sealing, &own, &chamber.wrapping)?;
        keys::destroy(&self.transfer_key_path(&chamber.id))?;
        tracing::info!(transfer = hex::encode(chamber.id), state = end, "sealed");
        link.send(&Message::Sealed { state: end.into(), evidence }, &[])?;
        Ok(())
    }

    /// Writes what is kept. Only cleared placements go into a manifest.
    fn write_manifest(
        &self,
        chamber: &Chamber,
        arrival: &Arrival,
        verdict: &Report,
    ) -> Result<String, Error> {
        let placements = cleared(arrival, verdict)?;
        let manifest = Manifest::new(&chamber.hello, placements, arrival.chunks.to_vec());
        manifest.write(&self.manifest_path(&chamber.id), &chamber.id, &chamber.wrapping)
    }

    /// Discards first, then has the record of it signed.
    fn refuse(
        &self,
        link: &mut dyn Link,
        chamber: &Chamber,
        source: &SourceReport,
        why: Refusal<'_>,
    ) -> Result<(), Error> {
        let transfer = hex::encode(chamber.id);
        let (verdict, end) = match why {
            Refusal::Source => (None, End { state: state::DISCARDED, reason: None }),
            Refusal::Policy(verdict) => (Some(verdict), End { state: state::DISCARDED, reason: None }),
            Refusal::Lost(lost) => {
                tracing::error!(transfer, reason = lost.name(), %lost, "not inspected, so nothing is kept");
                (None, End { state: state::FAILED, reason: Some(format!("{}: {lost}", lost.name())) })
            }
        };
        self.discard_as(&chamber.id, end.state)?;
        tracing::info!(transfer, state = end.state, "refused, everything discarded");
        let nothing = Arrival::default().roots(&chamber.hello.space);
        let disks = disk_records(chamber, source, verdict, &nothing);
        let findings = findings_of(source, verdict);
        let state = end.state.to_owned();
        let statement = self.statement(chamber, source, end, Decision::Terminate, disks, findings);
        let evidence = self.have_signed(link, chamber, &statement)?;
        self.write_evidence(chamber, &evidence)?;
        link.send(&Message::Sealed { state, evidence }, &[])?;
        Ok(())
    }

    fn statement(
        &self,
        chamber: &Chamber,
        source: &SourceReport,
        end: End,
        decision: Decision,
        disks: Vec<Disk>,
        findings: Findings,
    ) -> Statement {
        let hello = &chamber.hello;
        let root =
            |disk: &Disk| if end.is_kept() { disk.kept_root.clone() } else { disk.source_root.clone() };
        let subject = disks
            .iter()
            .map(|disk| Subject {
                name: format!("{}/{}", hello.vm, disk.id),
                digest: [("airlockDiskRootV1".to_owned(), root(disk))].into(),
            })
            .collect();
        let source_policy = Document::parse(&hello.policy).map(|document| document.digest().to_string());
        Statement {
            statement_type: STATEMENT_TYPE.into(),
            subject,
            predicate_type: PREDICATE_TYPE.into(),
            predicate: Predicate {
                transfer: Transfer {
                    id: hex::encode(chamber.id),
                    vm: hello.vm.clone(),
                    vdc: hello.vdc.clone(),
                    state: end.state.into(),
                    reason: end.reason,
                    decision,
                    decided_at: (self.clock)(),
                },
                sites: Sites { source: hex::encode(hello.key), destination: self.key.public().to_string() },
                policies: Policies {
                    source: source_policy.unwrap_or_default(),
                    destination: chamber.site_policy.clone(),
                    effective: chamber.effective.digest().to_string(),
                    on_fail: hello.on_fail,
                },
                rules: Rules {
                    source: source.rules.clone(),
                    destination: format!("blake3:{}", hex::encode(self.rules.digest())),
                },
                disks,
                replays: source.replays.clone(),
                findings,
            },
        }
    }

    fn have_signed(
        &self,
        link: &mut dyn Link,
        chamber: &Chamber,
        statement: &Statement,
    ) -> Result<Vec<u8>, Error> {
        let payload = serde_json::to_vec(statement).expect("a statement is plain data");
        let own = self.key.sign(&payload);
        let signature = (own.keyid.clone(), own.sig.clone());
        link.send(&Message::Propose { payload: payload.clone(), signature }, &[])?;
        let mut body = Vec::new();
        let Message::Countersign { signature: (keyid, sig) } = link.receive(&mut body)? else {
            return Err(Error::Peer("it did not countersign the record".into()));
        };
        let theirs = Signature { keyid, sig };
        if !PublicKey(chamber.hello.key).verify(&payload, &theirs) {
            return Err(Error::Peer("its signature under the record is false".into()));
        }
        Ok(Envelope::new(&payload, vec![theirs, own]).to_bytes())
    }

    fn write_evidence(&self, chamber: &Chamber, evidence: &[u8]) -> Result<(), Error> {
        let path = self.evidence_path(&chamber.id);
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, evidence)
            .and_then(|()| std::fs::File::open(&temporary)?.sync_all())
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(Error::file("write", &path))?;
        keys::sync_parent(&path)
    }
}

/// Tells the manager that the director is still at work, and waits a little.
fn wait(link: &mut dyn Link, progress: &Progress) {
    let done = progress.done.load(Ordering::Relaxed);
    let total = progress.total.load(Ordering::Relaxed);
    if link.send(&Message::Working { done, total }, &[]).is_err() {
        progress.cancel.store(true, Ordering::Relaxed);
    }
    std::thread::park_timeout(WORKING_INTERVAL);
}

/// Records the members of the bundle: what the source says of each, and what was found and kept here.
fn disk_records(
    chamber: &Chamber,
    source: &SourceReport,
    verdict: Option<&Report>,
    kept: &[DiskRoot],
) -> Vec<Disk> {
    let space = &chamber.hello.space;
    let record = |(index, ((member, claimed), kept)): (usize, ((&Member, &SourceDisk), &DiskRoot))| {
        let (format, name) = match &member.kind {
            MemberKind::Disk { format, name } => (format.clone(), name.clone()),
            MemberKind::Files(_) => ("files".to_owned(), String::new()),
        };
        let found = verdict.and_then(|verdict| verdict.members.get(index));
        Disk {
            id: member.id.clone(),
            format,
            name,
            virtual_size: member.size,
            source_root: claimed.root.clone(),
            kept_root: kept.to_string(),
            manifest: None,
            source_coverage: claimed.coverage.clone(),
            destination_coverage: found.map_or_else(Coverage::default, |found| found.coverage.clone()),
            holes: holes_of(space, index, claimed, verdict),
        }
    };
    space.members().iter().zip(&source.disks).zip(kept).enumerate().map(record).collect()
}

/// Returns what is missing of a member: what the source held, and what was held here.
fn holes_of(space: &Space, index: usize, claimed: &SourceDisk, verdict: Option<&Report>) -> Vec<Hole> {
    let mut holes = claimed.holes.clone();
    let claimed: Vec<Extent> = claimed.holes.iter().map(|hole| hole.extent).collect();
    for held in verdict.into_iter().flat_map(|verdict| &verdict.held) {
        let parts = space.split(held.extent).filter(|(member, _)| *member == index);
        for extent in parts.flat_map(|(_, part)| subtract(part, &claimed)) {
            holes.push(Hole {
                extent,
                site: Site::Destination,
                reasons: held.reasons.clone(),
                path: held.path.clone(),
            });
        }
    }
    holes.sort_by_key(|hole| hole.extent);
    holes
}

/// What is kept must have been judged and cleared here, all of it (invariants I1 and I7).
fn cleared(arrival: &Arrival, report: &Report) -> Result<Vec<Cleared<Placement>>, Error> {
    let clear = |placement: &Placement| {
        let first = placement.extents.first().map_or(0, |extent| extent.offset);
        let cleared = report.clearance.clear(&placement.extents, placement.clone());
        cleared.ok_or_else(|| {
            Error::damaged(format!("the verdict on byte {first:#x}"), "it does not cover a chunk")
        })
    };
    arrival.placements.iter().map(clear).collect()
}

/// Checks that this site has accounted for every byte (I2), whoever has read it.
fn check_coverage(report: &Report) -> Result<(), Error> {
    for member in &report.members {
        invariant::coverage_sums(&member.coverage)
            .map_err(|why| Error::damaged("the verdict of this site", why))?;
    }
    Ok(())
}

fn check_report(chamber: &Chamber, source: &SourceReport) -> Result<(), Error> {
    let fail = |text: String| Err(Error::Peer(text));
    let members = chamber.hello.space.members();
    if source.disks.len() != members.len() {
        return fail("its report is about other disks".into());
    }
    for (disk, member) in source.disks.iter().zip(members) {
        if disk.coverage.total != member.size || invariant::coverage_sums(&disk.coverage).is_err() {
            return fail(format!("its coverage of {} does not sum to its size", member.id));
        }
        let sorted = disk.holes.windows(2).all(|pair| pair[0].extent.end() <= pair[1].extent.offset);
        let inside = disk.holes.iter().all(|hole| hole.extent.end() <= member.size);
        if !sorted || !inside {
            return fail(format!("its hole map of {} overlaps itself or the end", member.id));
        }
    }
    Ok(())
}

/// Lists and counts what both sites found. The record carries no fingerprints.
fn findings_of(source: &SourceReport, verdict: Option<&Report>) -> Findings {
    let mut counts = source.counts.clone();
    let mut listed = source.findings.clone();
    let own = || verdict.into_iter().flat_map(|verdict| &verdict.findings);
    for (key, count) in count_of(own()) {
        *counts.entry(key).or_default() += count;
    }
    listed.extend(own().cloned());
    listed.sort_by(|a, b| {
        let key = |finding: &Finding| (finding.site, finding.disk.clone(), finding.disk_offset);
        b.action.cmp(&a.action).then_with(|| key(a).cmp(&key(b)))
    });
    listed.truncate(FINDINGS_LISTED_MAX);
    for finding in &mut listed {
        finding.fingerprint = Fingerprint([0; 32]);
    }
    Findings { counts, listed }
}
