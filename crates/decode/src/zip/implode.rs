//! Members that were imploded (APPNOTE.TXT 5.3): a window of 4 or 8 KiB and two or three trees of
//! Shannon and Fano.

use std::io::{self, BufRead, Read};

/// Bits of the longest code.
const BITS_MAX: u8 = 16;

/// A tree: the codes by their length and the value that each stands for.
struct Tree {
    codes: Vec<(u8, u16, u8)>,
}

impl Tree {
    /// Reads a tree of `values` codes: runs of equal lengths (5.3.7). Codes are given from the
    /// longest to the shortest, the last value of each first (5.3.8).
    fn read(bits: &mut Bits<impl BufRead>, values: usize) -> io::Result<Self> {
        let runs = usize::from(bits.byte()?).saturating_add(1);
        let mut lengths: Vec<(u8, u8)> = Vec::new();
        for _ in 0..runs {
            let run = bits.byte()?;
            for _ in 0..=run >> 4 {
                let value = u8::try_from(lengths.len()).map_err(|_| io::ErrorKind::InvalidData)?;
                lengths.push(((run & 15).saturating_add(1), value));
            }
        }
        if lengths.len() != values {
            return Err(io::ErrorKind::InvalidData.into());
        }
        lengths.sort_by_key(|(length, _)| *length);
        let (mut code, mut step, mut last) = (0_u16, 0_u16, 0_u8);
        let mut codes = Vec::new();
        for &(length, value) in lengths.iter().rev() {
            code = code.wrapping_add(step);
            if length != last {
                last = length;
                step = 1_u16.checked_shl(u32::from(BITS_MAX.saturating_sub(length))).unwrap_or(0);
            }
            codes.push((length, code >> BITS_MAX.saturating_sub(length), value));
        }
        codes.reverse();
        Ok(Self { codes })
    }

