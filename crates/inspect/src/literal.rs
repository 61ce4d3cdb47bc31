//! Rare strings at which a detector wants to be asked.

use std::borrow::Cow;
use std::fmt;

/// Fewest bytes of a literal: less would be everywhere.
pub const LITERAL_BYTES_MIN: usize = 3;

/// Most bytes of a literal. In UTF-16 it takes twice as many.
pub const LITERAL_BYTES_MAX: usize = 32;

/// A string of bytes that stage 1 looks for, at next to no cost.
///
/// Up to some forty literals are found in the same pass as the shapes; thousands are
/// for a [`LiteralSet`](crate::LiteralSet). A literal should hold four bytes in a row that real data
/// rarely has: the four rarest are what is looked for first.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Literal {
    bytes: Cow<'static, [u8]>,
    any_case: bool,
    wide: bool,
}

impl Literal {
    /// A string of bytes as it is.
    ///
    /// # Panics
    ///
    /// If it is shorter than [`LITERAL_BYTES_MIN`] or longer than [`LITERAL_BYTES_MAX`].
    pub const fn new(bytes: &'static [u8]) -> Self {
        assert!(bytes.len() >= LITERAL_BYTES_MIN, "too short for a literal");
        assert!(bytes.len() <= LITERAL_BYTES_MAX, "too long for a literal");
        Self { bytes: Cow::Borrowed(bytes), any_case: false, wide: false }
    }

    /// A string that is known only when the program runs; none if its length is out of
    /// bounds.
    pub fn owned(bytes: Vec<u8>) -> Option<Self> {
        let fits = (LITERAL_BYTES_MIN..=LITERAL_BYTES_MAX).contains(&bytes.len());
        fits.then_some(Self { bytes: Cow::Owned(bytes), any_case: false, wide: false })
    }

    /// Letters of ASCII in upper and lower case.
    #[must_use]
    pub const fn any_case(mut self) -> Self {
        self.any_case = true;
        self
    }

    /// Also in UTF-16 of both byte orders.
    #[must_use]
    pub const fn wide(mut self) -> Self {
        self.wide = true;
        self
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns whether it is looked for in UTF-16, too.
    pub fn is_wide(&self) -> bool {
        self.wide
    }

    /// Returns whether the case of its letters does not matter.
    pub(crate) fn is_any_case(&self) -> bool {
        self.any_case
    }

    /// Returns the byte at `place` with the bits of it that count.
    pub(crate) fn masked(&self, place: usize) -> (u8, u8) {
        match self.bytes.get(place) {
            Some(letter) if self.any_case && letter.is_ascii_alphabetic() => (letter & 0xdf, 0xdf),
            Some(byte) => (*byte, 0xff),
            None => (0, 0),
        }
    }

    /// Returns whether `text` starts with it.
    pub(crate) fn starts(&self, text: &[u8]) -> bool {
        let Some(start) = text.get(..self.bytes.len()) else { return false };
        if self.any_case { start.eq_ignore_ascii_case(&self.bytes) } else { start == &*self.bytes }
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Literal(\"{}\"", self.bytes.escape_ascii())?;
        f.write_str(if self.any_case { ", any case" } else { "" })?;
        f.write_str(if self.wide { ", wide)" } else { ")" })
    }
}
