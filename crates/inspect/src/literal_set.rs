//! Thousands of literals in one pass.
//!
//! Each literal is represented by a few bytes in a row of it, its *core*. Every first,
//! second or fourth place of a stream is looked at, as the shortest literal allows: the four
//! bytes there, mixed to a hash, have a bit set in a filter that fits into a fast cache, or
//! no literal can be near. What passes two such filters is looked up in a table and
//! compared in full. A core of `stride + 3` bytes has such four bytes at every alignment,
//! so each occurrence is met exactly once. (The idea is Wu's and Manber's: *A fast algorithm for multi-pattern
//! searching*, 1994, with the filter of Kim's and Kim's *q*-grams before it.)

use crate::engine::Signature;
use crate::grams::rarity;
use crate::literal::{LITERAL_BYTES_MAX, Literal};
use std::collections::HashMap;

/// Fewest bytes of a literal of a set.
pub const SET_LITERAL_BYTES_MIN: usize = 4;

/// Most literals of a set: their table takes some 100 bytes each.
pub const SET_LITERALS_MAX: usize = 1 << 20;

/// Most literals that may have the same four bytes where they are looked for: each of them
/// is compared wherever these stand.
const SHARED_MAX: u32 = 256;

/// Most bytes of a literal as stored: in UTF-16 two for each.
const STORED_BYTES_MAX: usize = 2 * LITERAL_BYTES_MAX;

/// Bytes that are hashed.
const PROBE_BYTES: usize = 4;

/// How far places that are looked at may be from each other; the shortest literal decides.
const STRIDES: [usize; 3] = [1, 2, 4];

/// The bits that tell letters of ASCII apart if their case does not matter.
const FOLD: u32 = 0xdfdf_dfdf;

/// Why a set cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LiteralSetError {
    /// The literal at this place of the list has fewer than [`SET_LITERAL_BYTES_MIN`] bytes.
    TooShort(usize),
    /// There are more than [`SET_LITERALS_MAX`].
    TooMany,
    /// The literal at this place has nothing that too many others do not have, too.
    TooCommon(usize),
}

impl std::fmt::Display for LiteralSetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooShort(place) => {
                write!(f, "literal {place} has fewer than {SET_LITERAL_BYTES_MIN} bytes")
            }
            Self::TooMany => write!(f, "more than {SET_LITERALS_MAX} literals"),
            Self::TooCommon(place) => {
                write!(f, "literal {place} shares all of its bytes with more than {SHARED_MAX} others")
            }
        }
    }
}

impl std::error::Error for LiteralSetError {}

/// Literals that are looked for together; any number up to [`SET_LITERALS_MAX`].
///
/// ```
/// use airlock_inspect::{Literal, LiteralSet};
///
/// let set = LiteralSet::new(&[Literal::new(b"needle"), Literal::new(b"pin!")]).unwrap();
/// let mut found = Vec::new();
/// let mut scanner = set.scanner();
/// scanner.feed(b"hay nee", &mut |seen| found.push((seen.id, seen.offset)));
/// scanner.feed(b"dle hay", &mut |seen| found.push((seen.id, seen.offset)));
/// assert_eq!(found, [(0, 4)]);
/// ```
#[derive(Debug, Clone)]
pub struct LiteralSet {
    stored: Vec<Stored>,
    cores: Cores,
    bytes_max: usize,
}

/// A literal in one of its encodings.
#[derive(Debug, Clone)]
struct Stored {
    bytes: Box<[u8]>,
    any_case: bool,
    id: usize,
}

impl Stored {
    fn starts(&self, text: &[u8]) -> bool {
        let Some(start) = text.get(..self.bytes.len()) else { return false };
        if self.any_case { start.eq_ignore_ascii_case(&self.bytes) } else { *start == *self.bytes }
    }
}

/// Returns the encodings of a literal.
fn encodings(literal: &Literal, id: usize) -> Vec<Stored> {
    let stored = |bytes: Vec<u8>| Stored { bytes: bytes.into(), any_case: literal.is_any_case(), id };
    let mut all = vec![stored(literal.bytes().to_vec())];
    if literal.is_wide() {
        all.push(stored(literal.bytes().iter().flat_map(|byte| [*byte, 0]).collect()));
        all.push(stored(literal.bytes().iter().flat_map(|byte| [0, *byte]).collect()));
    }
    all
}

