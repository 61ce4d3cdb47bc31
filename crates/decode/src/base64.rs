//! Base64 (RFC 4648), as it stands in files, mails and configuration.

use std::io::{self, BufRead, Read};

/// The value of a character.
#[inline]
pub(crate) fn value_of(byte: u8) -> Option<u8> {
    VALUES.get(usize::from(byte)).copied().filter(|value| *value < 64)
}

/// The value of each byte that is a character, and 255 for the others.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut left: &mut [u8] = &mut values;
    let mut byte = 0_u8;
    while let Some((slot, rest)) = left.split_first_mut() {
        if let Some(value) = meaning(byte) {
            *slot = value;
        }
        left = rest;
        byte = byte.wrapping_add(1);
    }
    values
};

/// What a character stands for (RFC 4648, section 4).
const fn meaning(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte.wrapping_sub(b'A'),
        b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(26),
        b'0'..=b'9' => byte.wrapping_sub(b'0').wrapping_add(52),
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// Follows what may stand between characters: a line break joins two lines, and so do blanks behind
/// it; padding may stand at the end of any line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Breaks {
    /// Whether a line has just ended.
    broken: bool,
}

impl Breaks {
    /// Takes the next byte. Returns whether it belongs to the same run as the last one.
    #[inline]
    pub(crate) fn admit(&mut self, byte: u8) -> bool {
        if value_of(byte).is_some() {
            self.broken = false;
            return true;
        }
        let breaks = byte == b'\n' && !self.broken;
        let blank = matches!(byte, b'\r' | b'=') || self.broken && matches!(byte, b' ' | b'\t');
        self.broken |= breaks;
        breaks || blank
    }
}

/// Decodes base64 up to a character that is none and does not stand between two ([`Breaks`]).
pub(crate) struct Base64<R> {
    inner: R,
    /// Bits that wait, and how many.
    bits: u32,
    count: u32,
    breaks: Breaks,
    ended: bool,
}

impl<R: BufRead> Base64<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, bits: 0, count: 0, breaks: Breaks::default(), ended: false }
    }
}

impl<R: BufRead> Read for Base64<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut slots = into.iter_mut();
        let mut made = 0_usize;
        'pieces: while !self.ended && made == 0 && slots.len() > 0 {
            let piece = self.inner.fill_buf()?;
            self.ended = piece.is_empty();
            let mut taken = 0_usize;
            for &byte in piece {
                if let Some(value) = value_of(byte) {
                    self.bits = (self.bits << 6) | u32::from(value);
                    self.count = self.count.saturating_add(6);
                    if self.count >= 8 {
                        let Some(slot) = slots.next() else {
                            // Undone: there is no room for what this character completes.
                            self.bits >>= 6;
                            self.count = self.count.saturating_sub(6);
                            self.inner.consume(taken);
                            break 'pieces;
                        };
                        self.count = self.count.saturating_sub(8);
                        *slot = u8::try_from((self.bits >> self.count) & 0xff).unwrap_or(0);
                        self.bits &= (1_u32 << self.count).wrapping_sub(1);
                        made = made.saturating_add(1);
                    }
                }
                if !self.breaks.admit(byte) {
                    self.ended = true;
                    self.inner.consume(taken);
                    break 'pieces;
                }
                if byte == b'=' {
                    (self.bits, self.count) = (0, 0);
                }
                taken = taken.saturating_add(1);
            }
            self.inner.consume(taken);
        }
        Ok(made)
    }
}
