//! ASCII85 (section 7.4.3).

use crate::rewrite::{Rewrite, Rewriter};
use std::io::BufRead;

/// Decodes groups of five characters up to the mark of the end.
#[derive(Default)]
pub(super) struct Ascii85 {
    group: Vec<u8>,
    ended: bool,
}

/// Reads what is encoded.
pub(super) fn decode<R: BufRead>(inner: R) -> Rewrite<R, Ascii85> {
    Rewrite::new(inner, Ascii85::default())
}

impl Ascii85 {
    fn flush(&mut self, count: usize, out: &mut Vec<u8>) {
        let value = self
            .group
            .drain(..)
            .fold(0_u32, |value, digit| value.wrapping_mul(85).wrapping_add(u32::from(digit)));
        out.extend(value.to_be_bytes().into_iter().take(count));
    }
}

impl Rewriter for Ascii85 {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            _ if self.ended => {}
            b'~' => self.end(out),
            b'z' if self.group.is_empty() => out.extend_from_slice(&[0; 4]),
            b'!'..=b'u' => {
                self.group.push(byte.wrapping_sub(b'!'));
                if self.group.len() == 5 {
                    self.flush(4, out);
                }
            }
            _ => {}
        }
    }

    /// The last group may be short: `n + 1` characters stand for `n` bytes.
    fn end(&mut self, out: &mut Vec<u8>) {
        self.ended = true;
        if let Some(count) = self.group.len().checked_sub(1) {
            self.group.resize(5, 84);
            self.flush(count, out);
        }
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    #[test]
    fn groups_are_bytes() {
        for size in [1, 7] {
            let inner = BufReader::with_capacity(size, b"87cUR\nD]i,\"Ebo80~>".as_slice());
            let mut made = Vec::new();
            decode(inner).read_to_end(&mut made).expect("bytes");
            assert_eq!(made, b"Hello World!");
        }
    }
}
