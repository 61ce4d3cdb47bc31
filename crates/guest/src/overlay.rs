//! Blocks of a log over a volume, so that it reads as it would after a mount.
//!
//! A file system that was not unmounted keeps its latest changes in a log. A replay
//! reads the log and notes here what belongs where; the disk is not changed.

use crate::Error;
use crate::field::{narrow, quotient, wide};
use crate::window::Window;
use std::collections::BTreeMap;

/// What a log has for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Patch {
    /// The block is a copy of the one at this byte of the volume, but for the bytes in
    /// front, which the log cannot hold as they are.
    Copy { at: u64, front: Option<[u8; 4]> },
    /// These are its bytes.
    Bytes(Box<[u8]>),
}

/// Blocks of a log, by their number on the volume.
#[derive(Debug)]
pub(crate) struct Overlay {
    block_bytes: u64,
    patches: BTreeMap<u64, Patch>,
}

impl Overlay {
    /// Starts an overlay of blocks of `block_bytes`.
    pub(crate) fn new(block_bytes: u64) -> Self {
        Self { block_bytes: block_bytes.max(1), patches: BTreeMap::new() }
    }

    /// Returns the size of a block.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Puts a patch over a block, in the place of an earlier one.
    pub(crate) fn put(&mut self, block: u64, patch: Patch) {
        self.patches.insert(block, patch);
    }

    /// Returns what is over a block, to change it further.
    pub(crate) fn get_mut(&mut self, block: u64) -> Option<&mut Patch> {
        self.patches.get_mut(&block)
    }

    /// Returns how many blocks there are.
    pub(crate) fn len(&self) -> usize {
        self.patches.len()
    }

    /// Returns where the first patched byte from `offset` on is.
    pub(crate) fn next(&self, offset: u64) -> Option<u64> {
        let block = quotient(offset, self.block_bytes);
        let (found, _) = self.patches.range(block..).next()?;
        Some(found.saturating_mul(self.block_bytes).max(offset))
    }

    /// Returns the blocks from `block` on that are copies, as block and byte of the volume.
    pub(crate) fn copies(&self, block: u64, count: u64) -> impl Iterator<Item = (u64, u64)> {
        let range = self.patches.range(block..block.saturating_add(count));
        range.filter_map(|(block, patch)| match patch {
            Patch::Copy { at, .. } => Some((*block, *at)),
            Patch::Bytes(_) => None,
        })
    }

    /// Puts the patched bytes into `buffer`, which was read from `offset` of `volume`.
    pub(crate) fn apply(
        &self,
        volume: &Window<'_>,
        what: &'static str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let end = offset.saturating_add(wide(buffer.len()));
        let first = quotient(offset, self.block_bytes);
        let behind = end.div_ceil(self.block_bytes);
        for (block, patch) in self.patches.range(first..behind.max(first)) {
            let start = block.saturating_mul(self.block_bytes);
            let from = start.max(offset);
            let until = start.saturating_add(self.block_bytes).min(end);
            let place = narrow(from.saturating_sub(offset))..narrow(until.saturating_sub(offset));
            let within = from.saturating_sub(start);
            let Some(part) = buffer.get_mut(place) else { continue };
            match patch {
                Patch::Copy { at, front } => {
                    volume.read_beneath(what, at.saturating_add(within), part)?;
                    let front = front.iter().flatten().skip(narrow(within));
                    part.iter_mut().zip(front).for_each(|(byte, front)| *byte = *front);
                }
                Patch::Bytes(bytes) => {
                    let bytes = bytes.get(narrow(within)..).unwrap_or_default();
                    part.iter_mut().zip(bytes).for_each(|(byte, patched)| *byte = *patched);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_model::Extent;

    #[test]
    fn patched_blocks_read_as_the_log_has_them_at_any_offset() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("disk");
        let beneath: Vec<u8> = (0..64).collect();
        std::fs::write(&path, &beneath).expect("write");
        let disk = airlock_disk::RawFile::open(&path).expect("open");
        let mut overlay = Overlay::new(8);
        overlay.put(1, Patch::Copy { at: 40, front: Some(*b"ABCD") });
        overlay.put(3, Patch::Bytes((*b"patched!").into()));
        assert_eq!((overlay.next(0), overlay.next(12), overlay.next(32)), (Some(8), Some(12), None));
        let volume = Window::new(&disk, Extent::new(0, 64)).with_overlay(overlay);
        let mut expected = beneath;
        expected[8..16].copy_from_slice(b"ABCD\x2c\x2d\x2e\x2f");
        expected[24..32].copy_from_slice(b"patched!");
        for start in 0..64 {
            for end in start..=64 {
                let mut buffer = vec![0; end - start];
                volume.read("bytes", wide(start), &mut buffer).expect("read");
                assert_eq!(buffer, expected[start..end], "{start}..{end}");
            }
        }
    }
}
