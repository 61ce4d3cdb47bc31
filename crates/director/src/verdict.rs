//! From everything that has arrived to a sealed VM or a discarded transfer.

use crate::chamber::{Arrival, Chamber};
use crate::ledger::{Sealing, state};
use crate::manifest::{Manifest, ManifestDisk};
use crate::sealed_disk::Placement;
use crate::{Director, Error, keys};
use airlock_checks::{Early, NoSink, Progress, Report, Station};
use airlock_evidence::{
    Disk, Envelope, Findings, Hole, PREDICATE_TYPE, Policies, Predicate, PublicKey, Rules, STATEMENT_TYPE,
    Signature, Sites, SourceReport, Statement, Subject, Transfer, count_of,
};
use airlock_link::Link;
use airlock_model::{Coverage, Decision, Extent, Fingerprint, Site, invariant, subtract};
use airlock_policy::{Cleared, Document, OnFail};
use airlock_transfer::Message;
use std::sync::atomic::Ordering;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// Most findings that a record lists; all are counted.
const FINDINGS_LISTED_MAX: usize = 10_000;
/// Most disks of a VM that are judged while they arrive, each on threads of its own.
const EARLY_DISKS_MAX: usize = 4;
/// How often a waiting manager hears that the director is still at work.
const WORKING_INTERVAL: Duration = Duration::from_millis(20);

/// What the director found out about what arrived.
struct Verdict {
    decision: Decision,
    reports: Vec<Report>,
}

impl Director {
    /// Waits for the end of a transfer, judges it, has the record signed, and seals or discards.
    pub(crate) fn finish(&self, link: &mut dyn Link, chamber: &Chamber) -> Result<(), Error> {
        let station = Station::new(&self.rules, &chamber.effective, Site::Destination).without_hashing();
        let (report, early) = self.receive_finish(link, chamber, &station)?;
        if chamber.streams.load(Ordering::Acquire) != 0 {
            return Err(Error::Peer("it finished while a stream was open".into()));
        }
        let source: SourceReport =
            serde_json::from_slice(&report).map_err(|_| Error::Peer("its report cannot be read".into()))?;
        check_report(chamber, &source)?;
        let mut arrival = chamber.arrival();
        if source.decision == Decision::Terminate {
            return self.refuse(link, chamber, &source, &[]);
        }
        let verdict = self.judge(link, chamber, &station, early, &arrival)?;
        let held = verdict.reports.iter().any(|report| !report.held.is_empty());
        let stop = held && chamber.hello.on_fail == OnFail::Terminate;
        if verdict.decision == Decision::Terminate || stop {
            return self.refuse(link, chamber, &source, &verdict.reports);
        }
        self.ledger.set_state(&chamber.id, state::COMMITTING)?;
        self.keep(link, chamber, &source, &verdict, &mut arrival)
    }

