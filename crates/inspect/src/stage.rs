//! Stage 1: from byte classes to candidates.
//!
//! Blocks of 64 bytes come in order. Every shape that is looked for holds three
//! digits, a digit or separator and a digit, two letters and two digits, or in UTF-16 two
//! digits with zeros between. These *grams* are found with few instructions ([`crate::grams`]), and
//! only around them the shapes are worked out, in a window of 64 bytes that decides
//! about its 32 middle positions:
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
use crate::classes::{BLOCK_BYTES, Block, Classes};
use crate::grams::Grams;

/// The positions of a window that it decides about.
const MIDDLE: u64 = 0x0000_ffff_ffff_0000;

/// The candidate needs a second look: a shape in UTF-16, or a literal in it.
pub(crate) const WIDE: u32 = 1 << 31;

/// A gram of a literal was seen: the low bits are its place in the engine's list.
pub(crate) const LITERAL: u32 = 1 << 30;

/// What stage 1 looks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The shapes that some detector wants ([`Anchor::bit`]).
    pub(crate) shapes: u32,
    /// Where to look closer.
    pub(crate) grams: Grams,
}

/// A position at which some detector wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Byte of the stream.
    pub(crate) at: u64,
    /// Which anchors hold ([`Anchor::bit`]), or [`WIDE`], or a [`LITERAL`].
    pub(crate) kinds: u32,
}

/// What stage 1 remembers between blocks.
#[derive(Clone, Copy)]
pub(crate) struct Stage {
    /// The last block.
    pub(crate) block: Block,
    /// Where grams of shapes ended in it, one bit a byte.
    pub(crate) shapes: u64,
}

