//! Arithmetic on runs: parts of places, chunks of them, and where their bytes lie.

use super::outcome::{Content, Piece};
use airlock_model::{CHUNK_BYTES_MAX, Extent, Finding, Packed, Place, PlaceKind, Run, Space};

const CHUNK_BYTES: u64 = CHUNK_BYTES_MAX as u64;

/// Returns the runs that lie in a part of a place, counted over the runs.
pub(super) fn part_of(runs: &[Run], logical: u64, length: u64) -> Vec<Run> {
    let wanted = Extent::new(logical, length);
    // Long lists of runs are counted already: their logical offsets are running sums.
    let summed = runs.len() > 16
        && runs[0].logical == 0
        && runs.windows(2).take(16).all(|two| two[0].logical + two[0].length == two[1].logical);
    let first = if summed { runs.partition_point(|run| run.logical + run.length <= logical) } else { 0 };
    let mut at = if summed { runs.get(first).map_or(0, |run| run.logical) } else { 0 };
    let mut part = Vec::new();
    for run in &runs[first..] {
        if let Some(shared) = Extent::new(at, run.length).intersect(&wanted) {
            let skip = shared.offset - at;
            part.push(Run { logical: shared.offset, disk: run.disk + skip, length: shared.length });
        }
        at += run.length;
        if at >= wanted.end() {
            break;
        }
    }
    part
}

/// Returns whether `at` lies in the middle of a run. Long lists of runs are in the order of the disk.
pub(super) fn splits(runs: &[Run], at: u64) -> bool {
    let inside = |run: &Run| run.disk < at && at < run.disk + run.length;
    if runs.len() <= 64 {
        return runs.iter().any(inside);
    }
    let after = runs.partition_point(|run| run.disk < at);
    after.checked_sub(1).and_then(|index| runs.get(index)).is_some_and(inside)
}

/// Cuts runs into chunks at multiples of a chunk's size in logical order, and where the bytes
/// are another member's: a chunk belongs to one.
pub(super) fn cut(runs: &[Run], space: &Space) -> Vec<Piece> {
    let mut pieces: Vec<((u64, usize), Piece)> = Vec::new();
    for run in runs {
        let mut rest = *run;
        while rest.length > 0 {
            let number = rest.logical / CHUNK_BYTES;
            let room = (number + 1) * CHUNK_BYTES - rest.logical;
            let member = space.next_start(rest.disk).map_or(u64::MAX, |next| next - rest.disk);
            let length = rest.length.min(room).min(member);
            let part = Run { length, ..rest };
            let key = (number, space.index_at(rest.disk));
            match pieces.last_mut() {
                Some((last, piece)) if *last == key => piece.runs.push(part),
                _ => pieces.push((key, Piece { runs: vec![part], content: Content::Zero })),
            }
            rest = Run {
                logical: rest.logical + length,
                disk: rest.disk + length,
                length: rest.length - length,
            };
        }
    }
    pieces.into_iter().map(|(_, piece)| piece).collect()
}

/// Returns where on the disk a byte of a file lies; for a packed file, where the stored bytes
/// begin that it comes out of.
pub(super) fn to_disk(place: &Place<'_>, logical: u64) -> Option<u64> {
    if place.packed.is_empty() {
        return stored_to_disk(place.runs, logical);
    }
    let inside = |of: &&Packed| !of.spare && of.logical <= logical && logical < of.logical + of.length;
    stored_to_disk(place.runs, place.packed.iter().find(inside)?.stored)
}

/// Returns where on the disk a byte of a stream of runs lies.
pub(super) fn stored_to_disk(runs: &[Run], logical: u64) -> Option<u64> {
    let run = runs.iter().find(|run| run.logical <= logical && logical < run.logical + run.length)?;
    Some(run.disk + (logical - run.logical))
}

/// Returns the parts of the disk that a finding's bytes lie in.
pub(super) fn touched_by(place: &Place<'_>, finding: &Finding, logical: bool) -> Vec<Extent> {
    let stored = !place.packed.is_empty() && finding.place == PlaceKind::Slack.name();
    if !logical || stored {
        let spare = finding.disk_offset.filter(|_| stored).and_then(|offset| spare_at(place, offset));
        return spare.unwrap_or_else(|| {
            finding.disk_offset.map(|offset| Extent::new(offset, finding.length)).into_iter().collect()
        });
    }
    let wanted = Extent::new(finding.offset, finding.length);
    if !place.packed.is_empty() {
        return stored_of(place, &wanted);
    }
    let in_run = |run: &Run| {
        let shared = Extent::new(run.logical, run.length).intersect(&wanted)?;
        Some(Extent::new(run.disk + (shared.offset - run.logical), shared.length))
    };
    place.runs.iter().filter_map(in_run).collect()
}

