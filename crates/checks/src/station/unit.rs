//! Reads, hashes, inspects and judges one unit.

use super::elsewhere::{Elsewhere, Examined};
use super::layers::{Inner, inspect_remains};
use super::outcome::{Content, Inspected, Outcome, Piece};
use super::planner::Unit;
use super::reader::Reader;
use super::recall::{Names, Recall, Trace};
use super::runs::{cut, part_of, splits, stored_to_disk, to_disk, touched_by};
use super::{Progress, RETAINED_BYTES, StationError};
use crate::memo::Tag;
use crate::search::{Search, Searcher};
use airlock_decode::Limits;
use airlock_disk::BlockSource;
use airlock_guest::Survey;
use airlock_inspect::{LOOKAHEAD_BYTES, LOOKBACK_BYTES, Match};
use airlock_model::{
    Action, ChunkRecord, Escaped, Extent, Finding, Place, PlaceKind, Reason, Run, Site, Space,
};
use airlock_policy::{Chunk, Containers, Effective, FreeSpace, Object};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most findings of one unit. One that has more is held as `unscannable: limit`: it is not listed
/// to its end, and what is not known is not passed.
pub(super) const MATCHES_MAX: usize = 20_000;
/// Bytes around a cut of our own that are looked at, too: the longest match.
pub(super) const CUT_CONTEXT_BYTES: u64 = 64 << 10;
/// Bytes around the edge of a place that are looked at, too.
pub(super) const EDGE_CONTEXT_BYTES: u64 = 512;
const _: () = assert!(LOOKBACK_BYTES <= 512 && LOOKAHEAD_BYTES <= 512);
/// Chunks shorter than this are read without asking first whether they are a hole.
const ASK_FOR_HOLES_BYTES: u64 = 64 << 10;

