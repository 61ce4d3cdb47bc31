//! Base64 (RFC 4648), as it stands in files, mails and configuration.

use std::io::{self, BufRead, Read};

/// The value of a character (RFC 4648, section 4).
pub(crate) const fn value_of(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte.wrapping_sub(b'A'),
        b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(26),
        b'0'..=b'9' => byte.wrapping_sub(b'0').wrapping_add(52),
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// Decodes base64 up to a character that is none. A line break joins two lines, and so do blanks
/// behind it; padding may stand at the end of any line.
pub(crate) struct Base64<R> {
    inner: R,
    /// Bits that wait, and how many.
    bits: u32,
    count: u32,
    /// Whether a line has just ended.
    broken: bool,
    ended: bool,
}

impl<R: BufRead> Base64<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, bits: 0, count: 0, broken: false, ended: false }
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
                    self.broken = false;
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
                } else if byte == b'\n' && !self.broken {
                    self.broken = true;
                } else if byte == b'\r' || self.broken && matches!(byte, b' ' | b'\t') {
                } else if byte == b'=' {
                    (self.bits, self.count) = (0, 0);
                } else {
                    self.ended = true;
                    self.inner.consume(taken);
                    break 'pieces;
                }
                taken = taken.saturating_add(1);
            }
            self.inner.consume(taken);
        }
        Ok(made)
    }
}
