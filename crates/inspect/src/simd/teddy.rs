//! The vector twins of [`Grams::portable`].
//!
//! Each keeps what the first four places of a gram said about the block before, and
//! moves it in at the front, so that every byte sees the four before it.

use super::{BLOCK_BYTES, Block, Ends};
use crate::grams::{Ascii, GRAM_BYTES, Grams, SHAPE_BITS};
use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_alignr_epi8, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128,
    _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_setzero_si128, _mm_shuffle_epi8, _mm_srli_epi16,
    _mm256_alignr_epi8, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256,
    _mm256_movemask_epi8, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set1_epi8, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_testz_si256, _mm512_alignr_epi8, _mm512_alignr_epi64,
    _mm512_and_si512, _mm512_loadu_si512, _mm512_permutex2var_epi8, _mm512_set1_epi8, _mm512_setzero_si512,
    _mm512_test_epi8_mask,
};

#[inline]
#[target_feature(enable = "ssse3")]
fn table(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: there are 16 bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// With vectors of 16 bytes.
#[derive(Clone)]
pub(super) struct Ssse3 {
    low: [__m128i; GRAM_BYTES],
    high: [__m128i; GRAM_BYTES],
    last: [__m128i; GRAM_BYTES - 1],
}

impl Ssse3 {
    #[inline]
    #[target_feature(enable = "ssse3")]
    pub(super) fn new(grams: &Grams, last: &Block) -> Self {
        let zero = _mm_setzero_si128();
        let low = grams.nibbles.each_ref().map(|(low, _)| table(low));
        let high = grams.nibbles.each_ref().map(|(_, high)| table(high));
        let mut teddy = Self { low, high, last: [zero; 4] };
        teddy.step(last);
        teddy
    }

    /// Returns where grams may end in the block.
    #[inline]
    #[target_feature(enable = "ssse3")]
    pub(super) fn step(&mut self, block: &Block) -> Ends {
        let half = _mm_set1_epi8(15);
        let zero = _mm_setzero_si128();
        let mut found = [zero; 4];
        let mut any = zero;
        for (part, found) in block.as_chunks::<16>().0.iter().zip(&mut found) {
            let bytes = table(part);
            let (low, high) = (_mm_and_si128(bytes, half), _mm_and_si128(_mm_srli_epi16::<4>(bytes), half));
            let set = |low_table, high_table| {
                _mm_and_si128(_mm_shuffle_epi8(low_table, low), _mm_shuffle_epi8(high_table, high))
            };
            let first = set(self.low[0], self.high[0]);
            let second = set(self.low[1], self.high[1]);
            let third = set(self.low[2], self.high[2]);
            let fourth = set(self.low[3], self.high[3]);
            let fifth = set(self.low[4], self.high[4]);
            let ab = _mm_and_si128(
                _mm_alignr_epi8::<12>(first, self.last[0]),
                _mm_alignr_epi8::<13>(second, self.last[1]),
            );
            let cd = _mm_and_si128(
                _mm_alignr_epi8::<14>(third, self.last[2]),
                _mm_alignr_epi8::<15>(fourth, self.last[3]),
            );
            self.last = [first, second, third, fourth];
            *found = _mm_and_si128(_mm_and_si128(ab, cd), fifth);
            any = _mm_or_si128(any, *found);
        }
        if _mm_movemask_epi8(_mm_cmpeq_epi8(any, zero)) == 0xffff {
            return Ends::default();
        }
        let none = |of: u8| {
            let parts = found.map(|part| {
                let some = _mm_and_si128(part, _mm_set1_epi8(of.cast_signed()));
                u64::from(_mm_movemask_epi8(_mm_cmpeq_epi8(some, zero)).cast_unsigned())
            });
            let [a, b, c, d] = parts;
            a | b << 16 | c << 32 | d << 48
        };
        Ends { shapes: !none(SHAPE_BITS), literals: !none(!SHAPE_BITS) }
    }
}

/// With vectors of 32 bytes.
#[derive(Clone)]
pub(super) struct Avx2 {
    low: [__m256i; GRAM_BYTES],
    high: [__m256i; GRAM_BYTES],
    last: [__m256i; GRAM_BYTES - 1],
}

impl Avx2 {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(grams: &Grams, last: &Block) -> Self {
        let zero = _mm256_setzero_si256();
        let twice = |bytes: &[u8; 16]| _mm256_broadcastsi128_si256(table(bytes));
        let low = grams.nibbles.each_ref().map(|(low, _)| twice(low));
        let high = grams.nibbles.each_ref().map(|(_, high)| twice(high));
        let mut teddy = Self { low, high, last: [zero; 4] };
        teddy.step(last);
        teddy
    }

    /// Returns where grams may end in the block.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn step(&mut self, block: &Block) -> Ends {
        let half = _mm256_set1_epi8(15);
        let mut found = [_mm256_setzero_si256(); 2];
        let mut any = _mm256_setzero_si256();
        for (part, found) in block.as_chunks::<32>().0.iter().zip(&mut found) {
            // SAFETY: there are 32 bytes; the load needs no alignment.
            let bytes = unsafe { _mm256_loadu_si256(part.as_ptr().cast()) };
            let low = _mm256_and_si256(bytes, half);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), half);
            let set = |low_table, high_table| {
                _mm256_and_si256(_mm256_shuffle_epi8(low_table, low), _mm256_shuffle_epi8(high_table, high))
            };
            let first = set(self.low[0], self.high[0]);
            let second = set(self.low[1], self.high[1]);
            let third = set(self.low[2], self.high[2]);
            let fourth = set(self.low[3], self.high[3]);
            let fifth = set(self.low[4], self.high[4]);
            let ab = _mm256_and_si256(
                _mm256_alignr_epi8::<12>(first, _mm256_permute2x128_si256::<0x21>(self.last[0], first)),
                _mm256_alignr_epi8::<13>(second, _mm256_permute2x128_si256::<0x21>(self.last[1], second)),
            );
            let cd = _mm256_and_si256(
                _mm256_alignr_epi8::<14>(third, _mm256_permute2x128_si256::<0x21>(self.last[2], third)),
                _mm256_alignr_epi8::<15>(fourth, _mm256_permute2x128_si256::<0x21>(self.last[3], fourth)),
            );
            self.last = [first, second, third, fourth];
            *found = _mm256_and_si256(_mm256_and_si256(ab, cd), fifth);
            any = _mm256_or_si256(any, *found);
        }
        if _mm256_testz_si256(any, any) == 1 {
            return Ends::default();
        }
        let some = |of: u8| {
            let [low, high] = found.map(|part| {
                let some = _mm256_and_si256(part, _mm256_set1_epi8(of.cast_signed()));
                let none = _mm256_cmpeq_epi8(some, _mm256_setzero_si256());
                u64::from(!_mm256_movemask_epi8(none).cast_unsigned())
            });
            low | high << 32
        };
        Ends { shapes: some(SHAPE_BITS), literals: some(!SHAPE_BITS) }
    }
}

