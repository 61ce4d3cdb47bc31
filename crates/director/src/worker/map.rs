//! A survey on its way from the worker to the director.

use super::wire::{Answer, BATCH_BYTES, Row};
use airlock_guest::Survey;
use airlock_model::{CHUNK_BYTES_MAX, Packed};
use airlock_model::{Extent, PackedFile, Place, PlaceKind, PlaceMapBuilder, Reason, Run, Volume, invariant};

/// Most bytes that the map of a bundle takes at a director.
const MAP_BYTES_MAX: usize = 2 << 30;
/// Most pieces of a chunk's size that a place may be cut into: a file of 16 TiB in one stretch.
const PIECES_MAX: u64 = 16 << 20;
/// No byte lies behind this one, in a file or on a disk.
const OFFSET_MAX: u64 = 1 << 63;
/// Most volumes.
const VOLUMES_MAX: usize = 65_535;

/// Hands a survey over, frame by frame.
pub(super) fn hand_over<E>(survey: &Survey, say: &mut dyn FnMut(&Answer) -> Result<(), E>) -> Result<(), E> {
    let volumes = survey.map.volumes();
    for some in volumes.chunks(1024) {
        say(&Answer::Volumes(some.to_vec()))?;
    }
    let mut rows = Vec::new();
    let mut bytes = 0;
    let mut number = 0;
    for place in survey.map.iter() {
        // Places of a volume mostly come one behind the other.
        if !volumes.get(number).is_some_and(|volume| std::ptr::eq(volume, place.volume)) {
            number = volumes.iter().position(|volume| std::ptr::eq(volume, place.volume)).unwrap_or(0);
        }
        let Place { kind, path, size, view, unscannable, .. } = place;
        let volume = u16::try_from(number).unwrap_or(u16::MAX);
        rows.push(Row::Place { kind, volume, path: path.to_vec(), size, view, unscannable });
        bytes += path.len() + size_of::<Row>();
        for runs in place.runs.chunks(BATCH_BYTES / size_of::<Run>()) {
            rows.push(Row::Runs(runs.to_vec()));
            bytes += size_of_val(runs);
            flush(&mut rows, &mut bytes, say)?;
        }
        for packed in place.packed.chunks(BATCH_BYTES / size_of::<Packed>()) {
            rows.push(Row::Packed(packed.to_vec()));
            bytes += size_of_val(packed);
            flush(&mut rows, &mut bytes, say)?;
        }
        flush(&mut rows, &mut bytes, say)?;
    }
    say(&Answer::Map(rows))?;
    say(&Answer::Surveyed { limits: survey.limits.clone() })
}

fn flush<E>(
    rows: &mut Vec<Row>,
    bytes: &mut usize,
    say: &mut dyn FnMut(&Answer) -> Result<(), E>,
) -> Result<(), E> {
    if *bytes < BATCH_BYTES {
        return Ok(());
    }
    *bytes = 0;
    say(&Answer::Map(std::mem::take(rows)))
}

/// A place whose runs and pieces are still coming.
#[derive(Debug)]
struct Coming {
    kind: PlaceKind,
    volume: u16,
    path: Vec<u8>,
    size: u64,
    view: bool,
    unscannable: Option<Reason>,
    runs: Vec<Run>,
    packed: Vec<Packed>,
}

/// Puts together what a worker surveyed, and believes nothing that would hurt.
#[derive(Debug)]
pub(super) struct TakeOver {
    size: u64,
    volumes: usize,
    bytes: usize,
    map: PlaceMapBuilder,
    coming: Option<Coming>,
}

