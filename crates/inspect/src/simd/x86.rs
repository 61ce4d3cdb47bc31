//! Byte classes with vector instructions, and the calls of what is compiled for them.

// JUSTIFICATION: grams and byte classes are nine tenths of the work on a disk. The
// portable twin does a fraction of a GB/s on one core, this 8 to 10; `examples/scan_speed.rs` of the
// checks measures it.
use super::teddy::{Avx2, Avx512, Ssse3};
use super::{BATCH_BLOCKS, BLOCK_BYTES, Block, Candidate, Ends, HALF_BYTES, Hint, Stage, Wanted, candidates};
use crate::classes::Classes;
use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8,
    _mm_or_si128, _mm_set1_epi8, _mm_setzero_si128, _mm_sub_epi8, _mm256_cmpeq_epi8, _mm256_loadu_si256,
    _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setzero_si256,
    _mm256_sub_epi8, _mm256_testz_si256, _mm512_cmpeq_epi8_mask, _mm512_cmple_epu8_mask, _mm512_loadu_si512,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_sub_epi8, _mm512_test_epi8_mask, _mm512_testn_epi8_mask,
};

blocks!(
    #[target_feature(enable = "ssse3")]
    ssse3_blocks,
    ssse3_seek,
    ssse3_window,
    classes_ssse3,
    zeros_ssse3,
    Ssse3
);
blocks!(
    #[target_feature(enable = "avx2")]
    avx2_blocks,
    avx2_seek,
    avx2_window,
    classes_avx2,
    zeros_avx2,
    Avx2
);
blocks!(
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    avx512_blocks,
    avx512_seek,
    avx512_window,
    classes_avx512,
    zeros_avx512,
    Avx512
);

/// Returns whether the processor has the parts of AVX-512 that are used.
pub(super) fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vbmi")
}

/// Runs with SSSE3 where the processor has it, else without vectors.
pub(super) fn run_ssse3(
    stage: &mut Stage,
    blocks: &[Block],
    at: u64,
    wanted: &Wanted,
    out: &mut Vec<Candidate>,
) {
    if std::arch::is_x86_feature_detected!("ssse3") {
        // SAFETY: the processor has SSSE3.
        unsafe { ssse3_blocks(stage, blocks, at, wanted, out) }
    } else {
        super::portable_blocks(stage, blocks, at, wanted, out);
    }
}

/// Runs with AVX2 where the processor has it, else without.
pub(super) fn run_avx2(
    stage: &mut Stage,
    blocks: &[Block],
    at: u64,
    wanted: &Wanted,
    out: &mut Vec<Candidate>,
) {
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { avx2_blocks(stage, blocks, at, wanted, out) }
    } else {
        run_ssse3(stage, blocks, at, wanted, out);
    }
}

/// Runs with AVX-512 where the processor has it, else without.
pub(super) fn run_avx512(
    stage: &mut Stage,
    blocks: &[Block],
    at: u64,
    wanted: &Wanted,
    out: &mut Vec<Candidate>,
) {
    if has_avx512() {
        // SAFETY: the processor has AVX-512 F, BW and VBMI.
        unsafe { avx512_blocks(stage, blocks, at, wanted, out) }
    } else {
        run_avx2(stage, blocks, at, wanted, out);
    }
}

/// Collects one bit a byte of the four quarters of a block.
#[inline]
#[target_feature(enable = "ssse3")]
fn quarters(found: [__m128i; 4]) -> u64 {
    let [a, b, c, d] = found.map(|part| u64::from(_mm_movemask_epi8(part) as u32));
    a | (b << 16) | (c << 32) | (d << 48)
}

#[inline]
#[target_feature(enable = "ssse3")]
fn load_ssse3(block: &Block) -> [__m128i; 4] {
    let at = |place: usize| {
        // SAFETY: a block has 64 bytes, and `place` is 0, 16, 32 or 48; the load needs no alignment.
        unsafe { _mm_loadu_si128(block.as_ptr().add(place).cast()) }
    };
    [at(0), at(16), at(32), at(48)]
}

