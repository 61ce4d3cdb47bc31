//! From findings to a verdict.

use crate::cleared::{Changed, Chunk, Cleared};
use crate::document::{Rule, Scope};
use crate::effective::Effective;
use airlock_model::{
    Action, Check, ChunkRecord, ContentHash, Decision, Extent, Finding, Fingerprint, PlaceKind, Reason, Site,
    joined,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is judged at once: a file with all its bytes, or a stretch of another place.
#[derive(Debug, Clone)]
pub struct Object {
    /// What it is.
    pub kind: PlaceKind,
    /// All of it on the disk.
    pub extents: Vec<Extent>,
    /// Size of a block in bytes, and the disk offset that blocks are counted from.
    pub block_bytes: u32,
    /// Where block 0 lies on the disk.
    pub block_origin: u64,
    /// Whether its bytes belong to metadata, too.
    pub view: bool,
    /// Why it could not be inspected for what it is, if it could not.
    pub unscannable: BTreeSet<Reason>,
}

impl Object {
    /// Returns an object of unowned bytes with blocks of `block_bytes` and no extents of its own.
    pub fn raw(block_bytes: u32) -> Self {
        Self {
            kind: PlaceKind::Raw,
            extents: Vec::new(),
            block_bytes,
            block_origin: 0,
            view: false,
            unscannable: BTreeSet::new(),
        }
    }

    /// Returns the extents of the blocks that bytes of a finding touch.
    fn blocks_of(&self, touched: Extent) -> Extent {
        let block = u64::from(self.block_bytes.max(1));
        let origin = self.block_origin;
        let down = touched.offset.saturating_sub(origin) / block * block + origin;
        let up = touched.end().saturating_sub(origin).div_ceil(block) * block + origin;
        Extent::new(down.min(touched.offset), up - down.min(touched.offset))
    }
}

/// The verdict on one object.
#[derive(Debug)]
pub struct Judgement {
    held: Vec<Extent>,
    terminate: bool,
    strictest: Action,
    unscannable: Option<Reason>,
    inspected: BTreeMap<u64, ContentHash>,
}

impl Judgement {
    /// Returns what is held: sorted extents of the disk that do not overlap.
    pub fn held(&self) -> &[Extent] {
        &self.held
    }

    /// Returns whether the policy discards everything because of this object.
    pub fn terminates(&self) -> bool {
        self.terminate
    }

    /// Returns the strictest action that any finding or class called for.
    pub fn strictest(&self) -> Action {
        self.strictest
    }

    /// Returns the reason for which what passes still counts as unscannable.
    pub fn unscannable(&self) -> Option<Reason> {
        self.unscannable
    }

    /// Notes a chunk whose bytes were inspected for this judgement.
    pub fn inspected(&mut self, record: &ChunkRecord) {
        if let Some(first) = record.extents.first() {
            self.inspected.insert(first.offset, record.content);
        }
    }

    /// Turns a chunk into what of it may leave: all, the pieces around held blocks, or nothing.
    ///
    /// Fails if the bytes are not those that were inspected (invariant I6).
    pub fn release(&self, chunk: Chunk) -> Result<Vec<Cleared<Chunk>>, Changed> {
        let offset = chunk.record().extents.first().map_or(0, |extent| extent.offset);
        if self.terminate {
            return Ok(Vec::new());
        }
        if self.inspected.get(&offset) != Some(&chunk.record().content) {
            return Err(Changed { offset });
        }
        Ok(chunk.cut_around(&self.held).into_iter().map(Cleared::new).collect())
    }
}

impl Effective {
    /// Returns whether `site` has a rule for a finding, whatever it takes for that to apply.
    pub fn concerns(&self, site: Site, finding: &Finding) -> bool {
        self.rules.iter().any(|rule| rule.sites.contains(&site) && rule.applies(finding))
    }

    /// Returns whether `site` has a rule for anything that a detector finds. One that no rule asks for need not run.
    pub fn asks_for(&self, site: Site, check: Check, detector: &str) -> bool {
        self.rules.iter().any(|rule| rule.sites.contains(&site) && rule.asks_for(check, detector))
    }

    /// Judges what `site` found in one object, and writes into each finding what is to be done about it.
    ///
    /// A finding's `disk_offset` and `length` say which bytes it touches; one that lies in
    /// several distant extents is given by `touched` extents through [`Self::judge_touching`].
    pub fn judge(&self, site: Site, object: &Object, findings: &mut [Finding]) -> Judgement {
        let touched: Vec<Vec<Extent>> = findings
            .iter()
            .map(|finding| {
                finding.disk_offset.map(|at| Extent::new(at, finding.length)).into_iter().collect()
            })
            .collect();
        self.judge_touching(site, object, findings, &touched)
    }

    /// Like [`Self::judge`], with the extents of the disk that each finding's bytes lie in.
    pub fn judge_touching(
        &self,
        site: Site,
        object: &Object,
        findings: &mut [Finding],
        touched: &[Vec<Extent>],
    ) -> Judgement {
        let mut held = Vec::new();
        let mut terminate = false;
        let mut strictest = Action::Allow;
        for finding in findings.iter_mut() {
            finding.action = Action::Allow;
        }
        for rule in self.rules.iter().filter(|rule| rule.sites.contains(&site)) {
            let local = matches!(rule.scope, Scope::Blocks | Scope::File);
            let applies = |finding: &Finding| rule.applies(finding);
            if distinct(findings.iter().filter(|finding| applies(finding))) < rule.distinct && local {
                continue;
            }
            for (finding, touched) in findings.iter_mut().zip(touched).filter(|(finding, _)| applies(finding))
            {
                // A rule for a disk or a VM is counted by a `Tally`; here its findings are only warned of.
                let action = if local { self.sharpen(rule.action, object) } else { Action::Warn };
                finding.action = finding.action.max(action);
                strictest = strictest.max(action);
                terminate |= action == Action::Terminate;
                if action >= Action::Hold {
                    if rule.scope == Scope::File && object.kind == PlaceKind::File {
                        held.extend_from_slice(&object.extents);
                    } else {
                        held.extend(touched.iter().map(|extent| object.blocks_of(*extent)));
                    }
                }
            }
        }
        let mut passing = None;
        for &reason in &object.unscannable {
            let action = self.unscannable.action(reason);
            strictest = strictest.max(action);
            terminate |= action == Action::Terminate;
            passing = Some(reason);
            if action >= Action::Hold {
                held.extend_from_slice(&object.extents);
            }
        }
        let held = clip(joined(held), &object.extents);
        Judgement { held, terminate, strictest, unscannable: passing, inspected: BTreeMap::new() }
    }

    /// Judges what `site` found about the VM as a whole, such as what is installed on it, and writes into each
    /// finding what is to be done about it.
    ///
    /// Nothing of a VM can be left out for such a finding, so a rule of any scope that holds refuses the VM.
    pub fn judge_whole(&self, site: Site, findings: &mut [Finding]) -> Decision {
        for finding in findings.iter_mut() {
            finding.action = Action::Allow;
        }
        for rule in self.rules.iter().filter(|rule| rule.sites.contains(&site)) {
            if distinct(findings.iter().filter(|finding| rule.applies(finding))) < rule.distinct {
                continue;
            }
            for finding in findings.iter_mut().filter(|finding| rule.applies(finding)) {
                finding.action = finding.action.max(rule.action);
            }
        }
        match findings.iter().map(|finding| finding.action).max().unwrap_or_default() {
            Action::Allow => Decision::Allow,
            Action::Warn => Decision::Warn,
            Action::Hold | Action::Terminate => Decision::Terminate,
        }
    }

    /// Holding metadata can break a file system, so there a hold means what the policy says about metadata.
    fn sharpen(&self, action: Action, object: &Object) -> Action {
        let metadata = object.view || matches!(object.kind, PlaceKind::Metadata | PlaceKind::PartitionTable);
        if metadata && action == Action::Hold { self.metadata } else { action }
    }
}

impl Rule {
    fn applies(&self, finding: &Finding) -> bool {
        self.asks_for(finding.check, &finding.detector) && finding.confidence >= self.confidence
    }

    fn asks_for(&self, check: Check, detector: &str) -> bool {
        self.check == check && self.detectors.as_ref().is_none_or(|detectors| detectors.contains(detector))
    }
}

fn distinct<'f>(findings: impl Iterator<Item = &'f Finding>) -> u32 {
    let values: BTreeSet<Fingerprint> = findings.map(|finding| finding.fingerprint).collect();
    u32::try_from(values.len()).unwrap_or(u32::MAX)
}