/// Returns the stored bytes that a spare piece comes out of, which begin at this byte of the disk.
fn spare_at(place: &Place<'_>, disk_offset: u64) -> Option<Vec<Extent>> {
    let spares = place.packed.iter().filter(|of| of.spare);
    let mut found = spares.filter(|of| stored_to_disk(place.runs, of.stored) == Some(disk_offset));
    let of = found.next()?;
    Some(part_of(place.runs, of.stored, of.stored_bytes).iter().map(Run::extent).collect())
}

/// Returns where what a part of a packed file comes out of lies.
fn stored_of(place: &Place<'_>, wanted: &Extent) -> Vec<Extent> {
    let pieces = place.packed.iter().filter(|of| !of.spare);
    let touched = pieces.filter(|of| Extent::new(of.logical, of.length).intersect(wanted).is_some());
    let stored = touched.flat_map(|of| part_of(place.runs, of.stored, of.stored_bytes));
    stored.map(|run| run.extent()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_model::{Member, MemberKind};

    fn runs(list: &[(u64, u64, u64)]) -> Vec<Run> {
        list.iter().map(|&(logical, disk, length)| Run { logical, disk, length }).collect()
    }

    #[test]
    fn a_part_is_counted_over_the_runs_whatever_their_number() {
        let few = runs(&[(0, 100, 10), (10, 200, 10), (20, 300, 10)]);
        assert_eq!(part_of(&few, 5, 10), runs(&[(5, 105, 5), (10, 200, 5)]));
        let many: Vec<Run> =
            (0..100).map(|at| Run { logical: at * 10, disk: at * 100, length: 10 }).collect();
        assert_eq!(part_of(&many, 985, 100), runs(&[(985, 9805, 5), (990, 9900, 10)]));
        assert_eq!(part_of(&many, 0, 15), runs(&[(0, 0, 10), (10, 100, 5)]));
        let slack = runs(&[(1000, 50, 10), (5000, 90, 10)]);
        assert_eq!(part_of(&slack, 10, 10), runs(&[(10, 90, 10)]));
    }

    #[test]
    fn a_split_is_in_the_middle_of_a_run_and_not_at_its_edge() {
        let few = runs(&[(0, 100, 10), (10, 200, 10)]);
        let at = |at| splits(&few, at);
        assert_eq!([99, 100, 101, 109, 110, 205].map(at), [false, false, true, true, false, true]);
        let many: Vec<Run> =
            (0..100).map(|at| Run { logical: at * 10, disk: at * 100, length: 10 }).collect();
        assert_eq!([500, 505, 510].map(|at| splits(&many, at)), [false, true, false]);
    }

    #[test]
    fn a_chunk_belongs_to_one_member() {
        let member = |number: usize| Member {
            id: format!("disk{number}"),
            size: 1000,
            kind: MemberKind::Disk { format: "raw".into(), name: String::new() },
        };
        let space = Space::new(vec![member(0), member(1)]).unwrap();
        let striped = runs(&[(0, 900, 200), (200, 0, 100), (300, 100, 100), (400, 1500, 50)]);
        let cuts: Vec<_> = cut(&striped, &space).iter().map(|piece| piece.runs.clone()).collect();
        let expected = [
            runs(&[(0, 900, 100)]),
            runs(&[(100, 1000, 100)]),
            runs(&[(200, 0, 100), (300, 100, 100)]),
            runs(&[(400, 1500, 50)]),
        ];
        assert_eq!(cuts, expected);
    }

    #[test]
    fn chunks_are_cut_at_multiples_of_their_size_in_the_file() {
        let mib = CHUNK_BYTES;
        let space = Space::of_disk(100 * mib, "raw");
        let list = runs(&[(0, 0, mib + 5), (mib + 5, 9 * mib, 10), (3 * mib - 1, 20 * mib, 2)]);
        let pieces = cut(&list, &space);
        let cuts: Vec<_> = pieces.iter().map(|piece| piece.runs.clone()).collect();
        assert_eq!(
            cuts,
            [
                runs(&[(0, 0, mib)]),
                runs(&[(mib, mib, 5), (mib + 5, 9 * mib, 10)]),
                runs(&[(3 * mib - 1, 20 * mib, 1)]),
                runs(&[(3 * mib, 20 * mib + 1, 1)])
            ]
        );
    }
}