/// With vectors of 64 bytes, and tables of 128.
#[derive(Clone)]
pub(super) struct Avx512 {
    low: [__m512i; GRAM_BYTES],
    high: [__m512i; GRAM_BYTES],
    last: [__m512i; GRAM_BYTES - 1],
}

impl Avx512 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn new(grams: &Grams, last: &Block) -> Self {
        let half = |ascii: &Ascii, at: usize| {
            let half = ascii.as_chunks::<BLOCK_BYTES>().0.get(at).copied().unwrap_or([0; BLOCK_BYTES]);
            load(&half)
        };
        let low = grams.ascii.each_ref().map(|ascii| half(ascii, 0));
        let high = grams.ascii.each_ref().map(|ascii| half(ascii, 1));
        let mut teddy = Self { low, high, last: [_mm512_setzero_si512(); 4] };
        teddy.step(last);
        teddy
    }

    /// Returns where grams may end in the block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn step(&mut self, block: &Block) -> Ends {
        let bytes = load(block);
        // The highest bit of a byte does not count.
        let set = |low: __m512i, high: __m512i| _mm512_permutex2var_epi8(low, bytes, high);
        let first = set(self.low[0], self.high[0]);
        let second = set(self.low[1], self.high[1]);
        let third = set(self.low[2], self.high[2]);
        let fourth = set(self.low[3], self.high[3]);
        let fifth = set(self.low[4], self.high[4]);
        let ab = _mm512_and_si512(
            _mm512_alignr_epi8::<12>(first, _mm512_alignr_epi64::<6>(first, self.last[0])),
            _mm512_alignr_epi8::<13>(second, _mm512_alignr_epi64::<6>(second, self.last[1])),
        );
        let cd = _mm512_and_si512(
            _mm512_alignr_epi8::<14>(third, _mm512_alignr_epi64::<6>(third, self.last[2])),
            _mm512_alignr_epi8::<15>(fourth, _mm512_alignr_epi64::<6>(fourth, self.last[3])),
        );
        self.last = [first, second, third, fourth];
        let found = _mm512_and_si512(_mm512_and_si512(ab, cd), fifth);
        Ends {
            shapes: _mm512_test_epi8_mask(found, _mm512_set1_epi8(SHAPE_BITS.cast_signed())),
            literals: _mm512_test_epi8_mask(found, _mm512_set1_epi8((!SHAPE_BITS).cast_signed())),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(block: &Block) -> __m512i {
    // SAFETY: a block has 64 bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}
