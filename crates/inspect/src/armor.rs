//! Follows a block of armoured text from its head line to its end, however the
//! stream is cut, in constant memory.

use crate::detector::Armor;
use crate::fingerprint::FingerprintBuilder;
use crate::window::Encoding;
use airlock_model::{Confidence, Fingerprint};

/// Bytes of a block; a 16384-bit RSA key with headers takes 13 KiB, in UTF-16 twice that.
pub(crate) const ARMOR_BYTES_MAX: u64 = 64 * 1024;

/// Characters of base64 in a row that make a line of a body. Shorter runs are words.
const LINE_MIN: usize = 40;

/// Characters between two lines of a body: quotes, escapes, indentation, header fields.
const GAP_MAX: usize = 768;

/// Short runs after the last full line: the rest of the body and a PGP checksum.
const SHORT_RUNS_MAX: usize = 2;

/// Characters between `-----END` and the dashes that close it.
const FOOTER_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Between head and footer.
    Body,
    /// Behind a backslash.
    Escape,
    /// So many dashes in a row, up to five.
    Dashes(u8),
    /// Behind five dashes and the `E` of `END`.
    Tag,
    /// Behind `-----END`: characters seen, dashes in a row.
    Footer(usize, u8),
    /// Over.
    Done,
}

/// A block that is being followed.
#[derive(Debug)]
pub(crate) struct ArmorRun {
    /// Index of the detector that recognised the head.
    pub(crate) detector: usize,
    head: Armor,
    encoding: Encoding,
    start: u64,
    /// The next byte to look at.
    next: u64,
    /// The byte behind the last one that belongs to the block.
    end: u64,
    mode: Mode,
    /// The run of base64 characters so far, until it is long enough to count.
    pending: [u8; LINE_MIN],
    run: usize,
    gap: usize,
    short_runs: usize,
    body: bool,
    footer: bool,
    mac: FingerprintBuilder,
}

/// What a block turned out to be.
#[derive(Debug)]
pub(crate) struct ArmorEnd {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) confidence: Confidence,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) display: String,
}

impl ArmorRun {
    /// Starts behind the head line, which begins at byte `start` of the stream.
    pub(crate) fn new(
        detector: usize,
        head: Armor,
        encoding: Encoding,
        start: u64,
        mac: FingerprintBuilder,
    ) -> Self {
        let length = u64::try_from(head.head_length).unwrap_or(0).saturating_mul(encoding.width());
        let end = start.saturating_add(length);
        Self {
            detector,
            head,
            encoding,
            start,
            next: end,
            end,
            mode: Mode::Body,
            pending: [0; LINE_MIN],
            run: 0,
            gap: 0,
            short_runs: 0,
            body: false,
            footer: false,
            mac,
        }
    }

    /// Looks at the bytes of `buffer`, which starts at byte `from` of the stream, that
    /// it has not seen yet. Returns whether the block is over.
    pub(crate) fn drive(&mut self, buffer: &[u8], from: u64) -> bool {
        let skip = usize::try_from(self.next.saturating_sub(from)).unwrap_or(usize::MAX);
        for &byte in buffer.get(skip..).unwrap_or_default() {
            if self.mode == Mode::Done || self.next.saturating_sub(self.start) >= ARMOR_BYTES_MAX {
                self.mode = Mode::Done;
                break;
            }
            let place = self.next.saturating_sub(self.start);
            self.next = self.next.saturating_add(1);
            let low = place.is_multiple_of(2);
            match self.encoding {
                Encoding::Bytes => self.character(byte),
                Encoding::Utf16Le if low => self.character(byte),
                Encoding::Utf16Be if !low => self.character(byte),
                Encoding::Utf16Le | Encoding::Utf16Be if byte != 0 => self.mode = Mode::Done,
                Encoding::Utf16Le | Encoding::Utf16Be => {}
            }
        }
        self.mode == Mode::Done
    }

    /// The byte behind the character that is being looked at.
    fn behind(&self) -> u64 {
        match self.encoding {
            Encoding::Utf16Le => self.next.saturating_add(1),
            Encoding::Bytes | Encoding::Utf16Be => self.next,
        }
    }

    fn character(&mut self, byte: u8) {
        if !matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n') {
            self.mode = Mode::Done;
            return;
        }
        self.mode = match (self.mode, byte) {
            (Mode::Body | Mode::Escape, b'-') => self.between(Mode::Dashes(1)),
            (Mode::Dashes(count), b'-') => Mode::Dashes(count.saturating_add(1).min(5)),
            (Mode::Dashes(5), b'E') | (Mode::Tag, b'N') => Mode::Tag,
            (Mode::Tag, b'D') => Mode::Footer(0, 0),
            // `B` begins another head: this block was cut.
            (Mode::Done | Mode::Tag, _) | (Mode::Dashes(5), b'B') => Mode::Done,
            (Mode::Footer(seen, _), _) if seen >= FOOTER_MAX => Mode::Done,
            (Mode::Footer(_, 4), b'-') => {
                self.end = self.behind();
                self.footer = true;
                Mode::Done
            }
            (Mode::Footer(seen, dashes), b'-') => {
                Mode::Footer(seen.saturating_add(1), dashes.saturating_add(1))
            }
            (Mode::Footer(seen, _), _) => Mode::Footer(seen.saturating_add(1), 0),
            (Mode::Escape, b'n' | b'r' | b't' | b'\\') => Mode::Body,
            (_, b'\\') => self.between(Mode::Escape),
            (_, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=') => self.base64(byte),
            (Mode::Body | Mode::Escape | Mode::Dashes(_), _) => self.between(Mode::Body),
        };
    }

    /// A character of base64.
    fn base64(&mut self, byte: u8) -> Mode {
        if let Some(slot) = self.pending.get_mut(self.run) {
            *slot = byte;
        }
        self.run = self.run.saturating_add(1);
        if self.run == LINE_MIN {
            self.body = true;
            self.gap = 0;
            self.short_runs = 0;
            self.mac.update(&self.pending);
        } else if self.run > LINE_MIN {
            self.mac.update(&[byte]);
        }
        if self.run >= LINE_MIN {
            self.end = self.behind();
            return Mode::Body;
        }
        self.widen()
    }

    /// A character between runs of base64: the run is over.
    fn between(&mut self, next: Mode) -> Mode {
        if self.run > 0 && self.run < LINE_MIN && self.body {
            self.short_runs = self.short_runs.saturating_add(1);
            if self.short_runs > SHORT_RUNS_MAX {
                return Mode::Done;
            }
            self.mac.update(self.pending.get(..self.run).unwrap_or_default());
        }
        self.run = 0;
        match self.widen() {
            Mode::Done => Mode::Done,
            _ => next,
        }
    }

    fn widen(&mut self) -> Mode {
        self.gap = self.gap.saturating_add(1);
        if self.gap > GAP_MAX { Mode::Done } else { Mode::Body }
    }

    /// Ends the block with what has been seen.
    pub(crate) fn finish(self) -> ArmorEnd {
        let confidence = match (self.body, self.footer) {
            (true, true) => self.head.whole,
            (true, false) => self.head.cut,
            (false, _) => self.head.stub,
        };
        ArmorEnd {
            start: self.start,
            length: self.end.saturating_sub(self.start),
            confidence,
            fingerprint: self.mac.finish(),
            display: self.head.display,
        }
    }
}
