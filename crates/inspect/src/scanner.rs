//! Scanners: one stream after another, piece by piece.

use crate::anchor::Anchor;
use crate::armor::ArmorRun;
use crate::classes::BLOCK_BYTES;
use crate::detector::{Hit, Part, Value};
use crate::document::Open;
use crate::engine::{Engine, Identity, Match, Signature};
use crate::fingerprint::FingerprintBuilder;
use crate::header::{Header, Row};
use crate::simd::scan;
use crate::stage::{Candidate, LITERAL, Stage, WIDE};
use crate::window::{Encoding, HEAD_BYTES, LOOKAHEAD_BYTES, LOOKBACK_BYTES, Window};
use airlock_model::field::{narrow, wide};

/// Characters of UTF-16 on each side of a candidate that fit in the window.
const WIDE_CHARACTERS: usize = LOOKBACK_BYTES / 2;

/// Bytes that must be kept so that no candidate loses its surroundings.
const KEEP_BYTES: usize = LOOKBACK_BYTES + LOOKAHEAD_BYTES;

/// Pieces from this size on are scanned where they lie; smaller ones are gathered.
const DIRECT_BYTES_MIN: usize = 4 * KEEP_BYTES;

/// Bytes that are gathered before the oldest are let go.
const CARRY_BYTES_MAX: usize = 4 * DIRECT_BYTES_MIN;

/// Blocks between two rounds of verification, so that candidates stay in the cache.
const STRIDE_BLOCKS: usize = 512;

/// Bytes that stage 1 must have taken behind a candidate before it is looked at. A
/// literal is seen by its rarest bytes, up to 64 from its first; all candidates before
/// it have to be there, so that they are looked at in order of position.
const SETTLED_BYTES: u64 = 128;

/// Scans streams, one after another, piece by piece.
///
/// What is found depends on the bytes of a stream only, never on the pieces in which
/// they came. Matches come roughly in order of their offsets.
pub struct Scanner<'e> {
    engine: &'e Engine,
    base: u64,
    /// Bytes of the stream so far. Places in the stream are counted from its start here.
    arrived: u64,
    /// Bytes that stage 1 has taken.
    scanned: u64,
    stage: Stage,
    /// The last bytes of the stream, from `carry_start` on.
    carry: Vec<u8>,
    carry_start: u64,
    head: Vec<u8>,
    /// The header row as last read, in which encoding, from how many bytes.
    row: Row,
    row_encoding: Encoding,
    row_head: usize,
    /// Candidates whose surroundings have not come yet.
    queue: Vec<Candidate>,
    signatures: Vec<Signature>,
    open: Option<ArmorRun>,
    documents: Vec<Open>,
}

