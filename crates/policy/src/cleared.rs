//! Bytes with their hash, and the proof that they may leave.

use airlock_model::{ChunkRecord, ContentHash, Extent};
use std::fmt;

/// The bytes of a chunk together with their hash, which is computed or checked here and
/// nowhere else, so that the two always belong together.
///
/// Bytes that are likely not needed may stay where they are ([`Chunk::promised`]).
#[derive(Clone)]
pub struct Chunk {
    record: ChunkRecord,
    bytes: Option<Vec<u8>>,
}

impl Chunk {
    /// Hashes `bytes`, which lie at `extents` of the disk in this order.
    ///
    /// # Panics
    /// If the extents do not have as many bytes as there are; that is a bug of the caller.
    pub fn new(extents: Vec<Extent>, bytes: Vec<u8>) -> Self {
        let sum: u64 = extents.iter().map(|extent| extent.length).sum();
        assert_eq!(sum, bytes.len() as u64, "extents and bytes of a chunk differ in length");
        Self { record: ChunkRecord { extents, content: ContentHash::of(&bytes) }, bytes: Some(bytes) }
    }

    /// Stands for bytes that were read and hashed, but not kept. Whoever needs them reads them
    /// again and hands them to [`Self::fetched`].
    pub fn promised(record: ChunkRecord) -> Self {
        Self { record, bytes: None }
    }

    /// Takes the bytes that were promised. They must be those that were hashed (invariant I6).
    pub fn fetched(self, bytes: Vec<u8>) -> Result<Self, Changed> {
        if bytes.len() != self.length() || ContentHash::of(&bytes) != self.record.content {
            return Err(Changed { offset: self.record.extents.first().map_or(0, |extent| extent.offset) });
        }
        Ok(Self { record: self.record, bytes: Some(bytes) })
    }

    /// Returns where the bytes lie and their hash.
    pub fn record(&self) -> &ChunkRecord {
        &self.record
    }

    /// Returns the number of bytes.
    pub fn length(&self) -> usize {
        let sum = self.record.extents.iter().map(|extent| extent.length).sum::<u64>();
        usize::try_from(sum).unwrap_or(usize::MAX)
    }

    /// Returns the bytes, if they are at hand.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    /// Cuts the chunk around `held`, sorted extents of the disk, and hashes the rest anew. Of a
    /// chunk that has to be cut and whose bytes are not at hand, nothing is left.
    pub(crate) fn cut_around(self, held: &[Extent]) -> Vec<Self> {
        let touched = self.record.extents.iter().any(
            |extent| !matches!(airlock_model::subtract(*extent, held).as_slice(), [one] if one == extent),
        );
        if !touched {
            return vec![self];
        }
        let Some(bytes) = self.bytes else { return Vec::new() };
        let mut pieces = Vec::new();
        let mut at = 0_u64;
        for extent in &self.record.extents {
            for kept in airlock_model::subtract(*extent, held) {
                let from = at + (kept.offset - extent.offset);
                let range = usize::try_from(from).expect("inside the chunk")
                    ..usize::try_from(from + kept.length).expect("inside the chunk");
                pieces.push(Self::new(vec![kept], bytes[range].to_vec()));
            }
            at += extent.length;
        }
        pieces
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes of {:?})", self.length(), self.record.extents)
    }
}

/// Something that the policy lets pass. Only a [`crate::Judgement`] makes one, and
/// the wire and the vault accept nothing else (invariant I7).
#[derive(Debug, Clone)]
pub struct Cleared<T>(T);

impl<T> Cleared<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self(inner)
    }

    /// Returns what was cleared.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// Takes out what was cleared.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// The bytes are not those that were judged (invariant I6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bytes at {offset:#x} changed between inspection and sending")]
pub struct Changed {
    /// First byte of the chunk on the disk.
    pub offset: u64,
}

/// Parts of a disk that judgements let pass, gathered over a whole disk.
///
/// A site that stores what it has judged in other pieces than it was judged in
/// clears each piece with this: all of its bytes must have passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clearance {
    extents: Vec<Extent>,
}

impl Clearance {
    /// Adds what of `extents`, which `judgement` is about, passes.
    pub fn add(&mut self, judgement: &crate::Judgement, extents: &[Extent]) {
        if judgement.terminates() {
            return;
        }
        for extent in extents {
            for kept in airlock_model::subtract(*extent, judgement.held()) {
                self.push(kept);
            }
        }
    }

    /// Adds what passes elsewhere on the same disk.
    pub fn absorb(&mut self, other: Self) {
        for extent in other.extents {
            self.push(extent);
        }
    }

    fn push(&mut self, extent: Extent) {
        match self.extents.last_mut() {
            Some(last) if last.end() == extent.offset => last.length += extent.length,
            _ => self.extents.push(extent),
        }
    }

    /// Sorts and joins what was added; [`Self::clear`] needs it.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.extents.sort_unstable();
        let mut joined = Self::default();
        for extent in self.extents {
            joined.push(extent);
        }
        joined
    }

    /// Clears `inner`, whose bytes lie at `extents`, if every one of them passes.
    pub fn clear<T>(&self, extents: &[Extent], inner: T) -> Option<Cleared<T>> {
        let passes = |extent: &Extent| {
            let after = self.extents.partition_point(|cleared| cleared.offset <= extent.offset);
            let cleared = after.checked_sub(1).and_then(|index| self.extents.get(index));
            cleared.is_some_and(|cleared| extent.end() <= cleared.end())
        };
        extents.iter().all(passes).then(|| Cleared(inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Document, Effective, Object};
    use airlock_model::Site;

    #[test]
    fn only_what_was_judged_and_passes_is_cleared() {
        let policy = Effective::merge(&Document::default(), &Document::default());
        let judgement = policy.judge(Site::Destination, &Object::raw(512), &mut []);
        let mut clearance = Clearance::default();
        clearance.add(&judgement, &[Extent::new(100, 50), Extent::new(0, 100), Extent::new(200, 10)]);
        let clearance = clearance.sorted();
        let clears = |extents: &[(u64, u64)]| {
            let extents: Vec<_> =
                extents.iter().map(|&(offset, length)| Extent::new(offset, length)).collect();
            clearance.clear(&extents, ()).is_some()
        };
        assert!(clears(&[(0, 150), (205, 5)]));
        assert!(!clears(&[(0, 151)]));
        assert!(!clears(&[(0, 10), (150, 1)]));
        assert!(!clears(&[(190, 12)]));
    }
}