/// Cuts `held` down to what lies inside `extents`, so that blocks are never rounded into
/// a neighbour. An object without extents of its own is not cut.
fn clip(held: Vec<Extent>, extents: &[Extent]) -> Vec<Extent> {
    if extents.is_empty() || held.is_empty() {
        return held;
    }
    let extents = joined(extents.to_vec());
    let mut clipped = Vec::new();
    for one in &held {
        let first = extents.partition_point(|extent| extent.end() <= one.offset);
        let inside = extents[first..].iter().take_while(|extent| extent.offset < one.end());
        clipped.extend(inside.filter_map(|extent| extent.intersect(one)));
    }
    joined(clipped)
}

/// Counts over a disk or a VM what rules of that scope are about.
///
/// A value counts once for each rule, wherever it was found. Memory is bounded by the
/// thresholds: a rule that has reached its number counts no further.
#[derive(Debug)]
pub struct Tally<'p> {
    policy: &'p Effective,
    site: Site,
    values: Vec<BTreeSet<(Option<String>, Fingerprint)>>,
    strictest: Action,
}

impl<'p> Tally<'p> {
    /// Starts counting for what `site` finds.
    pub fn new(policy: &'p Effective, site: Site) -> Self {
        Self { policy, site, values: vec![BTreeSet::new(); policy.rules.len()], strictest: Action::Allow }
    }

