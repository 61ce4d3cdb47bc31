//! What has arrived of a disk, and which of its files can be judged.
//!
//! The director surveys the chamber as soon as a good part of a disk is there, and then judges each
//! file when its last byte has come, mostly from plain bytes that are still in memory. Nothing
//! relies on the order in which the manager sends, or on what it says (invariant I4): it is noted what
//! the survey has read, and where bytes arrive there later, or arrive a second time anywhere, what
//! was judged is forgotten. Whatever has no verdict at the end gets it then.

use airlock_checks::RETAINED_BYTES;
use airlock_model::{Extent, PlaceKind, PlaceMap};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Bytes of files that may wait to be judged before the streams are slowed down: less than what is
/// kept in memory of them.
const READY_BYTES: u64 = 16 << 20;
/// Files of more bytes than this are judged while they arrive: at their end, their beginning
/// is no longer in memory.
const LONG_BYTES: u64 = RETAINED_BYTES;

/// A part of a disk that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    length: u64,
    chunk: u32,
    within: u64,
}

/// Which bytes of a chunk fill a part of a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) extent: Extent,
    pub(crate) chunk: u32,
    pub(crate) within: u64,
}

/// What has arrived of one disk.
#[derive(Debug, Default)]
pub(crate) struct Arriving {
    pieces: BTreeMap<u64, Piece>,
    bytes: u64,
    /// Whether a byte arrived twice: then nothing is judged before the end.
    contested: bool,
    /// What arrived since a survey was begun.
    since: Option<Vec<Extent>>,
    watch: Option<Watch>,
}

/// What is looked out for once a disk is surveyed.
#[derive(Debug)]
struct Watch {
    /// What the survey has read, sorted.
    read: Vec<Extent>,
    /// The runs of files, sorted: where, how long, and which place.
    runs: Vec<(u64, u64, u32)>,
    /// Bytes of each place that are not there.
    missing: Vec<u64>,
    /// Files that are complete and wait to be judged, and how many bytes they have.
    ready: VecDeque<(usize, u64)>,
    ready_bytes: u64,
    /// Bytes of each place.
    bytes: Vec<u64>,
    /// Long files that have begun to arrive and wait for a judge.
    begun: VecDeque<usize>,
    /// Long files that wait for a judge or have one.
    followed: BTreeSet<usize>,
    /// Whether a file was judged that the policy does not let pass.
    condemned: bool,
}

impl Watch {
    fn new(map: &PlaceMap, read: Vec<Extent>) -> Self {
        let mut runs = Vec::new();
        let mut missing = vec![0; map.len()];
        for place in map.iter().filter(|place| place.kind == PlaceKind::File && !place.view) {
            for run in place.runs.iter().filter(|run| run.length > 0) {
                runs.push((run.disk, run.length, u32::try_from(place.index).unwrap_or(u32::MAX)));
                missing[place.index] += run.length;
            }
        }
        runs.sort_unstable();
        let bytes = missing.clone();
        let (ready, begun, followed) = Default::default();
        Self { read, runs, missing, ready, ready_bytes: 0, bytes, begun, followed, condemned: false }
    }

    /// Notes what is there. With `follow`, a long file is judged as it comes from now on.
    fn arrived(&mut self, extent: Extent, follow: bool) {
        let after = self.runs.partition_point(|(start, length, _)| start + length <= extent.offset);
        for &(start, length, place) in
            self.runs[after..].iter().take_while(|(start, _, _)| *start < extent.end())
        {
            let shared = Extent::new(start, length).intersect(&extent).map_or(0, |shared| shared.length);
            let place = place as usize;
            let (Some(missing), Some(&bytes)) = (self.missing.get_mut(place), self.bytes.get(place)) else {
                continue;
            };
            let begins = *missing == bytes;
            *missing = missing.saturating_sub(shared);
            if *missing == 0 && shared > 0 && !self.followed.contains(&place) {
                self.ready.push_back((place, bytes));
                self.ready_bytes += bytes;
            } else if begins && follow && bytes > LONG_BYTES {
                self.followed.insert(place);
                self.begun.push_back(place);
            }
        }
    }
}

fn touches(sorted: &[Extent], extent: &Extent) -> bool {
    let after = sorted.partition_point(|one| one.end() <= extent.offset);
    sorted.get(after).is_some_and(|one| one.intersect(extent).is_some())
}

