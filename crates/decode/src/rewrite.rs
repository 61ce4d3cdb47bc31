//! Layers that are made byte by byte, and what waits of them to be read.

use std::io::{self, BufRead, Read};

/// Bytes that are rewritten at once.
const PIECE_BYTES: usize = 16 << 10;

/// Bytes that are made, and how many of them were taken.
#[derive(Default)]
pub(crate) struct Ready {
    bytes: Vec<u8>,
    taken: usize,
}

impl Ready {
    pub(crate) fn is_empty(&self) -> bool {
        self.taken >= self.bytes.len()
    }

    /// Forgets what was taken; returns where the next bytes go.
    pub(crate) fn refill(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.taken = 0;
        &mut self.bytes
    }

    /// Moves as many bytes as there are, and as there is room for.
    pub(crate) fn take(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.get(self.taken..).unwrap_or_default().read(into)?;
        self.taken = self.taken.saturating_add(count);
        Ok(count)
    }
}

/// What makes other bytes of bytes.
pub(crate) trait Rewriter {
    /// Takes a byte, and puts what is made of it behind `out`.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>);

    /// Takes the end of the bytes.
    fn end(&mut self, _out: &mut Vec<u8>) {}

    /// Whether what follows is no longer looked at.
    fn has_ended(&self) -> bool {
        false
    }
}

/// Reads what a [`Rewriter`] makes of another reader's bytes.
pub(crate) struct Rewrite<R, W> {
    inner: R,
    rewriter: W,
    ready: Ready,
}

impl<R: BufRead, W: Rewriter> Rewrite<R, W> {
    pub(crate) fn new(inner: R, rewriter: W) -> Self {
        Self { inner, rewriter, ready: Ready::default() }
    }
}

impl<R: BufRead, W: Rewriter> Read for Rewrite<R, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() && !self.rewriter.has_ended() {
            let out = self.ready.refill();
            let piece = self.inner.fill_buf()?;
            let piece = piece.get(..PIECE_BYTES).unwrap_or(piece);
            if piece.is_empty() {
                self.rewriter.end(out);
                break;
            }
            for &byte in piece {
                self.rewriter.step(byte, out);
            }
            let taken = piece.len();
            self.inner.consume(taken);
        }
        self.ready.take(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says every byte twice, up to a full stop, and what it says last.
    struct Echo {
        ended: bool,
    }

    impl Rewriter for Echo {
        fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
            self.ended |= byte == b'.';
            if byte.is_ascii_alphabetic() && !self.ended {
                out.extend([byte, byte]);
            }
        }

        fn end(&mut self, out: &mut Vec<u8>) {
            if !std::mem::replace(&mut self.ended, true) {
                out.push(b'!');
            }
        }

        fn has_ended(&self) -> bool {
            self.ended
        }
    }

    #[test]
    fn any_pieces_make_the_same() {
        for (text, expected) in [("a -- b", "aabb!"), ("a. b", "aa"), ("", "!")] {
            for (size, room) in [(1, 1), (2, 3), (100, 100)] {
                let inner = io::BufReader::with_capacity(size, text.as_bytes());
                let mut reader = Rewrite::new(inner, Echo { ended: false });
                let (mut made, mut buffer) = (Vec::new(), vec![0; room]);
                loop {
                    match reader.read(&mut buffer).expect("bytes") {
                        0 => break,
                        count => made.extend_from_slice(&buffer[..count]),
                    }
                }
                assert_eq!(made, expected.as_bytes(), "{text} in pieces of {size}, {room}");
            }
        }
    }
}
