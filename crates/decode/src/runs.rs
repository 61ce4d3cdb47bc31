//! Finds encoded runs in the middle of other content.
//!
//! Long runs of base64 and hexadecimal digits have a long stretch without blanks, so sixteen bytes
//! in every [`STRIDE`] are enough to find them: text has a blank every few bytes, and what is
//! binary seldom has sixteen letters in a row.

#[cfg(test)]
mod pieces;

use crate::base64::{Base64, Breaks, value_of};
use crate::embedded::{self, Places};
use crate::hex::{self, Hex};
use crate::layer::{Relation, Sink};
use crate::limits::Limits;
use crate::sniff::HEAD_BYTES;
use crate::source::{Cursor, ReadAt, bytes_at};
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::Reason;
use airlock_model::field::{narrow, wide};
use std::collections::BTreeSet;
use std::io::BufRead;

/// Distance between the places that are looked at. A line of base64 in a mail has 76 characters,
/// one in a key file 64.
const STRIDE: usize = 64;

/// Bytes that are looked at in each place. A run of `STRIDE + LOOK` characters is always found,
/// and so is one of several lines; a shorter one is found by chance.
const LOOK: usize = 16;

/// Characters in a row that make a run.
const RUN_MIN: usize = 40;

/// Characters that are looked at to tell what a run is.
const JUDGED: usize = 64;

/// Bytes before a place in which the lines of its run may begin.
const BACK_MAX: usize = 4096;

/// Bytes on each side of an edge between two pieces that places near it need.
const SEAM: usize = STRIDE + JUDGED;

/// Bytes that are looked at again with the next ones, for runs across two pieces.
const KEPT: usize = 256;

/// Bytes that are searched at once.
const PIECE_BYTES: usize = 32 << 10;

/// What a run is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Base64,
    Hex,
}

impl Run {
    fn name(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Hex => "hex",
        }
    }

    /// Opens a run that begins at `at` of the content and with the first byte of `source`.
    fn open<'a>(self, walk: &Walk<'_>, (depth, at): (usize, u64), source: impl BufRead + 'a) {
        let place = (self.name(), at);
        match self {
            Self::Base64 => walk.open(depth, place, Relation::Decoded, Box::new(Base64::new(source))),
            Self::Hex => walk.open(depth, place, Relation::Decoded, Box::new(Hex::new(source))),
        }
    }
}

/// A run in a piece.
struct Found {
    /// The place that lies in it.
    place: usize,
    /// Where it begins.
    start: usize,
    /// Whether it may begin before the piece.
    cut: bool,
    run: Run,
}

/// A run that has begun, up to where it is over.
#[derive(Debug, Clone, Copy)]
struct Course {
    run: Run,
    breaks: Breaks,
}

impl Course {
    fn of(run: Run) -> Self {
        Self { run, breaks: Breaks::default() }
    }

    /// Returns where in `bytes`, the next ones, the run is over; none if it may go on behind them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.run {
            Run::Base64 => bytes.iter().position(|byte| !self.breaks.admit(*byte)),
            Run::Hex => bytes.iter().position(|byte| !hex::admits(*byte)),
        }
    }
}

/// Opens the encoded runs in content that passes by in pieces of any size.
///
/// A run that lies in one piece is opened as it passes. One that goes from piece to piece is
/// opened in the end, from the content itself.
pub struct Runs<'s> {
    walk: Walk<'s>,
    /// The last bytes that passed.
    tail: Vec<u8>,
    /// Where the next byte belongs.
    at: u64,
    /// Where the content began, or went on behind a hole.
    begun: u64,
    /// The next place that is to be looked at.
    next: u64,
    /// The run that went up to `at`.
    open: Option<Course>,
    /// Where the last run was over.
    over: u64,
    /// Places of runs that lie in more than one piece, and where those before them were over.
    late: Vec<(u64, u64)>,
    /// Places where containers may begin.
    embedded: Places,
    /// Whether somebody else looks for these, and tells.
    told: bool,
    /// The last bytes that passed, for signatures.
    seam: Vec<u8>,
}

impl std::fmt::Debug for Runs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runs").field("at", &self.at).field("late", &self.late).finish_non_exhaustive()
    }
}

