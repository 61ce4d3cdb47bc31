//! Quoted-printable (RFC 2045, section 6.7) and percent-encoding (RFC 3986, section 2.1).

use crate::hex::digit;
use std::io::{self, BufRead, Read};

/// Decodes a mark and two hexadecimal digits; in quoted-printable, a mark at the end of a line
/// joins it with the next.
pub(crate) struct Quoted<R> {
    inner: R,
    mark: u8,
    /// The bytes behind a mark so far, the mark included.
    waiting: Vec<u8>,
    ready: Vec<u8>,
    taken: usize,
}

impl<R: BufRead> Quoted<R> {
    /// Decodes quoted-printable.
    pub(crate) fn printable(inner: R) -> Self {
        Self { inner, mark: b'=', waiting: Vec::new(), ready: Vec::new(), taken: 0 }
    }

    /// Decodes percent-encoding, and `+` as a blank, as forms have it.
    pub(crate) fn percent(inner: R) -> Self {
        Self { mark: b'%', ..Self::printable(inner) }
    }

    fn step(&mut self, byte: u8) {
        if self.waiting.is_empty() {
            match byte {
                _ if byte == self.mark => self.waiting.push(byte),
                b'+' if self.mark == b'%' => self.ready.push(b' '),
                _ => self.ready.push(byte),
            }
            return;
        }
        self.waiting.push(byte);
        match *self.waiting.as_slice() {
            [b'=', b'\n'] | [b'=', b'\r', b'\n'] => self.waiting.clear(),
            [b'=', b'\r'] => {}
            [_, one] if digit(one).is_some() => {}
            [_, high, low] if digit(high).is_some() && digit(low).is_some() => {
                let value = digit(high).unwrap_or(0) << 4 | digit(low).unwrap_or(0);
                self.waiting.clear();
                self.ready.push(value);
            }
            // A mark that marks nothing stays.
            _ => {
                self.waiting.pop();
                self.ready.append(&mut self.waiting);
                self.step(byte);
            }
        }
    }
}

impl<R: BufRead> Read for Quoted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken >= self.ready.len() {
            self.ready.clear();
            self.taken = 0;
            let piece = self.inner.fill_buf()?.to_vec();
            self.inner.consume(piece.len());
            if piece.is_empty() {
                self.ready.append(&mut self.waiting);
                if self.ready.is_empty() {
                    return Ok(0);
                }
            }
            for byte in piece {
                self.step(byte);
            }
        }
        let ready = self.ready.get(self.taken..).unwrap_or_default();
        let count = ready.len().min(into.len());
        into.iter_mut().zip(ready).for_each(|(slot, byte)| *slot = *byte);
        self.taken = self.taken.saturating_add(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(percent: bool, text: &str, expected: &str) {
        for size in [1, 2, 100] {
            let inner = io::BufReader::with_capacity(size, text.as_bytes());
            let mut decoder = if percent { Quoted::percent(inner) } else { Quoted::printable(inner) };
            let mut made = Vec::new();
            decoder.read_to_end(&mut made).expect("bytes");
            assert_eq!(String::from_utf8(made).expect("text"), expected);
        }
    }

    #[test]
    fn marks_and_digits_are_bytes() {
        check(false, "45=\r\n39=2014=\n88 =3D=3d =zz =4", "4539 1488 == =zz =4");
        check(true, "a=4539%201488+%2B%", "a=4539 1488 +%");
    }
}
