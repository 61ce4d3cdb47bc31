//! Inspects what lies inside of a file: the layers that [`airlock_decode`] opens.
//!
//! Every layer is a stream of its own for a scanner, and an object of its own for hash lists and signatures.
//! A value that is seen in a layer and in the one around it, because the inner one is a part of it
//! or another spelling of it, is one finding.

use super::outcome::{Content, Piece};
use super::unit::{MATCHES_MAX, Worker, to_usize};
use crate::malware::Object;
use crate::search::{Search, Searcher};
use airlock_decode::{Layer, Limits, ReadAt, Relation, Sink};
use airlock_inspect::Match;
use airlock_model::{Place, Reason};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A match in a layer.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    /// The layers down to the one that it is in, such as ` > gzip@12 > tar:a/b`.
    pub(super) trail: Arc<str>,
    /// Where in the file the outermost layer begins.
    pub(super) at: u64,
    pub(super) found: Match,
}

/// What the layers of a file came to.
#[derive(Debug, Default)]
pub(super) struct Layered {
    /// Matches in the content of the file itself, but for those that are told by an inner one.
    pub(super) plain: Vec<Match>,
    pub(super) inner: Vec<Inner>,
    /// Why not everything was opened.
    pub(super) unscannable: BTreeSet<Reason>,
}

/// A match with where it is in the layer that is being settled, if it is there, too.
struct Told {
    inner: Inner,
    relation: Relation,
    place: Option<u64>,
}

/// A layer that is open.
struct Open {
    trail: Arc<str>,
    at: u64,
    /// Where it begins in the layer around it.
    start: u64,
    relation: Relation,
    object: Option<Object>,
    matches: Vec<Match>,
    /// Matches of layers within that say the same as this one.
    told: Vec<Told>,
}

/// Scans the layers of one file.
pub(super) struct Layers<'l, 'r> {
    search: &'r Search<'r>,
    /// A scanner for each depth.
    scanners: &'l mut Vec<Searcher<'r>>,
    open: Vec<Open>,
    inner: Vec<Inner>,
    /// Matches so far.
    count: usize,
    /// Whether signatures did not come to an end with an object.
    limited: bool,
}

/// Opens what is in `source`, in which `plain` was found.
pub(super) fn inspect_layers<'r>(
    search: &'r Search<'r>,
    scanners: &mut Vec<Searcher<'r>>,
    source: &mut dyn ReadAt,
    plain: Vec<Match>,
) -> Layered {
    let limits = Limits::for_file(source.size());
    let mut layers = Layers::new(search, scanners);
    let unscannable = airlock_decode::open(source, &limits, &mut layers);
    layers.finish(plain, unscannable)
}

/// Opens what begins at a block of space that no file owns. Blocks begin at `blocks.0`, each of
/// them with `blocks.1` bytes.
pub(super) fn inspect_remains<'r>(
    search: &'r Search<'r>,
    scanners: &mut Vec<Searcher<'r>>,
    bytes: &[u8],
    blocks: (usize, usize),
) -> Layered {
    let limits = Limits::for_file(bytes.len() as u64);
    let mut layers = Layers::new(search, scanners);
    let unscannable = airlock_decode::carve(bytes, blocks, &limits, &mut layers);
    layers.finish(Vec::new(), unscannable)
}

impl<'l, 'r> Layers<'l, 'r> {
    /// Begins with a file in which nothing was opened yet.
    pub(super) fn new(search: &'r Search<'r>, scanners: &'l mut Vec<Searcher<'r>>) -> Self {
        let root = Open {
            trail: Arc::from(""),
            at: 0,
            start: 0,
            relation: Relation::Decoded,
            object: None,
            matches: Vec::new(),
            told: Vec::new(),
        };
        Self { search, scanners, open: vec![root], inner: Vec::new(), count: 0, limited: false }
    }

    /// Ends with what was found in the content of the file itself, and with why not everything was
    /// opened.
    pub(super) fn finish(mut self, mut plain: Vec<Match>, mut unscannable: BTreeSet<Reason>) -> Layered {
        if self.limited {
            unscannable.insert(Reason::Limit);
        }
        let root = self.open.pop().expect("the root stays open");
        let told = settle(&mut plain, root.told, true);
        let mut inner = self.inner;
        inner.extend(told.into_iter().map(|told| told.inner));
        inner.sort_by_key(|inner| inner.at);
        Layered { plain, inner, unscannable }
    }
}

