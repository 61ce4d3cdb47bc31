//! Inspects files that their file system compresses.
//!
//! The disk has a stored stream, which is hashed and sent as it is; what it unpacks to is
//! inspected, in the order of the file. What a codec leaves unused at the end of a piece's
//! blocks is slack and inspected as such, and so is what comes out of it and no file shows; a
//! piece that does not unpack is inspected as it is stored, and the file is unscannable.

use super::RETAINED_BYTES;
use super::layers::{Layered, Layers, inspect_layers};
use super::outcome::{Content, Inspected, Piece};
use super::unit::{EDGE_CONTEXT_BYTES, Worker, is_zero, keep, to_usize};
use crate::search::Searcher;
use airlock_decode::Runs;
use airlock_guest::{UnpackError, unpack};
use airlock_inspect::Match;
use airlock_model::{Codec, ContentHash, Extent, Finding, Packed, Place, Reason};
use std::collections::{BTreeSet, VecDeque};

/// Pieces of the stored stream that are kept: as many as the bytes of a file that is kept.
const KEPT_PIECES: usize = 16;

/// Most bytes of slack in the blocks of one file that are inspected.
const SLACK_BYTES_MAX: usize = 16 << 20;

/// The stored stream of a file, read a piece at a time.
struct Stored<'p> {
    pieces: &'p mut [Piece],
    retain: bool,
    /// The pieces that were read last.
    kept: VecDeque<(usize, Vec<u8>)>,
    /// Pieces that were read at least once.
    seen: Vec<bool>,
    /// Where each piece begins in the stream.
    starts: Vec<u64>,
}

impl Stored<'_> {
    /// Fills `into` with the stored bytes of a piece of the file; false if some cannot be had.
    fn fill(&mut self, worker: &mut Worker<'_>, place: &Place<'_>, of: &Packed, into: &mut Vec<u8>) -> bool {
        into.clear();
        let end = of.stored.saturating_add(of.stored_bytes);
        let mut at = of.stored;
        while at < end {
            let number = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
            if !self.fetch(worker, place, number) {
                return false;
            }
            let bytes = self.kept.iter().find(|(kept, _)| *kept == number).map(|(_, bytes)| bytes);
            let from = to_usize(at.saturating_sub(self.starts[number]));
            let part = bytes.and_then(|bytes| bytes.get(from..)).unwrap_or_default();
            let length = part.len().min(to_usize(end - at));
            if length == 0 {
                return false;
            }
            into.extend_from_slice(&part[..length]);
            at += length as u64;
        }
        true
    }

    /// Reads what no piece of the file refers to: it is stored all the same.
    fn fetch_rest(&mut self, worker: &mut Worker<'_>, place: &Place<'_>) {
        for number in 0..self.pieces.len() {
            if !self.seen[number] {
                self.fetch(worker, place, number);
            }
        }
    }

    /// Makes sure that a piece is kept. One that is read again must be what it was (I6).
    fn fetch(&mut self, worker: &mut Worker<'_>, place: &Place<'_>, number: usize) -> bool {
        if self.kept.iter().any(|(kept, _)| *kept == number) {
            return true;
        }
        let Some(piece) = self.pieces.get_mut(number) else { return false };
        let again = std::mem::replace(&mut self.seen[number], true);
        let content = worker.read(place, piece);
        let bytes = match &content {
            Content::Zero => vec![0; to_usize(piece.bytes())],
            Content::Data { .. } => worker.read_bytes().to_vec(),
            Content::Unreadable | Content::Dropped => Vec::new(),
        };
        if again {
            let same = match (&piece.content, &content) {
                (Content::Data { record: Some(record), .. }, Content::Data { .. }) => {
                    record.content == ContentHash::of(&bytes)
                }
                (before, now) => std::mem::discriminant(before) == std::mem::discriminant(now),
            };
            if !same {
                piece.content = Content::Unreadable;
                return false;
            }
        } else {
            piece.content = content;
            worker.hash(piece, self.retain);
        }
        let readable = !bytes.is_empty();
        if self.kept.len() >= KEPT_PIECES {
            self.kept.pop_front();
        }
        self.kept.push_back((number, bytes));
        readable
    }
}

/// What codecs leave unused at the end of pieces.
#[derive(Default)]
struct Slack {
    /// Bytes of the stored stream that are inspected as such, and where they begin.
    parts: Vec<(u64, Vec<u8>)>,
    bytes: usize,
}

impl Slack {
    /// Keeps what stands in `bytes`, the stored bytes of a piece, behind the `used` ones. Returns
    /// whether there was room for it.
    fn keep(&mut self, of: &Packed, bytes: &[u8], used: usize) -> bool {
        let rest = bytes.get(used..).unwrap_or_default();
        if is_zero(rest) {
            return true;
        }
        self.bytes += rest.len();
        let room = self.bytes <= SLACK_BYTES_MAX;
        if room {
            self.parts.push((of.stored + used as u64, rest.to_vec()));
        }
        room
    }
}

