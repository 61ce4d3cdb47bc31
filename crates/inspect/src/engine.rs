//! The engine and its scanners.

use crate::anchor::Anchor;
use crate::armor::ArmorRun;
use crate::classes::BLOCK_BYTES;
use crate::detector::{Detector, Hit};
use crate::fingerprint::FingerprintBuilder;
use crate::header::{Header, Row};
use crate::simd::{Isa, scan};
use crate::stage::{Candidate, Stage, WIDE};
use crate::window::{Encoding, HEAD_BYTES, LOOKAHEAD_BYTES, LOOKBACK_BYTES, Window};
use airlock_model::{Check, Confidence, Fingerprint, Severity};

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

/// How an engine is set up.
#[derive(Clone)]
pub struct EngineConfig {
    /// Key of the fingerprints.
    pub fingerprint_key: [u8; 32],
}

impl std::fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineConfig").finish_non_exhaustive()
    }
}

/// What was found: never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The detector, such as `pan`.
    pub detector: &'static str,
    /// The check that it belongs to.
    pub check: Check,
    /// How bad it would be if the value left.
    pub severity: Severity,
    /// How sure the detector is.
    pub confidence: Confidence,
    /// First byte, counted from the base offset of the stream.
    pub offset: u64,
    /// Number of bytes in the stored encoding.
    pub length: u64,
    /// Tells equal values apart from different ones.
    pub fingerprint: Fingerprint,
    /// What may be shown.
    pub display: String,
}

/// A set of detectors, ready to run; shared by threads.
#[derive(Debug)]
pub struct Engine {
    detectors: Vec<Box<dyn Detector>>,
    builders: Vec<FingerprintBuilder>,
    /// For each anchor, which detectors want it.
    wants: Vec<(Anchor, Vec<usize>)>,
    wanted: u8,
    isa: Isa,
    config: EngineConfig,
}

impl Engine {
    /// Sets up an engine that asks `detectors`, in their order.
    pub fn new(detectors: Vec<Box<dyn Detector>>, config: EngineConfig) -> Self {
        let builders = detectors
            .iter()
            .map(|detector| FingerprintBuilder::new(&config.fingerprint_key, detector.name()))
            .collect();
        let wants: Vec<(Anchor, Vec<usize>)> = Anchor::ALL
            .into_iter()
            .map(|anchor| {
                let asking = detectors.iter().enumerate();
                let asking = asking.filter(|(_, detector)| detector.anchors().contains(&anchor));
                (anchor, asking.map(|(index, _)| index).collect())
            })
            .collect();
        let wanted = wants
            .iter()
            .filter(|(_, asking)| !asking.is_empty())
            .fold(0, |set, (anchor, _)| set | anchor.bit());
        Self { detectors, builders, wants, wanted, isa: Isa::best(), config }
    }

    /// Returns a scanner for one stream after another.
    pub fn scanner(&self) -> Scanner<'_> {
        Scanner {
            engine: self,
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
            open: None,
        }
    }

    /// Returns the fingerprint of a value that was found by other means.
    pub fn fingerprint(&self, detector: &str, value: &[u8]) -> Fingerprint {
        let mut builder = FingerprintBuilder::new(&self.config.fingerprint_key, detector);
        builder.update(value);
        builder.finish()
    }

    /// Asks the detectors that want one of `kinds`; the first that claims it has it.
    #[inline]
    fn ask(&self, kinds: u8, mut window: Window<'_>) -> Option<(usize, Hit)> {
        let mut left = kinds;
        while left != 0 {
            let lowest = narrow(u64::from(left.trailing_zeros()));
            left &= left.wrapping_sub(1);
            let (anchor, asking) = self.wants.get(lowest)?;
            window.anchor = *anchor;
            for &index in asking {
                if let Some(hit) = self.detectors.get(index).and_then(|detector| detector.verify(&window)) {
                    return Some((index, hit));
                }
            }
        }
        None
    }

    /// Returns the names of the detectors.
    pub fn detectors(&self) -> impl Iterator<Item = &'static str> {
        self.detectors.iter().map(|detector| detector.name())
    }
}

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
    open: Option<ArmorRun>,
}

