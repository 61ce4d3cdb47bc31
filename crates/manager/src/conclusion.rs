//! The end of a transfer: what the director says of it, held against what this site knows.
//!
//! Nothing is signed that this site knows to be false, and nothing is taken for the end but what both have signed.
//! What a director does with what it was sent cannot be seen from here.

use crate::transfer::{Offer, Stage, TransferError};
use airlock_evidence::{
    Disk, PublicKey, Signature, SourceDisk, SourceReport, Statement, contradictions, decode_payload, verify,
};
use airlock_link::Link;
use airlock_model::{Decision, Site, invariant};
use airlock_policy::{OnFail, PolicyDigest};
use airlock_transfer::{Message, Welcome};

/// What this site knows of a transfer.
pub(crate) struct Expected<'e> {
    pub(crate) offer: &'e Offer<'e>,
    pub(crate) welcome: &'e Welcome,
    /// The digest of the policy that the director has shown.
    pub(crate) destination: PolicyDigest,
    pub(crate) effective: PolicyDigest,
    pub(crate) own: &'e SourceReport,
    /// Whether the director has refused before the end.
    pub(crate) stopped: bool,
}

/// Fails with what is wrong.
fn must(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("its record is wrong about {what}")) }
}

impl Expected<'_> {
    /// Waits for the director's verdict, signs the record if it is true, and takes the evidence.
    pub(crate) fn conclude(
        &self,
        control: &mut dyn Link,
        stage: &mut dyn FnMut(Stage),
    ) -> Result<(Vec<u8>, Statement), TransferError> {
        let mut body = Vec::new();
        let mut signed = None;
        loop {
            match control.receive(&mut body)? {
                Message::Working { done, total } => stage(Stage::Checking(done, total)),
                Message::Propose { payload, signature: (keyid, sig) } if signed.is_none() => {
                    stage(Stage::Signing);
                    self.check_proposal(&payload, &Signature { keyid, sig })
                        .map_err(TransferError::Director)?;
                    let own = self.offer.key.sign(&payload);
                    control.send(&Message::Countersign { signature: (own.keyid, own.sig) }, &[])?;
                    signed = Some(payload);
                }
                Message::Sealed { state, evidence } => {
                    let statement = self.check_evidence(signed.as_deref(), &state, &evidence);
                    return Ok((evidence, statement.map_err(TransferError::Director)?));
                }
                Message::Refuse(refusal) => return Err(TransferError::Refused(refusal)),
                _ => return Err(TransferError::Director("it answered with an unexpected message".into())),
            }
        }
    }

    fn check_proposal(&self, payload: &[u8], theirs: &Signature) -> Result<(), String> {
        if !PublicKey(self.welcome.key).verify(payload, theirs) {
            return Err("its signature under the record is false".into());
        }
        let statement =
            serde_json::from_slice(payload).map_err(|_| "its record cannot be read".to_owned())?;
        self.check(&statement)
    }

    /// Checks that the evidence is the record that both have signed, and not another one.
    fn check_evidence(
        &self,
        signed: Option<&[u8]>,
        state: &str,
        evidence: &[u8],
    ) -> Result<Statement, String> {
        let signed = signed.ok_or("it ends the transfer without a record")?;
        let pins = [Some(self.offer.key.public()), Some(PublicKey(self.welcome.key))];
        let statement = verify(evidence, pins).map_err(|failure| failure.to_string())?;
        let envelope: serde_json::Value =
            serde_json::from_slice(evidence).map_err(|_| "its evidence cannot be read")?;
        let payload = envelope.get("payload").and_then(|text| text.as_str()).and_then(decode_payload);
        if payload.as_deref() != Some(signed) || statement.predicate.transfer.state != state {
            return Err("its evidence is not the record that was signed".into());
        }
        Ok(statement)
    }

    /// Says what of a proposed record is not true, as far as this site can tell.
    fn check(&self, statement: &Statement) -> Result<(), String> {
        // First: of what was not sent any more, nothing else in it can be true.
        let kept = statement.predicate.transfer.state.starts_with("active");
        must(!(kept && self.stopped), "the refusal")?;
        contradictions(statement)?;
        let (predicate, offer) = (&statement.predicate, self.offer);
        let transfer = &predicate.transfer;
        must(transfer.id == hex::encode(self.welcome.transfer), "the transfer")?;
        must(transfer.vm == offer.vm && transfer.vdc == offer.vdc, "the VM")?;
        must(predicate.sites.source == offer.key.public().to_string(), "the source's key")?;
        must(predicate.sites.destination == hex::encode(self.welcome.key), "its own key")?;
        let policies = &predicate.policies;
        must(policies.source == offer.policy.digest().to_string(), "the source's policy")?;
        must(policies.destination == self.destination.to_string(), "its own policy")?;
        must(policies.effective == self.effective.to_string(), "the effective policy")?;
        must(policies.on_fail == offer.on_fail, "what was asked for")?;
        must(predicate.rules.source == self.own.rules, "the source's rules")?;
        must(predicate.replays == self.own.replays, "the logs that the source has replayed")?;
        self.check_findings(statement)?;
        let kept = match transfer.state.as_str() {
            "active" | "active-withheld" => true,
            "discarded" | "rejected" | "failed" => false,
            _ => return must(false, "how it ended"),
        };
        must(!(kept && self.own.decision == Decision::Terminate), "the refusal")?;
        must(!(kept && transfer.decision == Decision::Terminate), "the decision")?;
        let space = offer.source.space();
        must(predicate.disks.len() == self.own.disks.len(), "the disks")?;
        for ((disk, own), member) in predicate.disks.iter().zip(&self.own.disks).zip(space.members()) {
            must(disk.id == member.id && disk.virtual_size == member.size, "the disks")?;
            check_disk(disk, own, kept)?;
        }
        let withheld = predicate.disks.iter().any(|disk| !disk.holes.is_empty());
        must(!kept || withheld == (transfer.state == "active-withheld"), "what was withheld")?;
        must(!(kept && withheld && offer.on_fail == OnFail::Terminate), "what was asked for")?;
        self.check_subjects(statement, kept)
    }

    /// What the source has found stands in the record as the source has said it.
    fn check_findings(&self, statement: &Statement) -> Result<(), String> {
        let counts = &statement.predicate.findings.counts;
        let of_source = counts.iter().filter(|(key, _)| key.starts_with("source/"));
        must(of_source.eq(&self.own.counts), "what the source has found")
    }

    fn check_subjects(&self, statement: &Statement, kept: bool) -> Result<(), String> {
        let disks = &statement.predicate.disks;
        must(statement.subject.len() == disks.len(), "its subject")?;
        for (subject, disk) in statement.subject.iter().zip(disks) {
            let root = if kept { &disk.kept_root } else { &disk.source_root };
            let right = subject.digest.len() == 1 && subject.digest.get("airlockDiskRootV1") == Some(root);
            must(right && subject.name == format!("{}/{}", self.offer.vm, disk.id), "its subject")?;
        }
        Ok(())
    }
}

fn check_disk(disk: &Disk, own: &SourceDisk, kept: bool) -> Result<(), String> {
    let read = disk.source_root == own.root && disk.source_coverage == own.coverage;
    must(read, "what the source read")?;
    let of_source = disk.holes.iter().filter(|hole| hole.site == Site::Source);
    must(of_source.eq(&own.holes), "what the source withheld")?;
    let theirs = disk.holes.iter().any(|hole| hole.site == Site::Destination);
    must(!kept || theirs || disk.kept_root == own.kept_root, "what is kept")?;
    let judged = &disk.destination_coverage;
    let whole = judged.total == disk.virtual_size && invariant::coverage_sums(judged).is_ok();
    must(!kept || whole, "what it has inspected")
}
