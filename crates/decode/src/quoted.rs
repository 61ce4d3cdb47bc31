//! Quoted-printable (RFC 2045, section 6.7) and percent-encoding (RFC 3986, section 2.1).

use crate::hex::digit;
use crate::rewrite::{Rewrite, Rewriter};
use std::io::BufRead;

/// Decodes a mark and two hexadecimal digits; in quoted-printable, a mark at the end of a line
/// joins it with the next.
pub(crate) struct Quoted {
    mark: u8,
    /// The bytes behind a mark so far, the mark included.
    waiting: Vec<u8>,
}

/// Decodes quoted-printable.
pub(crate) fn printable<R: BufRead>(inner: R) -> Rewrite<R, Quoted> {
    Rewrite::new(inner, Quoted { mark: b'=', waiting: Vec::new() })
}

/// Decodes percent-encoding, and `+` as a blank, as forms have it.
pub(crate) fn percent<R: BufRead>(inner: R) -> Rewrite<R, Quoted> {
    Rewrite::new(inner, Quoted { mark: b'%', waiting: Vec::new() })
}

impl Rewriter for Quoted {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.waiting.is_empty() {
            match byte {
                _ if byte == self.mark => self.waiting.push(byte),
                b'+' if self.mark == b'%' => out.push(b' '),
                _ => out.push(byte),
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
                out.push(value);
            }
            // A mark that marks nothing stays.
            _ => {
                self.waiting.pop();
                out.append(&mut self.waiting);
                self.step(byte, out);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    fn check(percent: bool, text: &str, expected: &str) {
        for size in [1, 2, 100] {
            let inner = BufReader::with_capacity(size, text.as_bytes());
            let mut decoder = if percent { self::percent(inner) } else { printable(inner) };
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