/// The content of a file, up to as much as is kept of any file, for what may be inside of it.
struct Whole<'s> {
    bytes: Vec<u8>,
    too_long: bool,
    runs: Runs<'s>,
}

/// What there is to open in the content of a file.
struct Ended {
    /// Whether its beginning is that of something that can be opened.
    wanted: bool,
    bytes: Vec<u8>,
    /// Why not everything was opened, or can be.
    reasons: BTreeSet<Reason>,
}

impl Whole<'_> {
    fn add(&mut self, logical: u64, part: &[u8]) {
        if !self.begins_wanted() {
            self.runs.look(logical, part);
        }
        let end = logical.saturating_add(part.len() as u64);
        if end > RETAINED_BYTES {
            self.too_long = true;
            return;
        }
        self.bytes.resize(to_usize(logical), 0);
        self.bytes.extend_from_slice(part);
    }

    /// Opens what is left of the encoded runs, if there is nothing else in it to open.
    fn end(mut self) -> Ended {
        let wanted = self.begins_wanted();
        let mut reasons = BTreeSet::new();
        if self.too_long && (wanted || self.runs.end()) {
            reasons.insert(Reason::Limit);
        }
        if !wanted {
            reasons.extend(self.runs.finish(&mut self.bytes.as_slice()));
        }
        Ended { wanted, bytes: self.bytes, reasons }
    }

    /// Whether its beginning is that of something that can be opened.
    fn begins_wanted(&self) -> bool {
        airlock_decode::wants(self.bytes.get(..airlock_decode::HEAD_BYTES).unwrap_or(&self.bytes))
    }
}

impl<'a> Worker<'a> {
    /// Inspects a packed file in the order of the file.
    pub(super) fn inspect_packed(
        &mut self,
        place: &Place<'_>,
        pieces: &mut [Piece],
        retain: bool,
    ) -> Inspected {
        let mut scanners = std::mem::take(&mut self.inner_scanners);
        let inspected = self.inspect_packed_by(&mut scanners, place, pieces, retain);
        self.inner_scanners = scanners;
        inspected
    }

    /// Inspects a packed file; `scanners` are those of the layers in it.
    fn inspect_packed_by(
        &mut self,
        scanners: &mut Vec<Searcher<'a>>,
        place: &Place<'_>,
        pieces: &mut [Piece],
        retain: bool,
    ) -> Inspected {
        let search = self.search;
        let mut layers = Layers::new(search, scanners);
        let mut came_to = Inspected::default();
        let seen = vec![false; pieces.len()];
        let starts = pieces.iter().filter_map(|piece| Some(piece.runs.first()?.logical)).collect();
        let mut stored = Stored { pieces, retain, kept: VecDeque::new(), seen, starts };
        let mut object = self.scanner.watcher.object(place.size);
        let mut slack = Slack::default();
        let (mut bytes, mut plain) = (Vec::new(), Vec::new());
        let mut unpacked: Option<Source> = None;
        let mut spares = Vec::new();
        let (mut expected, mut complete) = (None, true);
        let runs = Runs::new(&self.limits(place), &mut layers);
        let mut whole = Whole { bytes: Vec::new(), too_long: false, runs };
        for of in place.packed {
            // Pieces side by side may come out of the same stored bytes.
            if unpacked != Some(source_of(of)) {
                unpacked = None;
                let read = stored.fill(self, place, of, &mut bytes);
                let used = if read { unpack(of.codec, &bytes, of.unpacked, &mut plain) } else { Ok(0) };
                match &used {
                    Ok(_) => unpacked = read.then(|| source_of(of)),
                    Err(UnpackError::TooLarge) => drop(came_to.unscannable.insert(Reason::Limit)),
                    Err(_) => drop(came_to.unscannable.insert(Reason::Unsupported)),
                }
                if !slack.keep(of, &bytes, used.unwrap_or(0)) {
                    came_to.unscannable.insert(Reason::Limit);
                }
            }
            let from = to_usize(of.skip).min(plain.len());
            let until = from.saturating_add(to_usize(of.length)).min(plain.len());
            if of.spare {
                if unpacked.is_some() && !is_zero(&plain[from..until]) {
                    spares.push(of);
                }
                continue;
            }
            if unpacked.is_none() || until - from < to_usize(of.length) {
                complete = false;
                continue;
            }
            let part = &plain[from..until];
            if expected != Some(of.logical) {
                if expected.is_some() {
                    self.scanner.finish(&mut self.matches);
                }
                self.scanner.start(of.logical);
            }
            self.feed(part);
            whole.add(of.logical, part);
            expected = Some(of.logical + of.length);
            if let Some(object) = &mut object {
                object.zeros_until(of.logical, &self.scanner.watcher);
                object.update(part, &self.scanner.watcher);
            }
        }
        if expected.is_some() {
            self.scanner.finish(&mut self.matches);
        }
        stored.fetch_rest(self, place);
        if let Some(mut object) = object.filter(|_| complete) {
            object.zeros_until(place.size, &self.scanner.watcher);
            if !object.finish(&self.scanner.watcher, &mut self.matches) {
                came_to.unscannable.insert(Reason::Limit);
            }
        }
        let ended = whole.end();
        let found = std::mem::take(&mut self.matches);
        let layered = if !ended.wanted {
            layers.finish(found, ended.reasons)
        } else if !self.limits(place).containers {
            Layered { plain: found, unscannable: [Reason::Unsupported].into(), ..Layered::default() }
        } else {
            let mut layered = inspect_layers(search, scanners, &mut ended.bytes.as_slice(), found);
            layered.unscannable.extend(ended.reasons);
            layered
        };
        let found = self.findings_of(place, &layered);
        came_to.findings = found.findings;
        came_to.inner = found.inner;
        came_to.unscannable.extend(found.unscannable);
        self.inspect_slack(place, &slack, &mut came_to.findings);
        for of in spares {
            let read = stored.fill(self, place, of, &mut bytes);
            if read && unpack(of.codec, &bytes, of.unpacked, &mut plain).is_ok() {
                self.inspect_spare(place, of, &plain, &mut came_to.findings);
            }
        }
        self.matches.clear();
        came_to
    }

