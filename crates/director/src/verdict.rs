//! From this site's verdict to a sealed VM or a discarded transfer.

use crate::chamber::{Arrival, Chamber};
use crate::judging::{Judgement, Verdict};
use crate::ledger::{Sealing, state};
use crate::manifest::Manifest;
use crate::sealed_disk::Placement;
use crate::source_report::FINDINGS_LISTED_MAX;
use crate::worker::Lost;
use crate::{Director, Error, keys};
use airlock_checks::{Report, Rules};
use airlock_evidence::{
    Disk, Envelope, Findings, Hole, PREDICATE_TYPE, Policies, Predicate, PublicKey, Rules as RuleDigests,
    STATEMENT_TYPE, Signature, Sites, SourceDisk, SourceReport, Statement, Subject, Transfer, contradictions,
    count_of,
};
use airlock_link::Link;
use airlock_model::{
    Coverage, Decision, DiskRoot, Extent, Finding, Fingerprint, Member, MemberKind, Site, Space, subtract,
};
use airlock_policy::{Cleared, Document, OnFail};
use airlock_transfer::Message;
use std::sync::atomic::Ordering;

/// The reason in the record of a transfer whose rest was not waited for.
const REFUSED_EARLY: &str = "refused before all of it had come, and the rest was not inspected here";

/// Why a transfer is not kept.
#[derive(Debug, Clone, Copy)]
enum Refusal<'v> {
    /// The source wants it so.
    Source,
    /// This site's verdict.
    Policy(&'v Report),
    /// This site's verdict on what had come when it was refused.
    Early(&'v Report),
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
    /// Receives a transfer to its end, judges it, has the record signed, and seals or discards.
    pub(crate) fn finish(&self, link: &mut dyn Link, chamber: &Chamber) -> Result<(), Error> {
        let Judgement { source, mut arrival, verdict, rules } = self.receive_and_judge(link, chamber)?;
        let by = (&source, &*rules);
        let (report, products) = match &verdict {
            Verdict::Source => return self.refuse(link, chamber, by, Refusal::Source),
            Verdict::Lost(lost) => return self.refuse(link, chamber, by, Refusal::Lost(lost)),
            Verdict::Early(report) => return self.refuse(link, chamber, by, Refusal::Early(report)),
            Verdict::Judged(report, products) => (report, products),
        };
        let stop = !report.held.is_empty() && chamber.hello.on_fail == OnFail::Terminate;
        if report.decision == Decision::Terminate || stop {
            return self.refuse(link, chamber, by, Refusal::Policy(report));
        }
        self.ledger.set_state(&chamber.id, state::COMMITTING)?;
        self.keep(link, chamber, by, (report, products), &mut arrival)
    }

    fn keep(
        &self,
        link: &mut dyn Link,
        chamber: &Chamber,
        (source, rules): (&SourceReport, &Rules),
        (verdict, products): (&Report, &[String]),
        arrival: &mut Arrival,
    ) -> Result<(), Error> {
        if chamber.undurable.load(Ordering::Acquire) > 0 {
            let text = "a stream ended before what it had brought was durable; --resume sends that again";
            return Err(Error::Conflict(text.into()));
        }
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
        let statement = self.statement(
            chamber,
            (source, rules),
            End { state: end, reason: None },
            decision,
            disks,
            findings,
        );
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
        (source, rules): (&SourceReport, &Rules),
        why: Refusal<'_>,
    ) -> Result<(), Error> {
        let transfer = hex::encode(chamber.id);
        let discarded =
            |reason: Option<&str>| End { state: state::DISCARDED, reason: reason.map(str::to_owned) };
        let (verdict, found, end) = match why {
            Refusal::Source => (None, None, discarded(None)),
            Refusal::Policy(verdict) => (Some(verdict), Some(verdict), discarded(None)),
            // It speaks of a part only: its coverage has no sum.
            Refusal::Early(found) => (None, Some(found), discarded(Some(REFUSED_EARLY))),
            Refusal::Lost(lost) => {
                tracing::error!(transfer, reason = lost.name(), %lost, "not inspected, so nothing is kept");
                (None, None, End { state: state::FAILED, reason: Some(format!("{}: {lost}", lost.name())) })
            }
        };
        self.discard_as(&chamber.id, end.state)?;
        tracing::info!(transfer, state = end.state, "refused, everything discarded");
        let nothing = Arrival::default().roots(&chamber.hello.space);
        let disks = disk_records(chamber, source, verdict, &nothing);
        let findings = findings_of(source, found);
        let state = end.state.to_owned();
        let statement = self.statement(chamber, (source, rules), end, Decision::Terminate, disks, findings);
        let evidence = self.have_signed(link, chamber, &statement)?;
        self.write_evidence(chamber, &evidence)?;
        link.send(&Message::Sealed { state, evidence }, &[])?;
        Ok(())
    }

    fn statement(
        &self,
        chamber: &Chamber,
        (source, rules): (&SourceReport, &Rules),
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
                    destination: chamber.site_policy_digest.clone(),
                    effective: chamber.effective.digest().to_string(),
                    on_fail: hello.on_fail,
                },
                rules: RuleDigests {
                    source: source.rules.clone(),
                    destination: format!("blake3:{}", hex::encode(rules.digest())),
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
        // Only what the manager has said can be at odds with itself or with what arrived.
        contradictions(statement)
            .map_err(|what| Error::Peer(format!("its report cannot be true: {what}")))?;
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
        keys::sync_parent(&path)?;
        self.ledger.note_sum(&format!("evidence/{}.json", hex::encode(chamber.id)), evidence)
    }
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

/// Lists and counts what both sites found. The record carries no fingerprints.
fn findings_of(source: &SourceReport, verdict: Option<&Report>) -> Findings {
    let mut counts = source.counts.clone();
    let mut listed = source.findings.clone();
    let own = || verdict.into_iter().flat_map(|verdict| &verdict.findings);
    for (key, count) in count_of(own()) {
        let sum = counts.entry(key).or_default();
        *sum = count.saturating_add(*sum);
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
