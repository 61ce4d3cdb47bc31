//! Stage 1: from byte classes to candidates.
//!
//! Blocks of 64 bytes come in order. Every shape that is looked for holds four digits
//! or dashes in a row, or two letters and two digits, or something like it with zeros
//! between in UTF-16. A block's [`Sketch`] finds these with few instructions, and only
//! around them the shapes are worked out, in a window of 64 bytes that decides about
//! its 32 middle positions:
//!
//! ```text
//!   previous block          block                  next block
//!   |----------------|----------------|----------------|
//!           [     front      ]                             positions -16 to 15
//!                    [      back      ]                    positions 16 to 47
//! ```
//!
//! So every position has 16 bytes of past and of future at hand, and there is no
//! special case at the edge of a block. What a position is depends on the bytes
//! around it only, never on how the stream was cut.

use crate::anchor::Anchor;
use crate::classes::{BLOCK_BYTES, Block, Classes, Sketch};

/// The positions of a window that it decides about.
const MIDDLE: u64 = 0x0000_ffff_ffff_0000;

/// The candidate needs a second look: a shape in UTF-16.
pub(crate) const WIDE: u8 = 128;

/// A position at which some detector wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Byte of the stream.
    pub(crate) at: u64,
    /// Which anchors hold ([`Anchor::bit`]), or [`WIDE`].
    pub(crate) kinds: u8,
}

/// What stage 1 remembers between blocks.
#[derive(Clone, Copy)]
pub(crate) struct Stage {
    /// The last block.
    pub(crate) block: Block,
    pub(crate) trail: Trail,
}

/// What the sketches of the blocks so far leave behind.
#[derive(Clone, Copy, Default)]
pub(crate) struct Trail {
    sketch: Sketch,
    /// Ends of two marks.
    two: u64,
    /// Ends of two letters.
    letters: u64,
    /// Bytes that have a zero before them, and a character before that.
    spaced: u64,
    /// The shapes that end late in the last block.
    late: u64,
}

impl Default for Stage {
    fn default() -> Self {
        Self { block: [0xff; BLOCK_BYTES], trail: Trail::default() }
    }
}

/// Which windows of a block may hold candidates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hint {
    /// Not zero: the window that begins in the middle of the block before.
    pub(crate) front: u64,
    /// Not zero: the block itself.
    pub(crate) back: u64,
}

/// Returns the bits of a block moved by `STEPS`, those of the block before moved in.
#[inline(always)]
#[expect(clippy::inline_always, reason = "three instructions")]
fn back<const STEPS: u32>(last: u64, next: u64) -> u64 {
    (next << STEPS) | (last >> (const { 64 - STEPS }))
}

impl Trail {
    /// Takes the sketch of the next block. The caller works out the windows that the
    /// hint names.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "compiled once per instruction set, into its loop")]
    pub(crate) fn step(&mut self, sketch: Sketch) -> Hint {
        let Sketch { mark, letter, zero } = sketch;
        let last = self.sketch;
        let two = mark & back::<1>(last.mark, mark);
        let letters = letter & back::<1>(last.letter, letter);
        let zero_before = back::<1>(last.zero, zero);
        let marks_apart = mark & zero_before & back::<2>(last.mark, mark);
        let spaced = zero_before & back::<2>(last.mark | last.letter, mark | letter);
        // Bit `i`: byte `i` is the last of four marks, of two letters and two marks, or
        // in UTF-16 of a character and two marks.
        let ends = (two & back::<2>(self.two | self.letters, two | letters))
            | (marks_apart & back::<2>(self.spaced, spaced));
        // A shape from position `s` on has such an end at `s + 3` to `s + 6`.
        let front = self.late | (ends << 42);
        let rear = ends & (u64::MAX >> 10) & (u64::MAX << 19);
        *self = Self { sketch, two, letters, spaced, late: ends >> 51 };
        Hint { front, back: rear }
    }

    /// Returns whether the last block was all zeros, so that another one can be passed
    /// over: no shape begins or ends between them.
    #[inline]
    pub(crate) fn in_zeros(&self) -> bool {
        self.sketch.zero == u64::MAX
    }
}