    /// Inspects what codecs leave of the blocks of a file.
    fn inspect_slack(&mut self, place: &Place<'_>, slack: &Slack, findings: &mut Vec<Finding>) {
        for (start, bytes) in &slack.parts {
            self.matches.clear();
            self.scan(*start, &[bytes]);
            findings.extend(self.matches.iter().map(|found| self.slack_finding(place, found)));
        }
    }

    /// Inspects what no file shows of a piece, and what lies across its edges.
    fn inspect_spare(&mut self, place: &Place<'_>, of: &Packed, plain: &[u8], findings: &mut Vec<Finding>) {
        let from = to_usize(of.skip).min(plain.len());
        let until = from.saturating_add(to_usize(of.length)).min(plain.len());
        self.matches.clear();
        self.scan(from as u64, &[&plain[from..until]]);
        for edge in [from, until].into_iter().filter(|edge| 0 < *edge && *edge < plain.len()) {
            let first = self.matches.len();
            let reach = to_usize(EDGE_CONTEXT_BYTES);
            let before = edge.saturating_sub(reach);
            self.scan(before as u64, &[&plain[before..plain.len().min(edge + reach)]]);
            let edge = edge as u64;
            keep(&mut self.matches, first, |found: &Extent| found.offset < edge && edge < found.end());
        }
        // All of the stored bytes stand for what comes out of them.
        findings.extend(self.matches.iter().map(|found| {
            let found = Match { offset: of.stored, ..found.clone() };
            self.slack_finding(place, &found)
        }));
    }
}

/// What a piece comes out of: first stored byte, number of them, codec, and unpacked bytes.
type Source = (u64, u64, Codec, u64);

fn source_of(of: &Packed) -> Source {
    (of.stored, of.stored_bytes, of.codec, of.unpacked)
}

#[cfg(test)]
mod tests {
    use crate::Rules;
    use crate::malware::HashList;
    use crate::station::{NoSink, Progress, Report, Station};
    use airlock_disk::{OpenOptions, open};
    use airlock_guest::Survey;
    use airlock_model::{Codec, Coverage, Extent, PackedFile, PlaceKind, PlaceMapBuilder, Site, Volume};
    use airlock_model::{Packed, Reason, Run, Space};
    use airlock_policy::{Document, Effective};
    use std::io::Write;

    const NUMBER: &str = "4539 1488 0343 6467";

    /// Inspects a disk of `bytes` that is one packed file and nothing else.
    fn inspect(bytes: &[u8], size: u64, packed: &[Packed]) -> Report {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(bytes).expect("write");
        let disk = open(file.path(), &OpenOptions::default()).expect("open").source;
        let mut map = PlaceMapBuilder::new(disk.size());
        let volume = Volume {
            label: "whole".into(),
            content: "btrfs".into(),
            extent: Extent::new(0, disk.size()),
            block_bytes: 4096,
        };
        let volume = map.volume(volume);
        let runs = [
            Run { logical: 0, disk: 4096, length: disk.size() - 4096 },
            Run { logical: disk.size() - 4096, disk: 0, length: 4096 },
        ];
        map.packed(PackedFile { volume, path: b"/cards.csv", size, runs: &runs, packed, view: false });
        let survey = Survey { map: map.finish(), oddities: vec![], limits: vec![], replays: vec![] };
        let rules = Rules::new([7; 32], HashList::default());
        let policy = Effective::merge(&Document::default(), &Document::default());
        let station = Station::new(&rules, &policy, Site::Source);
        let space = Space::of_disk(disk.size(), "raw");
        station.run(&space, &*disk, &survey, &mut [NoSink], &Progress::default()).expect("a report")
    }