impl Sink for Layers<'_, '_> {
    fn open(&mut self, layer: &Layer<'_>) {
        let around = self.open.last().expect("the root is open");
        let (trail, at) = match self.open.len() {
            1 => (format!(" > {}", layer.name), layer.at),
            _ => (format!("{}@{} > {}", around.trail, layer.at, layer.name), around.at),
        };
        if self.scanners.len() < layer.depth {
            self.scanners.push(self.search.scanner());
        }
        let scanner = &mut self.scanners[layer.depth - 1];
        scanner.start(0);
        let object = scanner.watcher.layer(layer.depth);
        self.open.push(Open {
            trail: trail.into(),
            at,
            start: layer.at,
            relation: layer.relation,
            object,
            matches: Vec::new(),
            told: Vec::new(),
        });
    }

    fn feed(&mut self, depth: usize, bytes: &[u8]) {
        let layer = &mut self.open[depth];
        if let Some(object) = &mut layer.object {
            object.update(bytes, &self.scanners[depth - 1].watcher);
        }
        // A file with so many findings is held as `unscannable: limit` anyway.
        if self.count <= MATCHES_MAX {
            let before = layer.matches.len();
            self.scanners[depth - 1].feed(bytes, &mut layer.matches);
            self.count += layer.matches.len() - before;
        }
    }

    fn close(&mut self) {
        let mut layer = self.open.pop().expect("a layer is open");
        let before = layer.matches.len();
        self.scanners[self.open.len() - 1].finish(&mut layer.matches);
        self.count += layer.matches.len() - before;
        layer.matches.truncate(MATCHES_MAX + 1);
        if let Some(object) = layer.object.take() {
            let watcher = &self.scanners[self.open.len() - 1].watcher;
            self.limited |= !object.finish(watcher, &mut layer.matches);
        }
        let told = settle(&mut layer.matches, std::mem::take(&mut layer.told), false);
        let (trail, at, start, relation) = (&layer.trail, layer.at, layer.start, layer.relation);
        let own = layer.matches.into_iter().map(|found| {
            let place = (relation == Relation::Same).then(|| start.saturating_add(found.offset));
            Told { inner: Inner { trail: Arc::clone(trail), at, found }, relation, place }
        });
        let around = self.open.last_mut().expect("the root is open");
        let told = told.into_iter().map(|told| {
            let place = told.place.map(|place| start.saturating_add(place));
            Told { relation, place, ..told }
        });
        let all = own.chain(told);
        if relation == Relation::Decoded {
            self.inner.extend(all.map(|told| told.inner));
        } else {
            around.told.extend(all);
        }
    }
}

/// Settles what a layer and those within it both tell. In the content of a file itself a value has a
/// place on the disk, so that is the one that stays; further in, the member of an archive stays,
/// and what is only another spelling does not. It is as sure as the surest of them.
fn settle(own: &mut Vec<Match>, mut told: Vec<Told>, is_file: bool) -> Vec<Told> {
    if told.is_empty() {
        return told;
    }
    let mut by_place: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    let mut by_value: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, found) in own.iter().enumerate() {
        by_place.entry((found.detector.clone(), found.offset)).or_default().push(index);
        by_value.entry((found.detector.clone(), found.fingerprint)).or_default().push(index);
    }
    let mut gone = BTreeSet::new();
    told.retain_mut(|told| {
        let found = &mut told.inner.found;
        let same = match told.place {
            Some(place) => by_place.get(&(found.detector.clone(), place)),
            None => by_value.get(&(found.detector.clone(), found.fingerprint)),
        };
        let Some(same) = same else { return true };
        let inner_stays = !is_file && told.relation == Relation::Same;
        for &index in same {
            let surest = own[index].confidence.max(found.confidence);
            if inner_stays {
                found.confidence = surest;
                gone.insert(index);
            } else {
                own[index].confidence = surest;
            }
        }
        inner_stays
    });
    let mut index = 0;
    own.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    told
}

/// The bytes of a file in any order, read again piece by piece.
pub(super) struct FileSource<'s, 'w> {
    worker: &'s mut Worker<'w>,
    place: &'s Place<'s>,
    pieces: &'s mut [Piece],
    /// The pieces that were read last, the newest behind, with their bytes.
    kept: VecDeque<(usize, Vec<u8>)>,
}

/// Pieces of a file that are kept: archives are read at two places at a time.
const KEPT_PIECES: usize = 4;

impl<'s, 'w> FileSource<'s, 'w> {
    /// Reads the file again whose `pieces` were read in order before. What is still in the buffer
    /// of the worker is the last of them.
    pub(super) fn new(worker: &'s mut Worker<'w>, place: &'s Place<'s>, pieces: &'s mut [Piece]) -> Self {
        let mut kept = VecDeque::new();
        if let Some(last) = pieces.len().checked_sub(1).filter(|last| pieces[*last].is_data()) {
            kept.push_back((last, worker.read_bytes().to_vec()));
        }
        Self { worker, place, pieces, kept }
    }

