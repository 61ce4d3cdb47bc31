//! What of a disk need not be inspected again, because the memo knows it.
//!
//! A site that reads what it inspects knows a file by the hashes of its bytes: they are read and
//! hashed in any case, so while what has been read so far is known, nothing is scanned. What turns
//! out to be unknown after all is read again from its beginning.
//!
//! A site that has its bytes by name ([`Names`]) knows files and other parts of a disk by these,
//! and does not even read them.

use super::outcome::{Content, Piece};
use super::planner::Unit;
use super::runs::splits;
use super::unit::{CUT_CONTEXT_BYTES, EDGE_CONTEXT_BYTES};
use crate::Rules;
use crate::memo::{Draft, Memo, Tag};
use airlock_model::{Extent, Place};
use airlock_policy::Effective;

/// Names of the bytes of a disk, for a site that can tell them without reading.
pub trait Names: std::fmt::Debug + Sync {
    /// Feeds `into` with what identifies the bytes of an extent, those that are not there included.
    /// Returns how many are there; the others are zeros.
    fn name(&self, extent: Extent, into: &mut blake3::Hasher) -> u64;
}

/// The memo as the threads of a station use it.
#[derive(Debug, Clone)]
pub(super) struct Recall<'m> {
    memo: &'m Memo,
    /// Where tags are noted that are not to be remembered at once.
    draft: Option<&'m Draft>,
    /// What all tags begin with.
    base: blake3::Hasher,
}

impl<'m> Recall<'m> {
    /// Recalls what was judged by the same rules and policy.
    pub(super) fn new(memo: &'m Memo, rules: &Rules, policy: &Effective) -> Self {
        let mut base = memo.names(&rules.content_digest());
        base.update(&policy.digest().0);
        Self { memo, draft: None, base }
    }

    /// Only notes what is to be remembered.
    pub(super) fn drafting(self, draft: &'m Draft) -> Self {
        Self { draft: Some(draft), ..self }
    }

    /// Returns what all tags begin with.
    pub(super) fn base(&self) -> &blake3::Hasher {
        &self.base
    }

    /// Begins to follow the content of a file of `size` bytes.
    pub(super) fn file(&self, size: u64) -> Trace<'m> {
        let mut hasher = self.base.clone();
        hasher.update(b"file");
        hasher.update(&size.to_le_bytes());
        Trace { memo: self.memo, hasher, tags: Vec::new(), known: true }
    }

    /// Returns the tag of a unit by the names of its bytes, and of those around that count. Sets the
    /// content of the pieces to what the names tell of it.
    pub(super) fn tag(
        &self,
        names: &dyn Names,
        disk_bytes: u64,
        place: &Place<'_>,
        unit: &Unit,
        pieces: &mut [Piece],
    ) -> Tag {
        let ends = [pieces.first().and_then(Piece::first), pieces.last().and_then(Piece::end)];
        let cuts = ends.map(|at| at.is_some_and(|at| splits(place.runs, at)));
        let mut hasher = self.base.clone();
        let margin = match unit {
            Unit::File { .. } => 0,
            Unit::Part { .. } => CUT_CONTEXT_BYTES.max(EDGE_CONTEXT_BYTES),
        };
        hasher.update(b"named");
        hasher.update(place.kind.name().as_bytes());
        hasher.update(&place.size.to_le_bytes());
        hasher.update(&place.volume.block_bytes.to_le_bytes());
        hasher.update(&place.volume.extent.offset.to_le_bytes());
        for piece in pieces {
            let mut present = 0;
            for run in &piece.runs {
                hasher.update(&run.logical.to_le_bytes());
                hasher.update(&run.disk.to_le_bytes());
                hasher.update(&run.length.to_le_bytes());
                present += names.name(run.extent(), &mut hasher);
                let start = run.disk.saturating_sub(margin);
                names.name(Extent::new(start, run.disk - start), &mut hasher);
                let end = run.extent().end();
                let after = margin.min(disk_bytes.saturating_sub(end));
                names.name(Extent::new(end, after), &mut hasher);
            }
            piece.content =
                if present == 0 { Content::Zero } else { Content::Data { record: None, chunk: None } };
        }
        hasher.update(&cuts.map(u8::from));
        Tag::of(&hasher)
    }

    pub(super) fn knows(&self, tag: Tag) -> bool {
        self.memo.knows(tag)
    }

    pub(super) fn remember(&self, tag: Tag) {
        match self.draft {
            Some(draft) => draft.note(tag),
            None => self.memo.remember(tag),
        }
    }
}

/// The content of a file as far as it has been read.
#[derive(Debug)]
pub(super) struct Trace<'m> {
    memo: &'m Memo,
    hasher: blake3::Hasher,
    tags: Vec<Tag>,
    known: bool,
}

impl Trace<'_> {
    /// Adds a piece that was read and hashed. Returns whether the file may be known: all of it, if
    /// this was its last piece.
    pub(super) fn add(&mut self, piece: &Piece, last: bool) -> bool {
        for run in &piece.runs {
            self.hasher.update(&run.logical.to_le_bytes());
            self.hasher.update(&run.length.to_le_bytes());
        }
        let kind = match &piece.content {
            Content::Zero => [0, u8::from(last)],
            Content::Data { record: Some(record), .. } => {
                self.hasher.update(&record.content.0);
                [1, u8::from(last)]
            }
            Content::Unreadable | Content::Dropped | Content::Data { record: None, .. } => {
                self.known = false;
                [2, u8::from(last)]
            }
        };
        self.hasher.update(&kind);
        let tag = Tag::of(&self.hasher);
        self.known = self.known && self.memo.knows(tag);
        self.tags.push(tag);
        self.known
    }

    /// Remembers the file: nothing was found in it.
    pub(super) fn remember(self) {
        for tag in self.tags {
            self.memo.remember(tag);
        }
    }

    /// Returns whether all of it is known.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }
}
