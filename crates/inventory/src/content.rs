//! Reads files of a guest, whole or in parts.

use airlock_decode::ReadAt;
use airlock_disk::BlockSource;
use airlock_guest::unpack;
use airlock_model::field::{narrow, wide};
use airlock_model::{Place, Run};

/// The content of a file.
#[derive(Debug)]
pub(crate) struct Content<'c> {
    source: &'c dyn BlockSource,
    place: &'c Place<'c>,
}

impl<'c> Content<'c> {
    pub(crate) fn new(source: &'c dyn BlockSource, place: &'c Place<'c>) -> Self {
        Self { source, place }
    }

    /// Fills `bytes` with what the pieces of a packed file unpack to.
    fn unpack(&self, offset: u64, bytes: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(bytes.len() as u64)?;
        let mut plain = Vec::new();
        for piece in self.place.packed {
            let from = piece.logical.max(offset);
            let to = piece.logical.checked_add(piece.length)?.min(end);
            if from >= to {
                continue;
            }
            let mut stored = vec![0; usize::try_from(piece.stored_bytes).ok()?];
            fill(self.source, self.place.runs, piece.stored, &mut stored)?;
            unpack(piece.codec, &stored, piece.unpacked, &mut plain).ok()?;
            let skip = usize::try_from(piece.skip.checked_add(from - piece.logical)?).ok()?;
            let count = usize::try_from(to - from).ok()?;
            let at = usize::try_from(from - offset).ok()?;
            let part = plain.get(skip..skip.checked_add(count)?)?;
            bytes.get_mut(at..at.checked_add(count)?)?.copy_from_slice(part);
        }
        Some(())
    }
}

impl ReadAt for Content<'_> {
    fn size(&self) -> u64 {
        self.place.size
    }

    /// Gaps are zeros. What cannot be read as a whole is not read at all.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> usize {
        let length = narrow(self.place.size.saturating_sub(offset)).min(into.len());
        let Some(bytes) = into.get_mut(..length) else { return 0 };
        bytes.fill(0);
        let filled = if self.place.packed.is_empty() {
            fill(self.source, self.place.runs, offset, bytes)
        } else {
            self.unpack(offset, bytes)
        };
        filled.map_or(0, |()| length)
    }
}

/// Returns all bytes of a file, if they are no more than `most` and can be read.
pub(crate) fn all(file: &mut dyn ReadAt, most: u64) -> Option<Vec<u8>> {
    let length = file.size();
    if length > most {
        return None;
    }
    part(file, 0, length)
}

/// Returns `length` bytes from `offset`, or as many as there are; nothing if they cannot be read.
pub(crate) fn part(file: &mut dyn ReadAt, offset: u64, length: u64) -> Option<Vec<u8>> {
    let length = length.min(file.size().saturating_sub(offset));
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    (wide(file.read_at(offset, &mut bytes)) == length).then_some(bytes)
}

/// Fills `bytes` from `offset` of the stream that runs make up.
fn fill(source: &dyn BlockSource, runs: &[Run], offset: u64, bytes: &mut [u8]) -> Option<()> {
    let end = offset.checked_add(bytes.len() as u64)?;
    let first = runs.partition_point(|run| run.logical.saturating_add(run.length) <= offset);
    for run in runs.get(first..).unwrap_or_default().iter().take_while(|run| run.logical < end) {
        let from = run.logical.max(offset);
        let to = run.logical.checked_add(run.length)?.min(end);
        let range = usize::try_from(from - offset).ok()?..usize::try_from(to.checked_sub(offset)?).ok()?;
        source.read_at(run.disk.checked_add(from - run.logical)?, bytes.get_mut(range)?).ok()?;
    }
    Some(())
}
