//! What one unit came to, and the release of what of it is cleared.

use super::StationError;
use super::report::{HeldExtent, UnitSummary};
use airlock_disk::{BlockSource, read_extents};
use airlock_model::{
    Action, ChunkRecord, Class, Escaped, Extent, Finding, Place, Reason, Run, Space, subtract,
};
use airlock_policy::{Chunk, Clearance, Cleared, Judgement};
use std::collections::BTreeSet;

/// What a piece of a place turned out to be.
#[derive(Debug)]
pub(super) enum Content {
    /// Zeros, or a hole.
    Zero,
    /// The source could not be read there.
    Unreadable,
    /// Left out because policy says so.
    Dropped,
    /// Data.
    Data {
        /// Its record, where hashes are wanted.
        record: Option<ChunkRecord>,
        /// Its bytes, where they are kept.
        chunk: Option<Chunk>,
    },
}

/// At most a chunk of a place, in logical order.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) runs: Vec<Run>,
    pub(super) content: Content,
}

impl Piece {
    pub(super) fn extents(&self) -> Vec<Extent> {
        self.runs.iter().map(Run::extent).collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.length).sum()
    }

    pub(super) fn is_data(&self) -> bool {
        matches!(self.content, Content::Data { .. })
    }

    /// Returns where on the disk it begins.
    pub(super) fn first(&self) -> Option<u64> {
        self.runs.first().map(|run| run.disk)
    }

    /// Returns where on the disk it ends.
    pub(super) fn end(&self) -> Option<u64> {
        self.runs.last().map(|run| run.extent().end())
    }
}

/// What the inspection of a unit came to.
#[derive(Debug, Default)]
pub(super) struct Inspected {
    pub(super) findings: Vec<Finding>,
    /// Findings in layers inside of the content: they concern all of it.
    pub(super) inner: Vec<Finding>,
    /// Why not all of it was unpacked or opened.
    pub(super) unscannable: BTreeSet<Reason>,
}

/// One unit after inspection and judgement.
#[derive(Debug)]
pub struct Outcome<'w> {
    pub(super) place: Place<'w>,
    pub(super) disk: &'w dyn BlockSource,
    pub(super) space: &'w Space,
    pub(super) pieces: Vec<Piece>,
    pub(super) findings: Vec<Finding>,
    pub(super) judgement: Judgement,
    pub(super) unscannable: BTreeSet<Reason>,
}

impl Outcome<'_> {
    /// Returns the verdict.
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// Returns the number of bytes that the unit has on the disk.
    pub fn bytes(&self) -> u64 {
        if self.place.view { 0 } else { self.pieces.iter().map(Piece::bytes).sum() }
    }

    /// Returns whether nothing was found that the policy has a rule for, and every byte could be
    /// read. The same bytes are so again under the same rules and policy.
    pub(super) fn is_clean(&self) -> bool {
        let lost = |piece: &Piece| matches!(piece.content, Content::Unreadable | Content::Dropped);
        self.findings.is_empty() && self.unscannable.is_empty() && !self.pieces.iter().any(lost)
    }

    /// Returns whether nothing was found that the policy has a rule for, and every byte was read and
    /// is data. The same bytes at the same places of a file are so again under the same rules and
    /// policy. It is never said of a file that its file system compresses.
    pub fn is_spotless(&self) -> bool {
        self.place.packed.is_empty() && self.is_clean() && self.pieces.iter().all(Piece::is_data)
    }

    /// Hands over what is cleared, chunk by chunk. Bytes that were not kept are promised; where
    /// something is cut out of them they are read again, and only passed on if they are those that
    /// were judged.
    pub fn cleared(
        &mut self,
        take: &mut dyn FnMut(Cleared<Chunk>) -> Result<(), StationError>,
    ) -> Result<(), StationError> {
        if self.place.view {
            return Ok(());
        }
        let whole = self.judgement.held().is_empty();
        for piece in &mut self.pieces {
            let extents = piece.extents();
            let Content::Data { record, chunk } = &mut piece.content else { continue };
            let chunk = match (chunk.take(), record) {
                (Some(chunk), _) => chunk,
                (None, Some(record)) if whole => Chunk::promised(record.clone()),
                (None, _) => Chunk::new(extents.clone(), read_extents(self.disk, &extents)?),
            };
            for cleared in self.judgement.release(chunk)? {
                take(cleared)?;
            }
        }
        Ok(())
    }

    pub(super) fn into_summary(self) -> UnitSummary {
        let held = self.judgement.held();
        let mut classes = Vec::new();
        let mut clearance = Clearance::default();
        let mut records = Vec::new();
        for piece in self.pieces {
            let bytes = piece.bytes();
            let extents = piece.extents();
            let member = extents.first().map_or(0, |extent| self.space.index_at(extent.offset));
            let mut count = |class, bytes| classes.push((member, class, bytes));
            match piece.content {
                Content::Dropped => count(Class::Dropped, bytes),
                Content::Unreadable => count(Class::Unscannable(Reason::Unreadable), bytes),
                Content::Zero => {
                    count(Class::Hole, bytes);
                    clearance.add(&self.judgement, &extents);
                }
                Content::Data { record, .. } => {
                    records.extend(record);
                    let kept = extents.iter().flat_map(|extent| subtract(*extent, held));
                    let passing: u64 = kept.map(|extent| extent.length).sum();
                    if let Some(reason) = self.judgement.unscannable() {
                        count(Class::Unscannable(reason), bytes);
                    } else {
                        count(Class::Cleared, passing);
                        count(Class::Held, bytes - passing);
                    }
                    clearance.add(&self.judgement, &extents);
                }
            }
        }
        UnitSummary {
            kind: self.place.kind,
            view: self.place.view,
            bytes: classes.iter().map(|(.., bytes)| bytes).sum(),
            held: held_extents(&self.place, held, &self.findings, &self.unscannable),
            records,
            classes,
            clearance,
            terminates: self.judgement.terminates(),
            strictest: self.judgement.strictest(),
            findings: self.findings,
            unscannable: self.unscannable,
        }
    }
}

fn held_extents(
    place: &Place<'_>,
    held: &[Extent],
    findings: &[Finding],
    unscannable: &BTreeSet<Reason>,
) -> Vec<HeldExtent> {
    if held.is_empty() {
        return Vec::new();
    }
    let holding = findings.iter().filter(|finding| finding.action >= Action::Hold);
    let mut reasons: BTreeSet<String> = holding.map(|finding| finding.detector.clone()).collect();
    reasons.extend(unscannable.iter().map(|reason| format!("unscannable:{}", reason.name())));
    let reasons: Vec<String> = reasons.into_iter().collect();
    let path = (!place.path.is_empty()).then(|| Escaped(place.path).to_string());
    held.iter().map(|&extent| HeldExtent { extent, reasons: reasons.clone(), path: path.clone() }).collect()
}
