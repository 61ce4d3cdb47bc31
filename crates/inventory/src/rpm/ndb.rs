//! `Packages.db`, rpm's own database (rpm, `lib/backend/ndb/rpmpkg.c`).
//!
//! ```text
//! header (32 bytes): "RpmP", version, generation, pages of slots, next number, 3 × 0
//! slot (16 bytes):   "Slot", number of the package or 0, first block, blocks
//! blob, in blocks of 16 bytes: "BlbS", number, generation, length │ header │ checksum, length, "BlbE"
//! ```
//!
//! All numbers are little-endian and of 4 bytes. Slots begin behind the header and fill pages of 4 KiB.

use super::{HEADER_BYTES_MAX, Headers};
use airlock_model::field::le32;

const PAGE_BYTES: u64 = 4096;
const HEADER_BYTES: u64 = 32;
const BLOCK_BYTES: u64 = 16;
const BLOB_HEAD_BYTES: u64 = 16;
/// Most pages of slots, as rpm itself has it.
const SLOT_PAGES_MAX: u64 = 2048;

/// Reads all packages; nothing if not all could be.
pub(super) fn read(headers: &mut Headers<'_>) -> Option<()> {
    let head = headers.part(0, HEADER_BYTES)?;
    let pages = u64::from(le32(&head, 12)?);
    if le32(&head, 4)? != 0 || pages == 0 || pages > SLOT_PAGES_MAX {
        return None;
    }
    let slots = headers.part(HEADER_BYTES, pages * PAGE_BYTES - HEADER_BYTES)?;
    for slot in slots.as_chunks::<16>().0 {
        if !slot.starts_with(b"Slot") {
            return None;
        }
        let number = le32(slot, 4)?;
        if number == 0 {
            continue;
        }
        let at = u64::from(le32(slot, 8)?) * BLOCK_BYTES;
        let Some(blob) = blob(headers, at, number) else {
            headers.skip();
            continue;
        };
        headers.add(at, &blob)?;
    }
    Some(())
}

fn blob(headers: &mut Headers<'_>, at: u64, number: u32) -> Option<Vec<u8>> {
    let head = headers.part(at, BLOB_HEAD_BYTES)?;
    let length = u64::from(le32(&head, 12)?);
    if !head.starts_with(b"BlbS") || le32(&head, 4)? != number || length > HEADER_BYTES_MAX {
        return None;
    }
    headers.part(at + BLOB_HEAD_BYTES, length)
}