impl Stage {
    /// Returns the second half of the last block and the first half of `next`.
    pub(crate) fn edge(&self, next: &Block) -> Block {
        let mut bytes = [0; BLOCK_BYTES];
        let (front, back) = bytes.split_at_mut(BLOCK_BYTES / 2);
        front.copy_from_slice(self.block.split_at(BLOCK_BYTES / 2).1);
        back.copy_from_slice(next.split_at(BLOCK_BYTES / 2).0);
        bytes
    }
}

/// Works out the candidates among the middle positions of a window, whose first byte
/// is at `at` in the stream.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled once per instruction set")]
pub(crate) fn candidates(c: Classes, at: u64, wanted: u8, out: &mut Vec<Candidate>) {
    let two = c.digit & (c.digit >> 1);
    let four = two & (two >> 2);
    let joint = c.dash | c.space;
    let mut long = 0;
    let mut nine = 0;
    let mut grouped = 0;
    let mut triple = 0;
    let first = four & !(c.digit << 1);
    if first & MIDDLE != 0 {
        let eight = first & (four >> 4);
        long = eight & (four >> 8) & (c.digit >> 12);
        nine = eight & (c.digit >> 8) & !(c.digit >> 9);
        grouped = first & (joint >> 4) & (four >> 5);
        triple = first & (joint << 1) & (two << 3) & (joint << 4) & (two << 6) & (c.digit << 7);
    }
    let mut pair = c.letter & (c.letter >> 1) & (two >> 2);
    let mut marker = 0;
    if pair & MIDDLE != 0 {
        marker = pair & (c.paren >> 4);
        let alnum = c.digit | c.letter;
        pair &= !(c.letter << 1) & (alnum >> 5) & (alnum >> 6) & (alnum >> 7);
    }
    let dashes = c.dash & (c.dash >> 1);
    let armor = dashes & (dashes >> 2) & (c.dash >> 4) & (c.letter >> 5);
    let wide = if c.zero == 0 { 0 } else { wide(c) };
    if (long | nine | grouped | triple | pair | armor | marker | wide) & MIDDLE == 0 {
        return;
    }
    let keep = |anchor: Anchor, bits: u64| if wanted & anchor.bit() == 0 { 0 } else { bits & MIDDLE };
    let kinds = [
        keep(Anchor::LongRun, long),
        keep(Anchor::GroupedRun, grouped),
        keep(Anchor::Triple, triple),
        keep(Anchor::NineRun, nine),
        keep(Anchor::LetterPair, pair),
        keep(Anchor::Armor, armor),
        keep(Anchor::Marker, marker),
        wide & MIDDLE,
    ];
    report(kinds, at, out);
}

/// Works out where a shape in UTF-16 may begin: characters with a zero behind them.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled once per instruction set")]
fn wide(c: Classes) -> u64 {
    let void = c.zero >> 1;
    let (digit, letter, dash) = (c.digit & void, c.letter & void, c.dash & void);
    // A digit, a zero and a digit, four bytes on.
    let late = (digit & (c.digit >> 2)) >> 4;
    let number = digit & (digit >> 2) & late & !(digit << 2);
    let pair = letter & (letter >> 2) & late & !(letter << 2);
    let dashes = dash & (dash >> 2);
    number | pair | (dashes & (dashes >> 4) & (dash >> 8) & (c.letter >> 10))
}

