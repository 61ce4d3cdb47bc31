//! Bytes with their hash, and the proof that they may leave.

use airlock_model::{ChunkRecord, ContentHash, Extent};
use std::fmt;

/// The bytes of a chunk together with their hash, which is computed here and
/// nowhere else, so that the two always belong together.
#[derive(Clone)]
pub struct Chunk {
    record: ChunkRecord,
    bytes: Vec<u8>,
}

impl Chunk {
    /// Hashes `bytes`, which lie at `extents` of the disk in this order.
    ///
    /// # Panics
    /// If the extents do not have as many bytes as there are; that is a bug of the caller.
    pub fn new(extents: Vec<Extent>, bytes: Vec<u8>) -> Self {
        let sum: u64 = extents.iter().map(|extent| extent.length).sum();
        assert_eq!(sum, bytes.len() as u64, "extents and bytes of a chunk differ in length");
        Self { record: ChunkRecord { extents, content: ContentHash::of(&bytes) }, bytes }
    }

    /// Returns where the bytes lie and their hash.
    pub fn record(&self) -> &ChunkRecord {
        &self.record
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the chunk apart.
    pub fn into_parts(self) -> (ChunkRecord, Vec<u8>) {
        (self.record, self.bytes)
    }

    /// Cuts the chunk around `held`, sorted extents of the disk, and hashes the rest anew.
    pub(crate) fn cut_around(self, held: &[Extent]) -> Vec<Self> {
        let touched = self.record.extents.iter().any(
            |extent| !matches!(airlock_model::subtract(*extent, held).as_slice(), [one] if one == extent),
        );
        if !touched {
            return vec![self];
        }
        let mut pieces = Vec::new();
        let mut at = 0_u64;
        for extent in &self.record.extents {
            for kept in airlock_model::subtract(*extent, held) {
                let from = at + (kept.offset - extent.offset);
                let range = usize::try_from(from).expect("inside the chunk")
                    ..usize::try_from(from + kept.length).expect("inside the chunk");
                pieces.push(Self::new(vec![kept], self.bytes[range].to_vec()));
            }
            at += extent.length;
        }
        pieces
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes of {:?})", self.bytes.len(), self.record.extents)
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
