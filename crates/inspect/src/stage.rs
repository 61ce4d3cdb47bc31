//! Stage 1: from byte classes to candidates.
//!
//! Blocks of 64 bytes come in order. The classes of the last block are kept, and a
//! block decides about the 64 positions that start [`DELAY`] bytes before it, so
//! every shape has `DELAY` bytes of future and 44 bytes of past at hand without any
//! special case at the edge of a block. What a position is depends on the bytes
//! around it only, never on how the stream was cut.

use crate::anchor::Anchor;
use crate::classes::{Block, Classes};

/// How many bytes a position waits for its future.
pub(crate) const DELAY: u64 = 20;

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
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stage {
    last: Classes,
}

/// Returns the bits of `last` and `next` for the 64 positions of a step, moved by
/// `PLACE`: positive looks ahead, negative back.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the heart of the hot loop, a shift or two")]
#[expect(clippy::arithmetic_side_effects, reason = "constants, checked when compiled")]
fn place<const PLACE: i32>(last: u64, next: u64) -> u64 {
    const { assert!(PLACE >= -40 && PLACE <= 20) }
    if PLACE == 20 { next } else { (last >> (44 + PLACE)) | (next << (20 - PLACE)) }
}

/// The candidates of one step, one bit a position.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    long: u64,
    grouped: u64,
    triple: u64,
    nine: u64,
    pair: u64,
    armor: u64,
    marker: u64,
    wide: u64,
}

/// Looks for plain numbers; called only where four digits stand in a row.
#[inline]
fn numbers(a: Classes, b: Classes, found: &mut Found) {
    macro_rules! digit {
        ($at:literal) => {
            place::<$at>(a.digit, b.digit)
        };
    }
    macro_rules! joint {
        ($at:literal) => {
            place::<$at>(a.dash | a.space, b.dash | b.space)
        };
    }
    let first = digit!(0) & !digit!(-1) & digit!(1) & digit!(2) & digit!(3);
    let eight = digit!(4) & digit!(5) & digit!(6) & digit!(7);
    found.long = first & eight & digit!(8) & digit!(9) & digit!(10) & digit!(11) & digit!(12);
    found.nine = first & eight & digit!(8) & !digit!(9);
    found.grouped = first & joint!(4) & digit!(5) & digit!(6) & digit!(7) & digit!(8);
    found.triple =
        first & joint!(-1) & digit!(-2) & digit!(-3) & joint!(-4) & digit!(-5) & digit!(-6) & digit!(-7);
}

impl Stage {
    /// Takes the classes of the next block, whose first byte is `at` in the stream,
    /// and adds the candidates among the positions from `at - DELAY` on to `out`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "compiled once per instruction set, into its loop")]
    pub(crate) fn step(&mut self, b: Classes, at: u64, wanted: u8, out: &mut Vec<Candidate>) {
        macro_rules! see {
            ($class:ident, $at:literal) => {
                place::<$at>(self.last.$class, b.$class)
            };
        }
        let a = self.last;
        let two = see!(digit, 2) & see!(digit, 3);
        let pair = see!(letter, 0) & see!(letter, 1) & two & !see!(letter, -1);
        let four = see!(digit, 0) & see!(digit, 1) & two;
        let five = see!(dash, 0) & see!(dash, 1) & see!(dash, 2) & see!(dash, 3) & see!(dash, 4);
        let zeros = see!(zero, 1) & see!(zero, 3) & see!(zero, 5) & see!(digit, 6);
        let wide_number = zeros & see!(digit, 0) & see!(digit, 2) & see!(digit, 4);
        let wide_pair = zeros & see!(letter, 0) & see!(letter, 2) & see!(digit, 4);
        let wide_dash = see!(zero, 1) & see!(dash, 0) & see!(dash, 2) & see!(dash, 4);
        let armor = five & see!(letter, 5);
        let marker = see!(brace, 0) & see!(dollar, 1) & see!(letter, 2);
        self.last = b;
        if four | pair | armor | marker | wide_number | wide_pair | wide_dash == 0 {
            return;
        }
        let mut found = Found { armor, marker, ..Found::default() };
        if four != 0 {
            numbers(a, b, &mut found);
        }
        macro_rules! look {
            ($class:ident, $at:literal) => {
                place::<$at>(a.$class, b.$class)
            };
        }
        let alnum5 = look!(letter, 5) | look!(digit, 5);
        let alnum6 = look!(letter, 6) | look!(digit, 6);
        let alnum7 = look!(letter, 7) | look!(digit, 7);
        found.pair = pair & alnum5 & alnum6 & alnum7;
        let before = look!(zero, -1);
        found.wide = (wide_number & !(look!(digit, -2) & before))
            | (wide_pair & !(look!(letter, -2) & before))
            | (wide_dash & look!(dash, 6) & look!(dash, 8) & look!(letter, 10));
        found.report(at, wanted, out);
    }

    /// Takes a block with the classes that `classify` finds.
    pub(crate) fn run(
        &mut self,
        blocks: &[Block],
        mut at: u64,
        wanted: u8,
        out: &mut Vec<Candidate>,
        classify: fn(&Block) -> Classes,
    ) {
        for block in blocks {
            self.step(classify(block), at, wanted, out);
            at = at.wrapping_add(64);
        }
    }

    /// Returns whether the last block was all zeros, so that another one of them can
    /// be passed over.
    #[inline]
    pub(crate) fn in_zeros(&self) -> bool {
        self.last == Classes::ZEROS
    }
}

impl Found {
    /// Adds the wanted candidates to `out`, in order of position.
    #[inline]
    fn report(&self, at: u64, wanted: u8, out: &mut Vec<Candidate>) {
        let keep = |anchor: Anchor, bits: u64| if wanted & anchor.bit() == 0 { 0 } else { bits };
        let kinds = [
            (Anchor::LongRun.bit(), keep(Anchor::LongRun, self.long)),
            (Anchor::GroupedRun.bit(), keep(Anchor::GroupedRun, self.grouped)),
            (Anchor::Triple.bit(), keep(Anchor::Triple, self.triple)),
            (Anchor::NineRun.bit(), keep(Anchor::NineRun, self.nine)),
            (Anchor::LetterPair.bit(), keep(Anchor::LetterPair, self.pair)),
            (Anchor::Armor.bit(), keep(Anchor::Armor, self.armor)),
            (Anchor::Marker.bit(), keep(Anchor::Marker, self.marker)),
            (WIDE, self.wide),
        ];
        let mut any = kinds.iter().fold(0, |any, (_, bits)| any | bits);
        while any != 0 {
            let bit = any & any.wrapping_neg();
            let place = u64::from(any.trailing_zeros());
            any ^= bit;
            let kinds = kinds.iter().fold(0, |set, (kind, bits)| if bits & bit == 0 { set } else { set | kind });
            out.push(Candidate { at: at.wrapping_add(place).wrapping_sub(DELAY), kinds });
        }
    }
}