    /// Copies what a piece has at `offset` of the file. Returns how many bytes that were.
    fn copy(&mut self, number: usize, offset: u64, into: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        let mut found = None;
        for run in &self.pieces[number].runs {
            if run.logical <= offset && offset < run.logical + run.length {
                let skip = offset - run.logical;
                found = Some((at + to_usize(skip), to_usize(run.length - skip).min(into.len())));
                break;
            }
            at += to_usize(run.length);
        }
        let (at, count) = found?;
        match &self.pieces[number].content {
            Content::Zero => into[..count].fill(0),
            Content::Unreadable | Content::Dropped => return None,
            Content::Data { chunk, .. } => {
                let kept = chunk.as_ref().and_then(|chunk| chunk.bytes());
                let mut part = |bytes: &[u8]| into[..count].copy_from_slice(&bytes[at..at + count]);
                match kept {
                    Some(bytes) => part(bytes),
                    None => self.fetch(number).map(&mut part)?,
                }
            }
        }
        Some(count)
    }

    /// Returns the bytes of a piece.
    fn fetch(&mut self, number: usize) -> Option<&[u8]> {
        if let Some(place) = self.kept.iter().position(|(kept, _)| *kept == number) {
            return self.kept.get(place).map(|(_, bytes)| bytes.as_slice());
        }
        let piece = &mut self.pieces[number];
        self.worker.read_again(self.place, piece);
        if !piece.is_data() {
            return None;
        }
        let mut bytes = if self.kept.len() < KEPT_PIECES { Vec::new() } else { self.kept.pop_front()?.1 };
        bytes.clear();
        bytes.extend_from_slice(self.worker.read_bytes());
        self.kept.push_back((number, bytes));
        self.kept.back().map(|(_, bytes)| bytes.as_slice())
    }
}

