//! Where to look closer: four bytes in a row that a shape or a literal has.
//!
//! Such four bytes are called a *gram*. Each shape holds one of a few grams of byte
//! classes; each literal is represented by the four bytes in a row of it that are
//! rarest in real data. Grams are dealt to eight buckets. For each place in a gram, a
//! byte stands for the set of buckets that may hold it there, looked up by its low and
//! its high half; the sets of four bytes in a row meet only where some gram may be.
//! (Known as Teddy, from the Hyperscan library: Wang et al., NSDI 2019, section 5.)

use crate::classes::{BLOCK_BYTES, Block};
use crate::literal::Literal;
use crate::stage::{Candidate, LITERAL, WIDE, insert};

/// Bytes of a gram.
pub(crate) const GRAM_BYTES: usize = 4;

/// Buckets that the grams of literals are dealt to.
const BUCKETS: usize = 8 - SHAPES.len();

/// The bits of the buckets of shapes.
pub(crate) const SHAPE_BITS: u8 = (1 << SHAPES.len()) - 1;

/// The low and the high halves of a digit, one bit each.
const DIGIT: Halves = Halves { low: 0x03ff, high: 1 << 3 };
/// Those of a dash.
const DASH: Halves = Halves { low: 1 << 13, high: 1 << 2 };
/// Those of a letter, and of some characters more.
const LETTER: Halves = Halves { low: 0xffff, high: 0x00f0 };
/// Those of zero.
const ZERO: Halves = Halves { low: 1, high: 1 };

/// The grams of shapes.
const SHAPES: [[Halves; GRAM_BYTES]; 4] = [
    [DIGIT, DIGIT, DIGIT, DIGIT],
    [DIGIT, DIGIT, DIGIT, DASH],
    [LETTER, LETTER, DIGIT, DIGIT],
    [ZERO, DIGIT, ZERO, DIGIT],
];

/// How rare each byte is: minus sixteen times the binary logarithm of its share of a
/// Debian disk, of source code or of log text, whichever is greatest.
#[rustfmt::skip]
const RARITY: [u8; 256] = [
    16, 86, 97, 122, 109, 118, 136, 139, 121, 145, 87, 137, 141, 147, 158, 119,
    127, 158, 159, 164, 154, 136, 171, 171, 136, 169, 174, 129, 147, 174, 171, 157,
    39, 173, 65, 178, 125, 151, 150, 167, 114, 114, 162, 132, 102, 116, 84, 76,
    61, 67, 77, 90, 85, 89, 81, 91, 90, 94, 84, 132, 151, 129, 144, 132,
    137, 108, 138, 115, 124, 105, 124, 116, 101, 104, 180, 172, 113, 132, 110, 109,
    124, 168, 108, 108, 104, 128, 154, 139, 132, 139, 184, 132, 161, 132, 174, 95,
    156, 77, 105, 88, 90, 62, 99, 105, 91, 71, 141, 120, 88, 97, 76, 73,
    98, 154, 75, 76, 68, 93, 115, 115, 100, 108, 132, 141, 164, 141, 180, 180,
    142, 166, 175, 136, 143, 136, 174, 172, 159, 109, 153, 117, 174, 144, 183, 183,
    155, 183, 184, 179, 174, 180, 184, 181, 165, 188, 187, 185, 179, 186, 188, 187,
    160, 186, 190, 184, 181, 186, 188, 187, 166, 184, 190, 182, 178, 187, 188, 184,
    165, 188, 189, 185, 179, 185, 166, 167, 158, 173, 167, 176, 174, 179, 164, 179,
    132, 159, 165, 175, 165, 174, 159, 135, 164, 174, 182, 187, 175, 186, 185, 186,
    146, 180, 169, 183, 179, 184, 186, 187, 161, 187, 186, 180, 181, 190, 181, 166,
    150, 180, 177, 190, 174, 186, 179, 172, 123, 140, 177, 164, 172, 177, 177, 165,
    151, 184, 183, 180, 177, 182, 164, 170, 159, 180, 176, 170, 121, 169, 159, 73,
];

/// Returns the share of real data that a byte has, roughly.
fn share(byte: u8) -> f64 {
    (-f64::from(RARITY.get(usize::from(byte)).copied().unwrap_or(0)) / 16.0).exp2()
}

