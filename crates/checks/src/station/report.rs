//! What a station has to say about a whole bundle.

use super::Progress;
use crate::system::SystemReport;
use airlock_model::{
    Action, ChunkRecord, Class, Coverage, Decision, DiskRoot, Extent, Finding, Member, MemberKind, PlaceKind,
    Reason, Site, Space, SpaceRoots,
};
use airlock_policy::{Clearance, Effective, Tally};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Most findings that a report lists, about 25 MiB; the others are counted.
pub const FINDINGS_MAX: usize = 50_000;

/// What one unit came to.
#[derive(Debug)]
pub(super) struct UnitSummary {
    pub(super) kind: PlaceKind,
    pub(super) view: bool,
    pub(super) bytes: u64,
    pub(super) findings: Vec<Finding>,
    pub(super) records: Vec<ChunkRecord>,
    /// Member, class and bytes.
    pub(super) classes: Vec<(usize, Class, u64)>,
    pub(super) held: Vec<HeldExtent>,
    pub(super) clearance: Clearance,
    pub(super) terminates: bool,
    pub(super) unscannable: BTreeSet<Reason>,
    pub(super) strictest: Action,
}

/// A part of the disk that is held, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldExtent {
    /// Where.
    pub extent: Extent,
    /// Detectors, or classes that could not be inspected; sorted.
    pub reasons: Vec<String>,
    /// Escaped path, where a file owns it.
    pub path: Option<String>,
}

/// What a station has to say about one member of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberReport {
    /// Root of all of it, as it was read.
    pub root: DiskRoot,
    /// What became of every byte of it.
    pub coverage: Coverage,
}

/// What a station has to say about a whole bundle. Extents count in its address space, the
/// `disk_offset` of findings in the member.
#[derive(Debug)]
pub struct Report {
    /// Findings above `allow`, in the order of the space, the first [`FINDINGS_MAX`] of them.
    pub findings: Vec<Finding>,
    /// How many findings there were beyond those.
    pub findings_omitted: u64,
    /// What became of every byte.
    pub coverage: Coverage,
    /// Bytes by kind of place.
    pub places: BTreeMap<&'static str, u64>,
    /// The members, in their order.
    pub members: Vec<MemberReport>,
    /// What is held, sorted, not overlapping.
    pub held: Vec<HeldExtent>,
    /// What was judged and passes.
    pub clearance: Clearance,
    /// What the policy decides: withholding, unless something calls for more.
    pub decision: Decision,
    /// Whether the decision comes from what could not be inspected, and from no finding.
    pub incomplete: bool,
}

impl Report {
    /// Adds what the system checkers found.
    pub fn add_system(&mut self, system: &SystemReport) {
        let room = FINDINGS_MAX.saturating_sub(self.findings.len());
        self.findings.extend(system.findings.iter().take(room).cloned());
        self.findings_omitted += system.findings.len().saturating_sub(room) as u64;
        if system.decision >= self.decision {
            self.incomplete = false;
            self.decision = system.decision;
        }
    }
}

/// Gathers summaries of units in any order.
#[derive(Debug)]
pub(super) struct Collector<'p> {
    tally: Tally<'p>,
    findings: Vec<Finding>,
    omitted: u64,
    coverage: Vec<Coverage>,
    roots: SpaceRoots<'p>,
    places: BTreeMap<&'static str, u64>,
    held: Vec<HeldExtent>,
    clearance: Clearance,
    decision: Decision,
    found: Decision,
    space: &'p Space,
}

impl<'p> Collector<'p> {
    pub(super) fn new(policy: &'p Effective, site: Site, space: &'p Space) -> Self {
        let of = |member: &Member| Coverage { total: member.size, ..Coverage::default() };
        Self {
            tally: Tally::new(policy, site),
            findings: Vec::new(),
            omitted: 0,
            coverage: space.members().iter().map(of).collect(),
            roots: SpaceRoots::new(space),
            places: BTreeMap::new(),
            held: Vec::new(),
            clearance: Clearance::default(),
            decision: Decision::Allow,
            found: Decision::Allow,
            space,
        }
    }