/// The cores of all literals: where the shortest literal needs it, every place is looked at for
/// all of them, which costs less than a pass for each stride.
#[derive(Debug, Clone)]
struct Cores {
    stride: usize,
    /// The bits of a probe that count.
    mask: u32,
    /// A bit for some bits of a hash: in a byte that is found by the highest of them.
    coarse: Coarse,
    /// For a hash, two bits of one of these tell whether it may be that of a core.
    fine: Vec<u64>,
    fine_shift: u32,
    /// Where the entries of a hash begin; one more than there are.
    starts: Vec<u32>,
    starts_shift: u32,
    entries: Vec<Entry>,
}

/// The first filter: of a size that the compiler knows, so that nothing is checked twice.
#[derive(Debug, Clone)]
enum Coarse {
    /// Fits into the first-level cache.
    Small(Vec<u8>),
    /// Fits into the second-level cache.
    Large(Vec<u8>),
}

/// Bytes of the two sizes of the first filter, as a power of two.
const COARSE_BITS: [u32; 2] = [15, 18];

/// Most entries that the smaller one is for: one in a hundred of its bits is set then.
const SMALL_MAX: usize = 2600;

impl Coarse {
    fn new(entries: &[Entry]) -> Self {
        let small = entries.len() <= SMALL_MAX;
        let [small_bits, large_bits] = COARSE_BITS;
        let byte_bits = if small { small_bits } else { large_bits };
        let mut bytes = vec![0_u8; 1_usize.wrapping_shl(byte_bits)];
        for entry in entries {
            let (byte, bit) = coarse_place(entry.probe, byte_bits);
            if let Some(byte) = bytes.get_mut(byte) {
                *byte |= 1_u8.wrapping_shl(bit);
            }
        }
        if small { Self::Small(bytes) } else { Self::Large(bytes) }
    }
}

/// Returns the byte and the bit of the first filter that stand for a probe.
#[inline]
fn coarse_place(probe: u32, byte_bits: u32) -> (usize, u32) {
    let hash = probe.wrapping_mul(0x9e37_79b1);
    let byte = hash.wrapping_shr(32_u32.wrapping_sub(byte_bits));
    (usize::try_from(byte).unwrap_or(usize::MAX), hash.wrapping_shr(29_u32.wrapping_sub(byte_bits)) & 7)
}

/// Four bytes of a core.
#[derive(Debug, Clone, Copy)]
struct Entry {
    probe: u32,
    /// Place in the list of stored literals.
    stored: u32,
    /// Place of the four bytes in the literal.
    at: u8,
}