impl Arriving {
    /// Notes that a chunk fills these extents.
    pub(crate) fn add(&mut self, chunk: u32, extents: &[Extent]) {
        let mut within = 0;
        for extent in extents {
            let before = self.pieces.range(..extent.end()).next_back();
            if before.is_some_and(|(start, piece)| start + piece.length > extent.offset) {
                self.contested = true;
            }
            self.pieces.insert(extent.offset, Piece { length: extent.length, chunk, within });
            within += extent.length;
            self.bytes = self.bytes.saturating_add(extent.length);
            if let Some(since) = &mut self.since {
                since.push(*extent);
            }
            if self.watch.as_ref().is_some_and(|watch| touches(&watch.read, extent)) {
                self.watch = None;
            }
            if let Some(watch) = &mut self.watch {
                watch.arrived(*extent, true);
            }
        }
        if self.contested {
            self.watch = None;
        }
    }

    /// Starts to look out on behalf of a survey that has read this, unless that is outdated already.
    pub(crate) fn watch(&mut self, map: &PlaceMap, read: Vec<Extent>) -> bool {
        let since = self.since.take().unwrap_or_default();
        if self.contested || since.iter().any(|extent| touches(&read, extent)) {
            return false;
        }
        let mut watch = Watch::new(map, read);
        for (&offset, piece) in &self.pieces {
            watch.arrived(Extent::new(offset, piece.length), false);
        }
        self.watch = Some(watch);
        true
    }

    /// Returns what a judge of long files does next.
    pub(crate) fn next_long(&mut self) -> Next {
        match &mut self.watch {
            None => Next::Outdated,
            Some(watch) => match watch.begun.pop_front() {
                None => Next::Nothing,
                Some(index) => Next::File { index, caught_up: false },
            },
        }
    }

    /// Gives up a long file that does not come in order: it is judged when it is complete.
    pub(crate) fn give_up(&mut self, index: usize) {
        let Some(watch) = &mut self.watch else { return };
        watch.followed.remove(&index);
        if watch.missing.get(index) == Some(&0) {
            let bytes = watch.bytes.get(index).copied().unwrap_or(0);
            watch.ready.push_back((index, bytes));
            watch.ready_bytes += bytes;
        }
    }

    /// Returns what a judge does next.
    pub(crate) fn next(&mut self) -> Next {
        match &mut self.watch {
            None => Next::Outdated,
            Some(watch) => match watch.ready.pop_front() {
                None => Next::Nothing,
                Some((index, bytes)) => {
                    let behind = watch.ready_bytes > READY_BYTES;
                    watch.ready_bytes -= bytes;
                    Next::File { index, caught_up: behind && watch.ready_bytes <= READY_BYTES }
                }
            },
        }
    }

    /// Returns whether a survey is worth while once there are `bytes`.
    pub(crate) fn has(&self, bytes: u64) -> bool {
        self.bytes >= bytes && !self.contested
    }

    /// Notes that a survey begins, and returns how many bytes there are.
    pub(crate) fn begin_survey(&mut self) -> u64 {
        self.since = Some(Vec::new());
        self.bytes
    }

    /// Stops to look out: nothing is judged before the end any more.
    pub(crate) fn stop(&mut self) {
        self.contested = true;
        self.watch = None;
    }

    /// Notes that a file was judged that the policy does not let pass.
    pub(crate) fn condemn(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.condemned = true;
        }
    }

    /// Returns whether a file was judged that the policy does not let pass, and that verdict still holds.
    pub(crate) fn is_condemned(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.condemned)
    }

    /// Returns whether what was judged still holds.
    pub(crate) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// Returns the parts of a stretch that are there, in order.
    pub(crate) fn parts(&self, wanted: Extent) -> impl Iterator<Item = Part> {
        let before = self.pieces.range(..=wanted.offset).next_back().map_or(0, |(offset, _)| *offset);
        self.pieces.range(before..wanted.end()).filter_map(move |(&offset, piece)| {
            let extent = Extent::new(offset, piece.length).intersect(&wanted)?;
            Some(Part { extent, chunk: piece.chunk, within: piece.within + (extent.offset - offset) })
        })
    }

    /// Returns how many bytes from `offset` on are there, or, if none, how many are not.
    pub(crate) fn span_at(&self, offset: u64, size: u64) -> (bool, u64) {
        let here = self.pieces.range(..=offset).next_back();
        let here = here.map_or(0, |(start, piece)| (start + piece.length).saturating_sub(offset));
        if here > 0 {
            return (true, here);
        }
        (false, self.pieces.range(offset..).next().map_or(size, |(start, _)| *start) - offset)
    }

    /// Returns whether so much waits to be judged that it is better to receive no more for a while.
    pub(crate) fn is_behind(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.ready_bytes > READY_BYTES)
    }
}