impl<'s> Runs<'s> {
    /// Opens runs within these limits.
    pub fn new(limits: &Limits, sink: &'s mut dyn Sink) -> Self {
        let walk = Walk::new(limits, sink);
        Self {
            walk,
            tail: Vec::new(),
            at: 0,
            begun: 0,
            next: 0,
            open: None,
            over: 0,
            late: Vec::new(),
            embedded: Places::default(),
            told: false,
            seam: Vec::new(),
        }
    }

    /// Leaves it to the caller to look for [`SIGNATURES`](crate::SIGNATURES), and to tell ([`Self::signature`]):
    /// whoever goes over all bytes anyway finds them at next to no cost.
    #[must_use]
    pub fn told_of_signatures(self) -> Self {
        Self { told: true, ..self }
    }

    /// Takes note that a signature stands at a place of the content. Places come in order.
    pub fn signature(&mut self, place: u64, signature: usize) {
        self.embedded.add(place, signature);
    }

    /// Looks at the bytes of the content from `at` on, and opens the runs within them. What lies
    /// between them and those before is a hole.
    pub fn look(&mut self, at: u64, piece: &[u8]) {
        if at != self.at {
            self.end_stretch();
            (self.at, self.begun, self.next, self.open) = (at, at, at.next_multiple_of(wide(STRIDE)), None);
            self.tail.clear();
            self.seam.clear();
        }
        if !self.told {
            self.embedded.look(at, piece, &self.seam);
            self.keep_seam(piece);
        }
        let end = at.saturating_add(wide(piece.len()));
        if let Some(course) = self.open {
            self.pass(course, at, piece);
        }
        if self.next < at.saturating_add(wide(STRIDE)) && at > self.begun {
            self.look_at_seam(piece);
        }
        // Bytes of this piece surround the places that are left.
        loop {
            let from = narrow(self.next.saturating_sub(at));
            if self.open.is_some() || from.saturating_add(JUDGED) > piece.len() {
                break;
            }
            let floor = narrow(self.over.saturating_sub(at));
            let Some(Found { place, start, cut, run }) = next_run(piece, from, floor) else {
                let room = piece.len().saturating_sub(from).saturating_sub(JUDGED);
                let steps = wide(room / STRIDE).saturating_add(1);
                self.next = self.next.saturating_add(steps.saturating_mul(wide(STRIDE)));
                break;
            };
            let rest = piece.get(start..).unwrap_or_default();
            let first = at.saturating_add(wide(start));
            let (place, floor) = (at.saturating_add(wide(place)), self.over);
            self.next = place.saturating_add(wide(STRIDE));
            self.pass(Course::of(run), first, rest);
            if self.open.is_none() && (!cut || at == self.begun) {
                run.open(&self.walk, (0, first), rest);
            } else {
                self.late.push((place, floor));
            }
        }
        self.keep(piece);
        self.at = end;
    }

    /// Ends the content. Returns whether there is something that needs it once more.
    pub fn end(&mut self) -> bool {
        self.end_stretch();
        !self.late.is_empty() || !self.embedded.is_empty()
    }

    /// Opens the runs that lay in more than one piece and the containers in the middle of the content, and returns
    /// why not everything was opened.
    pub fn finish(mut self, source: &mut dyn ReadAt) -> BTreeSet<Reason> {
        self.end_stretch();
        for &(place, floor) in &self.late {
            let from = place.saturating_sub(wide(BACK_MAX)).max(floor);
            let before = narrow(place.saturating_sub(from));
            let bytes = bytes_at(source, from, before.saturating_add(JUDGED));
            let Some(Found { start, run, .. }) = run_around(&bytes, before, 0) else { continue };
            let start = from.saturating_add(wide(start));
            let end = source.size();
            let mut stream = Stream::shown(&self.walk, Box::new(Cursor::new(&mut *source, start, end)));
            run.open(&self.walk, (0, start), &mut stream);
        }
        self.walk.rebase(0);
        self.embedded.open(&self.walk, source);
        self.walk.into_reasons()
    }

    /// Keeps the last bytes for signatures that go on in the next piece.
    fn keep_seam(&mut self, piece: &[u8]) {
        let from = piece.len().saturating_sub(embedded::SEAM);
        self.seam.extend_from_slice(piece.get(from..).unwrap_or_default());
        self.seam.drain(..self.seam.len().saturating_sub(embedded::SEAM));
    }