impl TakeOver {
    /// Begins with nothing of a disk of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        Self { size, volumes: 0, bytes: 0, map: PlaceMapBuilder::new(size), coming: None }
    }

    fn count(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAP_BYTES_MAX { Err("its map is larger than a map may be") } else { Ok(()) }
    }

    fn is_inside(&self, extent: &Extent) -> bool {
        extent.offset.checked_add(extent.length).is_some_and(|end| end <= self.size)
    }

    /// Takes volumes.
    pub(super) fn volumes(&mut self, volumes: Vec<Volume>) -> Result<(), &'static str> {
        for volume in volumes {
            self.count(size_of::<Volume>() + volume.label.len() + volume.content.len())?;
            if !self.is_inside(&volume.extent) || self.volumes >= VOLUMES_MAX {
                return Err("it has a volume that cannot be there");
            }
            self.map.volume(volume);
            self.volumes += 1;
        }
        Ok(())
    }

    /// Takes a part of the map.
    pub(super) fn rows(&mut self, rows: Vec<Row>) -> Result<(), &'static str> {
        for row in rows {
            match row {
                Row::Place { kind, volume, path, size, view, unscannable } => {
                    self.finish_place()?;
                    self.count(size_of::<Row>() + path.len())?;
                    let known = usize::from(volume) < self.volumes && size <= OFFSET_MAX;
                    if !known || path.len() > usize::from(u16::MAX) || (view && kind != PlaceKind::File) {
                        return Err("it has a place that cannot be there");
                    }
                    let (runs, packed) = (Vec::new(), Vec::new());
                    let coming = Coming { kind, volume, path, size, view, unscannable, runs, packed };
                    self.coming = Some(coming);
                }
                Row::Runs(runs) => {
                    self.count(size_of_val(runs.as_slice()))?;
                    let fits = |run: &Run| ends(run.logical, run.length) && self.is_inside(&run.extent());
                    if !runs.iter().all(fits) {
                        return Err("it has a run behind the end of the disk");
                    }
                    self.coming.as_mut().ok_or("it has runs of no place")?.runs.extend(runs);
                }
                Row::Packed(packed) => {
                    self.count(size_of_val(packed.as_slice()))?;
                    let fits = |of: &Packed| {
                        ends(of.logical, of.length)
                            && ends(of.stored, of.stored_bytes)
                            && ends(of.skip, of.unpacked)
                    };
                    if !packed.iter().all(fits) {
                        return Err("it has a piece behind the end of a file");
                    }
                    self.coming.as_mut().ok_or("it has pieces of no place")?.packed.extend(packed);
                }
            }
        }
        Ok(())
    }

    fn finish_place(&mut self) -> Result<(), &'static str> {
        let Some(Coming { kind, volume, path, size, view, unscannable, runs, packed }) = self.coming.take()
        else {
            return Ok(());
        };
        let chunk = CHUNK_BYTES_MAX as u64;
        let mut sums = Some((0_u64, 0_u64));
        for run in &runs {
            sums = sums.and_then(|(bytes, pieces): (u64, u64)| {
                Some((bytes.checked_add(run.length)?, pieces.checked_add(run.length / chunk + 2)?))
            });
        }
        // Small runs of one chunk count once, as they are cut.
        let few = |pieces: u64| pieces <= PIECES_MAX.saturating_add(2 * runs.len() as u64);
        if !sums.is_some_and(|(bytes, pieces)| bytes <= OFFSET_MAX && few(pieces)) {
            return Err("it has a file that is longer than a file may be");
        }
        if !packed.is_empty() && (kind != PlaceKind::File || runs.is_empty()) {
            return Err("it has pieces of what is not packed");
        }
        if !packed.is_empty() {
            let (path, runs, packed) = (path.as_slice(), runs.as_slice(), packed.as_slice());
            self.map.packed(PackedFile { volume, path, size, runs, packed, view });
        } else if view {
            self.map.view(volume, &path, size, &runs);
        } else {
            self.map.place(volume, kind, &path, size, &runs);
        }
        if let Some(reason) = unscannable {
            self.map.unscannable(self.map.places().saturating_sub(1), reason);
        }
        Ok(())
    }

    /// Ends the survey: its places must tile the disk (I2).
    pub(super) fn finish(mut self, mut limits: Vec<Extent>) -> Result<Survey, &'static str> {
        self.finish_place()?;
        if !limits.iter().all(|limit| self.is_inside(limit)) {
            return Err("it met a limit behind the end of the disk");
        }
        limits = airlock_model::joined(limits);
        let map = self.map.finish();
        invariant::places_tile(&map).map_err(|_| "its places do not tile the disk")?;
        Ok(Survey { map, oddities: Vec::new(), limits, replays: Vec::new() })
    }
}

