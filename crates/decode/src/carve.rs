//! Finds what begins at a block of space that no file owns.
//!
//! File systems give files whole blocks, so a deleted file begins at one. Only what has a strong
//! signature is opened there: a few bytes that look like a header are common in what is left of
//! other files.

use crate::layer::Sink;
use crate::limits::Limits;
use crate::sniff::{HEAD_BYTES, Kind, sniff};
use crate::walk::Walk;
use airlock_model::Reason;
use std::collections::BTreeSet;

/// Opens what begins at a block in `bytes`; blocks of `block` bytes begin at `first`. Layers say
/// where in `bytes` they begin.
///
/// What is left of a file is seldom whole, so that something is cut or damaged is not said; limits
/// and encryption are.
pub fn carve(
    bytes: &[u8],
    (first, block): (usize, usize),
    limits: &Limits,
    sink: &mut dyn Sink,
) -> BTreeSet<Reason> {
    let walk = Walk::new(limits, sink);
    let mut done: Vec<Kind> = Vec::new();
    for start in (first..bytes.len()).step_by(block.max(512)) {
        let mut rest = bytes.get(start..).unwrap_or_default();
        if !may_begin(rest) {
            continue;
        }
        let Some(kind) = sniff(rest.get(..HEAD_BYTES).unwrap_or(rest), 0) else { continue };
        // These are searched to the end: what begins behind is found with the first one.
        if kind.in_any_order() {
            if done.contains(&kind) {
                continue;
            }
            done.push(kind);
        }
        walk.rebase(start);
        walk.enter_file(&mut rest);
    }
    let mut reasons = walk.into_reasons();
    reasons.remove(&Reason::Unsupported);
    reasons
}

/// Whether a block begins with a signature of at least three bytes that is opened.
#[inline]
fn may_begin(block: &[u8]) -> bool {
    match block.first_chunk() {
        Some([0x1f, 0x8b, 8, _]) => true,
        Some(four) => {
            let strong = [
                *b"PK\x03\x04",
                *b"%PDF",
                *b"SQLi",
                *b"\xfd7zX",
                *b"\x28\xb5\x2f\xfd",
                *b"!<ar",
                *b"MSCF",
                *b"\xd0\xcf\x11\xe0",
            ];
            strong.contains(four)
                || four.starts_with(b"BZh")
                || block.get(257..262).is_some_and(|magic| magic == b"ustar")
        }
        None => false,
    }
}