    /// Counts findings of any number of objects, in any order.
    pub fn add(&mut self, findings: &[Finding]) {
        for (rule, values) in self.policy.rules.iter().zip(&mut self.values) {
            if !matches!(rule.scope, Scope::Disk | Scope::Vm) || !rule.sites.contains(&self.site) {
                continue;
            }
            for finding in findings.iter().filter(|finding| rule.applies(finding)) {
                let disk = (rule.scope == Scope::Disk).then(|| finding.disk.clone());
                if values.len() < rule.distinct as usize * 64 {
                    values.insert((disk.clone(), finding.fingerprint));
                }
                let reached = values.iter().filter(|(other, _)| *other == disk).count();
                if reached >= rule.distinct as usize {
                    self.strictest = self.strictest.max(rule.action);
                }
            }
        }
    }

    /// Returns the decision that disk and VM rules call for: a disk cannot be held and
    /// a VM moved without it, so a hold of that scope refuses the transfer.
    pub fn decision(&self) -> Decision {
        match self.strictest {
            Action::Allow => Decision::Allow,
            Action::Warn => Decision::Warn,
            Action::Hold | Action::Terminate => Decision::Terminate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;
    use airlock_model::{Check, Confidence, Severity};

    fn finding(percent: u8, offset: u64) -> Finding {
        Finding {
            check: Check::Financial,
            detector: "pan".into(),
            confidence: Confidence::percent(percent),
            severity: Severity::High,
            action: Action::Allow,
            site: Site::Source,
            disk: "disk0".into(),
            trail: String::new(),
            place: "file".into(),
            path: None,
            offset: 0,
            length: 16,
            disk_offset: Some(offset),
            deleted: false,
            fingerprint: Fingerprint([u8::try_from(offset % 251).expect("small"); 32]),
            display: String::new(),
        }
    }

    fn file(extents: &[(u64, u64)]) -> Object {
        let extents = extents.iter().map(|&(offset, length)| Extent::new(offset, length)).collect();
        Object { kind: PlaceKind::File, extents, ..Object::raw(1024) }
    }

    fn policy() -> Effective {
        Effective::merge(&Document::default(), &Document::default())
    }

    fn check(object: &Object, percent: u8, expected: &[(u64, u64)], terminate: bool) {
        let judgement = policy().judge(Site::Source, object, &mut [finding(percent, 5000)]);
        let expected: Vec<_> = expected.iter().map(|&(offset, length)| Extent::new(offset, length)).collect();
        assert_eq!(judgement.held(), expected);
        assert_eq!(judgement.terminates(), terminate);
    }

    #[test]
    fn a_file_is_held_whole_and_free_space_by_its_blocks() {
        let whole = [(4096, 2000), (90_000, 10)];
        check(&file(&whole), 90, &whole, false);
        check(&file(&whole), 60, &[], false);
        let free = |extents| Object { kind: PlaceKind::Free, ..file(extents) };
        check(&free(&[(4096, 8192)]), 90, &[(4096, 1024)], false);
        check(&free(&[(4999, 10)]), 90, &[(4999, 10)], false);
        check(&Object { kind: PlaceKind::Metadata, ..file(&whole) }, 90, &[(4096, 1024)], true);
        check(&Object { view: true, ..file(&whole) }, 90, &whole, true);
    }

    #[test]
    fn encrypted_terminates_and_limits_hold() {
        let judge = |reason| {
            let object = Object { unscannable: [reason].into(), ..file(&[(0, 10)]) };
            policy().judge(Site::Source, &object, &mut [])
        };
        assert!(judge(Reason::Encrypted).terminates());
        assert_eq!(judge(Reason::Limit).held(), [Extent::new(0, 10)]);
        assert_eq!(judge(Reason::Unsupported).held(), []);
        assert_eq!(judge(Reason::Unsupported).strictest(), Action::Warn);
    }

    #[test]
    fn changed_bytes_are_not_released() {
        let mut judgement = policy().judge(Site::Source, &file(&[(0, 4)]), &mut []);
        let chunk = |bytes: &[u8]| Chunk::new(vec![Extent::new(0, 4)], bytes.to_vec());
        judgement.inspected(chunk(b"good").record());
        assert_eq!(judgement.release(chunk(b"evil")).expect_err("changed"), Changed { offset: 0 });
        assert_eq!(judgement.release(chunk(b"good")).expect("same").len(), 1);
    }

    #[test]
    fn held_blocks_are_cut_out_of_a_chunk() {
        let free = Object { kind: PlaceKind::Free, ..file(&[(0, 4096), (8192, 1024)]) };
        let mut judgement = policy().judge(Site::Source, &free, &mut [finding(90, 1030), finding(90, 8200)]);
        let bytes: Vec<u8> = (0..5120_u32).map(|at| u8::try_from(at / 1024).expect("small")).collect();
        let chunk = Chunk::new(free.extents.clone(), bytes);
        judgement.inspected(chunk.record());
        let pieces = judgement.release(chunk).expect("unchanged");
        let kept: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.get().record().extents[0], piece.get().bytes().unwrap()[0]))
            .collect();
        assert_eq!(kept, [(Extent::new(0, 1024), 0), (Extent::new(2048, 2048), 2)]);
    }

    #[test]
    fn a_threshold_over_the_vm_needs_different_values() {
        let rule = Rule {
            check: Check::Financial,
            detectors: None,
            sites: [Site::Source].into(),
            confidence: Confidence::MEDIUM,
            distinct: 3,
            scope: Scope::Vm,
            action: Action::Hold,
        };
        let document = Document { rules: vec![rule], ..Document::default() };
        let policy = Effective::merge(&document, &document);
        let mut tally = Tally::new(&policy, Site::Source);
        tally.add(&[finding(90, 1), finding(90, 1), finding(90, 2)]);
        assert_eq!(tally.decision(), Decision::Allow);
        tally.add(&[finding(90, 3)]);
        assert_eq!(tally.decision(), Decision::Terminate);
    }
}