    /// Takes note that a run goes on from `first`, where `rest` begins.
    fn pass(&mut self, mut course: Course, first: u64, rest: &[u8]) {
        let end = course.end(rest);
        self.open = end.is_none().then_some(course);
        let over = first.saturating_add(wide(end.unwrap_or(rest.len())));
        self.over = over;
        self.next = self.next.max(over).next_multiple_of(wide(STRIDE));
    }

    /// Looks at the places that need bytes of the last piece and of this one.
    fn look_at_seam(&mut self, piece: &[u8]) {
        let before = self.tail.len();
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(piece.get(..SEAM).unwrap_or(piece));
        let start = self.at.saturating_sub(wide(before));
        while self.open.is_none() && self.next < self.at.saturating_add(wide(STRIDE)) {
            let place = narrow(self.next.saturating_sub(start));
            if place.saturating_add(JUDGED) > seam.len() {
                break;
            }
            let floor = narrow(self.over.saturating_sub(start));
            let Some(Found { run, .. }) = run_at(&seam, place, floor) else {
                self.next = self.next.saturating_add(wide(STRIDE));
                continue;
            };
            self.late.push((self.next, self.over));
            let found = self.next;
            self.next = found.saturating_add(wide(STRIDE));
            let mut course = Course::of(run);
            let last = seam.get(place..before).unwrap_or_default();
            if let Some(end) = course.end(last) {
                self.over = found.saturating_add(wide(end));
                self.next = self.next.max(self.over);
            } else {
                let ahead = place.saturating_sub(before);
                self.pass(
                    course,
                    self.at.saturating_add(wide(ahead)),
                    piece.get(ahead..).unwrap_or_default(),
                );
            }
            self.next = self.next.next_multiple_of(wide(STRIDE));
        }
        seam.truncate(before);
        self.tail = seam;
    }

    /// Looks at the last places of a stretch without a hole.
    fn end_stretch(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        let start = self.at.saturating_sub(wide(tail.len()));
        while self.open.is_none() && self.next < self.at {
            let place = narrow(self.next.saturating_sub(start));
            let floor = narrow(self.over.saturating_sub(start));
            if run_at(&tail, place, floor).is_some() {
                self.late.push((self.next, self.over));
                return;
            }
            self.next = self.next.saturating_add(wide(STRIDE));
        }
    }

    /// Keeps the last bytes that passed.
    fn keep(&mut self, piece: &[u8]) {
        if piece.len() < SEAM {
            self.tail.extend_from_slice(piece);
            self.tail.drain(..self.tail.len().saturating_sub(SEAM));
        } else {
            self.tail.clear();
            self.tail.extend_from_slice(piece.get(piece.len().saturating_sub(SEAM)..).unwrap_or_default());
        }
    }
}

/// Opens every run in a stream, up to its end.
pub(crate) fn search<'s>(walk: &Walk<'s>, stream: &mut Stream<'_, 's>) {
    // What stands at the beginning was looked at.
    let mut stream_begun = false;
    loop {
        let piece = stream.peek(PIECE_BYTES);
        if piece.is_empty() {
            return;
        }
        let whole = piece.len() < PIECE_BYTES;
        let run = next_run(piece, 0, 0);
        let before = run.as_ref().map_or(piece.len(), |found| found.start);
        let containers = embedded::places(piece.get(..before).unwrap_or(piece));
        let container = containers.filter(|place| stream_begun || *place > 0).find(|place| {
            let head = piece.get(*place..).unwrap_or_default();
            let cut = head.len() < HEAD_BYTES && !whole;
            cut || embedded::kind(head.get(..HEAD_BYTES).unwrap_or(head)).is_some()
        });
        if let Some(place) = container {
            stream.take(place);
            let at = stream.position();
            if let Some(kind) = embedded::kind(stream.peek(HEAD_BYTES)) {
                walk.enter_here(kind, stream);
            }
            stream_begun = true;
            // Whatever it was, the signature is passed over.
            if stream.position() == at {
                stream.skip(1);
            }
        } else if let Some(Found { start, run, .. }) = run {
            stream.take(start);
            let (depth, at) = (stream.depth(), stream.position());
            run.open(walk, (depth, at), &mut *stream);
            // Nothing was taken where a limit was hit: the run is passed over all the same.
            if stream.position() == at {
                stream.skip(wide(RUN_MIN));
            }
        } else {
            let taken = piece.len().saturating_sub(if whole { 0 } else { KEPT });
            stream.take(taken);
            stream_begun = true;
        }
    }
}