/// A thread's tools.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    pub(super) search: &'a Search<'a>,
    pub(super) policy: &'a Effective,
    pub(super) site: Site,
    pub(super) space: &'a Space,
    pub(super) survey: &'a Survey,
    hashing: bool,
    recall: Option<&'a Recall<'a>>,
    names: Option<&'a dyn Names>,
    elsewhere: Option<&'a dyn Elsewhere>,
    pub(super) memoised: &'a AtomicU64,
    pub(super) reader: Reader<'a>,
    pub(super) scanner: Searcher<'a>,
    /// Scanners of the layers inside of a file, by their depth.
    pub(super) inner_scanners: Vec<Searcher<'a>>,
    pub(super) matches: Vec<Match>,
    /// The bytes of the piece in work, and whatever was there before them.
    pub(super) buffer: Vec<u8>,
    pub(super) filled: usize,
    /// Bytes of the unit in work that lie behind each other on the disk.
    stretches: Vec<u8>,
    /// Where the unit in work begins or ends in the middle of a run.
    cuts: [Option<u64>; 2],
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        station: &'a super::Station<'a>,
        space: &'a Space,
        disk: &'a dyn BlockSource,
        survey: &'a Survey,
        progress: &'a Progress,
    ) -> Self {
        Self {
            search: &station.search,
            policy: station.policy,
            site: station.site,
            space,
            survey,
            hashing: station.hashing,
            recall: station.recall.as_ref(),
            names: station.names,
            elsewhere: station.elsewhere,
            memoised: &progress.memoised,
            reader: Reader::new(disk, &progress.read),
            scanner: station.search.scanner(),
            inner_scanners: Vec::new(),
            matches: Vec::new(),
            buffer: Vec::new(),
            filled: 0,
            stretches: Vec::new(),
            cuts: [None; 2],
        }
    }

    /// Prepares for the units of one batch, which lie near each other.
    pub(super) fn begin(&mut self, batch: &[Unit]) {
        let mut extents = Vec::new();
        for unit in batch {
            match *unit {
                Unit::File { place } => {
                    let place = self.survey.map.get(place).expect("a place of this map");
                    extents.extend(place.runs.iter().map(Run::extent));
                }
                Unit::Part { place, logical, length } => {
                    let place = self.survey.map.get(place).expect("a place of this map");
                    extents.extend(part_of(place.runs, logical, length).iter().map(Run::extent));
                }
            }
        }
        self.reader.prepare(extents);
    }

    /// Returns the place of a unit, which runs of it the unit has, and the pieces that these are cut into.
    pub(super) fn lay_out(&self, unit: &Unit) -> Option<(Place<'a>, Vec<Run>, Vec<Piece>)> {
        let (Unit::File { place: index } | Unit::Part { place: index, .. }) = *unit;
        let place = self.survey.map.get(index)?;
        let runs = match *unit {
            Unit::File { .. } => place.runs.to_vec(),
            Unit::Part { logical, length, .. } => part_of(place.runs, logical, length),
        };
        let pieces = cut(&runs, self.space);
        Some((place, runs, pieces))
    }

    /// Inspects and judges a unit. With `retain`, its bytes are kept for sending.
    pub(super) fn inspect(&mut self, unit: &Unit, retain: bool) -> Result<Outcome<'_>, StationError> {
        let (place, runs, mut pieces) = self.lay_out(unit).expect("the planner gives out places of this map");
        let whole = matches!(unit, Unit::File { .. });
        let bytes: u64 = runs.iter().map(|run| run.length).sum();
        let retain = retain && !place.view && bytes <= RETAINED_BYTES;
        let named = self.by_name(&place, unit, &mut pieces);
        if let Some((_, true)) = named {
            self.memoised.fetch_add(bytes, Ordering::Relaxed);
            return Ok(self.judge(place, &runs, pieces, Examined::default(), whole));
        }
        let expected = named.map(|(tag, _)| (tag, pieces.iter().map(Piece::is_data).collect::<Vec<_>>()));
        let (examined, trace) = match self.elsewhere {
            Some(elsewhere) => (self.ask(elsewhere, unit, &place, &mut pieces)?, None),
            None => self.examine(&place, &mut pieces, whole, retain),
        };
        let recall = self.recall;
        let outcome = self.judge(place, &runs, pieces, examined, whole);
        if outcome.is_clean() {
            // What the names told of the pieces must have been so.
            let as_told = |told: &[bool]| outcome.pieces.iter().map(Piece::is_data).eq(told.iter().copied());
            match (expected, trace, recall) {
                (Some((tag, told)), _, Some(recall)) if as_told(&told) => recall.remember(tag),
                (None, Some(trace), _) if !trace.is_known() => trace.remember(),
                _ => {}
            }
        }
        Ok(outcome)
    }

    /// Reads the pieces of a unit and finds what is in them. Everything that hostile bytes are parsed by is
    /// called from here.
    pub(super) fn examine(
        &mut self,
        place: &Place<'_>,
        pieces: &mut [Piece],
        whole: bool,
        retain: bool,
    ) -> (Examined, Option<Box<Trace<'a>>>) {
        self.matches.clear();
        let mut trace = None;
        let inspected = if !place.packed.is_empty() {
            self.inspect_packed(place, pieces, retain)
        } else if whole {
            let read_whole = self.hashing && self.names.is_none();
            trace = self.recall.filter(|_| read_whole).map(|recall| Box::new(recall.file(place.size)));
            self.inspect_file(place, pieces, retain, trace.as_deref_mut())
        } else {
            self.inspect_part(place, pieces, retain)
        };
        (self.settle(inspected), trace)
    }

    /// Leaves out findings that no rule is about, and those beyond what is listed of a unit.
    fn settle(&self, inspected: Inspected) -> Examined {
        let Inspected { mut findings, mut inner, mut unscannable } = inspected;
        if findings.len() + inner.len() > MATCHES_MAX {
            unscannable.insert(Reason::Limit);
        }
        for list in [&mut findings, &mut inner] {
            list.retain(|finding| self.policy.concerns(self.site, finding));
        }
        let plain = findings.len().min(MATCHES_MAX);
        findings.extend(inner);
        findings.truncate(MATCHES_MAX);
        Examined { contents: Vec::new(), findings, plain, unscannable }
    }

    /// Judges what was found in a unit.
    fn judge(
        &mut self,
        place: Place<'a>,
        runs: &[Run],
        pieces: Vec<Piece>,
        examined: Examined,
        whole: bool,
    ) -> Outcome<'_> {
        let Examined { mut findings, plain, unscannable, .. } = examined;
        let mut object = self.object(&place, runs, &pieces);
        object.unscannable.extend(unscannable);
        let mut touched: Vec<Vec<Extent>> =
            findings.iter().take(plain).map(|finding| touched_by(&place, finding, whole)).collect();
        touched.resize(findings.len(), object.extents.clone());
        let mut judgement = self.policy.judge_touching(self.site, &object, &mut findings, &touched);
        for piece in &pieces {
            if let Content::Data { record: Some(record), .. } = &piece.content {
                judgement.inspected(record);
            }
        }
        let (disk, space) = (self.reader.disk(), self.space);
        Outcome { place, disk, space, pieces, findings, judgement, unscannable: object.unscannable }
    }

    /// Returns the tag of a unit by the names of its bytes, and whether it is known.
    fn by_name(&self, place: &Place<'_>, unit: &Unit, pieces: &mut [Piece]) -> Option<(Tag, bool)> {
        let dropped = place.kind == PlaceKind::Free && self.policy.free_space() == FreeSpace::Drop;
        let (recall, names) = (self.recall?, self.names?);
        if dropped || !place.packed.is_empty() {
            return None;
        }
        let tag = recall.tag(names, self.reader.disk().size(), place, unit, pieces);
        Some((tag, recall.knows(tag)))
    }

    /// Judges a file whose content is known to be spotless, without reading it.
    pub(super) fn assume_spotless(&mut self, unit: &Unit) -> Outcome<'_> {
        let (place, runs, mut pieces) = self.lay_out(unit).expect("the planner gives out places of this map");
        for piece in &mut pieces {
            piece.content = Content::Data { record: None, chunk: None };
        }
        self.judge(place, &runs, pieces, Examined::default(), true)
    }

    fn object(&self, place: &Place<'_>, runs: &[Run], pieces: &[Piece]) -> Object {
        let mut unscannable = BTreeSet::new();
        let data = pieces.iter().any(|piece| matches!(piece.content, Content::Data { .. }));
        if place.kind == PlaceKind::Encrypted && data {
            unscannable.insert(Reason::Encrypted);
        }
        if place.kind == PlaceKind::Raw && data {
            unscannable.insert(Reason::Unsupported);
        }
        if pieces.iter().any(|piece| matches!(piece.content, Content::Unreadable)) {
            unscannable.insert(Reason::Unreadable);
        }
        unscannable.extend(place.unscannable.filter(|_| data));
        // They are sorted and apart.
        let limits = &self.survey.limits;
        let limited = |run: &Run| {
            let first = limits.partition_point(|limit| limit.end() <= run.disk);
            limits.get(first).is_some_and(|limit| limit.intersect(&run.extent()).is_some())
        };
        if data && runs.iter().any(limited) {
            unscannable.insert(Reason::Limit);
        }
        Object {
            kind: place.kind,
            extents: runs.iter().map(Run::extent).collect(),
            block_bytes: place.volume.block_bytes,
            block_origin: place.volume.extent.offset,
            view: place.view,
            unscannable,
        }
    }

    /// Returns how much of a file is opened.
    pub(super) fn limits(&self, place: &Place<'_>) -> Limits {
        let containers = self.policy.containers() == Containers::Open;
        Limits { containers, ..Limits::for_file(place.size) }
    }

    /// Reads a piece into the buffer and says what it is.
    pub(super) fn read(&mut self, place: &Place<'_>, piece: &Piece) -> Content {
        if place.kind == PlaceKind::Free && self.policy.free_space() == FreeSpace::Drop {
            return Content::Dropped;
        }
        let bytes = piece.bytes();
        if bytes >= ASK_FOR_HOLES_BYTES && piece.runs.iter().all(|run| self.reader.is_hole(run.extent())) {
            return Content::Zero;
        }
        self.filled = to_usize(bytes);
        if self.buffer.len() < self.filled {
            self.buffer.resize(self.filled, 0);
        }
        let mut rest = &mut self.buffer[..self.filled];
        for run in &piece.runs {
            let (part, behind) = rest.split_at_mut(to_usize(run.length));
            if self.reader.fill(run.disk, part).is_err() {
                return Content::Unreadable;
            }
            rest = behind;
        }
        if is_zero(&self.buffer[..self.filled]) {
            return Content::Zero;
        }
        Content::Data { record: None, chunk: None }
    }

    /// Returns the bytes of the piece that was read last.
    pub(super) fn read_bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Feeds the scanner with what follows in the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        // A unit with so many matches is held as `unscannable: limit` whatever else is in it.
        if self.matches.len() <= MATCHES_MAX {
            self.scanner.feed(bytes, &mut self.matches);
            self.matches.truncate(MATCHES_MAX + 1);
        }
    }

    /// Hashes what is in the buffer, and keeps a copy where bytes are kept.
    pub(super) fn hash(&mut self, piece: &mut Piece, retain: bool) {
        if !self.hashing || !matches!(piece.content, Content::Data { .. }) {
            return;
        }
        if retain {
            let chunk = Chunk::new(piece.extents(), self.buffer[..self.filled].to_vec());
            piece.content = Content::Data { record: Some(chunk.record().clone()), chunk: Some(chunk) };
        } else {
            let content = airlock_model::ContentHash::of(&self.buffer[..self.filled]);
            let record = ChunkRecord { extents: piece.extents(), content };
            piece.content = Content::Data { record: Some(record), chunk: None };
        }
    }

    /// Inspects part of a place that has no order of its own: every stretch of the disk,
    /// with what lies around it.
    fn inspect_part(&mut self, place: &Place<'_>, pieces: &mut [Piece], retain: bool) -> Inspected {
        let first = pieces.first().and_then(|piece| piece.runs.first()).map_or(0, |run| run.disk);
        let end = pieces.last().and_then(|piece| piece.runs.last()).map_or(0, |run| run.disk + run.length);
        self.cuts = [first, end].map(|at| splits(place.runs, at).then_some(at));
        // Where on the disk each stretch begins, and where its bytes end in `stretches`.
        let mut ends: Vec<(u64, usize)> = Vec::new();
        let mut stretches = std::mem::take(&mut self.stretches);
        stretches.clear();
        for piece in pieces.iter_mut() {
            piece.content = self.read(place, piece);
            if !matches!(piece.content, Content::Data { .. }) {
                continue;
            }
            let mut at = 0;
            for run in &piece.runs {
                let bytes = &self.buffer[at..at + to_usize(run.length)];
                at += bytes.len();
                let begun =
                    ends.len().checked_sub(2).and_then(|index| ends.get(index)).map_or(0, |(_, end)| *end);
                match ends.last_mut() {
                    Some((start, end)) if *start + (*end - begun) as u64 == run.disk => *end += bytes.len(),
                    _ if is_zero(bytes) => continue,
                    _ => ends.push((run.disk, stretches.len() + bytes.len())),
                }
                stretches.extend_from_slice(bytes);
            }
            self.hash(piece, retain);
        }
        let mut inspected = Inspected::default();
        let mut begun = 0;
        for (start, end) in ends {
            let bytes = &stretches[begun..end];
            self.inspect_stretch(place, start, bytes);
            self.inspect_deleted(place, start, bytes, &mut inspected);
            begun = end;
        }
        self.stretches = stretches;
        inspected.findings = self.matches.iter().map(|found| self.finding(place, found, false)).collect();
        inspected
    }

    /// Inspects what is inside of files that began in a stretch of the disk once.
    fn inspect_deleted(&mut self, place: &Place<'_>, start: u64, bytes: &[u8], inspected: &mut Inspected) {
        let unowned = matches!(place.kind, PlaceKind::Free | PlaceKind::Raw | PlaceKind::Gap);
        if !unowned || self.policy.containers() == Containers::Leave {
            return;
        }
        let block = u64::from(place.volume.block_bytes.max(512));
        let first = (block - (start - place.volume.extent.offset) % block) % block;
        let blocks = (to_usize(first), to_usize(block));
        let layered = inspect_remains(self.search, &mut self.inner_scanners, bytes, blocks);
        inspected.unscannable.extend(layered.unscannable);
        for mut inner in layered.inner {
            inner.at += start;
            inspected.inner.push(self.inner_finding(place, &inner, false));
        }
    }

    /// Inspects a stretch of the disk with what lies around it. A block that begins behind zeros
    /// begins a stream of its own: what lies there, such as a deleted file, has a beginning.
    fn inspect_stretch(&mut self, place: &Place<'_>, start: u64, bytes: &[u8]) {
        let end = start + bytes.len() as u64;
        let cuts = self.cuts;
        let cut = |at: u64| cuts.contains(&Some(at));
        let reach = |at| if cut(at) { CUT_CONTEXT_BYTES } else { EDGE_CONTEXT_BYTES };
        let before_length = reach(start).min(start);
        let after_length = reach(end).min(self.reader.disk().size() - end);
        // Context that cannot be read is not there; the place that owns it says that it is unreadable.
        let mut context = |offset, length| {
            let mut bytes = vec![0; to_usize(length)];
            self.reader.fill(offset, &mut bytes).map_or_else(|_| Vec::new(), |()| bytes)
        };
        let before = context(start - before_length, before_length);
        let after = context(end, after_length);
        let first = self.matches.len();
        let begins = begins(&before, bytes, start - place.volume.extent.offset, place.volume.block_bytes);
        let ends = begins.iter().skip(1).copied().chain([bytes.len()]);
        for (&from, to) in begins.iter().zip(ends) {
            let lead =
                if from == 0 && cut(start) && !ends_in_zeros(&before) { before.as_slice() } else { &[] };
            let trail = if to == bytes.len() && cut(end) { after.as_slice() } else { &[] };
            self.scan(start + from as u64 - lead.len() as u64, &[lead, &bytes[from..to], trail]);
        }
        let extent = Extent::new(start, bytes.len() as u64);
        keep(&mut self.matches, first, |found| found.intersect(&extent).is_some());
        // What lies across the edge of a place is looked at apart from what lies within, so that
        // neither can make the other look like part of something longer.
        let edge = bytes.len().min(to_usize(EDGE_CONTEXT_BYTES));
        if !cut(start) && !ends_in_zeros(&before) {
            let from = self.matches.len();
            self.scan(start - before.len() as u64, &[&before, &bytes[..edge]]);
            keep(&mut self.matches, from, |found| found.offset < start && start < found.end());
        }
        if !cut(end) {
            let from = self.matches.len();
            self.scan(end - edge as u64, &[&bytes[bytes.len() - edge..], &after]);
            keep(&mut self.matches, from, |found| found.offset < end && end < found.end());
        }
    }

    /// Scans one stream that begins at `offset`.
    pub(super) fn scan(&mut self, offset: u64, parts: &[&[u8]]) {
        self.scanner.start(offset);
        for part in parts {
            self.feed(part);
        }
        self.scanner.finish(&mut self.matches);
        self.matches.truncate(MATCHES_MAX + 1);
    }

    pub(super) fn finding(&self, place: &Place<'_>, found: &Match, logical: bool) -> Finding {
        let disk_offset = if logical { to_disk(place, found.offset) } else { Some(found.offset) };
        let offset = if logical { found.offset } else { offset_in_place(place, found.offset) };
        let path = (!place.path.is_empty()).then(|| Escaped(place.path).to_string());
        let label = &place.volume.label;
        let (disk, _) = self.space.locate(disk_offset.unwrap_or(place.volume.extent.offset));
        let at = match (&path, place.kind) {
            (Some(path), PlaceKind::File) => path.clone(),
            (Some(path), kind) => format!("{path} ({})", kind.name()),
            (None, kind) => kind.name().to_owned(),
        };
        Finding {
            check: found.check,
            detector: found.detector.to_string(),
            confidence: found.confidence,
            severity: found.severity,
            action: Action::Allow,
            site: self.site,
            disk: disk.to_owned(),
            trail: format!("{disk}:{label}:{at}@{offset}"),
            place: place.kind.name().to_owned(),
            path,
            offset,
            length: found.length,
            disk_offset,
            deleted: matches!(place.kind, PlaceKind::Free),
            fingerprint: found.fingerprint,
            display: found.display.clone(),
        }
    }

    /// A finding in the stored stream of a packed file, behind what the codec used of a piece.
    pub(super) fn slack_finding(&self, place: &Place<'_>, found: &Match) -> Finding {
        let disk_offset = stored_to_disk(place.runs, found.offset);
        let slack = Place { kind: PlaceKind::Slack, runs: &[], packed: &[], ..*place };
        let found = Match { offset: disk_offset.unwrap_or(0), ..found.clone() };
        Finding { disk_offset, ..self.finding(&slack, &found, false) }
    }

    /// A finding in a layer inside of a file.
    pub(super) fn inner_finding(&self, place: &Place<'_>, inner: &Inner, logical: bool) -> Finding {
        let begins = Match { offset: inner.at, ..inner.found.clone() };
        let finding = self.finding(place, &begins, logical);
        let (offset, length) = (inner.found.offset, inner.found.length);
        let trail = format!("{}{}@{offset}", finding.trail, inner.trail);
        Finding { trail, offset, length, ..finding }
    }
}