impl Default for Stage {
    fn default() -> Self {
        Self { block: [0xff; BLOCK_BYTES], shapes: 0 }
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

impl Hint {
    /// Returns which windows may hold candidates, by where grams of shapes end in the block before and in this one.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "four instructions")]
    pub(crate) fn new(before: u64, ends: u64) -> Self {
        // A shape whose candidate is at `s` has the end of a gram at `s - 3` to `s + 6`.
        let front = (before >> 45) | (ends << 42);
        let back = ends & (u64::MAX >> 10) & (u64::MAX << 13);
        Self { front, back }
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

/// How many kinds of candidate a window can hold: the anchors, and [`WIDE`].
const KINDS: usize = Anchor::ALL.len() + 1;

/// Works out the candidates among the middle positions of a window, whose first byte
/// is at `at` in the stream.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled once per instruction set")]
pub(crate) fn candidates(c: Classes, at: u64, shapes: u32, out: &mut Vec<Candidate>) {
    let mut found = Found { bits: [0; KINDS], kinds: [0; KINDS], count: 0 };
    let mut keep = |anchor: Anchor, bits: u64| {
        if shapes & anchor.bit() != 0 {
            found.add(bits & MIDDLE, anchor.bit());
        }
    };
    let two = c.digit & (c.digit >> 1);
    runs(c, two, &mut keep);
    let pair = c.letter & (c.letter >> 1) & (two >> 2);
    if pair & MIDDLE != 0 {
        codes(c, pair, two, &mut keep);
    }
    if c.zero != 0 {
        found.add(wide(c) & MIDDLE, WIDE);
    }
    if found.count > 0 {
        found.report(at, out);
    }
}

/// The kinds of candidate in a window, and where they are.
struct Found {
    bits: [u64; KINDS],
    kinds: [u32; KINDS],
    count: usize,
}

impl Found {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a compare, mostly")]
    fn add(&mut self, bits: u64, kind: u32) {
        if bits == 0 {
            return;
        }
        if let (Some(slot), Some(of)) = (self.bits.get_mut(self.count), self.kinds.get_mut(self.count)) {
            (*slot, *of) = (bits, kind);
            self.count = self.count.saturating_add(1);
        }
    }

    /// Adds candidates in order of position.
    #[inline(never)]
    fn report(&self, at: u64, out: &mut Vec<Candidate>) {
        let all = || self.bits.iter().zip(&self.kinds).take(self.count);
        let mut any = all().fold(0, |any, (bits, _)| any | bits);
        while any != 0 {
            let bit = any & any.wrapping_neg();
            let place = u64::from(any.trailing_zeros());
            any ^= bit;
            let set = all().filter(|(bits, _)| *bits & bit != 0).fold(0, |set, (_, kind)| set | kind);
            insert(out, Candidate { at: at.wrapping_add(place), kinds: set });
        }
    }
}

/// Works out the shapes that begin with a digit. `two` has the first of two digits.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled once per instruction set")]
fn runs(c: Classes, two: u64, keep: &mut impl FnMut(Anchor, u64)) {
    let start = two & (c.digit >> 2) & !(c.digit << 1);
    if start & MIDDLE == 0 {
        return;
    }
    let exactly_three = start & !(c.digit >> 3);
    let three = exactly_three & (c.dash >> 3);
    let first = start & (c.digit >> 3);
    let exactly_four = first & !(c.digit >> 4);
    let pair_ends = two & !(c.digit >> 2) & !(c.dash >> 2);
    let pairs = (three & (pair_ends >> 4)) | (exactly_four & (c.dash >> 4) & (pair_ends >> 5));
    keep(Anchor::DashPair, pairs);
    if three & MIDDLE != 0 {
        let last = two & (c.digit >> 2);
        keep(Anchor::SplitNine, three & (last >> 4) & (c.dash >> 7) & (last >> 8) & !(c.digit >> 11));
    }
    if first & MIDDLE == 0 {
        return;
    }
    let four = two & (two >> 2);
    let joint = c.dash | c.space;
    let seven = first & (four >> 3);
    if seven & MIDDLE != 0 {
        let eight = seven & (c.digit >> 7);
        let ten = eight & (two >> 8);
        let twelve = ten & (two >> 10);
        keep(Anchor::SevenRun, seven & !(c.digit >> 7));
        keep(Anchor::EightRun, eight & !(c.digit >> 8));
        keep(Anchor::NineRun, eight & (c.digit >> 8) & !(c.digit >> 9));
        keep(Anchor::TenRun, ten & !(c.digit >> 10));
        keep(Anchor::ElevenRun, ten & (c.digit >> 10) & !(c.digit >> 11));
        keep(Anchor::TwelveRun, twelve & !(c.digit >> 12));
        keep(Anchor::LongRun, twelve & (c.digit >> 12));
    }
    keep(Anchor::GroupedRun, first & (joint >> 4) & (four >> 5));
    let behind = first & (joint << 1) & (two << 3);
    if behind & MIDDLE != 0 {
        keep(Anchor::Triple, behind & (joint << 4) & (two << 6) & (c.digit << 7));
        let front = (two << 4) & (joint << 5) & (two << 7) & (c.digit << 8) & !(c.digit << 9);
        keep(Anchor::SplitTen, behind & exactly_four & front & (c.digit << 6));
    }
}

/// Works out the shapes that begin with two letters and two digits. `pair` has the first
/// letter, `two` the first of two digits.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled once per instruction set")]
fn codes(c: Classes, pair: u64, two: u64, keep: &mut impl FnMut(Anchor, u64)) {
    let alnum = c.digit | c.letter;
    keep(Anchor::Marker, pair & (c.paren >> 4));
    let more = (two >> 4) & (two >> 6);
    let twice = alnum & (alnum >> 1);
    let four = twice & (twice >> 2);
    let joint = c.dash | c.space;
    let long = (four >> 4) & (four >> 8) & (four >> 11);
    let grouped = (joint >> 4) & (four >> 5) & (joint >> 9);
    let begins = !(alnum << 1) & (more | long | grouped);
    let counted = (c.digit << 1) & c.capital & (c.capital >> 1) & long;
    keep(Anchor::LetterPair, pair & (begins | counted));
    let name = pair & (c.letter << 1) & (c.letter << 2);
    let dated = (c.letter << 3) & (c.letter << 4) & (c.letter >> 4) & (two >> 5) & (c.letter >> 7);
    keep(Anchor::NameCode, name & (more | dated));
    let behind = (c.digit << 1) | (c.dash << 1) & (c.digit << 2);
    keep(Anchor::CodeTail, pair & behind & !(alnum >> 4));
}

/// Works out where a shape in UTF-16 may begin: characters with a zero behind them.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled once per instruction set")]
fn wide(c: Classes) -> u64 {
    let void = c.zero >> 1;
    let (digit, letter) = (c.digit & void, c.letter & void);
    // What is four bytes on: a digit, a zero and a digit, or in numbers a dash.
    let number = digit & (digit >> 2) & ((digit & ((c.digit | c.dash) >> 2)) >> 4) & !(digit << 2);
    let pair = letter & (letter >> 2) & ((digit & (c.digit >> 2)) >> 4);
    number | pair
}

/// Adds a candidate so that the list stays in order of position.
#[inline]
pub(crate) fn insert(out: &mut Vec<Candidate>, candidate: Candidate) {
    // A literal is seen up to a block later than what begins beside it.
    let later = out.iter().rev().take_while(|other| other.at > candidate.at).count();
    if later == 0 {
        out.push(candidate);
    } else {
        out.insert(out.len().saturating_sub(later), candidate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::literal::Literal;
    use crate::simd::{Isa, scan};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    /// Bytes that make shapes, and bytes that break them.
    fn shapes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "[0-9]{1,20}".prop_map(String::into_bytes),
            "[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}".prop_map(String::into_bytes),
            "([0-9]{4}[- ]){1,5}".prop_map(String::into_bytes),
            "[A-Za-z]{2}[0-9]{2} ?[A-Z0-9]{0,8}".prop_map(String::into_bytes),
            "[A-Za-z]{2}[0-9]{2}[(]".prop_map(String::into_bytes),
            "[0-9]{3}[- ][0-9]{3}[- ][0-9]{3,5}".prop_map(String::into_bytes),
            "[0-9./]{2,5}[0-9]{3,4}-[0-9]{2}[ 0-9-]".prop_map(String::into_bytes),
            "[A-Z]{2,6}[0-9]{2}[A-Z0-9]{2,6}".prop_map(String::into_bytes),
            "[A-Z]{4,6}[0-9]{2}[A-Z][0-9]{2}[A-Z][0-9]".prop_map(String::into_bytes),
            "[0-9. ]?[A-Za-z]{2}[0-9]{2}[A-Z0-9]{3,13}".prop_map(String::into_bytes),
            "[0-9. ]?[A-Za-z]{2}[0-9]{2}[ -][A-Z0-9]{4}[ -]".prop_map(String::into_bytes),
            "[0-9][A-Z][A-Z0-9][0-9]-?[A-Z][0-9]{2}-?[A-Z]{2}[0-9]{2}".prop_map(String::into_bytes),
            Just(vec![0; 70]),
            "(AKIA|xoxb-|resourceType|RESOURCEtype|rceType|MSH[|]|Type|[a-z]_Q[a-z][+])"
                .prop_map(String::into_bytes),
            Just(vec![0x1f, 0x8b, 8]),
            proptest::collection::vec(any::<u8>(), 0..40),
            "[ -~]{0,40}".prop_map(String::into_bytes),
        ];
        let wide = |bytes: Vec<u8>| bytes.into_iter().flat_map(|byte| [byte, 0]).collect();
        let piece = prop_oneof![3 => piece.clone(), 1 => piece.prop_map(wide)];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    /// Literals of all kinds.
    fn literals() -> Vec<Literal> {
        let few = [
            Literal::new(b"AKIA").wide(),
            Literal::new(b"resourceType").any_case().wide(),
            Literal::new(b"\x1f\x8b\x08"),
            Literal::new(b"xoxb-"),
            Literal::new(b"MSH|").wide(),
        ];
        let more = (b'a'..=b'z').filter_map(|letter| Literal::owned(vec![letter, b'_', b'Q', letter, b'+']));
        few.into_iter().chain(more).collect()
    }

    static WANTED: LazyLock<Wanted> = LazyLock::new(|| Wanted {
        shapes: (1 << Anchor::ALL.len()) - 1,
        grams: Grams::new(true, &literals(), Isa::best().lookup()),
    });

    /// What one instruction set finds, with the end padded as the scanner does.
    fn run(isa: Isa, bytes: &[u8]) -> Vec<Candidate> {
        let mut padded = bytes.to_vec();
        padded.resize((bytes.len() / 64 + 3) * 64, 0xff);
        let mut out = Vec::new();
        let mut stage = Stage::default();
        // Two calls, so that the state between calls is used.
        let (blocks, _) = padded.as_chunks::<BLOCK_BYTES>();
        let (first, second) = blocks.split_at(blocks.len() / 2);
        scan(isa, &mut stage, first, 0, &WANTED, &mut out);
        let at = u64::try_from(first.len() * 64).unwrap();
        scan(isa, &mut stage, second, at, &WANTED, &mut out);
        out
    }

    fn agree(bytes: &[u8]) {
        let expected = run(Isa::Portable, bytes);
        for isa in Isa::all() {
            assert_eq!(run(isa, bytes), expected, "{isa:?}");
        }
        let wanted_literals = literals();
        // The definition of the anchors, position by position.
        for at in 0..bytes.len() {
            let wanted = Anchor::ALL.into_iter().filter(|anchor| anchor.holds(&bytes[..at], &bytes[at..]));
            let wanted = wanted.fold(0, |set, anchor| set | anchor.bit());
            let place = u64::try_from(at).unwrap();
            let here = || expected.iter().filter(|candidate| candidate.at == place);
            let found = here().find(|candidate| candidate.kinds & LITERAL == 0);
            let found = found.map_or(0, |candidate| candidate.kinds);
            assert_eq!(found & !WIDE, wanted, "at {at}");
            for (index, literal) in wanted_literals.iter().enumerate() {
                let kinds = LITERAL | u32::try_from(index).unwrap();
                let seen = |kinds: u32| here().any(|candidate| candidate.kinds == kinds);
                assert!(!literal.starts(&bytes[at..]) || seen(kinds), "{literal:?} at {at}");
                let wide: Vec<u8> = bytes[at..].iter().copied().step_by(2).collect();
                let zeros =
                    bytes[at..].iter().skip(1).step_by(2).take(literal.bytes().len()).all(|b| *b == 0);
                let stands = literal.is_wide() && zeros && literal.starts(&wide);
                assert!(!stands || seen(kinds | WIDE), "wide {literal:?} at {at}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn twins_agree_and_meet_the_definition(bytes in shapes()) {
            agree(&bytes);
        }

        #[test]
        fn wide_shapes_are_seen(text in "[ -~]{0,70}(4[0-9]{15}|[0-9]{3}-[0-9]{2}-[0-9]{4}|DE[0-9]{20}|ABCDEF12A34B|[0-9]{3}-[0-9]{3}-[0-9]{3,4}|[0-9.]{2}[0-9]{3}-[0-9]{2}|1A23B45-?CD67)", odd: bool) {
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