#[inline]
#[target_feature(enable = "ssse3")]
fn classes_ssse3(block: &Block) -> Classes {
    let parts = load_ssse3(block);
    let equal = |value: u8| quarters(parts.map(|part| _mm_cmpeq_epi8(part, _mm_set1_epi8(value as i8))));
    let within = |parts: [__m128i; 4], first: u8, span: u8| {
        quarters(parts.map(|part| {
            let moved = _mm_sub_epi8(part, _mm_set1_epi8(first as i8));
            _mm_cmpeq_epi8(_mm_min_epu8(moved, _mm_set1_epi8(span as i8)), moved)
        }))
    };
    let lower = parts.map(|part| _mm_or_si128(part, _mm_set1_epi8(0x20)));
    Classes {
        digit: within(parts, b'0', 9),
        letter: within(lower, b'a', 25),
        capital: within(parts, b'A', 25),
        zero: equal(0),
        dash: equal(b'-'),
        space: equal(b' '),
        paren: equal(b'('),
    }
}

#[inline]
#[target_feature(enable = "ssse3")]
fn zeros_ssse3(run: &[Block]) -> bool {
    let mut any = _mm_setzero_si128();
    for block in run {
        let [a, b, c, d] = load_ssse3(block);
        any = _mm_or_si128(any, _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d)));
    }
    // A sum would do as well; equality with zero is what every processor has.
    let zero = _mm_cmpeq_epi8(_mm_add_epi8(any, _mm_setzero_si128()), _mm_setzero_si128());
    _mm_movemask_epi8(zero) == 0xffff
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_avx2(block: &Block) -> [__m256i; 2] {
    let at = |place: usize| {
        // SAFETY: a block has 64 bytes, and `place` is 0 or 32; the load needs no alignment.
        unsafe { _mm256_loadu_si256(block.as_ptr().add(place).cast()) }
    };
    [at(0), at(32)]
}

#[inline]
#[target_feature(enable = "avx2")]
fn classes_avx2(block: &Block) -> Classes {
    let [x, y] = load_avx2(block);
    let halves = |low: __m256i, high: __m256i| {
        u64::from(_mm256_movemask_epi8(low) as u32) | (u64::from(_mm256_movemask_epi8(high) as u32) << 32)
    };
    let equal = |value: u8| {
        let value = _mm256_set1_epi8(value as i8);
        halves(_mm256_cmpeq_epi8(x, value), _mm256_cmpeq_epi8(y, value))
    };
    let within = |part: __m256i, first: u8, span: u8| {
        let moved = _mm256_sub_epi8(part, _mm256_set1_epi8(first as i8));
        _mm256_cmpeq_epi8(_mm256_min_epu8(moved, _mm256_set1_epi8(span as i8)), moved)
    };
    let case = _mm256_set1_epi8(0x20);
    let (lower_x, lower_y) = (_mm256_or_si256(x, case), _mm256_or_si256(y, case));
    Classes {
        digit: halves(within(x, b'0', 9), within(y, b'0', 9)),
        letter: halves(within(lower_x, b'a', 25), within(lower_y, b'a', 25)),
        capital: halves(within(x, b'A', 25), within(y, b'A', 25)),
        zero: equal(0),
        dash: equal(b'-'),
        space: equal(b' '),
        paren: equal(b'('),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn zeros_avx2(run: &[Block]) -> bool {
    let mut any = _mm256_setzero_si256();
    for block in run {
        let [x, y] = load_avx2(block);
        any = _mm256_or_si256(any, _mm256_or_si256(x, y));
    }
    _mm256_testz_si256(any, any) == 1
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn classes_avx512(block: &Block) -> Classes {
    // SAFETY: a block has 64 bytes; the load needs no alignment.
    let x = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
    let equal = |value: u8| _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(value as i8));
    let lower = _mm512_or_si512(x, _mm512_set1_epi8(0x20));
    let digit = _mm512_sub_epi8(x, _mm512_set1_epi8(b'0' as i8));
    let letter = _mm512_sub_epi8(lower, _mm512_set1_epi8(b'a' as i8));
    let capital = _mm512_sub_epi8(x, _mm512_set1_epi8(b'A' as i8));
    Classes {
        digit: _mm512_cmple_epu8_mask(digit, _mm512_set1_epi8(9)),
        letter: _mm512_cmple_epu8_mask(letter, _mm512_set1_epi8(25)),
        capital: _mm512_cmple_epu8_mask(capital, _mm512_set1_epi8(25)),
        zero: _mm512_testn_epi8_mask(x, x),
        dash: equal(b'-'),
        space: equal(b' '),
        paren: equal(b'('),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn zeros_avx512(run: &[Block]) -> bool {
    let mut any = _mm512_set1_epi8(0);
    for block in run {
        // SAFETY: a block has 64 bytes; the load needs no alignment.
        any = _mm512_or_si512(any, unsafe { _mm512_loadu_si512(block.as_ptr().cast()) });
    }
    _mm512_test_epi8_mask(any, any) == 0
}