impl std::fmt::Debug for Scanner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner")
            .field("arrived", &self.arrived)
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl Scanner<'_> {
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
        scan(engine.isa, &mut self.stage, &last, self.scanned, engine.wanted, &mut self.queue);
        let bounds = Bounds { end: self.arrived, finished: true };
        let carry = std::mem::take(&mut self.carry);
        self.drain(&carry, self.carry_start, bounds, u64::MAX, out);
        self.carry = carry;
        if let Some(open) = self.open.take() {
            self.close(open, out);
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
        scan(engine.isa, &mut self.stage, blocks, self.scanned, engine.wanted, &mut self.queue);
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
            scan(engine.isa, &mut self.stage, block, self.scanned, engine.wanted, &mut self.queue);
            self.scanned = self.scanned.saturating_add(wide(BLOCK_BYTES));
        }
        let inside = piece_start.saturating_add(wide(LOOKBACK_BYTES));
        let rest = piece.get(narrow(self.scanned.saturating_sub(piece_start))..).unwrap_or_default();
        let (blocks, _) = rest.as_chunks::<BLOCK_BYTES>();
        for stride in blocks.chunks(STRIDE_BLOCKS) {
            scan(engine.isa, &mut self.stage, stride, self.scanned, engine.wanted, &mut self.queue);
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
            let ready = candidate.at.saturating_add(wide(LOOKAHEAD_BYTES)) <= bounds.end || bounds.finished;
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
        if candidate.kinds & WIDE == 0 {
            self.read_row(Encoding::Bytes);
            let window = Window {
                anchor: Anchor::LongRun,
                before,
                after,
                run: digits(after),
                header: self.header(candidate.at),
                encoding: Encoding::Bytes,
                at: candidate.at,
                from_start,
            };
            if let Some((index, hit)) = self.engine.ask(candidate.kinds, window) {
                self.take(index, hit, (candidate.at, Encoding::Bytes), (buffer, from), out);
            }
            return;
        }
        let mut characters = [0; 2 * WIDE_CHARACTERS];
        let (backward, forward) = characters.split_at_mut(WIDE_CHARACTERS);
        let backward = widen_back(before, backward);
        let forward = widen(after, forward);
        let mut kinds = 0;
        for anchor in Anchor::ALL {
            if self.engine.wanted & anchor.bit() != 0 && anchor.holds(backward, forward) {
                kinds |= anchor.bit();
            }
        }
        if kinds == 0 {
            return;
        }
        // The low byte of a character stands first on even places, as a stream of
        // UTF-16 starts on one.
        let little = candidate.at.is_multiple_of(2);
        let encoding = if little { Encoding::Utf16Le } else { Encoding::Utf16Be };
        let at = if little { candidate.at } else { candidate.at.saturating_sub(1) };
        self.read_row(encoding);
        let window = Window {
            anchor: Anchor::LongRun,
            before: backward,
            after: forward,
            run: digits(forward),
            header: self.header(candidate.at),
            encoding,
            at,
            from_start,
        };
        if let Some((index, hit)) = self.engine.ask(kinds, window) {
            self.take(index, hit, (at, encoding), (buffer, from), out);
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
                let mut builder = builder.clone();
                builder.update(value.normal.as_bytes());
                let (detector, check, severity) = self.identity(index);
                out.push(Match {
                    detector,
                    check,
                    severity,
                    confidence: value.confidence,
                    offset: self.base.saturating_add(byte_at(at, value.first, encoding)),
                    length: wide(value.length).saturating_mul(encoding.width()),
                    fingerprint: builder.finish(),
                    display: value.display,
                });
            }
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

    fn identity(&self, index: usize) -> (&'static str, Check, Severity) {
        match self.engine.detectors.get(index) {
            Some(detector) => (detector.name(), detector.check(), detector.severity()),
            None => ("unknown", Check::Regulated, Severity::High),
        }
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
        let (detector, check, severity) = self.identity(open.detector);
        let end = open.finish();
        out.push(Match {
            detector,
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

/// A length as a number of bytes of a stream.
fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A distance within a buffer; too large a one ends outside of every buffer.
fn narrow(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}