    pub(super) fn add(&mut self, units: Vec<UnitSummary>, progress: &Progress) {
        for unit in units {
            self.tally.add(&unit.findings);
            let decision = decision_of(&unit);
            self.decision = self.decision.max(decision);
            if unit.findings.iter().any(|finding| finding.action >= Action::Hold)
                || unit.unscannable.is_empty()
            {
                self.found = self.found.max(decision);
            }
            if !unit.view {
                *self.places.entry(unit.kind.name()).or_default() += unit.bytes;
                for (member, class, bytes) in unit.classes {
                    self.coverage[member].add(class, bytes);
                }
                for record in unit.records {
                    self.roots.add(record);
                }
                self.clearance.absorb(unit.clearance);
            }
            let reported = unit.findings.into_iter().filter(|finding| finding.action > Action::Allow);
            let before = self.findings.len();
            self.findings.extend(reported);
            progress.findings.fetch_add((self.findings.len() - before) as u64, Ordering::Relaxed);
            if self.findings.len() > 2 * FINDINGS_MAX {
                self.shorten();
            }
            let bytes: u64 = unit.held.iter().map(|held| held.extent.length).sum();
            progress.held.fetch_add(bytes, Ordering::Relaxed);
            self.held.extend(unit.held);
        }
    }

    /// Keeps the first findings in the order of the disk: the same ones in whatever order they come.
    fn shorten(&mut self) {
        sort_findings(&mut self.findings);
        self.omitted += self.findings.len().saturating_sub(FINDINGS_MAX) as u64;
        self.findings.truncate(FINDINGS_MAX);
    }

    pub(super) fn finish(mut self) -> Report {
        let by_disk = self.tally.decision();
        self.decision = self.decision.max(by_disk);
        self.found = self.found.max(by_disk);
        self.shorten();
        for finding in &mut self.findings {
            finding.disk_offset = finding.disk_offset.and_then(|address| offset_of(self.space, address));
        }
        let members = self.roots.finish().into_iter().zip(self.coverage);
        let members: Vec<MemberReport> =
            members.map(|(root, coverage)| MemberReport { root, coverage }).collect();
        let mut coverage = Coverage::default();
        for member in &members {
            coverage.merge(&member.coverage);
        }
        Report {
            findings: self.findings,
            findings_omitted: self.omitted,
            coverage,
            places: self.places,
            members,
            held: flatten(self.held),
            clearance: self.clearance.sorted(),
            incomplete: self.decision > self.found,
            decision: self.decision,
        }
    }
}

/// Returns the offset of an address on its disk; a file of a bundle has no disk.
fn offset_of(space: &Space, address: u64) -> Option<u64> {
    let member = space.members().get(space.index_at(address))?;
    matches!(member.kind, MemberKind::Disk { .. }).then(|| space.locate(address).1)
}

fn decision_of(unit: &UnitSummary) -> Decision {
    if unit.terminates {
        Decision::Terminate
    } else if !unit.held.is_empty() {
        Decision::Withhold
    } else if unit.strictest >= Action::Warn {
        Decision::Warn
    } else {
        Decision::Allow
    }
}

/// Puts findings into the order of the disk. A value that lies in a file's inode was seen
/// in the file and in the metadata, one at the edge of two places in both: it is one
/// finding, and the one with a path stays.
fn sort_findings(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| {
        let key = |f: &Finding| (f.disk_offset, f.length, f.path.is_none(), f.offset, f.trail.clone());
        key(a).cmp(&key(b)).then_with(|| a.detector.cmp(&b.detector))
    });
    let mut seen: BTreeMap<_, (Option<String>, String)> = BTreeMap::new();
    findings.retain(|finding| {
        let Some(offset) = finding.disk_offset else { return true };
        let place = (finding.path.clone(), finding.place.clone());
        // Values of one compressed piece of a file all begin where the piece does.
        let first = seen.entry((offset, finding.length, finding.detector.clone()));
        *first.or_insert_with(|| place.clone()) == place
    });
}

/// Sorts held extents and gives bytes that two of them claim to the first alone.
fn flatten(mut held: Vec<HeldExtent>) -> Vec<HeldExtent> {
    held.sort();
    let mut flat: Vec<HeldExtent> = Vec::with_capacity(held.len());
    for mut one in held {
        let end = flat.last().map_or(0, |last| last.extent.end());
        if one.extent.offset < end {
            let length = one.extent.end().saturating_sub(end);
            one.extent = Extent::new(end, length);
        }
        if one.extent.length > 0 {
            flat.push(one);
        }
    }
    flat
}