impl ReadAt for FileSource<'_, '_> {
    fn size(&self) -> u64 {
        self.place.size
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        let end = self.place.size.min(offset.saturating_add(into.len() as u64));
        while offset + (done as u64) < end {
            let at = offset + done as u64;
            let room = to_usize(end - at);
            let begins = |piece: &Piece| piece.runs.first().map_or(u64::MAX, |run| run.logical);
            let behind = self.pieces.partition_point(|piece| begins(piece) <= at);
            let rest = &mut into[done..done + room];
            let inside = |number: usize| {
                let runs = &self.pieces[number].runs;
                runs.iter().any(|run| run.logical <= at && at < run.logical + run.length)
            };
            if let Some(number) = behind.checked_sub(1).filter(|number| inside(*number)) {
                match self.copy(number, at, rest) {
                    Some(count) => done += count,
                    None => break,
                }
            } else {
                // A hole reaches up to the next run.
                let runs =
                    self.pieces[behind.saturating_sub(1)..].iter().take(2).flat_map(|piece| &piece.runs);
                let next = runs.map(|run| run.logical).find(|start| *start > at).unwrap_or(end);
                let count = to_usize(next.min(end) - at);
                rest[..count].fill(0);
                done += count;
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use crate::Rules;
    use crate::malware::HashList;
    use crate::station::{NoSink, Progress, Report, Station};
    use airlock_disk::{OpenOptions, open};
    use airlock_guest::Survey;
    use airlock_model::{Extent, PlaceKind, PlaceMapBuilder, Reason, Run, Site, Space, Volume};
    use airlock_policy::{Document, Effective};
    use std::io::Write;
    use std::process::{Command, Stdio};

    const NUMBER: &str = "4539 1488 0343 6467";

    /// Inspects a disk with one file that has its second half before its first.
    fn inspect(content: &[u8], hashes: &str) -> Report {
        inspect_under(content, hashes, &Document::default())
    }

    fn inspect_under(content: &[u8], hashes: &str, policy: &Document) -> Report {
        let half = (content.len() / 2).next_multiple_of(512);
        let (first, second) = content.split_at(half.min(content.len()));
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        let size = second.len().next_multiple_of(512) + half;
        let mut bytes = second.to_vec();
        bytes.resize(size - half, 0);
        bytes.extend(first);
        bytes.resize(size, 0);
        file.write_all(&bytes).expect("write");
        let disk = open(file.path(), &OpenOptions::default()).expect("open").source;
        let mut map = PlaceMapBuilder::new(disk.size());
        let volume = map.volume(Volume {
            label: "whole".into(),
            content: "ext4".into(),
            extent: Extent::new(0, disk.size()),
            block_bytes: 512,
        });
        let start = disk.size() - half as u64;
        let mut runs = vec![Run { logical: 0, disk: start, length: first.len() as u64 }];
        if !second.is_empty() {
            runs.push(Run { logical: half as u64, disk: 0, length: second.len() as u64 });
        }
        map.place(volume, PlaceKind::File, b"/x", content.len() as u64, &runs);
        let survey = Survey { map: map.finish(), oddities: vec![], limits: vec![], replays: vec![] };
        let mut list = HashList::default();
        list.load(hashes).expect("a list");
        let rules = Rules::new([7; 32], list);
        let policy = Effective::merge(policy, &Document::default());
        let station = Station::new(&rules, &policy, Site::Source);
        let space = Space::of_disk(disk.size(), "raw");
        station.run(&space, &*disk, &survey, &mut [NoSink], &Progress::default()).expect("a report")
    }

    fn sh(command: &str, input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("sh")
            .args(["-euc", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_vec());
        // A command that reads nothing may have ended before.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("sh ends");
        writer.join().expect("no panic");
        assert!(output.status.success(), "{command}");
        output.stdout
    }

    fn check(content: &[u8], expected: &[(&str, u64)]) {
        let report = inspect(content, "");
        let found: Vec<(&str, u64)> =
            report.findings.iter().map(|found| (found.trail.as_str(), found.offset)).collect();
        assert_eq!(found, expected);
        assert!(report.findings.iter().all(|found| found.path.as_deref() == Some("/x")));
        let held: u64 = report.held.iter().map(|held| held.extent.length).sum();
        assert_eq!(held, content.len() as u64, "scope file: the outer file is held");
    }

    #[test]
    fn a_value_in_a_layer_is_found_once_with_its_trail() {
        let text = format!("some text\ncard {NUMBER}\n");
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("a.txt"), &text).expect("write");
        let tar = format!("cd {}; tar cf - --format=ustar a.txt", folder.path().display());
        let at = "disk0:whole:/x@0 > gzip@15";
        check(&sh("gzip -n", text.as_bytes()), &[(at, 15)]);
        check(&sh("gzip -n | gzip -n", text.as_bytes()), &[("disk0:whole:/x@0 > gzip@0 > gzip@15", 15)]);
        // In plain sight, and as a member: in plain sight it has a place on the disk.
        check(&sh(&tar, b""), &[("disk0:whole:/x@527", 527)]);
        let at = "disk0:whole:/x@0 > zstd@512 > tar:a.txt@15";
        check(&sh(&format!("{tar} | zstd"), b""), &[(at, 15)]);
    }

    #[test]
    fn a_long_file_is_read_again_where_it_is_needed() {
        let noise = |seed: u64| {
            let mut state = seed;
            let mut next = move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            };
            (0..3_000_000).map(|_| next()).collect::<Vec<u8>>()
        };
        let text = [noise(1).as_slice(), format!("\ncard {NUMBER}\n").as_bytes(), &noise(2)].concat();
        let report = inspect(&sh("gzip -n -1", &text), "");
        let trails: Vec<&str> = report.findings.iter().map(|found| found.trail.as_str()).collect();
        assert!(trails.contains(&"disk0:whole:/x@0 > gzip@3000006"), "{trails:?}");
    }

    #[test]
    fn members_go_through_the_hash_lists() {
        let report = inspect(&sh("printf abc | gzip", b""), "900150983cd24fb0d6963f7d28e17f72:3:Test.A");
        let found = &report.findings[0];
        assert_eq!((found.detector.as_str(), found.length), ("hash:Test.A", 3));
        assert_eq!(found.trail, "disk0:whole:/x@0 > gzip@0");
    }

    #[test]
    fn patterns_of_the_policy_are_found_in_files_and_layers() {
        let pattern = "patterns: [{name: mine, regex: 'KD-[0-9]{8}', examples: [KD-12345678]}]\nmetadata:";
        let yaml = airlock_policy::DEFAULT_YAML.replacen("\nmetadata:", &format!("\n{pattern}"), 1);
        let policy = Document::parse(&yaml).expect("a policy");
        let text = [[b' '; 700].as_slice(), b"x KD-20481234 y"].concat();
        for content in [text.clone(), sh("gzip -n", &text)] {
            let report = inspect_under(&content, "", &policy);
            let found: Vec<_> =
                report.findings.iter().map(|one| (one.detector.as_str(), one.offset)).collect();
            assert_eq!(found, [("pattern:mine", 702)]);
            assert!(report.held.iter().map(|held| held.extent.length).sum::<u64>() >= content.len() as u64);
            assert_eq!(inspect(&content, "").findings.len(), 0);
        }
    }

    #[test]
    fn what_could_not_be_opened_is_unscannable() {
        let bomb = sh("head -c 100000000 /dev/zero | gzip -9", b"");
        let report = inspect(&bomb, "");
        assert_eq!(report.coverage.unscannable.get(&Reason::Limit), Some(&(bomb.len() as u64)));
        let cut = sh("seq 100000 | gzip | head -c 1000", b"");
        assert_eq!(inspect(&cut, "").coverage.unscannable.get(&Reason::Unsupported), Some(&1000));
        assert_eq!(inspect(b"nothing to open, and nothing to say", "").coverage.unscannable.len(), 0);
    }
}
