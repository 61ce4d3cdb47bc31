//! Hexadecimal digits without anything between them but line breaks.

use std::io::{self, BufRead, Read};

/// Decodes pairs of digits up to a byte that is none.
pub(crate) struct Hex<R> {
    inner: R,
    high: Option<u8>,
    ended: bool,
}

impl<R: BufRead> Hex<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, high: None, ended: false }
    }
}

/// Whether a byte belongs to a run: digits and line breaks.
pub(crate) fn admits(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'\r' | b'\n')
}

/// Returns the value of a digit.
pub(crate) fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl<R: BufRead> Read for Hex<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut slots = into.iter_mut();
        let mut made = 0_usize;
        while !self.ended && made == 0 && slots.len() > 0 {
            let piece = self.inner.fill_buf()?;
            self.ended = piece.is_empty();
            let mut taken = 0_usize;
            for &byte in piece {
                let value = digit(byte);
                if !admits(byte) {
                    self.ended = true;
                    break;
                }
                match (self.high, value) {
                    (Some(high), Some(low)) => {
                        let Some(slot) = slots.next() else { break };
                        *slot = (high << 4) | low;
                        self.high = None;
                        made = made.saturating_add(1);
                    }
                    (None, Some(high)) => self.high = Some(high),
                    (_, None) => {}
                }
                taken = taken.saturating_add(1);
            }
            self.inner.consume(taken);
        }
        Ok(made)
    }
}