/// Adds candidates in order of position; the place of a kind in the list is its bit.
#[inline(never)]
fn report(kinds: [u64; 8], at: u64, out: &mut Vec<Candidate>) {
    let mut any = kinds.iter().fold(0, |any, bits| any | bits);
    while any != 0 {
        let bit = any & any.wrapping_neg();
        let place = u64::from(any.trailing_zeros());
        any ^= bit;
        let mut set = 0_u8;
        for bits in kinds.iter().rev() {
            set = (set << 1) | u8::from(bits & bit != 0);
        }
        out.push(Candidate { at: at.wrapping_add(place), kinds: set });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, scan};
    use proptest::prelude::*;

    /// Bytes that make shapes, and bytes that break them.
    fn shapes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "[0-9]{1,20}".prop_map(String::into_bytes),
            "[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}".prop_map(String::into_bytes),
            "([0-9]{4}[- ]){1,5}".prop_map(String::into_bytes),
            "[A-Za-z]{2}[0-9]{2} ?[A-Z0-9]{0,8}".prop_map(String::into_bytes),
            "-{4,6}BEGIN".prop_map(String::into_bytes),
            "[A-Za-z]{2}[0-9]{2}[(]".prop_map(String::into_bytes),
            Just(vec![0; 70]),
            proptest::collection::vec(any::<u8>(), 0..40),
            "[ -~]{0,40}".prop_map(String::into_bytes),
        ];
        let wide = |bytes: Vec<u8>| bytes.into_iter().flat_map(|byte| [byte, 0]).collect();
        let piece = prop_oneof![3 => piece.clone(), 1 => piece.prop_map(wide)];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    /// What one instruction set finds, with the end padded as the scanner does.
    fn run(isa: Isa, bytes: &[u8]) -> Vec<Candidate> {
        let mut padded = bytes.to_vec();
        padded.resize((bytes.len() / 64 + 3) * 64, 0xff);
        let mut out = Vec::new();
        let mut stage = Stage::default();
        // Two calls, so that the state between calls is used.
        let (blocks, _) = padded.as_chunks::<BLOCK_BYTES>();
        let (first, second) = blocks.split_at(blocks.len() / 2);
        scan(isa, &mut stage, first, 0, 0x7f, &mut out);
        let at = u64::try_from(first.len() * 64).unwrap();
        scan(isa, &mut stage, second, at, 0x7f, &mut out);
        out
    }

    fn agree(bytes: &[u8]) {
        let expected = run(Isa::Portable, bytes);
        for isa in Isa::all() {
            assert_eq!(run(isa, bytes), expected, "{isa:?}");
        }
        // The definition of the anchors, position by position.
        for at in 0..bytes.len() {
            let wanted = Anchor::ALL.into_iter().filter(|anchor| anchor.holds(&bytes[..at], &bytes[at..]));
            let wanted = wanted.fold(0, |set, anchor| set | anchor.bit());
            let place = u64::try_from(at).unwrap();
            let found = expected.iter().find(|candidate| candidate.at == place);
            let found = found.map_or(0, |candidate| candidate.kinds);
            assert_eq!(found & !WIDE, wanted, "at {at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn twins_agree_and_meet_the_definition(bytes in shapes()) {
            agree(&bytes);
        }

        #[test]
        fn wide_shapes_are_seen(text in "[ -~]{0,70}(4[0-9]{15}|[0-9]{3}-[0-9]{2}-[0-9]{4}|-----BEGIN|DE[0-9]{20})", odd: bool) {
            let mut bytes: Vec<u8> = text.bytes().flat_map(|byte| [byte, 0]).collect();
            if odd {
                bytes.insert(0, 0);
                bytes.pop();
            }
            let found = run(Isa::best(), &bytes);
            for at in 0..text.len() {
                let (before, after) = text.as_bytes().split_at(at);
                if Anchor::ALL.into_iter().any(|anchor| anchor.holds(before, after)) {
                    let place = u64::try_from(2 * at + usize::from(odd)).unwrap();
                    let seen = found.iter().any(|candidate| candidate.at == place && candidate.kinds & WIDE != 0);
                    prop_assert!(seen, "at {} of {}", at, text);
                }
            }
        }
    }

    #[test]
    fn adversarial_blocks_agree() {
        for byte in [0, b'-', b'0', b'9', b'/', b':', b'A', b'@', b'[', b'`', b'{', b'z', 0x80, 0xff] {
            agree(&vec![byte; 300]);
        }
        let every: Vec<u8> = (0..=255).cycle().take(1024).collect();
        agree(&every);
        agree(&every.iter().flat_map(|byte| [*byte, 0]).collect::<Vec<_>>());
    }
}