/// Returns the first run that a place from `from` on lies in, which does not begin before `floor`.
#[inline]
fn next_run(piece: &[u8], from: usize, floor: usize) -> Option<Found> {
    let mut places = piece.get(from..)?.chunks_exact(STRIDE).enumerate();
    places.find_map(|(number, chunk)| {
        if !may_be_part(chunk.first_chunk()?) {
            return None;
        }
        let place = number.saturating_mul(STRIDE).saturating_add(from);
        run_around(piece, place, floor)
    })
}

/// Returns the run that `place` lies in, which does not begin before `floor`.
fn run_at(piece: &[u8], place: usize, floor: usize) -> Option<Found> {
    let look = piece.get(place..)?.first_chunk()?;
    may_be_part(look).then(|| run_around(piece, place, floor)).flatten()
}

/// Whether all bytes are characters of base64; says no nearly everywhere. There is no branch in
/// it, so that vector instructions do it at once.
#[inline]
fn may_be_part(look: &[u8; LOOK]) -> bool {
    let outside = |byte: &u8| {
        let letter = u8::from((byte | 0x20).wrapping_sub(b'a') < 26);
        let digit_or_slash = u8::from(byte.wrapping_sub(b'/') < 11);
        1 ^ (letter | digit_or_slash | u8::from(*byte == b'+'))
    };
    look.iter().fold(0, |any, byte| any | outside(byte)) == 0
}

/// Returns the run that the place `at` lies in. It begins with the first of the lines before that
/// look alike, and not before `floor`.
fn run_around(piece: &[u8], at: usize, floor: usize) -> Option<Found> {
    let first = at.saturating_sub(BACK_MAX).max(floor).min(at);
    let (before, after) = (piece.get(first..at)?, piece.get(at..)?);
    let back =
        |before: &[u8], part: fn(u8) -> bool| before.iter().rev().take_while(|byte| part(**byte)).count();
    // Long names are the most of what comes here: their ends are found sixteen bytes at once.
    let ahead = parts_ahead(after.get(..JUDGED).unwrap_or(after));
    let near = before.get(before.len().saturating_sub(STRIDE)..)?;
    if ahead.saturating_add(near.len()) < RUN_MIN {
        return None;
    }
    let near = parts_before(near);
    let (start, end) = (at.saturating_sub(near), at.saturating_add(ahead));
    if ahead == 0 || end.saturating_sub(start) < RUN_MIN {
        return None;
    }
    let run = judge(piece.get(start..end)?)?;
    let part = match run {
        Run::Base64 => is_part,
        Run::Hex => |byte: u8| byte.is_ascii_hexdigit(),
    };
    let mut start = at.saturating_sub(back(before, part));
    let mut cut = first == 0 && start == 0;
    while let Some(above) = piece.get(first..start)?.strip_suffix(b"\n") {
        let above = above.strip_suffix(b"\r").unwrap_or(above);
        let length = back(above, part);
        cut = first == 0 && length == above.len();
        if length < RUN_MIN {
            break;
        }
        start = first.saturating_add(above.len()).saturating_sub(length);
    }
    Some(Found { place: at, start, cut, run })
}

/// Returns how many characters of base64 stand at the beginning.
fn parts_ahead(bytes: &[u8]) -> usize {
    let (looks, _) = bytes.as_chunks::<LOOK>();
    let whole = looks.iter().take_while(|look| may_be_part(look)).count().saturating_mul(LOOK);
    let rest = bytes.get(whole..).unwrap_or_default();
    whole.saturating_add(rest.iter().take_while(|byte| is_part(**byte)).count())
}

/// Returns how many characters of base64 stand at the end.
fn parts_before(bytes: &[u8]) -> usize {
    let (_, looks) = bytes.as_rchunks::<LOOK>();
    let whole = looks.iter().rev().take_while(|look| may_be_part(look)).count().saturating_mul(LOOK);
    let rest = bytes.get(..bytes.len().saturating_sub(whole)).unwrap_or_default();
    whole.saturating_add(rest.iter().rev().take_while(|byte| is_part(**byte)).count())
}

/// Whether a byte is a character of base64; hexadecimal digits are.
#[inline]
fn is_part(byte: u8) -> bool {
    value_of(byte).is_some()
}

/// Classes of characters: upper case, lower case, digits, others.
const CLASSES: usize = 4;

