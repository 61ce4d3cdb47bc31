//! Inspects a file in the order of its bytes.

use super::layers::{FileSource, Layered, Layers, inspect_layers};
use super::outcome::{Content, Inspected, Piece};
use super::recall::Trace;
use super::unit::{MATCHES_MAX, Worker, to_usize};
use crate::malware::{ObjectHasher, hash_match};
use crate::search::Searcher;
use airlock_decode::Runs;
use airlock_model::{ContentHash, Place, Reason};
use std::sync::atomic::Ordering;

/// How far a file is scanned.
struct Stream<'s> {
    hasher: Option<ObjectHasher>,
    /// Where the scanner expects its next byte.
    expected: Option<u64>,
    /// Bytes of the file that `hasher` has.
    hashed: u64,
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
        let hashes = search.rules().hashes();
        let limits = self.limits(place);
        let mut stream = Stream {
            hasher: hashes.wants(place.size).then(|| hashes.hasher(place.size)),
            expected: None,
            hashed: 0,
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
        if let Some(mut hasher) = stream.hasher {
            zeros(&mut hasher, place.size.saturating_sub(stream.hashed));
            let readable = !pieces.iter().any(|piece| matches!(piece.content, Content::Unreadable));
            let names = if readable { hasher.finish(hashes) } else { Vec::new() };
            let engine = search.rules().engine();
            self.matches.extend(names.iter().map(|name| hash_match(engine, name, place.size)));
        }
        let plain = std::mem::take(&mut self.matches);
        let (wanted, mut runs) = (stream.wanted, stream.runs);
        if wanted && !limits.containers {
            let unscannable = [Reason::Unsupported].into();
            return self.findings_of(place, &Layered { plain, unscannable, ..Layered::default() });
        }
        let layered = if wanted {
            inspect_layers(search, scanners, &mut FileSource::new(self, place, pieces), plain)
        } else {
            let reasons = if runs.end() {
                runs.finish(&mut FileSource::new(self, place, pieces))
            } else {
                runs.finish(&mut [].as_slice())
            };
            layers.finish(plain, reasons)
        };
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
            if let Some(hasher) = &mut stream.hasher {
                zeros(hasher, run.logical.saturating_sub(stream.hashed));
                if data {
                    hasher.update(&self.buffer[at..at + length]);
                } else {
                    zeros(hasher, run.length);
                }
                stream.hashed = run.logical + run.length;
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

/// Hashes a hole of a file.
pub(super) fn zeros(hasher: &mut ObjectHasher, mut length: u64) {
    let zeros = [0; 4096];
    while length > 0 {
        let count = usize::try_from(length).unwrap_or(usize::MAX).min(zeros.len());
        hasher.update(&zeros[..count]);
        length -= count as u64;
    }
}