/// Four bytes of a literal.
#[derive(Debug, Clone, Copy)]
struct Gram {
    /// The first byte is the lowest.
    value: u32,
    /// The bits that count.
    mask: u32,
    /// Place of the literal in the engine's list.
    literal: u16,
    /// Bytes of the literal, as stored, before the gram.
    lead: u8,
    wide: bool,
}

impl Gram {
    fn holds(&self, place: usize, byte: u8) -> bool {
        let (value, mask) = (self.value.to_le_bytes(), self.mask.to_le_bytes());
        match (value.get(place), mask.get(place)) {
            (Some(value), Some(mask)) => byte & mask == *value,
            _ => false,
        }
    }

    /// Returns the share of positions at which this gram stands, if bytes were independent.
    fn chance(&self) -> f64 {
        (0..GRAM_BYTES)
            .map(|place| bytes().filter(|&b| self.holds(place, b)).map(share).sum::<f64>())
            .product()
    }
}

fn bytes() -> impl Iterator<Item = u8> {
    0..=u8::MAX
}

/// The halves of the bytes that one place of the grams of one bucket may hold.
#[derive(Debug, Clone, Copy, Default)]
struct Halves {
    low: u16,
    high: u16,
}

impl Halves {
    fn add(&mut self, gram: &Gram, place: usize) {
        for byte in bytes().filter(|&byte| gram.holds(place, byte)) {
            self.low |= 1 << (byte & 15);
            self.high |= 1 << (byte >> 4);
        }
    }

    /// Returns the share of bytes that pass.
    fn chance(self) -> f64 {
        bytes().filter(|byte| self.low >> (byte & 15) & self.high >> (byte >> 4) & 1 == 1).map(share).sum()
    }
}

/// The tables by which grams are found.
#[derive(Debug, Clone)]
pub(crate) struct Grams {
    /// For each place in a gram, the buckets of the low halves of a byte.
    pub(crate) low: [[u8; 16]; GRAM_BYTES],
    /// The same for the high halves.
    pub(crate) high: [[u8; 16]; GRAM_BYTES],
    /// Grams of literals by bucket; the first of these has the bit after [`SHAPE_BITS`].
    buckets: [Vec<Gram>; BUCKETS],
}

impl Grams {
    /// Makes the tables for shapes, if these are wanted, and literals.
    pub(crate) fn new(shapes: bool, literals: &[Literal]) -> Self {
        let mut grams: Vec<(f64, Gram)> = Vec::new();
        for (index, literal) in literals.iter().enumerate() {
            let Ok(index) = u16::try_from(index) else { break };
            grams.extend(rarest(literal, index, false));
            if literal.is_wide() {
                grams.extend(rarest(literal, index, true));
            }
        }
        grams.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut buckets: [Vec<Gram>; BUCKETS] = Default::default();
        let mut halves = [[Halves::default(); GRAM_BYTES]; BUCKETS];
        for (_, gram) in grams {
            // Where it adds least to what passes by chance.
            let with = |places: &[Halves; GRAM_BYTES]| {
                let mut places = *places;
                for (place, halves) in places.iter_mut().enumerate() {
                    halves.add(&gram, place);
                }
                places
            };
            let chance =
                |places: &[Halves; GRAM_BYTES]| places.iter().map(|half| half.chance()).product::<f64>();
            let cost = |places: &[Halves; GRAM_BYTES]| chance(&with(places)) - chance(places);
            let best =
                halves.iter_mut().zip(&mut buckets).min_by(|(a, _), (b, _)| cost(a).total_cmp(&cost(b)));
            if let Some((places, bucket)) = best {
                *places = with(places);
                bucket.push(gram);
            }
        }
        let mut tables = Self { low: [[0; 16]; GRAM_BYTES], high: [[0; 16]; GRAM_BYTES], buckets };
        let of_shapes = if shapes { SHAPES } else { Default::default() };
        for (bucket, places) in of_shapes.iter().chain(&halves).enumerate() {
            for ((halves, low), high) in places.iter().zip(&mut tables.low).zip(&mut tables.high) {
                for (half, (low, high)) in low.iter_mut().zip(high).enumerate() {
                    *low |= u8::from(halves.low >> half & 1 == 1) << bucket;
                    *high |= u8::from(halves.high >> half & 1 == 1) << bucket;
                }
            }
        }
        tables
    }