/// Bytes of zeros that end whatever lies before them; no text in any encoding has so many.
const ENDING_ZEROS: usize = 16;

fn ends_in_zeros(bytes: &[u8]) -> bool {
    bytes.iter().rev().take(ENDING_ZEROS).all(|byte| *byte == 0)
}

/// Drops matches from `first` on whose bytes are not the ones asked for, and equal ones.
pub(super) fn keep(matches: &mut Vec<Match>, first: usize, wanted: impl Fn(&Extent) -> bool) {
    let mut seen = BTreeSet::new();
    let mut position = 0;
    matches.retain(|found| {
        position += 1;
        let extent = Extent::new(found.offset, found.length);
        position <= first || (wanted(&extent) && seen.insert((extent, found.detector.clone())))
    });
}

/// Returns where in `bytes` streams begin: at the start, and at every block behind zeros.
/// `offset` is where in the volume the bytes begin.
fn begins(before: &[u8], bytes: &[u8], offset: u64, block_bytes: u32) -> Vec<usize> {
    let block = u64::from(block_bytes.max(512));
    let mut begins = vec![0];
    let mut at = to_usize((block - offset % block) % block);
    while at < bytes.len() {
        let zeros = if at < ENDING_ZEROS {
            ends_in_zeros(before) && is_zero(&bytes[..at])
        } else {
            ends_in_zeros(&bytes[..at])
        };
        if at > 0 && zeros && bytes[at] != 0 {
            begins.push(at);
        }
        at += to_usize(block);
    }
    begins
}

