//! What a detector sees of the stream around a candidate.

use crate::header::Header;
use std::fmt;

/// Bytes before a candidate that may be looked at.
pub const LOOKBACK_BYTES: usize = 512;

/// Bytes from a candidate on that may be looked at.
pub const LOOKAHEAD_BYTES: usize = 512;

/// Bytes of the beginning of a stream in which a header row is looked for.
pub const HEAD_BYTES: usize = 1024;

/// How the characters around a candidate are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One byte each.
    Bytes,
    /// Two bytes each, the low one first.
    Utf16Le,
    /// Two bytes each, the high one first.
    Utf16Be,
}

impl Encoding {
    /// Returns the number of bytes of a character.
    pub const fn width(self) -> u64 {
        match self {
            Self::Bytes => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
        }
    }
}

/// The surroundings of a candidate as bytes of ASCII, whatever the encoding is.
///
/// In UTF-16 a character outside of Latin-1 is shown as `0xFE`. Places in the window
/// are counted in characters from the anchor; before it they are negative.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    /// Characters before the anchor; the nearest is last.
    pub before: &'a [u8],
    /// The anchor and the characters after it.
    pub after: &'a [u8],
    /// Number of digits from the anchor on.
    pub run: usize,
    /// The header row of the stream, if it begins with one and the anchor is behind it.
    pub header: Option<&'a Header>,
    /// How the characters are stored.
    pub encoding: Encoding,
    /// Byte of the stream where the anchor's character starts.
    pub at: u64,
    /// Whether `before` begins at the beginning of the stream.
    pub from_start: bool,
}

impl Window<'_> {
    /// Returns the character at `place`, if it is in the window.
    pub fn get(&self, place: isize) -> Option<u8> {
        match usize::try_from(place) {
            Ok(ahead) => self.after.get(ahead).copied(),
            Err(_) => self.before.get(self.before.len().checked_sub(place.unsigned_abs())?).copied(),
        }
    }

    /// Returns the characters before `place`, nearest last, at most `count` of them.
    /// `place` must not be behind the anchor.
    pub fn before(&self, place: isize, count: usize) -> &[u8] {
        let end = self.before.len().saturating_sub(place.min(0).unsigned_abs());
        self.before.get(end.saturating_sub(count)..end).unwrap_or_default()
    }

    /// Returns the characters from `place` on, at most `count` of them. `place` must
    /// not be before the anchor.
    pub fn after(&self, place: isize, count: usize) -> &[u8] {
        let start = usize::try_from(place).unwrap_or(0).min(self.after.len());
        let end = start.saturating_add(count).min(self.after.len());
        self.after.get(start..end).unwrap_or_default()
    }

    /// Returns the name of the column that `place` is in, if the stream begins with a
    /// header row.
    pub fn column(&self, place: isize) -> Option<&[u8]> {
        let header = self.header?;
        let before = self.before(place, usize::MAX);
        let start = before.len().checked_sub(before.iter().rev().position(|byte| *byte == b'\n')?)?;
        let row = before.get(start..)?;
        let ahead = usize::try_from(place).unwrap_or(0);
        if ahead == 0 {
            return header.column(row);
        }
        header.column(&[row, self.after.get(..ahead)?].concat())
    }
}

impl fmt::Debug for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("encoding", &self.encoding)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