    /// A disk whose first block is the last of the stored stream.
    fn disk(stored: &[u8]) -> Vec<u8> {
        let mut stream = stored.to_vec();
        stream.resize(stored.len().next_multiple_of(4096).max(8192), 0);
        let last = stream.split_off(stream.len() - 4096);
        [last, stream].concat()
    }

    fn piece(logical: u64, length: u64, stored: u64, stored_bytes: u64) -> Packed {
        let (skip, unpacked, codec, spare) = (0, length, Codec::Zstd, false);
        Packed { logical, length, stored, stored_bytes, skip, unpacked, codec, spare }
    }

    #[test]
    fn a_value_across_two_compressed_pieces_is_found_in_the_file() {
        let text = format!("{:>100}\n", format!("card {NUMBER}")).repeat(50).into_bytes();
        let (first, second) = text.split_at(95);
        let pack = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).expect("compress");
        let mut stored = pack(first);
        stored.resize(4096, 0);
        let more = pack(second);
        stored.extend(&more);
        let count = u64::try_from(text.len()).expect("small");
        let packed = [piece(0, 95, 0, 4096), piece(95, count - 95, 4096, 4096)];
        let report = inspect(&disk(&stored), count, &packed);
        assert_eq!(report.findings.len(), 50);
        // The second piece lies before the first on the disk.
        let one = &report.findings[49];
        assert_eq!((one.path.as_deref(), one.offset, one.length), (Some("/cards.csv"), 81, 19));
        assert_eq!(one.disk_offset, Some(4096));
        let held: Vec<Extent> = report.held.iter().map(|held| held.extent).collect();
        assert_eq!(held, [Extent::new(0, 8192)], "scope file: all that is stored of it");
    }

    #[test]
    fn what_a_codec_leaves_of_a_block_is_inspected_as_slack() {
        let mut stored = zstd::bulk::compress(&[b'x'; 1000], 1).expect("compress");
        let used = u64::try_from(stored.len()).expect("small");
        stored.extend(b"\0\0\0 old: ".iter().chain(NUMBER.as_bytes()));
        let report = inspect(&disk(&stored), 1000, &[piece(0, 1000, 0, 4096)]);
        assert_eq!(report.findings.len(), 1);
        let one = &report.findings[0];
        assert_eq!((one.place.as_str(), one.disk_offset), ("slack", Some(4096 + used + 9)));
    }

    #[test]
    fn what_no_file_shows_of_a_piece_is_inspected_as_slack() {
        let old = format!("{:>100} card {NUMBER} and the end", "");
        let stored = zstd::bulk::compress(old.as_bytes(), 1).expect("compress");
        let all = u64::try_from(old.len()).expect("small");
        // The number is across the edge: neither part has all of it.
        for edge in [50, 112, 120, all] {
            let shown = Packed { length: edge, unpacked: all, ..piece(0, all, 0, 4096) };
            let spare = Packed { logical: edge, length: all - edge, skip: edge, spare: true, ..shown };
            let report = inspect(&disk(&stored), edge, &[shown, spare]);
            let found: Vec<_> = report
                .findings
                .iter()
                .map(|one| (one.place.as_str(), one.disk_offset, one.path.as_deref()))
                .collect();
            let place = if edge == all { "file" } else { "slack" };
            assert_eq!(found, [(place, Some(4096), Some("/cards.csv"))], "{edge}");
            let held: Vec<Extent> = report.held.iter().map(|held| held.extent).collect();
            assert_eq!(held, [Extent::new(0, 8192)]);
        }
    }

    #[test]
    fn what_does_not_unpack_is_unscannable_and_inspected_as_it_is() {
        let stored = format!("no frame, but {NUMBER} ").into_bytes();
        let report = inspect(&disk(&stored), 1000, &[piece(0, 1000, 0, 4096)]);
        assert_eq!(report.findings.len(), 1);
        assert_eq!(report.coverage.unscannable.get(&Reason::Unsupported), Some(&8192));
        let Coverage { total, hole, .. } = report.coverage;
        assert_eq!((total, hole), (8192, 0));
        assert_eq!(report.places.get(PlaceKind::File.name()), Some(&8192));
    }
}