impl std::fmt::Debug for Scanner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner")
            .field("arrived", &self.arrived)
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl<'e> Scanner<'e> {
    pub(crate) fn new(engine: &'e Engine) -> Self {
        Self {
            engine,
            base: 0,
            arrived: 0,
            scanned: 0,
            stage: Stage::default(),
            carry: Vec::new(),
            carry_start: 0,
            head: Vec::new(),
            row: Row::Unknown,
            row_encoding: Encoding::Bytes,
            row_head: 0,
            queue: Vec::new(),
            signatures: Vec::new(),
            open: None,
            documents: Vec::new(),
        }
    }

    /// Takes away what signatures have been seen, in order of their offsets. A caller
    /// that asked for signatures has to take them after each piece: they are kept
    /// across the end of a stream, until they are taken.
    pub fn signatures(&mut self) -> std::vec::Drain<'_, Signature> {
        self.signatures.drain(..)
    }

    /// Begins a stream whose first byte is called `base_offset` in matches. What was
    /// fed of an unfinished stream is forgotten.
    pub fn start(&mut self, base_offset: u64) {
        self.base = base_offset;
        self.arrived = 0;
        self.scanned = 0;
        self.stage = Stage::default();
        self.carry.clear();
        self.carry_start = 0;
        self.head.clear();
        self.row = Row::Unknown;
        self.row_head = 0;
        self.queue.clear();
        self.open = None;
        self.documents.clear();
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<Match>) {
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(piece.len());
        self.head.extend_from_slice(piece.get(..room).unwrap_or_default());
        let piece_start = self.arrived;
        self.arrived = self.arrived.saturating_add(wide(piece.len()));
        if piece.len() < DIRECT_BYTES_MIN {
            self.gather(piece, out);
        } else {
            self.direct(piece, piece_start, out);
        }
    }

    /// Ends the stream: what waited for more bytes is looked at without them. The
    /// next stream starts at 0, unless [`Self::start`] says otherwise.
    pub fn finish(&mut self, out: &mut Vec<Match>) {
        let mut last = [[0xff; BLOCK_BYTES]; 2];
        let rest =
            self.carry.get(narrow(self.scanned.saturating_sub(self.carry_start))..).unwrap_or_default();
        for (slot, byte) in last.as_flattened_mut().iter_mut().zip(rest) {
            *slot = *byte;
        }
        let engine = self.engine;
        scan(engine.isa, &mut self.stage, &last, self.scanned, &engine.wanted, &mut self.queue);
        let bounds = Bounds { end: self.arrived, finished: true };
        let carry = std::mem::take(&mut self.carry);
        self.drain(&carry, self.carry_start, bounds, u64::MAX, out);
        self.carry = carry;
        if let Some(open) = self.open.take() {
            self.close(open, out);
        }
        for document in std::mem::take(&mut self.documents) {
            self.close_document(&document, out);
        }
        self.start(0);
    }

    /// Small pieces are gathered in the carry and scanned there.
    fn gather(&mut self, piece: &[u8], out: &mut Vec<Match>) {
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(piece);
        self.follow(&carry, self.carry_start, out);
        let engine = self.engine;
        let rest = carry.get(narrow(self.scanned.saturating_sub(self.carry_start))..).unwrap_or_default();
        let (blocks, _) = rest.as_chunks::<BLOCK_BYTES>();
        scan(engine.isa, &mut self.stage, blocks, self.scanned, &engine.wanted, &mut self.queue);
        self.scanned = self.scanned.saturating_add(wide(blocks.as_flattened().len()));
        let bounds = Bounds { end: self.arrived, finished: false };
        self.drain(&carry, self.carry_start, bounds, u64::MAX, out);
        if carry.len() > CARRY_BYTES_MAX {
            let gone = carry.len().saturating_sub(KEEP_BYTES);
            carry.drain(..gone);
            self.carry_start = self.carry_start.saturating_add(wide(gone));
        }
        self.carry = carry;
    }

    /// A large piece is scanned where it lies; the carry and its first bytes together
    /// serve the candidates near the seam.
    fn direct(&mut self, piece: &[u8], piece_start: u64, out: &mut Vec<Match>) {
        let engine = self.engine;
        let mut seam = std::mem::take(&mut self.carry);
        seam.extend_from_slice(piece.get(..KEEP_BYTES).unwrap_or_default());
        let bounds = Bounds { end: self.arrived, finished: false };
        self.follow(&seam, self.carry_start, out);
        self.follow(piece, piece_start, out);
        while self.scanned < piece_start {
            let rest = seam.get(narrow(self.scanned.saturating_sub(self.carry_start))..).unwrap_or_default();
            let (blocks, _) = rest.as_chunks::<BLOCK_BYTES>();
            let block = blocks.get(..1).unwrap_or_default();
            scan(engine.isa, &mut self.stage, block, self.scanned, &engine.wanted, &mut self.queue);
            self.scanned = self.scanned.saturating_add(wide(BLOCK_BYTES));
        }
        let inside = piece_start.saturating_add(wide(LOOKBACK_BYTES));
        let rest = piece.get(narrow(self.scanned.saturating_sub(piece_start))..).unwrap_or_default();
        let (blocks, _) = rest.as_chunks::<BLOCK_BYTES>();
        for stride in blocks.chunks(STRIDE_BLOCKS) {
            scan(engine.isa, &mut self.stage, stride, self.scanned, &engine.wanted, &mut self.queue);
            self.scanned = self.scanned.saturating_add(wide(stride.as_flattened().len()));
            if !self.queue.is_empty() {
                self.drain(&seam, self.carry_start, bounds, inside, out);
                self.follow(piece, piece_start, out);
                self.drain(piece, piece_start, bounds, u64::MAX, out);
            }
        }
        seam.clear();
        seam.extend_from_slice(piece.get(piece.len().saturating_sub(KEEP_BYTES)..).unwrap_or_default());
        self.carry_start = self.arrived.saturating_sub(wide(seam.len()));
        self.carry = seam;
    }

    /// Looks at the candidates before `until` whose surroundings are in `buffer`,
    /// which starts at byte `from` of the stream.
    fn drain(&mut self, buffer: &[u8], from: u64, bounds: Bounds, until: u64, out: &mut Vec<Match>) {
        let mut done: usize = 0;
        while let Some(&candidate) = self.queue.get(done) {
            let surrounded = candidate.at.saturating_add(wide(LOOKAHEAD_BYTES)) <= bounds.end;
            let settled = candidate.at.saturating_add(SETTLED_BYTES) <= self.scanned;
            let ready = surrounded && settled || bounds.finished;
            if !ready || candidate.at >= until {
                break;
            }
            done = done.saturating_add(1);
            self.verify(candidate, buffer, from, out);
        }
        if done == self.queue.len() {
            self.queue.clear();
        } else if done > 0 {
            self.queue.drain(..done);
        }
    }

    /// Asks the detectors about a candidate.
    #[inline]
    fn verify(&mut self, candidate: Candidate, buffer: &[u8], from: u64, out: &mut Vec<Match>) {
        let place = narrow(candidate.at.saturating_sub(from));
        let (before, after) = buffer.split_at_checked(place).unwrap_or_default();
        let before = before.get(before.len().saturating_sub(LOOKBACK_BYTES)..).unwrap_or_default();
        let after = after.get(..LOOKAHEAD_BYTES).unwrap_or(after);
        let from_start = wide(before.len()) == candidate.at;
        let kinds = candidate.kinds & !WIDE;
        let mut at = candidate.at;
        if candidate.kinds & WIDE == 0 {
            let window = Window {
                before,
                after,
                run: digits(after),
                header: None,
                encoding: Encoding::Bytes,
                at,
                from_start,
            };
            self.show(kinds, candidate.at, window, (buffer, from), out);
            return;
        }
        let mut characters = [0; 2 * WIDE_CHARACTERS];
        let (backward, forward) = characters.split_at_mut(WIDE_CHARACTERS);
        let backward = widen_back(before, backward);
        let forward = widen(after, forward);
        let kinds = if kinds & LITERAL == 0 { self.shapes(backward, forward) } else { kinds };
        if kinds == 0 {
            return;
        }
        // The low byte of a character stands first on even places, as a stream of
        // UTF-16 starts on one.
        let little = at.is_multiple_of(2);
        let encoding = if little { Encoding::Utf16Le } else { Encoding::Utf16Be };
        at = if little { at } else { at.saturating_sub(1) };
        let run = digits(forward);
        let window = Window { before: backward, after: forward, run, header: None, encoding, at, from_start };
        self.show(kinds, candidate.at, window, (buffer, from), out);
    }

    /// Returns the wanted shapes that characters make.
    fn shapes(&self, before: &[u8], after: &[u8]) -> u32 {
        let wanted = Anchor::ALL
            .into_iter()
            .filter(|anchor| self.engine.wanted.shapes & anchor.bit() != 0 && anchor.holds(before, after));
        wanted.fold(0, |kinds, anchor| kinds | anchor.bit())
    }

    /// Shows a window, whose candidate is at the byte `place`, to those who want one of
    /// `kinds`, and takes what they find.
    #[inline]
    fn show(
        &mut self,
        kinds: u32,
        place: u64,
        window: Window<'_>,
        source: (&[u8], u64),
        out: &mut Vec<Match>,
    ) {
        let engine = self.engine;
        let (at, encoding) = (window.at, window.encoding);
        let sought = if kinds & LITERAL == 0 {
            None
        } else {
            let index = usize::try_from(kinds & !LITERAL).unwrap_or(usize::MAX);
            let Some(sought) = engine.sought.get(index) else { return };
            if !sought.literal.starts(window.after) {
                return;
            }
            let offset = self.base.saturating_add(at);
            self.signatures.extend(sought.signatures.iter().map(|&id| Signature { offset, id }));
            Some(sought)
        };
        self.read_row(encoding);
        let window = Window { header: self.header(place), ..window };
        let found = match sought {
            Some(sought) => engine.ask_literal(sought, &window),
            None => engine.ask(kinds, &window),
        };
        for (index, hit) in found {
            self.take(index, hit, (at, encoding), source, out);
        }
    }

    /// Reads the header row, unless that has been done.
    #[inline]
    fn read_row(&mut self, encoding: Encoding) {
        let news = matches!(self.row, Row::Unknown) && self.head.len() > self.row_head;
        if news || encoding != self.row_encoding {
            let (skip, step) = match encoding {
                Encoding::Bytes => (0, 1),
                Encoding::Utf16Le => (0, 2),
                Encoding::Utf16Be => (1, 2),
            };
            self.row = Header::read(&self.head, skip, step);
            self.row_encoding = encoding;
            self.row_head = self.head.len();
        }
    }

    /// Returns the header row if it ends before the byte `at`. What comes later must
    /// not count: it may or may not have arrived.
    #[inline]
    fn header(&self, at: u64) -> Option<&Header> {
        match &self.row {
            Row::Present(header, end) if wide(*end) <= at => Some(header),
            _ => None,
        }
    }

    /// Takes what a detector found at the byte `at`.
    fn take(
        &mut self,
        index: usize,
        hit: Hit,
        (at, encoding): (u64, Encoding),
        (buffer, from): (&[u8], u64),
        out: &mut Vec<Match>,
    ) {
        let Some(builder) = self.engine.builders.get(index) else { return };
        match hit {
            Hit::Value(value) => {
                let identity = self.engine.identity(index);
                self.report((identity, builder.clone()), &value, (at, encoding), out);
            }
            Hit::OfClass(class, value) => {
                if let Some(class) = self.engine.class(index, class) {
                    self.report(class, &value, (at, encoding), out);
                }
            }
            Hit::Part(part) => self.join(index, part, (at, encoding), out),
            Hit::Armor(armor) => {
                if let Some(open) = self.open.take() {
                    self.close(open, out);
                }
                let mut open = ArmorRun::new(index, armor, encoding, at, builder.clone());
                if open.drive(buffer, from) {
                    self.close(open, out);
                } else {
                    self.open = Some(open);
                }
            }
        }
    }

    /// Reports a value that a detector of this identity found at the byte `at`.
    fn report(
        &self,
        ((detector, check, severity), mut builder): (Identity, FingerprintBuilder),
        value: &Value,
        (at, encoding): (u64, Encoding),
        out: &mut Vec<Match>,
    ) {
        builder.update(value.normal.as_bytes());
        out.push(Match {
            detector: detector.into(),
            check,
            severity,
            confidence: value.confidence,
            offset: self.base.saturating_add(byte_at(at, value.first, encoding)),
            length: wide(value.length).saturating_mul(encoding.width()),
            fingerprint: builder.finish(),
            display: value.display.clone(),
        });
    }

    /// Puts a part that a detector found at the byte `at` to its document.
    fn join(&mut self, index: usize, part: Part, (at, encoding): (u64, Encoding), out: &mut Vec<Match>) {
        let start = byte_at(at, part.first, encoding);
        let end = start.saturating_add(wide(part.length).saturating_mul(encoding.width()));
        if let Some(place) = self.documents.iter().position(|open| open.detector == index) {
            if self.documents.get_mut(place).is_some_and(|open| open.join(&part, (start, end))) {
                return;
            }
            let done = self.documents.remove(place);
            self.close_document(&done, out);
        }
        let Some(mut builder) = self.engine.builders.get(index).cloned() else { return };
        builder.update(part.normal.as_bytes());
        self.documents.push(Open::new(index, part, (start, end), builder.finish()));
    }

    fn close_document(&self, document: &Open, out: &mut Vec<Match>) {
        let (detector, check, severity) = self.engine.identity(document.detector);
        out.push(Match {
            detector: detector.into(),
            check,
            severity,
            confidence: document.confidence(),
            offset: self.base.saturating_add(document.start),
            length: document.end.saturating_sub(document.start),
            fingerprint: document.fingerprint,
            display: document.display(),
        });
    }

    /// Lets an open block see the bytes of `buffer`.
    fn follow(&mut self, buffer: &[u8], from: u64, out: &mut Vec<Match>) {
        if let Some(mut open) = self.open.take() {
            if open.drive(buffer, from) {
                self.close(open, out);
            } else {
                self.open = Some(open);
            }
        }
    }

    fn close(&self, open: ArmorRun, out: &mut Vec<Match>) {
        let (detector, check, severity) = self.engine.identity(open.detector);
        let end = open.finish();
        out.push(Match {
            detector: detector.into(),
            check,
            severity,
            confidence: end.confidence,
            offset: self.base.saturating_add(end.start),
            length: end.length,
            fingerprint: end.fingerprint,
            display: end.display,
        });
    }
}

