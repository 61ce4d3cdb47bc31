//! Inspects a file in the order of its bytes.

use super::layers::{FileSource, Layered, Layers, inspect_layers};
use super::outcome::{Content, Inspected, Piece};
use super::recall::Trace;
use super::unit::{MATCHES_MAX, Worker, to_usize};
use crate::malware::Object;
use crate::search::Searcher;
use airlock_decode::Runs;
use airlock_model::{ContentHash, Place, Reason};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// How far a file is scanned.
struct Stream<'s> {
    object: Option<Object>,
    /// Where the scanner expects its next byte.
    expected: Option<u64>,
    /// Whether its beginning is that of something that can be opened.
    wanted: bool,
    /// Opens encoded runs in it.
    runs: Runs<'s>,
}

impl Stream<'_> {
    /// Takes note of where containers may begin.
    fn hear(&mut self, scanner: &mut Searcher<'_>) {
        for seen in scanner.signatures() {
            self.runs.signature(seen.offset, seen.id);
        }
    }
}

impl<'a> Worker<'a> {
    /// Inspects a whole file in logical order. Zeros and holes end a stream of bytes. As long as the
    /// memo knows what was read, nothing is scanned.
    pub(super) fn inspect_file(
        &mut self,
        place: &Place<'_>,
        pieces: &mut [Piece],
        retain: bool,
        trace: Option<&mut Trace<'_>>,
    ) -> Inspected {
        let mut scanners = std::mem::take(&mut self.inner_scanners);
        let inspected = self.inspect_by(&mut scanners, (place, pieces), retain, trace);
        self.inner_scanners = scanners;
        inspected
    }

    /// Inspects a whole file; `scanners` are those of the layers in it.
    fn inspect_by(
        &mut self,
        scanners: &mut Vec<Searcher<'a>>,
        (place, pieces): (&Place<'_>, &mut [Piece]),
        retain: bool,
        mut trace: Option<&mut Trace<'_>>,
    ) -> Inspected {
        let search = self.search;
        let mut layers = Layers::new(search, scanners);
        let limits = self.limits(place);
        let mut stream = Stream {
            object: self.scanner.watcher.object(place.size),
            expected: None,
            wanted: false,
            runs: Runs::new(&limits, &mut layers).told_of_signatures(),
        };
        let mut recalling = trace.is_some();
        for number in 0..pieces.len() {
            let last = number + 1 == pieces.len();
            let piece = &mut pieces[number];
            piece.content = self.read(place, piece);
            self.hash(piece, retain);
            if let Some(trace) = &mut trace {
                let known = trace.add(piece, last);
                if recalling && known {
                    continue;
                }
            }
            if std::mem::take(&mut recalling) && number > 0 {
                for earlier in &mut pieces[..=number] {
                    self.read_again(place, earlier);
                    self.follow(&mut stream, earlier);
                }
                continue;
            }
            self.follow(&mut stream, &pieces[number]);
        }
        if recalling {
            let bytes = pieces.iter().map(Piece::bytes).sum();
            self.memoised.fetch_add(bytes, Ordering::Relaxed);
            return Inspected::default();
        }
        if stream.expected.is_some() {
            self.scanner.finish(&mut self.matches);
            stream.hear(&mut self.scanner);
        }
        let mut limited = false;
        if let Some(mut object) = stream.object {
            object.zeros_until(place.size, &self.scanner.watcher);
            let readable = !pieces.iter().any(|piece| matches!(piece.content, Content::Unreadable));
            limited = readable && !object.finish(&self.scanner.watcher, &mut self.matches);
        }
        let plain = std::mem::take(&mut self.matches);
        let (wanted, mut runs) = (stream.wanted, stream.runs);
        if wanted && !limits.containers {
            let mut unscannable = BTreeSet::from([Reason::Unsupported]);
            unscannable.extend(limited.then_some(Reason::Limit));
            return self.findings_of(place, &Layered { plain, unscannable, ..Layered::default() });
        }
        let mut layered = if wanted {
            inspect_layers(search, scanners, &mut FileSource::new(self, place, pieces), plain)
        } else {
            let reasons = if runs.end() {
                runs.finish(&mut FileSource::new(self, place, pieces))
            } else {
                runs.finish(&mut [].as_slice())
            };
            layers.finish(plain, reasons)
        };
        layered.unscannable.extend(limited.then_some(Reason::Limit));
        self.findings_of(place, &layered)
    }

    /// Turns what was found in a file and in its layers into findings.
    pub(super) fn findings_of(&self, place: &Place<'_>, layered: &Layered) -> Inspected {
        Inspected {
            findings: layered.plain.iter().map(|found| self.finding(place, found, true)).collect(),
            inner: layered.inner.iter().map(|inner| self.inner_finding(place, inner, true)).collect(),
            unscannable: layered.unscannable.clone(),
        }
    }

    /// Scans the piece of a file that was read last.
    fn follow(&mut self, stream: &mut Stream<'_>, piece: &Piece) {
        let mut at = 0;
        let data = piece.is_data();
        if data && piece.runs.first().is_some_and(|run| run.logical == 0) {
            stream.wanted = airlock_decode::wants(head(piece, &self.buffer[..self.filled]));
        }
        for run in &piece.runs {
            let length = to_usize(run.length);
            if data {
                let bytes = &self.buffer[at..at + length];
                if stream.expected != Some(run.logical) {
                    if stream.expected.is_some() {
                        self.scanner.finish(&mut self.matches);
                        stream.hear(&mut self.scanner);
                    }
                    self.scanner.start(run.logical);
                }
                if self.matches.len() <= MATCHES_MAX {
                    self.scanner.feed(bytes, &mut self.matches);
                    self.matches.truncate(MATCHES_MAX + 1);
                    stream.hear(&mut self.scanner);
                }
                if !stream.wanted {
                    stream.runs.look(run.logical, bytes);
                }
                stream.expected = Some(run.logical + run.length);
            }
            if let Some(object) = &mut stream.object {
                let watcher = &self.scanner.watcher;
                object.zeros_until(run.logical, watcher);
                if data {
                    object.update(&self.buffer[at..at + length], watcher);
                } else {
                    object.zeros_until(run.logical + run.length, watcher);
                }
            }
            at += length;
        }
    }

    /// Reads a piece once more. If it is not what it was, it counts as unreadable (I6).
    pub(super) fn read_again(&mut self, place: &Place<'_>, piece: &mut Piece) {
        let content = self.read(place, piece);
        let same = match (&piece.content, &content) {
            (Content::Data { record: Some(record), .. }, Content::Data { .. }) => {
                record.content == ContentHash::of(&self.buffer[..self.filled])
            }
            (before, now) => std::mem::discriminant(before) == std::mem::discriminant(now),
        };
        if !same {
            piece.content = Content::Unreadable;
        }
    }
}

/// Returns the beginning of a file whose first piece has these `bytes`, up to its first hole.
fn head<'b>(piece: &Piece, bytes: &'b [u8]) -> &'b [u8] {
    let mut end = 0;
    for run in &piece.runs {
        if run.logical != end {
            break;
        }
        end = run.logical + run.length;
    }
    &bytes[..to_usize(end).min(airlock_decode::HEAD_BYTES)]
}
