//! Judging a disk while it arrives, by the same station that judges what is left at the end.

use crate::arriving::{Arriving, Next, Part};
use crate::chamber::{Chamber, Content};
use crate::inspector::Inspector;
use crate::segment::{Bytes, Segments, Stored};
use crate::{Director, Error};
use airlock_checks::memo::Tag;
use airlock_checks::{Early, Outcome, Station, StationError};
use airlock_disk::{BlockSource, Error as DiskError, Format, Span, SpanKind, check_range};
use airlock_model::{Extent, Place};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes of a disk that are awaited before it is surveyed for the first time. What says what a disk
/// means comes first; if this was too early, the next try waits until there is
/// [`SURVEY_GROWTH`] times as much, so that all tries together cost little more than the last.
const SURVEY_BYTES: u64 = 4 << 20;
const SURVEY_GROWTH: u64 = 4;

/// How long the judge of a long file waits for its next bytes before it leaves the file for later.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most chunks that are kept open for the next read.
const OPENED_MAX: usize = 8;

/// What a disk is made of at this moment. What is not there reads as zeros, and that is noted.
struct Incomplete<'c> {
    size: u64,
    chamber: &'c Chamber,
    segments: &'c Segments,
    /// Whether something was read that is not there or cannot be read.
    lacking: AtomicBool,
    /// Where it was read, if that is wanted.
    read: Option<Mutex<Vec<Extent>>>,
    /// Whether to wait for what is not there, as long as something comes.
    patient: bool,
    /// Chunks that were opened last: a survey reads them bit by bit.
    opened: Mutex<VecDeque<(u32, Arc<Bytes>)>>,
}

impl std::fmt::Debug for Incomplete<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Incomplete({} bytes)", self.size)
    }
}

