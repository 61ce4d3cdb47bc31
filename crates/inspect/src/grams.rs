//! Where to look closer: five bytes in a row that a shape or a literal has.
//!
//! Such five bytes are called a *gram*; some of them may be any byte. Each shape holds one of a few grams of byte
//! classes; each literal is represented by up to five bytes in a row of it that are rare in
//! real data, by themselves and among those of other literals. Grams are dealt to
//! buckets, eight to a table. For each place in a gram, a byte stands for the set of buckets that may hold it there;
//! the sets of five bytes in a row meet only where some gram may be. The sets are looked up by the low and the high
//! half of a byte (known as Teddy, from the Hyperscan library: Wang et al., NSDI 2019, section 5), or, where the
//! processor permutes bytes between two registers, by the low seven bits, which lets through far less by chance.
//! What is let through in vain depends on the processor; what is found does not.

use crate::classes::{BLOCK_BYTES, Block};
use crate::literal::Literal;
use crate::stage::{Candidate, LITERAL, WIDE, insert};
use std::sync::LazyLock;

/// Bytes of a gram.
pub(crate) const GRAM_BYTES: usize = 5;

/// Buckets of a table that the grams of literals are dealt to.
const BUCKETS: usize = 8 - SHAPES.len();

/// The bits of the buckets of shapes.
pub(crate) const SHAPE_BITS: u8 = (1 << SHAPES.len()) - 1;

/// The sets of buckets by the low half of a byte and by its high half; those that have both hold it.
pub(crate) type Nibbles = ([u8; 16], [u8; 16]);

/// The set of buckets by the low seven bits of a byte.
pub(crate) type Ascii = [u8; 128];

/// A set of bytes: those below 128, and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bytes([u128; 2]);

impl Bytes {
    const ANY: Self = Self([u128::MAX; 2]);

    /// The bytes of ASCII from `first` to `last`.
    const fn range(first: u8, last: u8) -> Self {
        Self([u128::MAX << first & u128::MAX >> 127_u8.saturating_sub(last), 0])
    }

    const fn or(self, other: Self) -> Self {
        let (Self([a, b]), Self([c, d])) = (self, other);
        Self([a | c, b | d])
    }

    fn insert(&mut self, byte: u8) {
        let Self([low, high]) = self;
        let half = if byte < 128 { low } else { high };
        *half |= 1 << (byte & 127);
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        let Self([low, high]) = self;
        ones(low).chain(ones(high).map(|byte| byte | 128))
    }

    /// Returns the halves that its bytes have, one bit each.
    fn halves(self) -> (u16, u16) {
        self.iter().fold((0, 0), |(low, high), byte| (low | 1 << (byte & 15), high | 1 << (byte >> 4)))
    }

    /// Returns the bytes that cannot be told from its own by `lookup`.
    fn seen_by(self, lookup: Lookup) -> Self {
        let Self([below, above]) = self;
        match lookup {
            Lookup::Ascii => Self([below | above; 2]),
            Lookup::Nibbles => {
                let (lows, highs) = self.halves();
                let mut bytes = Self::default();
                for high in ones(highs.into()) {
                    ones(lows.into()).for_each(|low| bytes.insert(high << 4 | low));
                }
                bytes
            }
        }
    }
}

/// Returns the places of the bits that are set.
fn ones(mut bits: u128) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let place = u8::try_from(bits.trailing_zeros()).ok().filter(|place| *place < 128)?;
        bits &= bits.wrapping_sub(1);
        Some(place)
    })
}

/// How sets of buckets are looked up, which says what bytes are not told from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// By both halves of a byte.
    Nibbles,
    /// By its low seven bits.
    Ascii,
}

const DIGIT: Bytes = Bytes::range(b'0', b'9');
const LETTER: Bytes = Bytes::range(b'A', b'Z').or(Bytes::range(b'a', b'z'));
const DASH: Bytes = Bytes::range(b'-', b'-').or(Bytes::range(b' ', b' '));
const ZERO: Bytes = Bytes::range(0, 0);