    /// Reads a code, its highest bit first.
    fn next(&self, bits: &mut Bits<impl BufRead>) -> io::Result<u8> {
        let (mut code, mut length) = (0_u16, 0_u8);
        for &(of, expected, value) in &self.codes {
            while length < of {
                code = code << 1 | u16::from(bits.take(1)? == 1);
                length = length.saturating_add(1);
            }
            if code == expected {
                return Ok(value);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Bits of a stream, the lowest of a byte first.
struct Bits<R> {
    inner: R,
    byte: u8,
    left: u8,
}

impl<R: BufRead> Bits<R> {
    fn byte(&mut self) -> io::Result<u8> {
        let byte = *self.inner.fill_buf()?.first().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.inner.consume(1);
        Ok(byte)
    }

    fn take(&mut self, count: u8) -> io::Result<u16> {
        let mut value = 0;
        for place in 0..count {
            if self.left == 0 {
                (self.byte, self.left) = (self.byte()?, 8);
            }
            value |= u16::from(self.byte & 1) << place;
            self.byte >>= 1;
            self.left = self.left.saturating_sub(1);
        }
        Ok(value)
    }
}

struct Trees {
    literals: Option<Tree>,
    lengths: Tree,
    distances: Tree,
}

/// Decodes a member.
pub(super) struct Explode<R> {
    bits: Bits<R>,
    trees: Option<Trees>,
    /// Bits of a distance that are stored as they are.
    low_bits: u8,
    literal_tree: bool,
    window: Vec<u8>,
    place: usize,
    /// What is still to be copied: from how far back, and how many bytes.
    copy: (usize, usize),
    /// Bytes that are still to come.
    left: u64,
}

impl<R: BufRead> Explode<R> {
    /// Decodes a member of `size` bytes with these general purpose flags (4.4.4).
    pub(super) fn new(inner: R, flags: u16, size: u64) -> Self {
        let large = flags & 2 != 0;
        Self {
            bits: Bits { inner, byte: 0, left: 0 },
            trees: None,
            low_bits: if large { 7 } else { 6 },
            literal_tree: flags & 4 != 0,
            window: vec![0; if large { 8 << 10 } else { 4 << 10 }],
            place: 0,
            copy: (0, 0),
            left: size,
        }
    }

    fn read_trees(&mut self) -> io::Result<Trees> {
        let bits = &mut self.bits;
        let literals = self.literal_tree.then(|| Tree::read(bits, 256)).transpose()?;
        Ok(Trees { literals, lengths: Tree::read(bits, 64)?, distances: Tree::read(bits, 64)? })
    }

    /// Returns the next byte (5.3.9).
    fn next(&mut self, trees: &Trees) -> io::Result<u8> {
        if self.copy.1 == 0 {
            if self.bits.take(1)? == 1 {
                let literal = match &trees.literals {
                    Some(tree) => tree.next(&mut self.bits)?,
                    None => u8::try_from(self.bits.take(8)?).unwrap_or(0),
                };
                return Ok(literal);
            }
            let low = usize::from(self.bits.take(self.low_bits)?);
            let high = usize::from(trees.distances.next(&mut self.bits)?);
            let distance = (high << self.low_bits | low).saturating_add(1);
            let code = trees.lengths.next(&mut self.bits)?;
            let more = if code == 63 { self.bits.take(8)? } else { 0 };
            let least = if self.literal_tree { 3_usize } else { 2 };
            self.copy = (distance, least.saturating_add(usize::from(code)).saturating_add(usize::from(more)));
        }
        let (distance, count) = self.copy;
        self.copy = (distance, count.saturating_sub(1));
        let size = self.window.len();
        let from = self.place.saturating_add(size).saturating_sub(distance.min(size));
        Ok(from.checked_rem(size).and_then(|from| self.window.get(from)).copied().unwrap_or(0))
    }
}

impl<R: BufRead> Read for Explode<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let trees = match self.trees.take() {
            Some(trees) => trees,
            None => self.read_trees()?,
        };
        let mut made = 0_usize;
        for slot in into.iter_mut() {
            if self.left == 0 {
                break;
            }
            match self.next(&trees) {
                Ok(byte) => *slot = byte,
                Err(error) if made == 0 => return Err(error),
                Err(_) => break,
            }
            if let Some(kept) = self.window.get_mut(self.place) {
                *kept = *slot;
            }
            let size = self.window.len();
            self.place = self.place.saturating_add(1).checked_rem(size).unwrap_or(0);
            self.left = self.left.saturating_sub(1);
            made = made.saturating_add(1);
        }
        self.trees = Some(trees);
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits, the lowest of a byte first.
    #[derive(Default)]
    struct Writer {
        bytes: Vec<u8>,
        bits: usize,
    }

    impl Writer {
        fn put(&mut self, value: u16, count: u8) {
            for place in 0..count {
                if self.bits.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                let last = self.bytes.len() - 1;
                self.bytes[last] |= u8::from(value >> place & 1 == 1) << (self.bits % 8);
                self.bits += 1;
            }
        }

        /// A code of a tree in which all 64 codes have six bits: the last value has the code 0.
        fn code(&mut self, value: u16) {
            let code = 63 - value;
            for place in (0..6).rev() {
                self.put(code >> place & 1, 1);
            }
        }
    }

    #[test]
    fn literals_and_copies_are_decoded() {
        let mut writer = Writer::default();
        // Two trees of 64 codes with six bits each: four runs of sixteen.
        for _ in 0..2 {
            for byte in [3, 0xf5, 0xf5, 0xf5, 0xf5] {
                writer.put(byte, 8);
            }
        }
        for literal in b"abc" {
            writer.put(1, 1);
            writer.put(u16::from(*literal), 8);
        }
        // Seven bytes from three bytes back, and 67 from one byte back.
        for (distance, length) in [(3_u16, 7_u16), (1, 67)] {
            writer.put(0, 1);
            writer.put((distance - 1) & 63, 6);
            writer.code((distance - 1) >> 6);
            writer.code((length - 2).min(63));
            if length >= 65 {
                writer.put(length - 65, 8);
            }
        }
        let mut out = Vec::new();
        Explode::new(writer.bytes.as_slice(), 0, 77).read_to_end(&mut out).expect("decodes");
        assert_eq!(out, [b"abcabcabca".as_slice(), &[b'a'; 67]].concat());
        let cut = Explode::new(&writer.bytes[..12], 0, 77).read_to_end(&mut out);
        assert!(cut.is_err());
    }
}