impl Incomplete<'_> {
    fn note(&self, extent: Extent) {
        let Some(read) = &self.read else { return };
        let mut read = read.lock().expect("no holder of this lock panics");
        match read.last_mut() {
            Some(last) if last.offset <= extent.offset && extent.offset <= last.end() => {
                last.length = last.length.max(extent.end() - last.offset);
            }
            _ => read.push(extent),
        }
    }

    /// Returns what was read, sorted and joined.
    fn into_read(self) -> Vec<Extent> {
        let read = self.read.map(|read| read.into_inner().expect("no holder of this lock panics"));
        let mut read = read.unwrap_or_default();
        read.sort_unstable();
        let mut joined: Vec<Extent> = Vec::new();
        for extent in read {
            match joined.last_mut() {
                Some(last) if extent.offset <= last.end() => {
                    last.length = last.length.max(extent.end() - last.offset);
                }
                _ => joined.push(extent),
            }
        }
        joined
    }

    fn open(&self, number: u32, chunk: &Stored) -> Result<Arc<Bytes>, Error> {
        let mut opened = self.opened.lock().expect("no holder of this lock panics");
        if let Some((_, bytes)) = opened.iter().find(|(other, _)| *other == number) {
            return Ok(Arc::clone(bytes));
        }
        let bytes = Arc::new(self.segments.read(chunk)?);
        if self.read.is_none() {
            return Ok(bytes);
        }
        if opened.len() >= OPENED_MAX {
            opened.pop_front();
        }
        opened.push_back((number, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// Returns the parts of a stretch that are there, with their chunks.
    fn parts(&self, wanted: Extent) -> Vec<(Part, Stored)> {
        let mut content = self.chamber.content();
        if self.patient && !self.lacking.load(Ordering::Relaxed) {
            let lacks = |content: &mut Content| {
                let arriving = &content.arriving;
                let there: u64 = arriving.parts(wanted).map(|part| part.extent.length).sum();
                !content.ended && arriving.is_watched() && there < wanted.length
            };
            let waited = self.chamber.changed.wait_timeout_while(content, PATIENCE, lacks);
            content = waited.expect("no holder of this lock panics").0;
            let there: u64 = content.arriving.parts(wanted).map(|part| part.extent.length).sum();
            self.lacking.fetch_or(there < wanted.length, Ordering::Relaxed);
        }
        let part = |part: Part| Some((part, content.chunk(part.chunk)?.clone()));
        content.arriving.parts(wanted).filter_map(part).collect()
    }
}

impl BlockSource for Incomplete<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, buffer)?;
        let wanted = Extent::new(offset, buffer.len() as u64);
        self.note(wanted);
        let to_usize = |value: u64| usize::try_from(value).expect("inside a buffer in memory");
        let mut at = 0;
        let parts = self.parts(wanted);
        if self.patient && self.lacking.load(Ordering::Relaxed) {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            return Err(DiskError::Io { what: "wait for a chunk", offset, source });
        }
        for (Part { extent, chunk: number, within }, chunk) in parts {
            let start = to_usize(extent.offset - offset);
            let end = start + to_usize(extent.length);
            if start > at {
                self.lacking.store(true, Ordering::Relaxed);
                buffer[at..start].fill(0);
            }
            let into = &mut buffer[start..end];
            let range = to_usize(within)..to_usize(within + extent.length);
            let mut copy = |bytes: &[u8]| match bytes.get(range.clone()) {
                Some(bytes) => into.copy_from_slice(bytes),
                None => self.lacking.store(true, Ordering::Relaxed),
            };
            if !self.chamber.recent.read(number, &mut copy) {
                // Its segment may not be written so far; then the file waits for the end.
                let bytes = self.open(number, &chunk).map_err(|error| {
                    self.lacking.store(true, Ordering::Relaxed);
                    DiskError::Io { what: "open a chunk", offset, source: std::io::Error::other(error) }
                })?;
                copy(&bytes);
            }
            at = end;
        }
        if at < buffer.len() {
            self.lacking.store(true, Ordering::Relaxed);
            buffer[at..].fill(0);
        }
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, DiskError> {
        check_range(self.size, offset, &[0])?;
        let (data, length) = self.chamber.content().arriving.span_at(offset, self.size);
        // What a long file lacks may still come.
        let kind = if data || self.patient { SpanKind::Data } else { SpanKind::Zero };
        let span = Span { kind, length };
        self.note(Extent::new(offset, span.length));
        Ok(span)
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}

impl Director {
    /// Surveys a disk as soon as enough of it is there, and judges its files as they become
    /// complete. Returns at the end of the streams, or once the transfer is refused, with what is judged and
    /// still holds.
    pub(crate) fn judge_arriving<'c>(
        &self,
        chamber: &'c Chamber,
        inspector: &Inspector,
        station: &Station<'c>,
    ) -> Result<Option<Early<'c>>, Error> {
        let mut wanted = SURVEY_BYTES;
        loop {
            let content = chamber.content();
            let waits = |content: &mut Content| !content.ended && !content.arriving.has(wanted);
            let waited = chamber.changed.wait_while(content, waits);
            let mut content = waited.expect("no holder of this lock panics");
            if content.ended {
                return Ok(None);
            }
            wanted = content.arriving.begin_survey().saturating_mul(SURVEY_GROWTH);
            drop(content);
            let Some((early, read)) = self.survey_arriving(chamber, inspector, station)? else { continue };
            if !chamber.content().arriving.watch(&early.survey().map, read) {
                continue;
            }
            std::thread::scope(|scope| {
                let mut judges = Vec::new();
                for _ in 0..self.threads {
                    judges.push(scope.spawn(|| self.judge_ready(chamber, station, &early)));
                    judges.push(scope.spawn(|| self.judge_long(chamber, station, &early)));
                }
                let joined = judges.into_iter().map(|judge| judge.join().expect("a station does not panic"));
                // All of them, whoever fails.
                joined.fold(Ok(()), Result::and)
            })?;
            let content = chamber.content();
            if content.arriving.is_watched() || content.is_refused() {
                return Ok(Some(early));
            }
        }
    }

    fn incomplete<'c>(&'c self, chamber: &'c Chamber) -> Incomplete<'c> {
        Incomplete {
            size: chamber.hello.space.size(),
            chamber,
            segments: &self.segments,
            lacking: AtomicBool::new(false),
            read: None,
            patient: false,
            opened: Mutex::default(),
        }
    }

    /// Surveys what is there of a disk. Returns with it what the survey has read.
    fn survey_arriving<'c>(
        &self,
        chamber: &'c Chamber,
        inspector: &Inspector,
        station: &Station<'c>,
    ) -> Result<Option<(Early<'c>, Vec<Extent>)>, Error> {
        let source = Incomplete { read: Some(Mutex::default()), ..self.incomplete(chamber) };
        match inspector.survey(&source, &chamber.hello.space) {
            Ok(survey) => Ok(Some((station.begin(&chamber.hello.space, survey), source.into_read()))),
            Err(lost @ Error::Worker(_)) => Err(lost),
            // Perhaps it can be read when more of it is there.
            Err(_) => Ok(None),
        }
    }

    /// Judges files until everything has arrived, or until what is known of the disk is outdated.
    fn judge_ready(&self, chamber: &Chamber, station: &Station<'_>, early: &Early<'_>) -> Result<(), Error> {
        let source = self.incomplete(chamber);
        // The tag of the file in work, unless its verdict is from an earlier transfer.
        let fresh = Cell::new(None);
        let mut next = || {
            source.lacking.store(false, Ordering::Relaxed);
            let (index, caught_up) = wait_for(chamber, Arriving::next)?;
            if caught_up {
                chamber.caught_up.notify_all();
            }
            let place = early.survey().map.get(index)?;
            let tag = tag_of(station, &chamber.content(), &place);
            // A tag says nothing of how a file is packed.
            let known = place.packed.is_empty()
                && chamber.vault_has_chunks
                && tag.is_some_and(|tag| chamber.memo.knows(tag));
            fresh.set(tag.filter(|_| !known));
            Some((index, known))
        };
        // What was judged without all of its bytes is judged again at the end.
        let mut take = |outcome: &Outcome<'_>| {
            let whole = !source.lacking.load(Ordering::Relaxed);
            if let Some(tag) = fresh.take().filter(|_| whole && outcome.is_spotless()) {
                chamber.draft.note(tag);
            }
            if whole && chamber.refuses(outcome) {
                chamber.content().condemn();
                chamber.changed.notify_all();
            }
            whole
        };
        judge(chamber, || station.judge_files(&source, early, &mut next, &mut take))
    }

    /// Judges long files while they arrive, as long as they come in order.
    fn judge_long(&self, chamber: &Chamber, station: &Station<'_>, early: &Early<'_>) -> Result<(), Error> {
        let source = Incomplete { patient: true, ..self.incomplete(chamber) };
        let current = Cell::new(0);
        let mut next = || {
            source.lacking.store(false, Ordering::Relaxed);
            loop {
                let (index, _) = wait_for(chamber, Arriving::next_long)?;
                current.set(index);
                let place = early.survey().map.get(index)?;
                let hint = beginning_of(station, &chamber.content(), &place);
                if !chamber.vault_has_chunks || !hint.is_some_and(|hint| chamber.memo.knows(hint)) {
                    return Some((index, false));
                }
                // Likely a file that need not be read: its tag is known when it is complete.
                chamber.content().arriving.give_up(index);
            }
        };
        let mut take = |outcome: &Outcome<'_>| {
            let whole = !source.lacking.load(Ordering::Relaxed);
            let mut content = chamber.content();
            if !whole {
                content.arriving.give_up(current.get());
            } else if let Some(place) =
                early.survey().map.get(current.get()).filter(|_| outcome.is_spotless())
            {
                let tags = [tag_of(station, &content, &place), beginning_of(station, &content, &place)];
                tags.into_iter().flatten().for_each(|tag| chamber.draft.note(tag));
            } else if chamber.refuses(outcome) {
                content.condemn();
                chamber.changed.notify_all();
            }
            whole
        };
        judge(chamber, || station.judge_files(&source, early, &mut next, &mut take))
    }
}