/// The grams of shapes.
const SHAPES: [Places; 3] = [
    [DIGIT, DIGIT, DIGIT, DIGIT.or(DASH), DIGIT],
    [Bytes::ANY, LETTER, LETTER, DIGIT, DIGIT],
    [Bytes::ANY, ZERO, DIGIT, ZERO, DIGIT],
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

/// Returns minus the binary logarithm of the share that a byte has of real data.
pub(crate) fn rarity(byte: u8) -> f64 {
    RARITY.get(usize::from(byte)).map_or(0.0, |rarity| f64::from(*rarity) / 16.0)
}

/// Kinds of content in which bytes of a class come in rows: that all bytes of a gram are
/// digits is common, though digits are not.
const CONTENTS: usize = 4;

/// Returns the share that a byte has, roughly, of all content, of numbers and times, of names
/// in capitals, and of words in small letters.
fn shares(byte: u8) -> [f64; CONTENTS] {
    static SHARES: LazyLock<[f64; 256]> =
        LazyLock::new(|| RARITY.map(|rarity| (-f64::from(rarity) / 16.0).exp2()));
    let of = |weights: [f64; 4]| match byte {
        b'0'..=b'9' => weights[0] / 10.0,
        b'A'..=b'Z' => weights[1] / 26.0,
        b'a'..=b'z' => weights[2] / 26.0,
        b' ' | b'-' | b'.' | b':' | b'/' | b'_' | b',' | b'"' => weights[3] / 8.0,
        _ => 0.001,
    };
    let general = SHARES.get(usize::from(byte)).copied().unwrap_or(0.0);
    [general, of([0.7, 0.05, 0.05, 0.2]), of([0.1, 0.7, 0.1, 0.1]), of([0.05, 0.1, 0.7, 0.15])]
}

/// Bytes of a literal.
#[derive(Debug, Clone, Copy)]
struct Gram {
    /// What the bytes are, as far as their bits count. The last byte is the highest one.
    value: u64,
    /// The bits that count.
    mask: u64,
    /// Place of the literal in the engine's list.
    literal: u16,
    /// Place of the last byte of the gram in the literal, as stored.
    last: u8,
    wide: bool,
}

impl Gram {
    /// Returns the bytes that it may hold at `place`.
    fn bytes(&self, place: usize) -> Bytes {
        let place = place.saturating_add(8).saturating_sub(GRAM_BYTES);
        let (values, masks) = (self.value.to_le_bytes(), self.mask.to_le_bytes());
        let mut bytes = Bytes::default();
        if let (Some(value), Some(mask)) = (values.get(place), masks.get(place)) {
            (0..=255_u8).filter(|byte| byte & mask == *value).for_each(|byte| bytes.insert(byte));
        }
        bytes
    }

    fn places(&self) -> Places {
        std::array::from_fn(|place| self.bytes(place))
    }
}

/// Returns the share of bytes that pass, in each kind of content.
fn chances(bytes: Bytes) -> [f64; CONTENTS] {
    static ALL: LazyLock<[f64; CONTENTS]> = LazyLock::new(|| sum(Bytes::ANY));
    fn sum(bytes: Bytes) -> [f64; CONTENTS] {
        bytes
            .iter()
            .map(shares)
            .fold([0.0; CONTENTS], |sums, shares| zip(sums, shares, |sum, share| sum + share))
    }
    if bytes == Bytes::ANY { *ALL } else { sum(bytes) }
}

fn zip(a: [f64; CONTENTS], b: [f64; CONTENTS], make: impl Fn(f64, f64) -> f64) -> [f64; CONTENTS] {
    let mut pairs = a.into_iter().zip(b);
    [(); CONTENTS].map(|()| pairs.next().map_or(0.0, |(a, b)| make(a, b)))
}

/// How often the dealing of grams is gone over.
const ROUNDS: usize = 4;

/// The bytes that the grams of a bucket may hold, at each place.
type Places = [Bytes; GRAM_BYTES];

fn chance(places: &Places, lookup: Lookup) -> f64 {
    let product = places.iter().fold([1.0; CONTENTS], |product, bytes| {
        zip(product, chances(bytes.seen_by(lookup)), |product, chance| product * chance)
    });
    product.iter().sum()
}

fn union(places: &Places, more: &Places) -> Places {
    let mut union = *places;
    for (bytes, more) in union.iter_mut().zip(more) {
        *bytes = bytes.or(*more);
    }
    union
}

/// Chooses one of each list of grams and deals them to `count` buckets so that little
/// passes by chance: each in turn goes where it adds least, and once all are dealt they
/// are gone over again.
fn deal(choices: &[Vec<Gram>], count: usize, lookup: Lookup) -> Vec<Vec<Gram>> {
    let choices: Vec<Vec<(Gram, Places)>> =
        choices.iter().map(|grams| grams.iter().map(|gram| (*gram, gram.places())).collect()).collect();
    let mut dealt: Vec<Option<(&(Gram, Places), usize)>> = vec![None; choices.len()];
    for _ in 0..ROUNDS {
        for (index, grams) in choices.iter().enumerate() {
            if let Some(slot) = dealt.get_mut(index) {
                *slot = None;
            }
            let mut buckets = vec![Places::default(); count];
            for ((_, held), bucket) in dealt.iter().flatten() {
                if let Some(places) = buckets.get_mut(*bucket) {
                    *places = union(places, held);
                }
            }
            let mut best = (f64::INFINITY, None);
            for (bucket, places) in buckets.iter().enumerate() {
                let before = chance(places, lookup);
                for gram in grams {
                    let cost = chance(&union(places, &gram.1), lookup) - before;
                    if cost < best.0 {
                        best = (cost, Some((gram, bucket)));
                    }
                }
            }
            if let Some(slot) = dealt.get_mut(index) {
                *slot = best.1;
            }
        }
    }
    let mut buckets = vec![Vec::new(); count];
    for ((gram, _), bucket) in dealt.into_iter().flatten() {
        if let Some(bucket) = buckets.get_mut(bucket) {
            bucket.push(*gram);
        }
    }
    buckets
}

/// By which grams are found.
#[derive(Debug, Clone)]
pub(crate) struct Grams {
    /// For each place in a gram, the buckets of a byte.
    pub(crate) nibbles: [Nibbles; GRAM_BYTES],
    /// The same, looked up in the other way.
    pub(crate) ascii: [Ascii; GRAM_BYTES],
    /// Grams of literals by their last bytes.
    index: Index,
}

/// Grams by their last three bytes, whatever their case, with few in a slot. That some gram *may* end somewhere
/// is mostly chance; one look at a slot, nearly always empty, tells.
#[derive(Debug, Clone)]
struct Index {
    /// Where in `entries` each slot begins; one more than there are slots.
    starts: Vec<u16>,
    entries: Vec<Gram>,
}

/// Slots of an [`Index`], as a binary logarithm: 4096 begin in 8 KiB, a small part of the first cache.
const SLOT_BITS: u32 = 12;

/// The bit that tells upper case from lower, in the last three of eight bytes; the bits of those that count.
const CASE: u64 = 0x2020_2000_0000_0000;
const LAST_THREE: u64 = 0xffff_ff00_0000_0000;

/// Returns the slot of the grams that end like these eight bytes (Fibonacci hashing: Knuth, The Art of Computer
/// Programming, volume 3, section 6.4).
#[inline]
fn slot(eight: u64) -> usize {
    let mixed = ((eight | CASE) & LAST_THREE).wrapping_mul(0x9e37_79b9_7f4a_7c15 | 1);
    usize::try_from(mixed.wrapping_shr(64_u32.saturating_sub(SLOT_BITS))).unwrap_or(0)
}

impl Index {
    fn new(grams: impl Iterator<Item = Gram>) -> Self {
        let mut slots: Vec<Vec<Gram>> = vec![Vec::new(); 1 << SLOT_BITS];
        for gram in grams {
            // The last three bytes count, but for their case: a literal has three bytes or more.
            debug_assert_eq!((gram.mask | CASE) & LAST_THREE, LAST_THREE);
            if let Some(entries) = slots.get_mut(slot(gram.value)) {
                entries.push(gram);
            }
        }
        let mut index = Self { starts: vec![0], entries: Vec::new() };
        for slot in slots {
            index.entries.extend(slot);
            index.starts.push(u16::try_from(index.entries.len()).unwrap_or(u16::MAX));
        }
        index
    }

    /// Returns the grams that may end with these eight bytes.
    #[inline]
    fn ending(&self, eight: u64) -> &[Gram] {
        let slot = slot(eight);
        let bounds = self.starts.get(slot..).and_then(|rest| rest.first_chunk::<2>());
        let range = bounds.map_or(0..0, |[start, end]| usize::from(*start)..usize::from(*end));
        self.entries.get(range).unwrap_or_default()
    }
}

impl Grams {
    /// Finds those of shapes, if these are wanted, and of literals; dealt so that `lookup` lets little through.
    pub(crate) fn new(shapes: bool, literals: &[Literal], lookup: Lookup) -> Self {
        let mut choices: Vec<Vec<Gram>> = Vec::new();
        for (index, literal) in literals.iter().enumerate() {
            let Ok(index) = u16::try_from(index) else { break };
            choices.push(grams(literal, index, false));
            if literal.is_wide() {
                choices.push(grams(literal, index, true));
            }
        }
        let buckets = deal(&choices, BUCKETS, lookup);
        let shapes = if shapes { SHAPES } else { Default::default() };
        let of_literals = buckets
            .iter()
            .map(|grams| grams.iter().fold(Places::default(), |all, gram| union(&all, &gram.places())));
        let mut nibbles = [([0; 16], [0; 16]); GRAM_BYTES];
        let mut ascii = [[0; 128]; GRAM_BYTES];
        for (bucket, places) in shapes.into_iter().chain(of_literals).enumerate() {
            for ((bytes, (low, high)), ascii) in places.into_iter().zip(&mut nibbles).zip(&mut ascii) {
                let (lows, highs) = bytes.halves();
                mark(low, lows.into(), bucket);
                mark(high, highs.into(), bucket);
                let Bytes([below, above]) = bytes;
                mark(ascii, below | above, bucket);
            }
        }
        Self { nibbles, ascii, index: Index::new(buckets.into_iter().flatten()) }
    }

    /// Returns the buckets of which a gram may end at each byte of `block`. `last` is
    /// the block before. This is the portable twin.
    pub(crate) fn portable(&self, last: &Block, block: &Block) -> Block {
        let mut found = [0; BLOCK_BYTES];
        for (at, slot) in found.iter_mut().enumerate() {
            let mut buckets = u8::MAX;
            for (back, (low, high)) in self.nibbles.iter().rev().enumerate() {
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
    /// behind `last`. `places` says where to look.
    #[inline(never)]
    pub(crate) fn report(
        &self,
        mut places: u64,
        (last, block): (&Block, &Block),
        at: u64,
        out: &mut Vec<Candidate>,
    ) {
        while places != 0 {
            let end = u64::from(places.trailing_zeros());
            let place = usize::try_from(end).unwrap_or(0);
            places &= places.wrapping_sub(1);
            let eight = match place.checked_sub(7) {
                Some(start) => block.get(start..).and_then(|rest| rest.first_chunk()).copied(),
                None => across(last, block, place),
            };
            let Some(eight) = eight.map(u64::from_le_bytes) else { continue };
            for entry in self.index.ending(eight).iter().filter(|entry| eight & entry.mask == entry.value) {
                let wide = if entry.wide { WIDE } else { 0 };
                let Some(at) = at.saturating_add(end).checked_sub(u64::from(entry.last)) else { continue };
                insert(out, Candidate { at, kinds: LITERAL | wide | u32::from(entry.literal) });
            }
        }
    }
}

/// Adds a bucket to the sets of some keys.
fn mark(sets: &mut [u8], keys: u128, bucket: usize) {
    for key in ones(keys) {
        if let Some(set) = sets.get_mut(usize::from(key)) {
            *set |= 1 << bucket;
        }
    }
}

/// Returns the eight bytes that end at `place` of `block` and begin in `last`.
fn across(last: &Block, block: &Block, place: usize) -> Option<[u8; 8]> {
    let mut bytes = [0; 14];
    let (tail, head) = bytes.split_at_mut(7);
    tail.copy_from_slice(last.last_chunk::<7>()?);
    head.copy_from_slice(block.first_chunk::<7>()?);
    bytes.get(place..)?.first_chunk().copied()
}

/// Returns the grams of a literal: as many of its bytes as there are, up to a whole gram. In
/// front of fewer any byte may stand.
fn grams(literal: &Literal, index: u16, wide: bool) -> Vec<Gram> {
    let step = if wide { 2 } else { 1 };
    let stored = literal.bytes().len().saturating_mul(step);
    // Every second byte of UTF-16 is zero.
    let byte = |place: usize| {
        if !wide {
            literal.masked(place)
        } else if place.is_multiple_of(2) {
            literal.masked(place / 2)
        } else {
            (0, 0xff)
        }
    };
    let taken = stored.min(GRAM_BYTES);
    let starts = (0..=stored.saturating_sub(taken)).step_by(step);
    let gram = |start: usize| {
        let last = start.saturating_add(taken).saturating_sub(1);
        let (mut value, mut mask) = ([0; 8], [0; 8]);
        let slots = value.iter_mut().zip(&mut mask).rev();
        for ((value, mask), place) in slots.zip((start..=last).rev()) {
            (*value, *mask) = byte(place);
        }
        Gram {
            value: u64::from_le_bytes(value),
            mask: u64::from_le_bytes(mask),
            literal: index,
            last: u8::try_from(last).unwrap_or(u8::MAX),
            wide,
        }
    };
    starts.map(gram).collect()
}
