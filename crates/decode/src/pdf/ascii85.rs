//! ASCII85 (section 7.4.3).

use std::io::{self, BufRead, Read};

/// Decodes groups of five characters up to the mark of the end.
pub(super) struct Ascii85<R> {
    inner: R,
    group: Vec<u8>,
    ready: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<R: BufRead> Ascii85<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, group: Vec::new(), ready: Vec::new(), taken: 0, ended: false }
    }

    fn step(&mut self, byte: u8) {
        match byte {
            _ if self.ended => {}
            b'~' => self.end(),
            b'z' if self.group.is_empty() => self.ready.extend_from_slice(&[0; 4]),
            b'!'..=b'u' => {
                self.group.push(byte.wrapping_sub(b'!'));
                if self.group.len() == 5 {
                    self.flush(4);
                }
            }
            _ => {}
        }
    }

    /// The last group may be short: `n + 1` characters stand for `n` bytes.
    fn end(&mut self) {
        self.ended = true;
        if let Some(count) = self.group.len().checked_sub(1) {
            self.group.resize(5, 84);
            self.flush(count);
        }
    }

    fn flush(&mut self, count: usize) {
        let value = self
            .group
            .drain(..)
            .fold(0_u32, |value, digit| value.wrapping_mul(85).wrapping_add(u32::from(digit)));
        self.ready.extend(value.to_be_bytes().into_iter().take(count));
    }
}

impl<R: BufRead> Read for Ascii85<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken >= self.ready.len() {
            if self.ended {
                return Ok(0);
            }
            self.ready.clear();
            self.taken = 0;
            let piece = self.inner.fill_buf()?.to_vec();
            self.inner.consume(piece.len());
            if piece.is_empty() {
                self.end();
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

    #[test]
    fn groups_are_bytes() {
        for size in [1, 7] {
            let inner = io::BufReader::with_capacity(size, b"87cUR\nD]i,\"Ebo80~>".as_slice());
            let mut made = Vec::new();
            Ascii85::new(inner).read_to_end(&mut made).expect("bytes");
            assert_eq!(made, b"Hello World!");
        }
    }
}