/// Judges files. Where that fails there is nothing more to wait for, and the streams need not.
fn judge(chamber: &Chamber, judge: impl FnOnce() -> Result<(), StationError>) -> Result<(), Error> {
    judge().map_err(|error| {
        chamber.content().arriving.stop();
        chamber.changed.notify_all();
        chamber.caught_up.notify_all();
        Error::from(error)
    })
}

/// Returns the tag of a file: its chunks, where its holes are, and what it is judged by.
fn tag_of(station: &Station<'_>, content: &Content, place: &Place<'_>) -> Option<Tag> {
    let mut hasher = station.tags()?.clone();
    hasher.update(b"chunks of a file");
    hasher.update(&place.size.to_le_bytes());
    for run in place.runs {
        hasher.update(&run.logical.to_le_bytes());
        hasher.update(&run.length.to_le_bytes());
        for part in content.arriving.parts(run.extent()) {
            let Some(chunk) = content.chunk(part.chunk) else { continue };
            hasher.update(&chunk.id.0);
            hasher.update(&part.within.to_le_bytes());
            hasher.update(&part.extent.length.to_le_bytes());
        }
    }
    Some(Tag::of(&hasher))
}

/// Returns a tag of the beginning of a long file. That is no verdict, and only tells whether to wait
/// for its end; it cannot be taken for the tag of a file.
fn beginning_of(station: &Station<'_>, content: &Content, place: &Place<'_>) -> Option<Tag> {
    let run = place.runs.first()?;
    let part = content.arriving.parts(run.extent()).next()?;
    let chunk = content.chunk(part.chunk).filter(|_| part.extent.offset == run.disk)?;
    let mut hasher = station.tags()?.clone();
    hasher.update(b"begins with");
    hasher.update(&chunk.id.0);
    Some(Tag::of(&hasher))
}

/// Waits for the next file to judge. There is none at the end, and once the survey is outdated.
fn wait_for(chamber: &Chamber, next: fn(&mut Arriving) -> Next) -> Option<(usize, bool)> {
    let mut content = chamber.content();
    loop {
        if content.ended || content.is_refused() {
            return None;
        }
        match next(&mut content.arriving) {
            Next::File { index, caught_up } => return Some((index, caught_up)),
            Next::Outdated => return None,
            Next::Nothing => {
                content = chamber.changed.wait(content).expect("no holder of this lock panics");
            }
        }
    }
}