/// Mixes four bytes (multiplicative hashing: Knuth, volume 3, section 6.4).
#[inline]
fn mix(probe: u32) -> u64 {
    u64::from(probe).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Takes the bits of a hash above `shift`.
#[inline]
fn above(hash: u64, shift: u32) -> usize {
    usize::try_from(hash.wrapping_shr(shift)).unwrap_or(usize::MAX)
}

/// Returns the two bits that stand for a hash.
#[inline]
fn bits(hash: u64) -> u64 {
    1_u64.wrapping_shl(low(hash, 20)) | 1_u64.wrapping_shl(low(hash, 26))
}

/// Takes six bits of a hash.
#[inline]
fn low(hash: u64, shift: u32) -> u32 {
    u32::try_from(hash.wrapping_shr(shift) & 63).unwrap_or(0)
}

#[inline]
fn probe_of(bytes: &[u8], mask: u32) -> Option<u32> {
    bytes.first_chunk::<PROBE_BYTES>().map(|probe| u32::from_le_bytes(*probe) & mask)
}

impl Cores {
    fn new(stride: usize, mask: u32, mut entries: Vec<Entry>) -> Self {
        // One word for four entries at least: about one probe in 200 passes.
        let words = entries.len().div_ceil(4).next_power_of_two().max(1 << 8);
        let fine_shift = 64_u32.saturating_sub(words.trailing_zeros());
        let heads = entries.len().next_power_of_two().max(1 << 8);
        let starts_shift = 64_u32.saturating_sub(heads.trailing_zeros());
        let mut fine = vec![0; words];
        let mut starts = vec![0_u32; heads.saturating_add(1)];
        entries.sort_by_key(|entry| (above(mix(entry.probe), starts_shift), entry.probe, entry.stored));
        for entry in &entries {
            let hash = mix(entry.probe);
            if let Some(word) = fine.get_mut(above(hash, fine_shift)) {
                *word |= bits(hash);
            }
            if let Some(count) = starts.get_mut(above(hash, starts_shift).saturating_add(1)) {
                *count = count.saturating_add(1);
            }
        }
        let mut sum = 0_u32;
        for start in &mut starts {
            sum = sum.saturating_add(*start);
            *start = sum;
        }
        let coarse = Coarse::new(&entries);
        Self { stride, mask, coarse, fine, fine_shift, starts, starts_shift, entries }
    }

    /// Returns whether a core may be at these four bytes, by the second filter.
    fn may(&self, probe: u32) -> bool {
        let hash = mix(probe);
        let bits = bits(hash);
        self.fine.get(above(hash, self.fine_shift)).is_some_and(|word| word & bits == bits)
    }

    /// Calls `hit` with each place of the stride where a core may be, and the four bytes there.
    fn sift(&self, bytes: &[u8], hit: impl FnMut(usize, u32)) {
        const SMALL: usize = 1 << COARSE_BITS[0];
        const LARGE: usize = 1 << COARSE_BITS[1];
        match &self.coarse {
            Coarse::Small(filter) => match filter.first_chunk::<SMALL>() {
                Some(filter) => self.sift_by(filter, COARSE_BITS[0], bytes, hit),
                None => unreachable!("it was made so long"),
            },
            Coarse::Large(filter) => match filter.first_chunk::<LARGE>() {
                Some(filter) => self.sift_by(filter, COARSE_BITS[1], bytes, hit),
                None => unreachable!("it was made so long"),
            },
        }
    }

    #[inline]
    fn sift_by<const N: usize>(
        &self,
        filter: &[u8; N],
        byte_bits: u32,
        bytes: &[u8],
        hit: impl FnMut(usize, u32),
    ) {
        let passes = |probe: u32| {
            let (byte, bit) = coarse_place(probe, byte_bits);
            filter.get(byte).map_or(0, |byte| u32::from(*byte).wrapping_shr(bit) & 1)
        };
        match (self.stride, self.mask) {
            (4, u32::MAX) => self.walk::<4>(bytes, passes, hit),
            (2, u32::MAX) => self.walk::<2>(bytes, passes, hit),
            (1, u32::MAX) => self.walk::<1>(bytes, passes, hit),
            (4, _) => self.walk::<4>(bytes, |probe| passes(probe & FOLD), hit),
            (2, _) => self.walk::<2>(bytes, |probe| passes(probe & FOLD), hit),
            (_, _) => self.walk::<1>(bytes, |probe| passes(probe & FOLD), hit),
        }
    }

    #[inline]
    fn walk<const STRIDE: usize>(
        &self,
        bytes: &[u8],
        passes: impl Fn(u32) -> u32,
        mut hit: impl FnMut(usize, u32),
    ) {
        /// Bytes that are looked at without asking in between.
        const GROUP: usize = 16;
        let mut each = |place: usize| {
            let rest = bytes.get(place..).unwrap_or_default();
            if let Some(probe) = probe_of(rest, self.mask).filter(|probe| self.may(*probe)) {
                hit(place, probe);
            }
        };
        let mut base = 0_usize;
        while let Some(group) = bytes.get(base..).and_then(<[u8]>::first_chunk::<{ GROUP + 3 }>) {
            let mut passed = 0_u32;
            for place in (0..GROUP).step_by(STRIDE) {
                let probe = group.get(place..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
                passed |= passes(u32::from_le_bytes(probe)).wrapping_shl(low_place(place));
            }
            while passed != 0 {
                each(base.wrapping_add(usize::try_from(passed.trailing_zeros()).unwrap_or(0)));
                passed &= passed.wrapping_sub(1);
            }
            base = base.wrapping_add(GROUP);
        }
        while base < bytes.len() {
            each(base);
            base = base.wrapping_add(STRIDE);
        }
    }

    /// Returns the cores that the four bytes of `probe` belong to.
    fn entries_of(&self, probe: u32) -> impl Iterator<Item = &Entry> {
        let head = above(mix(probe), self.starts_shift);
        let bound =
            |place: usize| self.starts.get(place).and_then(|start| usize::try_from(*start).ok()).unwrap_or(0);
        let entries = self.entries.get(bound(head)..bound(head.saturating_add(1))).unwrap_or_default();
        entries.iter().filter(move |entry| entry.probe == probe)
    }
}

/// Returns a small number as a number of bits.
#[inline]
fn low_place(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(0)
}

/// Returns where the core of a literal begins: where what is looked for is rare, in data and
/// among those that were chosen `before`.
fn core(stored: &Stored, stride: usize, mask: u32, before: &HashMap<u32, u32>) -> Option<usize> {
    let core_bytes = stride.saturating_add(PROBE_BYTES).saturating_sub(1);
    let cost = |start: usize| {
        let probes = (start..start.saturating_add(stride)).map(|at| {
            let bytes = stored.bytes.get(at..)?.first_chunk::<PROBE_BYTES>()?;
            let shared = before.get(&(u32::from_le_bytes(*bytes) & mask)).copied().unwrap_or(0);
            let share = (-bytes.iter().map(|byte| rarity(*byte)).sum::<f64>()).exp2();
            (shared < SHARED_MAX).then(|| share * f64::from(shared.saturating_add(1)))
        });
        probes.sum::<Option<f64>>()
    };
    let last = stored.bytes.len().checked_sub(core_bytes)?;
    let costs = (0..=last).filter_map(|start| cost(start).map(|cost| (start, cost)));
    costs.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(start, _)| start)
}

impl LiteralSet {
    /// Prepares to look for `literals`.
    ///
    /// # Errors
    ///
    /// If one is too short, or if there are too many, at all or with the same bytes.
    pub fn new(literals: &[Literal]) -> Result<Self, LiteralSetError> {
        if literals.len() > SET_LITERALS_MAX {
            return Err(LiteralSetError::TooMany);
        }
        if let Some(id) = literals.iter().position(|literal| literal.bytes().len() < SET_LITERAL_BYTES_MIN) {
            return Err(LiteralSetError::TooShort(id));
        }
        let stored: Vec<Stored> =
            literals.iter().enumerate().flat_map(|(id, literal)| encodings(literal, id)).collect();
        let shortest = stored.iter().map(|stored| stored.bytes.len()).min().unwrap_or(usize::MAX);
        let fits = |stride: &usize| shortest >= stride.saturating_add(PROBE_BYTES).saturating_sub(1);
        let stride = STRIDES.into_iter().rfind(fits).unwrap_or(1);
        let mask = if stored.iter().any(|stored| stored.any_case) { FOLD } else { u32::MAX };
        let mut counts = HashMap::new();
        let mut entries = Vec::new();
        for (place, stored) in stored.iter().enumerate() {
            let start = core(stored, stride, mask, &counts).ok_or(LiteralSetError::TooCommon(stored.id))?;
            for at in start..start.saturating_add(stride) {
                let bytes = stored.bytes.get(at..).unwrap_or_default();
                let probe = probe_of(bytes, mask).unwrap_or(0);
                let count = counts.entry(probe).or_insert(0_u32);
                *count = count.saturating_add(1);
                let stored = u32::try_from(place).unwrap_or(u32::MAX);
                entries.push(Entry { probe, stored, at: u8::try_from(at).unwrap_or(u8::MAX) });
            }
        }
        let bytes_max = stored.iter().map(|stored| stored.bytes.len()).max().unwrap_or(0);
        Ok(Self { stored, cores: Cores::new(stride, mask, entries), bytes_max })
    }

    /// Returns whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// Returns how many bytes the literal at place `id` of the list has.
    pub fn bytes_of(&self, id: usize) -> usize {
        let first = self.stored.partition_point(|stored| stored.id < id);
        self.stored.get(first).map_or(0, |stored| stored.bytes.len())
    }

    /// Returns a scanner for one stream.
    pub fn scanner(&self) -> LiteralScanner<'_> {
        LiteralScanner { set: self, at: 0, carried: Vec::with_capacity(4 * STORED_BYTES_MAX) }
    }

    /// Calls `found` with the place and the literal of each occurrence that lies in `bytes`
    /// whole, in no particular order.
    fn find(&self, bytes: &[u8], mut found: impl FnMut(usize, &Stored)) {
        if self.stored.is_empty() {
            return;
        }
        self.cores.sift(bytes, |place, probe| {
            for entry in self.cores.entries_of(probe) {
                let Some(start) = place.checked_sub(usize::from(entry.at)) else { continue };
                let stored = usize::try_from(entry.stored).ok().and_then(|place| self.stored.get(place));
                let text = bytes.get(start..).unwrap_or_default();
                if let Some(stored) = stored.filter(|stored| stored.starts(text)) {
                    found(start, stored);
                }
            }
        });
    }
}