/// How far the stream has come.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    end: u64,
    finished: bool,
}

/// Returns the byte of the stream where a character stands: `place` characters from
/// the one at the byte `at`.
fn byte_at(at: u64, place: isize, encoding: Encoding) -> u64 {
    let width = i64::try_from(encoding.width()).unwrap_or(1);
    at.saturating_add_signed(i64::try_from(place).unwrap_or(0).saturating_mul(width))
}

/// Returns the number of digits that `text` starts with.
#[inline]
fn digits(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len())
}

/// Shows every second byte of `bytes`, the first one first, as characters.
fn widen<'a>(bytes: &[u8], into: &'a mut [u8]) -> &'a [u8] {
    let mut count: usize = 0;
    for (pair, slot) in bytes.chunks(2).zip(into.iter_mut()) {
        *slot = match *pair {
            [low, 0] | [low] => low,
            _ => 0xfe,
        };
        count = count.saturating_add(1);
    }
    into.get(..count).unwrap_or_default()
}

/// Shows the bytes before a character, the nearest two last, as characters.
fn widen_back<'a>(bytes: &[u8], into: &'a mut [u8]) -> &'a [u8] {
    let size = into.len();
    let mut first = size;
    for (pair, slot) in bytes.rchunks_exact(2).zip(into.iter_mut().rev()) {
        *slot = match *pair {
            [low, 0] => low,
            _ => 0xfe,
        };
        first = first.saturating_sub(1);
    }
    into.get(first..).unwrap_or_default()
}
