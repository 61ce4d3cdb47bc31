//! Records of the log.

use super::super::superblock::Superblock;
use super::{BASIC_BYTES, Log, Refusal};
use crate::checksum::crc32c;
use crate::field::{be32, be64, le32, narrow, wide};

pub(crate) const MAGIC: u32 = 0xfeed_babe;

/// Records as Linux on little-endian machines writes them.
const FORMAT_LITTLE: u32 = 1;

/// Blocks whose first bytes a header keeps, and bytes of such a part of a record.
const KEPT: usize = 64;
const PART_BYTES: u64 = 32_768;

/// Most bytes of a record.
const RECORD_BYTES_MAX: u64 = 256 << 10;

/// What of a header its checksum covers: on machines of 64 bits, and of 32.
const SUMMED: [usize; 2] = [328, 324];
const EXTENDED_BYTES: usize = 260;

/// The header of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) lsn: u64,
    pub(crate) tail_lsn: u64,
    /// Blocks of the header, and of what follows it.
    pub(crate) front_blocks: u64,
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    pub(crate) operations: u32,
}

impl Header {
    /// Returns the header in `block`, if it is one and possible.
    pub(crate) fn parse(block: &[u8], log: &Log<'_, '_>) -> Option<Self> {
        let version = be32(block, 8);
        let (bytes, mut size) = (u64::from(be32(block, 12)), u64::from(be32(block, 320)));
        let operations = be32(block, 40);
        if be32(block, 0) != MAGIC || !(1..=2).contains(&version) || bytes == 0 || bytes > RECORD_BYTES_MAX {
            return None;
        }
        if bytes > size && version == 2 && operations == 1 {
            // mkfs says less of its only record.
            size = PART_BYTES;
        }
        let front_blocks = if version == 2 { size.div_ceil(PART_BYTES).max(1) } else { 1 };
        let blocks = bytes.div_ceil(BASIC_BYTES);
        let all = front_blocks.saturating_add(blocks);
        let kept = front_blocks.saturating_mul(wide(KEPT));
        if all > log.blocks || front_blocks > RECORD_BYTES_MAX / PART_BYTES || blocks > kept {
            return None;
        }
        let header =
            Self { lsn: be64(block, 16), tail_lsn: be64(block, 24), front_blocks, blocks, bytes, operations };
        Some(header)
    }

    /// Returns how many blocks the record has with its header.
    pub(crate) fn all_blocks(&self) -> u64 {
        self.front_blocks.saturating_add(self.blocks)
    }
}

/// Returns block and round of a position in the log.
pub(crate) fn place(lsn: u64) -> (u64, u32) {
    (lsn & 0xffff_ffff, crate::field::word(lsn >> 32))
}

/// Reads the record at `block`: its header, and its data as it was before the rounds
/// were written into it. Nothing if it is none, or not whole.
pub(crate) fn read(
    log: &Log<'_, '_>,
    block: u64,
    buffer: &mut Vec<u8>,
) -> Result<Option<(Header, Vec<u8>)>, Refusal> {
    buffer.resize(narrow(BASIC_BYTES), 0);
    log.read(block, buffer)?;
    let Some(header) = Header::parse(buffer, log) else {
        return Ok(None);
    };
    if be32(buffer, 300) != FORMAT_LITTLE {
        return Err(Refusal::Damaged("it was written by a machine of another kind"));
    }
    buffer.resize(narrow(header.all_blocks().saturating_mul(BASIC_BYTES)), 0);
    log.read(block, buffer)?;
    let (headers, data) = buffer.split_at(narrow(header.front_blocks.saturating_mul(BASIC_BYTES)));
    if !is_sum_right(&log.fs.superblock, headers, data, &header) {
        return Ok(None);
    }
    let mut data = data.to_vec();
    for (index, block) in data.chunks_mut(narrow(BASIC_BYTES)).enumerate() {
        let (part, within) = (index / KEPT, index % KEPT);
        let start = if part == 0 { 44 } else { part.saturating_mul(narrow(BASIC_BYTES)).saturating_add(4) };
        let at = start.saturating_add(within.saturating_mul(4));
        if let (Some(kept), Some(first)) = (headers.get(at..at.saturating_add(4)), block.get_mut(..4)) {
            first.copy_from_slice(kept);
        }
    }
    data.truncate(narrow(header.bytes));
    Ok(Some((header, data)))
}

/// Returns whether the checksum of a record is right.
fn is_sum_right(superblock: &Superblock, headers: &[u8], data: &[u8], header: &Header) -> bool {
    if !superblock.checksums {
        return true;
    }
    let expected = le32(headers, 32);
    SUMMED.into_iter().any(|summed| {
        let crc = crc32c(u32::MAX, headers.get(..32).unwrap_or_default());
        let crc = crc32c(crc, &[0; 4]);
        let crc = crc32c(crc, headers.get(36..summed).unwrap_or_default());
        let extended = headers.chunks(narrow(BASIC_BYTES)).skip(1);
        let crc =
            extended.fold(crc, |crc, block| crc32c(crc, block.get(..EXTENDED_BYTES).unwrap_or_default()));
        !crc32c(crc, data.get(..narrow(header.bytes)).unwrap_or_default()) == expected
    })
}

/// Passes all records from `tail` to `head` on; returns where one is damaged.
pub(crate) fn walk(
    log: &Log<'_, '_>,
    tail: u64,
    head: u64,
    mut record: impl FnMut(&Header, &[u8]) -> Result<(), Refusal>,
) -> Result<Result<(), u64>, Refusal> {
    let mut left = log.distance(tail, head);
    if left == 0 {
        left = log.blocks;
    }
    let mut at = tail;
    let mut buffer = Vec::new();
    while left > 0 {
        let Some((header, data)) = read(log, at, &mut buffer)? else {
            return Ok(Err(at));
        };
        let blocks = header.all_blocks();
        if blocks > left {
            return Ok(Err(at));
        }
        record(&header, &data)?;
        at = log.behind(at, blocks);
        left = left.saturating_sub(blocks);
    }
    Ok(Ok(()))
}