/// Looks for the literals of a set in one stream.
///
/// What is found is a function of the bytes of the stream; the order in which it is told is
/// not, except that all that ends in a piece is told when the piece is fed.
#[derive(Clone)]
pub struct LiteralScanner<'s> {
    set: &'s LiteralSet,
    /// Offset of the next byte.
    at: u64,
    /// The last bytes of what was fed, which a literal may have begun in.
    carried: Vec<u8>,
}

impl std::fmt::Debug for LiteralScanner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiteralScanner").field("at", &self.at).finish_non_exhaustive()
    }
}

impl LiteralScanner<'_> {
    /// Takes the next piece of the stream and calls `found` for each literal that ends in it.
    pub fn feed(&mut self, piece: &[u8], found: &mut impl FnMut(Signature)) {
        let reach = self.set.bytes_max.saturating_sub(1);
        let before = self.carried.len();
        let offset = |base: u64, start: usize| base.saturating_add(u64::try_from(start).unwrap_or(u64::MAX));
        if before > 0 {
            let base = self.at.saturating_sub(u64::try_from(before).unwrap_or(0));
            self.carried.extend(piece.iter().take(reach));
            self.set.find(&self.carried, |start, stored| {
                if start < before && start.saturating_add(stored.bytes.len()) > before {
                    found(Signature { offset: offset(base, start), id: stored.id });
                }
            });
        }
        let at = self.at;
        self.set.find(piece, |start, stored| found(Signature { offset: offset(at, start), id: stored.id }));
        self.at = offset(self.at, piece.len());
        if piece.len() >= reach {
            self.carried.clear();
            self.carried.extend(piece.get(piece.len().saturating_sub(reach)..).unwrap_or_default());
        } else {
            if before == 0 {
                self.carried.extend(piece);
            }
            let gone = self.carried.len().saturating_sub(reach);
            self.carried.drain(..gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every occurrence, by comparing everywhere.
    fn naive(literals: &[Literal], text: &[u8]) -> Vec<(usize, u64)> {
        let mut all = Vec::new();
        for (id, literal) in literals.iter().enumerate() {
            for stored in encodings(literal, id) {
                let starts = (0..text.len()).filter(|start| stored.starts(&text[*start..]));
                all.extend(starts.map(|start| (id, start as u64)));
            }
        }
        all.sort_unstable();
        all
    }

    fn scan<'t>(set: &LiteralSet, pieces: impl Iterator<Item = &'t [u8]>) -> Vec<(usize, u64)> {
        let mut scanner = set.scanner();
        let mut all = Vec::new();
        pieces.for_each(|piece| scanner.feed(piece, &mut |seen| all.push((seen.id, seen.offset))));
        all.sort_unstable();
        all
    }

    fn literal() -> impl Strategy<Value = Literal> {
        let bytes = prop::collection::vec(prop::sample::select(b"abA\0".to_vec()), 4..12);
        (bytes, any::<bool>(), any::<bool>()).prop_map(|(bytes, any_case, wide)| {
            let literal = Literal::owned(bytes).expect("a length within bounds");
            let literal = if any_case { literal.any_case() } else { literal };
            if wide { literal.wide() } else { literal }
        })
    }

    proptest! {
        #[test]
        fn everything_is_found_once_however_the_stream_is_cut(
            literals in prop::collection::vec(literal(), 0..20),
            text in prop::collection::vec(prop::sample::select(b"abAB\0".to_vec()), 0..600),
            cuts in prop::collection::vec(1..40_usize, 1..100),
        ) {
            let set = LiteralSet::new(&literals).expect("a set");
            let expected = naive(&literals, &text);
            prop_assert_eq!(&scan(&set, [text.as_slice()].into_iter()), &expected);
            prop_assert_eq!(&scan(&set, text.chunks(1)), &expected);
            let mut rest = text.as_slice();
            let pieces: Vec<&[u8]> = cuts.iter().map(|cut| {
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                rest = behind;
                piece
            }).collect();
            prop_assert_eq!(&scan(&set, pieces.into_iter().chain([rest])), &expected);
        }
    }

    #[test]
    fn limits_are_refused() {
        let refused = |literals: &[Literal]| LiteralSet::new(literals).expect_err("refused");
        assert_eq!(refused(&[Literal::new(b"long"), Literal::new(b"abc")]), LiteralSetError::TooShort(1));
        let same = vec![Literal::new(b"same bytes"); 3000];
        assert!(matches!(refused(&same), LiteralSetError::TooCommon(_)));
        assert!(scan(&LiteralSet::new(&[]).expect("a set"), [b"text".as_slice()].into_iter()).is_empty());
    }
}
