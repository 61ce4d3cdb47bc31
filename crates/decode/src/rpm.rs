//! Packages of RPM: a lead, two headers, and an archive that is compressed as a whole (RPM package format, version 3).

use crate::layer::Relation;
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::Reason;
use airlock_model::field::be32;

pub(crate) const MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const LEAD_BYTES: u64 = 96;
const HEADER_MAGIC: &[u8] = b"\x8e\xad\xe8\x01";
/// Bytes of what comes before the index of a header, and of an entry of it.
const INTRO_BYTES: usize = 16;
const ENTRY_BYTES: u64 = 16;

/// Passes over a header. Returns its bytes, or nothing if there is none.
fn header(stream: &mut Stream<'_, '_>) -> Option<u64> {
    let intro = stream.peek(INTRO_BYTES);
    if !intro.starts_with(HEADER_MAGIC) {
        return None;
    }
    let (entries, data) = (be32(intro, 8)?, be32(intro, 12)?);
    let bytes = u64::from(entries).checked_mul(ENTRY_BYTES)?.checked_add(u64::from(data))?.checked_add(16)?;
    stream.skip(bytes).then_some(bytes)
}

/// Opens the archive.
pub(crate) fn open(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let mut headers = || {
        stream.skip(LEAD_BYTES).then_some(())?;
        // The first header is filled up to eight bytes.
        let signatures = header(stream)?;
        stream.skip(signatures.next_multiple_of(8).saturating_sub(signatures)).then_some(())?;
        header(stream)
    };
    if headers().is_none() {
        walk.note(Reason::Unsupported);
        return;
    }
    let (depth, at) = (stream.depth(), stream.position());
    walk.open(depth, ("rpm", at), Relation::Same, Box::new(stream));
}
