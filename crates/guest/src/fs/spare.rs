//! What comes out of compressed pieces and no file shows.
//!
//! An extent of btrfs that was overwritten in part keeps all of its bytes; so does a fragment of
//! squashfs whose files are gone, and the last unit of a file of NTFS. Which bytes no file
//! shows is known only when all files are. They are given to a piece beside them, so that
//! nothing is unpacked once more for their sake.

use super::{Claims, FileSystem, Node, Views};
use crate::codec::UNPACKED_MAX;
use crate::field::{narrow, quotient, remainder, word};
use airlock_model::{Codec, Packed};

/// Where the stored bytes of a piece begin on the volume, how many there are, and their codec.
type Source = (u64, u64, Codec);

/// Bytes of what a source unpacks to, and the position of the piece that shows them.
#[derive(Debug, Clone, Copy)]
struct Shown {
    source: Source,
    from: u32,
    until: u32,
    piece: u32,
}

/// Adds a spare piece for every stretch that no piece of a file shows.
pub(super) fn add(fs: &mut FileSystem<'_>) {
    if fs.packs.len() == 0 {
        return;
    }
    let mut shown = Vec::new();
    collect(fs, &mut shown, |_, piece| !is_whole(piece));
    shown.sort_unstable_by_key(|shown| shown.source);
    let mut others = Vec::new();
    collect(fs, &mut others, |source, piece| {
        is_whole(piece) && shown.binary_search_by_key(&source, |shown| shown.source).is_ok()
    });
    shown.append(&mut others);
    shown.sort_unstable_by_key(|shown| (shown.source, shown.from, shown.piece));
    let mut spares = Vec::new();
    for same in shown.chunk_by(|a, b| a.source == b.source) {
        gaps(same, fs.packs.items(), &mut spares);
    }
    if spares.is_empty() {
        return;
    }
    spares.sort_by_key(|(position, _)| *position);
    fs.packs.insert(spares);
}

fn is_whole(piece: &Packed) -> bool {
    piece.skip == 0 && piece.length >= piece.unpacked
}

/// Collects what is shown by the pieces that are wanted.
fn collect(fs: &FileSystem<'_>, into: &mut Vec<Shown>, wanted: impl Fn(Source, &Packed) -> bool) {
    for (number, first, pieces) in fs.packs.lists() {
        let Some(node) = fs.nodes.get(narrow(u64::from(number))) else { continue };
        for (position, piece) in (first..).zip(pieces) {
            let at = place(&fs.claims, &fs.views, fs.unit_bytes, number, node, piece.stored);
            let Some(at) = at.filter(|_| piece.unpacked <= UNPACKED_MAX) else { continue };
            let source = (at, piece.stored_bytes, piece.codec);
            if wanted(source, piece) {
                let until = word(piece.skip.saturating_add(piece.length));
                let piece_at = u32::try_from(position).unwrap_or(u32::MAX);
                into.push(Shown { source, from: word(piece.skip), until, piece: piece_at });
            }
        }
    }
}

/// Returns where on the volume a byte of the stored stream of a file lies.
fn place(
    claims: &Claims,
    views: &Views,
    unit_bytes: u64,
    number: u32,
    node: &Node,
    stored: u64,
) -> Option<u64> {
    let runs = views.of(number);
    if let Some(before) = runs.partition_point(|run| run.logical <= stored).checked_sub(1) {
        let run = runs.get(before)?;
        return run.disk.checked_add(stored.checked_sub(run.logical)?);
    }
    let (unit, rest) = (quotient(stored, unit_bytes), remainder(stored, unit_bytes));
    let claims = claims.of(node.first_claim, node.claims);
    let before = claims.partition_point(|claim| claim.logical() <= unit).checked_sub(1)?;
    let claim = claims.get(before)?;
    let within = unit.checked_sub(claim.logical())?;
    claim.block.checked_add(within)?.checked_mul(unit_bytes)?.checked_add(rest)
}

/// Adds what is not shown of one source. Those that show it are in ascending order.
fn gaps(shown: &[Shown], pieces: &[Packed], spares: &mut Vec<(usize, Packed)>) {
    let of = |shown: &Shown| Some((shown.piece, *pieces.get(narrow(u64::from(shown.piece)))?));
    let all = shown.iter().filter_map(of).map(|(_, piece)| word(piece.unpacked)).max().unwrap_or(0);
    let mut add = |from: u32, until: u32, beside: &Shown| {
        let Some((position, piece)) = of(beside).filter(|_| from < until) else { return };
        let (from, until) = (u64::from(from), u64::from(until));
        let before = piece.skip.saturating_sub(from);
        let logical = piece.logical.saturating_add(from.saturating_sub(piece.skip));
        let spare = Packed {
            logical: logical.saturating_sub(before),
            length: until.saturating_sub(from),
            skip: from,
            unpacked: piece.unpacked.max(until),
            spare: true,
            ..piece
        };
        spares.push((narrow(u64::from(position)), spare));
    };
    let mut behind = 0;
    let mut last: Option<&Shown> = None;
    for one in shown {
        add(behind, one.from.min(all), last.unwrap_or(one));
        if one.until >= behind {
            (behind, last) = (one.until, Some(one));
        }
    }
    if let Some(last) = last {
        add(behind, all, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shown: &[(u32, u32)], expected: &[(usize, u64, u64, u64)]) {
        let piece = |&(from, until): &(u32, u32)| Packed {
            logical: 1000 + u64::from(from),
            length: u64::from(until - from),
            stored: 0,
            stored_bytes: 50,
            skip: u64::from(from),
            unpacked: 100,
            codec: Codec::Zstd,
            spare: false,
        };
        let pieces: Vec<_> = shown.iter().map(piece).collect();
        let shown: Vec<_> = (0..)
            .zip(shown)
            .map(|(piece, &(from, until))| Shown { source: (7, 50, Codec::Zstd), from, until, piece })
            .collect();
        let mut spares = Vec::new();
        gaps(&shown, &pieces, &mut spares);
        let found: Vec<_> = spares
            .iter()
            .map(|(beside, piece)| {
                assert!(piece.spare);
                (*beside, piece.logical, piece.skip, piece.length)
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_no_file_shows_is_beside_one_that_shows_something() {
        check(&[(0, 100)], &[]);
        check(&[(20, 60), (60, 100)], &[(0, 1000, 0, 20)]);
        check(&[(0, 10), (0, 30), (5, 20), (50, 60)], &[(1, 1030, 30, 20), (3, 1060, 60, 40)]);
        check(&[(0, 100), (20, 30)], &[]);
        check(&[(0, 120)], &[]);
    }
}