    /// Returns the buckets of which a gram may end at each byte of `block`. `last` is
    /// the block before. This is the portable twin.
    pub(crate) fn portable(&self, last: &Block, block: &Block) -> Block {
        let mut found = [0; BLOCK_BYTES];
        for (at, slot) in found.iter_mut().enumerate() {
            let mut buckets = u8::MAX;
            for (back, (low, high)) in self.low.iter().zip(&self.high).rev().enumerate() {
                let byte = match at.checked_sub(back) {
                    Some(place) => block.get(place),
                    None => BLOCK_BYTES.checked_add(at).and_then(|at| last.get(at.checked_sub(back)?)),
                };
                let byte = byte.copied().unwrap_or(0);
                buckets &= low.get(usize::from(byte & 15)).copied().unwrap_or(0)
                    & high.get(usize::from(byte >> 4)).copied().unwrap_or(0);
            }
            *slot = buckets;
        }
        found
    }

    /// Adds the literals whose grams end in `block`, which stands at `at` in the stream
    /// behind `last`. `found` says which buckets may have a gram where, and `places`
    /// where to look at it.
    #[inline(never)]
    pub(crate) fn report(
        &self,
        (found, mut places): (&Block, u64),
        (last, block): (&Block, &Block),
        at: u64,
        out: &mut Vec<Candidate>,
    ) {
        while places != 0 {
            let end = u64::from(places.trailing_zeros());
            let place = usize::try_from(end).unwrap_or(0);
            places &= places.wrapping_sub(1);
            let gram = match place.checked_sub(GRAM_BYTES.saturating_sub(1)) {
                Some(start) => block.get(start..).and_then(|rest| rest.first_chunk()).copied(),
                None => across(last, block, place),
            };
            let (Some(gram), Some(buckets)) = (gram.map(u32::from_le_bytes), found.get(place)) else {
                continue;
            };
            let mut left = buckets >> SHAPES.len();
            while left != 0 {
                let bucket = self.buckets.get(usize::try_from(left.trailing_zeros()).unwrap_or(0));
                left &= left.wrapping_sub(1);
                for entry in bucket.into_iter().flatten().filter(|entry| gram & entry.mask == entry.value) {
                    let wide = if entry.wide { WIDE } else { 0 };
                    let before = u64::from(entry.lead).saturating_add(3);
                    let Some(at) = at.saturating_add(end).checked_sub(before) else { continue };
                    insert(out, Candidate { at, kinds: LITERAL | wide | u32::from(entry.literal) });
                }
            }
        }
    }
}

/// Returns the gram that ends at `place` of `block` and begins in `last`.
fn across(last: &Block, block: &Block, place: usize) -> Option<[u8; GRAM_BYTES]> {
    let mut bytes = [0; 6];
    let (tail, head) = bytes.split_at_mut(3);
    tail.copy_from_slice(last.last_chunk::<3>()?);
    head.copy_from_slice(block.first_chunk::<3>()?);
    bytes.get(place..)?.first_chunk().copied()
}

/// Returns the rarest gram of a literal, and how rare it is.
fn rarest(literal: &Literal, index: u16, wide: bool) -> Option<(f64, Gram)> {
    let (step, taken) = if wide { (2, GRAM_BYTES / 2) } else { (1, GRAM_BYTES) };
    let starts = 0..=literal.bytes().len().saturating_sub(taken);
    let gram = |start: usize| {
        let at = |place: usize| literal.masked(start.saturating_add(place));
        let [a, b, c, d] =
            if wide { [at(0), (0, 0xff), at(1), (0, 0xff)] } else { [at(0), at(1), at(2), at(3)] };
        Gram {
            value: u32::from_le_bytes([a.0, b.0, c.0, d.0]),
            mask: u32::from_le_bytes([a.1, b.1, c.1, d.1]),
            literal: index,
            lead: u8::try_from(start.saturating_mul(step)).unwrap_or(u8::MAX),
            wide,
        }
    };
    starts.map(gram).map(|gram| (gram.chance(), gram)).min_by(|(a, _), (b, _)| a.total_cmp(b))
}