    /// Judges what arrives until the manager says that it has sent everything. Returns what it
    /// reports, and for each disk what is judged so far.
    fn receive_finish<'c>(
        &self,
        link: &mut dyn Link,
        chamber: &'c Chamber,
        station: &Station<'c>,
    ) -> Result<(Vec<u8>, Vec<Option<Early<'c>>>), Error> {
        std::thread::scope(|scope| {
            let judge = |disk| {
                (disk < EARLY_DISKS_MAX)
                    .then(|| scope.spawn(move || self.judge_arriving(chamber, station, disk)))
            };
            let judging: Vec<_> = (0..chamber.hello.disks.len()).map(judge).collect();
            let received = link.receive(&mut Vec::new());
            chamber.end();
            // A long file may be in work.
            while received.is_ok() && !judging.iter().flatten().all(ScopedJoinHandle::is_finished) {
                wait(link, &Progress::default());
            }
            let early = judging.into_iter().map(|judge| judge?.join().expect("a station does not panic"));
            let early = early.collect();
            match received? {
                Message::Finish { report } => Ok((report, early)),
                _ => Err(Error::Peer("it sent something else than the end".into())),
            }
        })
    }

    /// Runs the station over what of the chamber is not judged.
    fn judge<'c>(
        &self,
        link: &mut dyn Link,
        chamber: &'c Chamber,
        station: &Station<'c>,
        early: Vec<Option<Early<'c>>>,
        arrival: &Arrival,
    ) -> Result<Verdict, Error> {
        let mut reports = Vec::new();
        let progress = Progress::default();
        for ((index, shape), early) in chamber.hello.disks.iter().enumerate().zip(early) {
            let disk = arrival.disk(index, shape.virtual_size, &self.segments)?;
            let early = if let Some(early) = early {
                early
            } else {
                let survey = airlock_guest::survey(&disk)
                    .map_err(|error| Error::damaged(shape.id.clone(), error.to_string()))?;
                station.begin(&chamber.spaces[index], survey)
            };
            let report = std::thread::scope(|scope| {
                let mut sinks = vec![NoSink; self.threads];
                let (disk, progress) = (&disk, &progress);
                let working = scope.spawn(move || station.finish(disk, early, &mut sinks, progress));
                while !working.is_finished() {
                    wait(link, progress);
                }
                working.join().expect("a station does not panic")
            })?;
            reports.push(report);
        }
        let decision = reports.iter().map(|report| report.decision).max().unwrap_or_default();
        Ok(Verdict { decision, reports })
    }

    fn keep(
        &self,
        link: &mut dyn Link,
        chamber: &Chamber,
        source: &SourceReport,
        verdict: &Verdict,
        arrival: &mut Arrival,
    ) -> Result<(), Error> {
        let mut writer = self.writer(chamber);
        let mut disks = Vec::new();
        for (index, (shape, report)) in chamber.hello.disks.iter().zip(&verdict.reports).enumerate() {
            let claimed = &source.disks[index];
            if arrival.root(index, shape.virtual_size).to_string() != claimed.kept_root {
                return Err(Error::Peer(format!("what arrived of {} is not what it says it sent", shape.id)));
            }
            let held: Vec<Extent> = report.held.iter().map(|held| held.extent).collect();
            arrival.withhold(index, &held, &chamber.tenant_key, &self.segments, &mut writer)?;
            disks.push(disk_record(chamber, source, index, Some(report), arrival));
        }
        let own = arrival.compact(&chamber.id, &self.segments, &mut writer)?;
        let manifest = self.write_manifest(chamber, arrival, &verdict.reports)?;
        for disk in &mut disks {
            disk.manifest = Some(manifest.clone());
        }
        let withheld = disks.iter().any(|disk| !disk.holes.is_empty());
        let end = if withheld { "active-withheld" } else { "active" };
        let decision = verdict.decision.max(source.decision);
        let findings = findings_of(source, &verdict.reports);
        let statement = self.statement(chamber, source, end, decision, disks, findings);
        let evidence = self.have_signed(link, chamber, &statement)?;
        self.write_evidence(chamber, &evidence)?;
        let sealing = Sealing {
            transfer: chamber.id,
            tenant: &chamber.tenant,
            vdc: &chamber.hello.vdc,
            vm: &chamber.hello.vm,
            state: end,
            now: (self.clock)(),
            spotless: &arrival.spotless,
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
        reports: &[Report],
    ) -> Result<String, Error> {
        let mut disks = Vec::new();
        for (index, (shape, report)) in chamber.hello.disks.iter().zip(reports).enumerate() {
            let placements = cleared(arrival, index, report)?;
            disks.push(ManifestDisk::new(shape.id.clone(), shape.virtual_size, placements));
        }
        let manifest = Manifest { vm: chamber.hello.vm.clone(), disks, chunks: arrival.chunks.to_vec() };
        manifest.write(&self.manifest_path(&chamber.id), &chamber.id, &chamber.wrapping)
    }

    /// Discards first, then has the record of it signed.
    fn refuse(
        &self,
        link: &mut dyn Link,
        chamber: &Chamber,
        source: &SourceReport,
        reports: &[Report],
    ) -> Result<(), Error> {
        self.discard(&chamber.id)?;
        tracing::info!(transfer = hex::encode(chamber.id), "refused by policy, everything discarded");
        let disks = vec![Vec::new(); chamber.hello.disks.len()];
        let nothing = Arrival { disks, ..Arrival::default() };
        let disks = (0..chamber.hello.disks.len())
            .map(|index| disk_record(chamber, source, index, reports.get(index), &nothing))
            .collect();
        let findings = findings_of(source, reports);
        let statement = self.statement(chamber, source, "discarded", Decision::Terminate, disks, findings);
        let evidence = self.have_signed(link, chamber, &statement)?;
        self.write_evidence(chamber, &evidence)?;
        link.send(&Message::Sealed { state: "discarded".into(), evidence }, &[])?;
        Ok(())
    }

    fn statement(
        &self,
        chamber: &Chamber,
        source: &SourceReport,
        end: &str,
        decision: Decision,
        disks: Vec<Disk>,
        findings: Findings,
    ) -> Statement {
        let hello = &chamber.hello;
        let root =
            |disk: &Disk| if end == "discarded" { disk.source_root.clone() } else { disk.kept_root.clone() };
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
                    state: end.into(),
                    decision,
                    decided_at: (self.clock)(),
                },
                sites: Sites { source: hex::encode(hello.key), destination: self.key.public().to_string() },
                policies: Policies {
                    source: source_policy.unwrap_or_default(),
                    destination: self.policy.digest().to_string(),
                    effective: chamber.effective.digest().to_string(),
                    on_fail: hello.on_fail,
                },
                rules: Rules {
                    source: source.rules.clone(),
                    destination: format!("blake3:{}", hex::encode(self.rules.digest())),
                },
                disks,
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

/// Records one disk: what the source says of it, and what was found and kept here.
fn disk_record(
    chamber: &Chamber,
    source: &SourceReport,
    index: usize,
    report: Option<&Report>,
    arrival: &Arrival,
) -> Disk {
    let shape = &chamber.hello.disks[index];
    let claimed = &source.disks[index];
    let mut holes = claimed.holes.clone();
    let ours = report.into_iter().flat_map(|report| &report.held);
    let claimed_extents: Vec<Extent> = claimed.holes.iter().map(|hole| hole.extent).collect();
    for held in ours {
        for extent in subtract(held.extent, &claimed_extents) {
            holes.push(Hole {
                extent,
                site: Site::Destination,
                reasons: held.reasons.clone(),
                path: held.path.clone(),
            });
        }
    }
    holes.sort_by_key(|hole| hole.extent);
    Disk {
        id: shape.id.clone(),
        format: shape.format.clone(),
        virtual_size: shape.virtual_size,
        source_root: claimed.root.clone(),
        kept_root: arrival.root(index, shape.virtual_size).to_string(),
        manifest: None,
        source_coverage: claimed.coverage.clone(),
        destination_coverage: report.map_or_else(Coverage::default, |report| report.coverage.clone()),
        holes,
    }
}

/// What is kept must have been judged and cleared here, all of it (invariants I1 and I7).
fn cleared(arrival: &Arrival, index: usize, report: &Report) -> Result<Vec<Cleared<Placement>>, Error> {
    let clear = |placement: &Placement| {
        let first = placement.extents.first().map_or(0, |extent| extent.offset);
        let cleared = report.clearance.clear(&placement.extents, placement.clone());
        cleared.ok_or_else(|| {
            Error::damaged(format!("the verdict on byte {first:#x}"), "it does not cover a chunk")
        })
    };
    arrival.disks[index].iter().map(clear).collect()
}

fn check_report(chamber: &Chamber, source: &SourceReport) -> Result<(), Error> {
    let fail = |text: String| Err(Error::Peer(text));
    if source.disks.len() != chamber.hello.disks.len() {
        return fail("its report is about other disks".into());
    }
    for (disk, shape) in source.disks.iter().zip(&chamber.hello.disks) {
        if disk.coverage.total != shape.virtual_size || invariant::coverage_sums(&disk.coverage).is_err() {
            return fail(format!("its coverage of {} does not sum to its size", shape.id));
        }
        let sorted = disk.holes.windows(2).all(|pair| pair[0].extent.end() <= pair[1].extent.offset);
        let inside = disk.holes.iter().all(|hole| hole.extent.end() <= shape.virtual_size);
        if !sorted || !inside {
            return fail(format!("its hole map of {} overlaps itself or the end", shape.id));
        }
    }
    Ok(())
}

/// Lists and counts what both sites found. The record carries no fingerprints.
fn findings_of(source: &SourceReport, reports: &[Report]) -> Findings {
    let mut counts = source.counts.clone();
    let mut listed = source.findings.clone();
    let own = || reports.iter().flat_map(|report| &report.findings);
    for (key, count) in count_of(own()) {
        *counts.entry(key).or_default() += count;
    }
    listed.extend(own().cloned());
    listed.sort_by(|a, b| {
        b.action.cmp(&a.action).then_with(|| (a.site, a.disk_offset).cmp(&(b.site, b.disk_offset)))
    });
    listed.truncate(FINDINGS_LISTED_MAX);
    for finding in &mut listed {
        finding.fingerprint = Fingerprint([0; 32]);
    }
    Findings { counts, listed }
}