/// Turns a length of bytes that are in memory into an index.
pub(super) fn to_usize(length: u64) -> usize {
    usize::try_from(length).expect("units are far smaller than the address space")
}

/// Whether all bytes are zero. Looks at the first few alone, where most data differs.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (head, rest) = bytes.split_at(bytes.len().min(64));
    let or = |piece: &[u8]| piece.iter().fold(0, |sum, byte| sum | byte);
    or(head) == 0 && rest.chunks(4096).all(|piece| or(piece) == 0)
}

/// Offset in the file for slack, else in the volume.
fn offset_in_place(place: &Place<'_>, disk: u64) -> u64 {
    let run = place.runs.iter().find(|run| run.disk <= disk && disk < run.disk + run.length);
    match run {
        Some(run) if place.kind == PlaceKind::Slack && !place.path.is_empty() => {
            run.logical + (disk - run.disk)
        }
        _ => disk.saturating_sub(place.volume.extent.offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &[u8], bytes: &[u8], offset: u64, expected: &[usize]) {
        assert_eq!(begins(before, bytes, offset, 512), expected);
    }

    #[test]
    fn a_stream_begins_at_a_block_behind_zeros() {
        let text = [b'a'; 512];
        let padded = [[b'a'; 256].as_slice(), &[0; 256]].concat();
        check(&[], &[text, text].concat(), 0, &[0]);
        check(&[], &[padded.as_slice(), &text, &padded, &[0; 512], &text].concat(), 0, &[0, 512, 2048]);
        check(&[], &[&padded[..500], &text].concat(), 12, &[0, 500]);
        check(&[0; 16], &[&[0; 4], text.as_slice()].concat(), 508, &[0, 4]);
        check(&[b't'; 20], &[&[0; 4], text.as_slice()].concat(), 508, &[0]);
    }
}