/// The class of each byte.
const CLASS: [u8; 256] = {
    let mut classes = [3; 256];
    let mut left: &mut [u8] = &mut classes;
    let mut byte = 0_u8;
    while let Some((slot, rest)) = left.split_first_mut() {
        match byte {
            b'A'..=b'Z' => *slot = 0,
            b'a'..=b'z' => *slot = 1,
            b'0'..=b'9' => *slot = 2,
            _ => {}
        }
        left = rest;
        byte = byte.wrapping_add(1);
    }
    classes
};

/// What the characters of a run are. It is taken of every long word, and so without a branch.
struct Census {
    upper: usize,
    lower: usize,
    digits: usize,
    /// Slashes and plus signs.
    others: usize,
    /// The low five bits of letters that there are, one bit each, and those of digits.
    letters: u64,
    numbers: u64,
    /// Neighbours that differ, and of these those of different classes.
    pairs: usize,
    changes: usize,
}

impl Census {
    fn of(run: &[u8]) -> Self {
        let mut counts = [0_usize; CLASSES];
        let mut seen = [0_u64; CLASSES];
        let (mut pairs, mut changes) = (0_usize, 0_usize);
        let first = run.first().copied().unwrap_or(0);
        let class_of = |byte: u8| CLASS.get(usize::from(byte)).copied().unwrap_or(0);
        let mut last = (first, class_of(first));
        for &byte in run {
            let class = class_of(byte);
            let place = usize::from(class) % CLASSES;
            if let (Some(count), Some(seen)) = (counts.get_mut(place), seen.get_mut(place)) {
                *count = count.wrapping_add(1);
                *seen |= 1 << (byte & 0x1f);
            }
            let differs = usize::from(byte != last.0);
            pairs = pairs.wrapping_add(differs);
            changes = changes.wrapping_add(differs & usize::from(class != last.1));
            last = (byte, class);
        }
        let ([upper, lower, digits, others], [capitals, small, numbers, _]) = (counts, seen);
        Self { upper, lower, digits, others, letters: capitals | small, numbers, pairs, changes }
    }

    fn is_hex(&self) -> bool {
        // The letters A to F, as the low bits of both cases.
        self.letters & !0x7e == 0 && self.others == 0
    }

    /// Returns how many different digits and letters there are, whatever their case.
    fn different(&self) -> u32 {
        self.letters.count_ones().saturating_add(self.numbers.count_ones())
    }

    /// Whether neighbours are mostly of different classes: upper case, lower case, digits, others. In
    /// base64 two of three pairs of different letters are; in names of words joined by capitals, as
    /// compilers write them, one of three.
    fn is_restless(&self) -> bool {
        self.changes.saturating_mul(20) >= self.pairs.saturating_mul(9)
    }
}

/// Tells base64 and hexadecimal digits from long words, numbers and separators.
fn judge(run: &[u8]) -> Option<Run> {
    let census = Census::of(run);
    let few = run.len() / 16;
    if census.is_hex() {
        // A hash is hexadecimal, too; text has few different high digits.
        let one_case = census.lower == 0 || census.upper == 0;
        return (one_case && census.digits > few && census.different() > 4 && run.len() >= JUDGED)
            .then_some(Run::Hex);
    }
    let marks = census.digits.saturating_add(census.others);
    let mixed = census.lower > few && census.upper > few && marks > 0 && census.others <= run.len() / 4;
    (mixed && census.is_restless()).then_some(Run::Base64)
}

#[cfg(test)]
mod restless {
    use super::judge;

    #[test]
    fn names_that_compilers_make_are_no_base64() {
        for name in [
            "ZN4llvm12DenseMapBaseINS8DenseMapIPKNS8FunctionENSt10uniqueptrI",
            "Java8NativeInterfaceGetStringUTFCharactersAndReleaseThemLaterOn1",
            "getSupportedSignatureAlgorithmsForCertificateChainBuilder2WithTrust",
        ] {
            assert!(judge(name.as_bytes()).is_none(), "{name}");
        }
        for text in [
            "H4sIAAAAAAAAA0tOLEpRMLE0NFMwNrYwVTAwM7BQMLIwNuICABm/oxIZAAAA",
            "NDUzOSAxNDg4IDAzNDMgNjQ2NyAgIDQ1MzkgMTQ4OCAwMzQzIDY0NjcgICA0",
            "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBp",
        ] {
            assert!(judge(text.as_bytes()).is_some(), "{text}");
        }
    }
}
