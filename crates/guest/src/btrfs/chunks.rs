//! Where on the device the addresses of the file system lie.

use super::superblock::Superblock;
use super::tree::Key;
use crate::field::{le16, le64, remainder};
use crate::fs::Failure;
use std::collections::BTreeMap;

/// Most chunks; a terabyte has a few thousand.
const CHUNKS_MAX: usize = 1 << 20;

pub(crate) const CHUNK_ITEM: u8 = 228;

const DUP: u64 = 0x20;
/// RAID 0, 1, 10, 5, 6 and 1 with three or four copies.
const OTHER_PROFILES: u64 = 0x7d8;

/// A range of addresses and where its bytes are.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    start: u64,
    length: u64,
    /// Where the first copy starts on the volume.
    at: u64,
    second: Option<u64>,
}

/// Where the bytes of a range of addresses are on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copies {
    pub(crate) first: u64,
    pub(crate) second: Option<u64>,
}

impl Copies {
    pub(crate) fn iter(self) -> impl Iterator<Item = u64> {
        std::iter::once(self.first).chain(self.second)
    }
}

/// All chunks by their address.
#[derive(Debug, Default)]
pub(crate) struct Chunks(BTreeMap<u64, Chunk>);

impl Chunks {
    /// Adds the chunks that a superblock has.
    pub(crate) fn add_array(&mut self, mut bytes: &[u8], superblock: &Superblock) -> Result<(), Failure> {
        while let (Some(key), Some(item)) = (bytes.get(..17), bytes.get(17..)) {
            let key = Key::parse(key);
            if key.kind != CHUNK_ITEM || item.len() < 80 {
                break;
            }
            self.add(key.offset, item, superblock)?;
            let stripes = usize::from(le16(item, 44));
            bytes = item.get(stripes.saturating_mul(32).saturating_add(48)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Adds a chunk; returns whether it is one that can be.
    pub(crate) fn add(&mut self, start: u64, item: &[u8], superblock: &Superblock) -> Result<bool, Failure> {
        let kind = le64(item, 24);
        let stripes = le16(item, 44);
        if kind & OTHER_PROFILES != 0 {
            return Err(Failure::raw("btrfs", "a RAID profile"));
        }
        let expected = if kind & DUP == 0 { 1 } else { 2 };
        let length = le64(item, 0);
        let aligned = |number| remainder(number, superblock.sector_bytes) == 0;
        let (at, other) = (le64(item, 56), le64(item, 88));
        let mirrored = expected == 2;
        if stripes != expected
            || length == 0
            || start.checked_add(length).is_none()
            || !aligned(start)
            || !aligned(length)
            || !aligned(at)
            || mirrored && (!aligned(other) || item.len() < 112)
            || item.len() < 80
        {
            return Ok(false);
        }
        if self.0.len() >= CHUNKS_MAX {
            return Err(Failure::raw("btrfs", "too many chunks").limited(true));
        }
        if le64(item, 48) != superblock.device || mirrored && le64(item, 80) != superblock.device {
            return Err(Failure::raw("btrfs", "chunks of another device"));
        }
        let second = mirrored.then_some(other);
        self.0.insert(start, Chunk { start, length, at, second });
        Ok(true)
    }

    /// Returns where a range of addresses lies, if a chunk has all of it.
    pub(crate) fn locate(&self, address: u64, length: u64) -> Option<Copies> {
        let (_, chunk) = self.0.range(..=address).next_back()?;
        let within = address.checked_sub(chunk.start)?;
        if within.checked_add(length)? > chunk.length {
            return None;
        }
        let second = match chunk.second {
            Some(second) => Some(second.checked_add(within)?),
            None => None,
        };
        Some(Copies { first: chunk.at.checked_add(within)?, second })
    }
}
