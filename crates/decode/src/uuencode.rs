//! uuencode: lines of 45 bytes as 60 characters (POSIX.1-2017, `uuencode`, both encodings).

use crate::layer::Relation;
use crate::rewrite::{Rewrite, Rewriter};
use crate::stream::Stream;
use crate::walk::Walk;
use std::io::BufRead;

/// Longest first line.
const LINE_BYTES_MAX: usize = 1024;

/// Whether content begins with `begin`, a mode and a name.
pub(crate) fn is_header(head: &[u8]) -> bool {
    let Some(rest) = head.strip_prefix(b"begin ") else { return false };
    let mode = rest.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    (3..=4).contains(&mode) && rest.get(mode) == Some(&b' ')
}

/// Decodes lines up to `end`.
pub(crate) struct Lines {
    line: Vec<u8>,
    ended: bool,
}

fn value(byte: u8) -> u8 {
    byte.wrapping_sub(b' ') & 0x3f
}

impl Lines {
    fn line(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line == b"end" {
            self.ended = true;
            return;
        }
        let Some((length, rest)) = line.split_first() else { return };
        let from = out.len();
        for four in rest.chunks(4) {
            let mut bits = [0_u8; 4];
            for (slot, byte) in bits.iter_mut().zip(four) {
                *slot = value(*byte);
            }
            let [a, b, c, d] = bits;
            out.extend([(a << 2) | (b >> 4), (b << 4) | (c >> 2), (c << 6) | d]);
        }
        out.truncate(from.saturating_add(usize::from(value(*length))));
    }
}

impl Rewriter for Lines {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte == b'\n' {
            self.line(out);
        } else if self.line.len() < LINE_BYTES_MAX {
            self.line.push(byte);
        } else {
            // No line is that long.
            self.ended = true;
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.line(out);
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}

fn lines<R: BufRead>(inner: R) -> Rewrite<R, Lines> {
    Rewrite::new(inner, Lines { line: Vec::new(), ended: false })
}

/// Opens what was encoded.
pub(crate) fn open(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let (depth, at) = (stream.depth(), stream.position());
    let end = stream.peek(LINE_BYTES_MAX).iter().position(|byte| *byte == b'\n');
    let Some(end) = end else { return };
    stream.take(end.saturating_add(1));
    walk.open(depth, ("uuencode", at), Relation::Decoded, Box::new(lines(stream)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn lines_become_bytes() {
        assert!(is_header(b"begin 644 a name\n"));
        assert!(!is_header(b"begin with this"));
        for text in ["#0V%T\n`\nend\nbehind", "#0V%T\r\n`\r\nend\r\n"] {
            for size in [1, 100] {
                let mut made = Vec::new();
                let inner = std::io::BufReader::with_capacity(size, text.as_bytes());
                lines(inner).read_to_end(&mut made).unwrap();
                assert_eq!(made, b"Cat");
            }
        }
    }
}