/// Returns whether a stretch ends where something can end.
fn ends(start: u64, length: u64) -> bool {
    start.checked_add(length).is_some_and(|end| end <= OFFSET_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_model::{Codec, PlaceMap};

    const SIZE: u64 = 1000;

    fn run(logical: u64, disk: u64, length: u64) -> Run {
        Run { logical, disk, length }
    }

    fn whole() -> Volume {
        let extent = Extent::new(0, SIZE);
        Volume { label: "whole".into(), content: "btrfs".into(), extent, block_bytes: 10 }
    }

    fn packed() -> Packed {
        Packed {
            logical: 0,
            length: 50,
            stored: 0,
            stored_bytes: 20,
            skip: 0,
            unpacked: 50,
            codec: Codec::Zstd,
            spare: false,
        }
    }

    /// Takes a survey over as it is handed over.
    fn take_over(volumes: Vec<Volume>, rows: Vec<Row>, limits: Vec<Extent>) -> Result<Survey, &'static str> {
        let mut there = TakeOver::new(SIZE);
        there.volumes(volumes)?;
        there.rows(rows)?;
        there.finish(limits)
    }

    fn of(map: &PlaceMap) -> Vec<String> {
        map.iter().map(|place| format!("{place:?}")).collect()
    }

    #[test]
    fn a_map_is_the_same_on_the_other_side() {
        let mut map = PlaceMapBuilder::new(SIZE);
        let other = Volume { label: "p2".into(), extent: Extent::new(500, 500), ..whole() };
        let (first, second) = (map.volume(whole()), map.volume(other));
        map.place(first, PlaceKind::Metadata, b"", 100, &[run(0, 900, 100)]);
        map.place(second, PlaceKind::File, b"/a", 95, &[run(0, 500, 50), run(60, 400, 45)]);
        map.place(second, PlaceKind::Slack, b"/a", 5, &[run(105, 445, 5)]);
        map.view(first, b"/inline", 7, &[run(0, 950, 7)]);
        let (runs, pieces) = ([run(0, 700, 20)], [packed()]);
        let file = PackedFile { volume: 1, path: b"/z", size: 50, runs: &runs, packed: &pieces, view: false };
        map.packed(file);
        map.place(first, PlaceKind::Free, b"", 730, &[run(0, 0, 400), run(400, 450, 50), run(450, 550, 150)]);
        let before = map.places();
        map.place(first, PlaceKind::Raw, b"", 180, &[run(0, 720, 180)]);
        map.unscannable(before, Reason::Unsupported);
        let map = map.finish();
        assert_eq!(invariant::places_tile(&map), Ok(()));
        let survey = Survey { map, oddities: vec![], limits: vec![Extent::new(5, 10)], replays: vec![] };
        let mut there = TakeOver::new(SIZE);
        let mut limits = None;
        let mut hear = |answer: &Answer| {
            let said = postcard::to_stdvec(answer).expect("plain data");
            match postcard::from_bytes(&said).expect("what was said") {
                Answer::Volumes(volumes) => there.volumes(volumes),
                Answer::Map(rows) => there.rows(rows),
                Answer::Surveyed { limits: found } => {
                    limits = Some(found);
                    Ok(())
                }
                _ => Err("something else"),
            }
        };
        hand_over(&survey, &mut hear).expect("a map");
        let found = there.finish(limits.expect("an end")).expect("a survey");
        assert_eq!(of(&found.map), of(&survey.map));
        assert_eq!(found.limits, survey.limits);
    }

    #[test]
    fn what_cannot_be_a_map_is_not_believed() {
        let place = |kind, view| Row::Place {
            kind,
            volume: 0,
            path: b"/a".to_vec(),
            size: SIZE,
            view,
            unscannable: None,
        };
        let file = |runs: &[Run]| vec![place(PlaceKind::File, false), Row::Runs(runs.to_vec())];
        let all = file(&[run(0, 0, SIZE)]);
        let and = |more: Vec<Row>| file(&[run(0, 0, SIZE)]).into_iter().chain(more).collect::<Vec<_>>();
        let check = |rows: Vec<Row>, expected: &str| {
            let error = take_over(vec![whole()], rows, vec![]).expect_err(expected);
            assert!(error.contains(expected), "{error:?} is not {expected:?}");
        };
        assert!(take_over(vec![whole()], all, vec![]).is_ok());
        check(vec![], "do not tile");
        check(file(&[run(0, 0, SIZE - 1)]), "do not tile");
        check(file(&[run(0, 0, SIZE), run(SIZE, 10, 1)]), "do not tile");
        check(file(&[run(0, 1, SIZE)]), "behind the end of the disk");
        check(file(&[run(0, u64::MAX, 2)]), "behind the end of the disk");
        check(file(&[run(u64::MAX, 0, 1)]), "behind the end of the disk");
        check(vec![Row::Runs(vec![run(0, 0, 1)])], "of no place");
        check(vec![Row::Packed(vec![packed()])], "of no place");
        check(and(vec![place(PlaceKind::Free, true)]), "cannot be there");
        check(and(vec![place(PlaceKind::File, true), Row::Packed(vec![packed()])]), "not packed");
        let beyond = Packed { stored: u64::MAX, ..packed() };
        check(and(vec![place(PlaceKind::File, true), Row::Packed(vec![beyond])]), "end of a file");
        let unknown = Row::Place {
            kind: PlaceKind::File,
            volume: 1,
            path: vec![],
            size: 0,
            view: true,
            unscannable: None,
        };
        check(and(vec![unknown]), "cannot be there");
        let outside = Volume { extent: Extent::new(1, SIZE), ..whole() };
        let rows = || file(&[run(0, 0, SIZE)]);
        assert!(take_over(vec![outside], rows(), vec![]).is_err());
        assert!(take_over(vec![], rows(), vec![]).is_err());
        assert!(take_over(vec![whole()], rows(), vec![Extent::new(SIZE, 1)]).is_err());
    }

    #[test]
    fn a_view_that_repeats_itself_has_an_end() {
        let disk = 1 << 62;
        let mut there = TakeOver::new(disk);
        there.volumes(vec![Volume { extent: Extent::new(0, disk), ..whole() }]).unwrap();
        let (kind, path) = (PlaceKind::File, Vec::new());
        let view = Row::Place { kind, volume: 0, path, size: 1, view: true, unscannable: None };
        there.rows(vec![view, Row::Runs(vec![run(0, 0, disk); 8])]).unwrap();
        assert!(there.finish(vec![]).unwrap_err().contains("longer than a file"));
    }
}