/// What a judge does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Judge the file at this place; with it, the judges have caught up with the streams.
    File { index: usize, caught_up: bool },
    /// Wait for more.
    Nothing,
    /// Forget everything.
    Outdated,
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_model::{PlaceMapBuilder, Run, Volume};

    /// A disk whose metadata is its first 100 bytes, with a file in two parts and one behind it.
    fn map() -> PlaceMap {
        let mut map = PlaceMapBuilder::new(1000);
        let extent = Extent::new(0, 1000);
        let volume = Volume { label: "whole".into(), content: "ext4".into(), extent, block_bytes: 10 };
        let volume = map.volume(volume);
        let run = |logical, disk, length| Run { logical, disk, length };
        map.place(volume, PlaceKind::Metadata, b"", 100, &[run(0, 0, 100)]);
        map.place(volume, PlaceKind::File, b"/a", 60, &[run(0, 500, 40), run(40, 300, 20)]);
        map.place(volume, PlaceKind::File, b"/b", 10, &[run(0, 540, 10)]);
        map.place(volume, PlaceKind::Free, b"", 450, &[run(0, 550, 450)]);
        map.finish()
    }

    fn ready(arriving: &mut Arriving, map: &PlaceMap) -> Option<Vec<String>> {
        let mut ready = Vec::new();
        loop {
            match arriving.next() {
                Next::File { index, .. } => {
                    ready.push(String::from_utf8(map.get(index).unwrap().path.to_vec()).unwrap());
                }
                Next::Nothing => return Some(ready),
                Next::Outdated => return None,
            }
        }
    }

    fn surveyed(before: &[(u64, u64)], map: &PlaceMap) -> Arriving {
        let mut arriving = Arriving::default();
        for &(offset, length) in before {
            arriving.add(0, &[Extent::new(offset, length)]);
        }
        arriving.since = Some(Vec::new());
        assert!(arriving.watch(map, vec![Extent::new(0, 100)]));
        arriving
    }

    #[test]
    fn a_file_is_ready_with_its_last_byte_in_whatever_order() {
        let map = map();
        let mut arriving = surveyed(&[(0, 50), (500, 30)], &map);
        assert_eq!(ready(&mut arriving, &map), Some(vec![]));
        arriving.add(1, &[Extent::new(300, 20)]);
        assert_eq!(ready(&mut arriving, &map), Some(vec![]));
        arriving.add(2, &[Extent::new(530, 20)]);
        assert_eq!(ready(&mut arriving, &map), Some(vec!["/a".to_owned(), "/b".to_owned()]));
        arriving.add(3, &[Extent::new(600, 20)]);
        assert_eq!(ready(&mut arriving, &map), Some(vec![]));
    }

    #[test]
    fn what_the_survey_has_read_must_not_arrive_later() {
        let map = map();
        let mut arriving = surveyed(&[(0, 50), (300, 250)], &map);
        arriving.add(1, &[Extent::new(90, 20)]);
        assert_eq!(ready(&mut arriving, &map), None);
        let mut arriving = Arriving { since: Some(Vec::new()), ..Arriving::default() };
        arriving.add(1, &[Extent::new(90, 20)]);
        assert!(!arriving.watch(&map, vec![Extent::new(0, 100)]));
    }

    #[test]
    fn nothing_is_judged_early_where_bytes_arrive_twice() {
        let map = map();
        for again in [(300, 5), (290, 11), (549, 1), (0, 1000)] {
            let mut arriving = surveyed(&[(0, 50), (300, 250)], &map);
            arriving.add(1, &[Extent::new(again.0, again.1)]);
            assert_eq!(ready(&mut arriving, &map), None);
            assert!(!arriving.watch(&map, Vec::new()));
        }
    }
}
