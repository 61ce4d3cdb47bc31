//! The vector twins of [`crate::classes::portable`] and the loop over blocks.
//!
//! The only module of the crate with unsafe code: unaligned loads from a block, and
//! the calls of functions compiled for an instruction set that was found at run time.

use crate::classes::{BLOCK_BYTES, Block, portable, portable_sketch, portable_zeros};
use crate::stage::{Candidate, Stage, candidates};

/// An instruction set that stage 1 can run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// No vector instructions.
    Portable,
    /// Part of every x86-64.
    #[cfg(target_arch = "x86_64")]
    Sse2,
    /// 32-byte vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 64-byte vectors with compares into masks.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// Returns the fastest that this processor has.
    pub(crate) fn best() -> Self {
        Self::all().last().copied().unwrap_or(Self::Portable)
    }

    /// Returns all that this processor has, slowest first.
    pub(crate) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let mut all = vec![Self::Portable, Self::Sse2];
            if std::arch::is_x86_feature_detected!("avx2") {
                all.push(Self::Avx2);
            }
            if std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512f")
            {
                all.push(Self::Avx512);
            }
            all
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Portable]
    }
}

/// Runs stage 1 over `blocks`, the first of which stands at `at` in the stream.
pub(crate) fn scan(
    isa: Isa,
    stage: &mut Stage,
    blocks: &[Block],
    at: u64,
    wanted: u8,
    out: &mut Vec<Candidate>,
) {
    match isa {
        Isa::Portable => portable_blocks(stage, blocks, at, wanted, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Sse2 => x86::sse2(stage, blocks, at, wanted, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::run_avx2(stage, blocks, at, wanted, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::run_avx512(stage, blocks, at, wanted, out),
    }
}

/// How many blocks of zeros are tested at once.
const ZERO_BLOCKS: usize = 8;

/// Bytes of half a block.
const HALF_BYTES: usize = BLOCK_BYTES / 2;

/// Defines the loop over blocks for one instruction set, and what it does where the
/// sketch of a block says that there may be something.
macro_rules! blocks {
    ($(#[$meta:meta])* $name:ident, $window:ident, $sketch:ident, $classify:ident, $zeros:ident) => {
        $(#[$meta])*
        pub(super) fn $name(
            stage: &mut Stage,
            blocks: &[Block],
            mut at: u64,
            wanted: u8,
            out: &mut Vec<Candidate>,
        ) {
            let bytes = blocks.as_flattened();
            let mut trail = stage.trail;
            let mut rest = blocks;
            let mut place = 0_usize;
            while let Some((block, after)) = rest.split_first() {
                let hint = trail.step($sketch(block));
                if hint.front | hint.back != 0 {
                    if hint.front != 0 {
                        // The blocks lie side by side, so the edge need not be copied.
                        let start = place.checked_sub(HALF_BYTES);
                        match start.and_then(|start| bytes.get(start..)?.first_chunk::<BLOCK_BYTES>()) {
                            Some(edge) => $window(edge, at.wrapping_sub(32), wanted, out),
                            None => $window(&stage.edge(block), at.wrapping_sub(32), wanted, out),
                        }
                    }
                    if hint.back != 0 {
                        $window(block, at, wanted, out);
                    }
                } else if trail.in_zeros() {
                    while let Some((run, after)) = rest.split_first_chunk::<ZERO_BLOCKS>() {
                        if !$zeros(run) {
                            break;
                        }
                        at = at.wrapping_add(64 * 8);
                        place = place.wrapping_add(BLOCK_BYTES * ZERO_BLOCKS);
                        rest = after;
                    }
                    if rest.len() < after.len() {
                        continue;
                    }
                }
                at = at.wrapping_add(64);
                place = place.wrapping_add(BLOCK_BYTES);
                rest = after;
            }
            stage.trail = trail;
            if let Some(last) = blocks.last() {
                stage.block = *last;
            }
        }

        $(#[$meta])*
        #[inline(never)]
        fn $window(block: &Block, at: u64, wanted: u8, out: &mut Vec<Candidate>) {
            candidates($classify(block), at, wanted, out);
        }
    };
}

blocks!(portable_blocks, portable_window, portable_sketch, portable, portable_zeros);

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads, and calls of functions for a detected instruction set")]
#[expect(clippy::as_conversions, reason = "bit patterns: movemask gives i32, characters are given as i8")]
#[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "bit patterns")]
mod x86 {
    // JUSTIFICATION: byte classes are nine tenths of the work on a disk. The portable
    // twin does 0.5 GB/s on one core, this 8 to 20; `examples/scan_speed.rs` of the
    // checks measures it.
    use super::{BLOCK_BYTES, Block, Candidate, HALF_BYTES, Stage, ZERO_BLOCKS, candidates};
    use crate::classes::{Classes, Sketch};
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8,
        _mm_or_si128, _mm_set1_epi8, _mm_setzero_si128, _mm_sub_epi8, _mm256_add_epi8, _mm256_cmpeq_epi8,
        _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
        _mm256_setzero_si256, _mm256_sub_epi8, _mm256_testz_si256, _mm512_cmpeq_epi8_mask,
        _mm512_cmple_epu8_mask, _mm512_loadu_si512, _mm512_or_si512, _mm512_set1_epi8, _mm512_sub_epi8,
        _mm512_test_epi8_mask, _mm512_testn_epi8_mask,
    };

    blocks!(
        #[target_feature(enable = "sse2")]
        sse2_blocks,
        sse2_window,
        sketch_sse2,
        classes_sse2,
        zeros_sse2
    );
    blocks!(
        #[target_feature(enable = "avx2")]
        avx2_blocks,
        avx2_window,
        sketch_avx2,
        classes_avx2,
        zeros_avx2
    );
    blocks!(
        #[target_feature(enable = "avx512f,avx512bw")]
        avx512_blocks,
        avx512_window,
        sketch_avx512,
        classes_avx512,
        zeros_avx512
    );

    /// Runs on every x86-64.
    pub(super) fn sse2(stage: &mut Stage, blocks: &[Block], at: u64, wanted: u8, out: &mut Vec<Candidate>) {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { sse2_blocks(stage, blocks, at, wanted, out) }
    }

    /// Runs with AVX2 where the processor has it, else without.
    pub(super) fn run_avx2(
        stage: &mut Stage,
        blocks: &[Block],
        at: u64,
        wanted: u8,
        out: &mut Vec<Candidate>,
    ) {
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { avx2_blocks(stage, blocks, at, wanted, out) }
        } else {
            sse2(stage, blocks, at, wanted, out);
        }
    }

    /// Runs with AVX-512 where the processor has it, else without.
    pub(super) fn run_avx512(
        stage: &mut Stage,
        blocks: &[Block],
        at: u64,
        wanted: u8,
        out: &mut Vec<Candidate>,
    ) {
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has AVX-512 F and BW.
            unsafe { avx512_blocks(stage, blocks, at, wanted, out) }
        } else {
            run_avx2(stage, blocks, at, wanted, out);
        }
    }

    /// Collects one bit a byte of the four quarters of a block.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn quarters(found: [__m128i; 4]) -> u64 {
        let [a, b, c, d] = found.map(|part| u64::from(_mm_movemask_epi8(part) as u32));
        a | (b << 16) | (c << 32) | (d << 48)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load_sse2(block: &Block) -> [__m128i; 4] {
        let at = |place: usize| {
            // SAFETY: a block has 64 bytes, and `place` is 0, 16, 32 or 48; the load needs no alignment.
            unsafe { _mm_loadu_si128(block.as_ptr().add(place).cast()) }
        };
        [at(0), at(16), at(32), at(48)]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn classes_sse2(block: &Block) -> Classes {
        let parts = load_sse2(block);
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
            zero: equal(0),
            dash: equal(b'-'),
            space: equal(b' '),
            paren: equal(b'('),
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn sketch_sse2(block: &Block) -> Sketch {
        let parts = load_sse2(block);
        let mark = parts.map(|part| {
            let moved = _mm_sub_epi8(part, _mm_set1_epi8(b'0' as i8));
            let digit = _mm_cmpeq_epi8(_mm_min_epu8(moved, _mm_set1_epi8(9)), moved);
            _mm_or_si128(digit, _mm_cmpeq_epi8(part, _mm_set1_epi8(b'-' as i8)))
        });
        let zero = parts.map(|part| _mm_cmpeq_epi8(part, _mm_setzero_si128()));
        // Twice a byte has its bit 6 on top.
        let letter = parts.map(|part| _mm_add_epi8(part, part));
        Sketch { mark: quarters(mark), letter: quarters(letter), zero: quarters(zero) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn zeros_sse2(run: &[Block; ZERO_BLOCKS]) -> bool {
        let mut any = _mm_setzero_si128();
        for block in run {
            let [a, b, c, d] = load_sse2(block);
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
            zero: equal(0),
            dash: equal(b'-'),
            space: equal(b' '),
            paren: equal(b'('),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sketch_avx2(block: &Block) -> Sketch {
        let parts = load_avx2(block);
        let mark = parts.map(|part| {
            let moved = _mm256_sub_epi8(part, _mm256_set1_epi8(b'0' as i8));
            let digit = _mm256_cmpeq_epi8(_mm256_min_epu8(moved, _mm256_set1_epi8(9)), moved);
            _mm256_or_si256(digit, _mm256_cmpeq_epi8(part, _mm256_set1_epi8(b'-' as i8)))
        });
        let zero = parts.map(|part| _mm256_cmpeq_epi8(part, _mm256_setzero_si256()));
        let halves = |[low, high]: [__m256i; 2]| {
            u64::from(_mm256_movemask_epi8(low) as u32) | (u64::from(_mm256_movemask_epi8(high) as u32) << 32)
        };
        let letter = parts.map(|part| _mm256_add_epi8(part, part));
        Sketch { mark: halves(mark), letter: halves(letter), zero: halves(zero) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn zeros_avx2(run: &[Block; ZERO_BLOCKS]) -> bool {
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
        Classes {
            digit: _mm512_cmple_epu8_mask(digit, _mm512_set1_epi8(9)),
            letter: _mm512_cmple_epu8_mask(letter, _mm512_set1_epi8(25)),
            zero: _mm512_testn_epi8_mask(x, x),
            dash: equal(b'-'),
            space: equal(b' '),
            paren: equal(b'('),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn sketch_avx512(block: &Block) -> Sketch {
        // SAFETY: a block has 64 bytes; the load needs no alignment.
        let x = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        let digit = _mm512_sub_epi8(x, _mm512_set1_epi8(b'0' as i8));
        let digit = _mm512_cmple_epu8_mask(digit, _mm512_set1_epi8(9));
        Sketch {
            mark: digit | _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(b'-' as i8)),
            letter: _mm512_test_epi8_mask(x, _mm512_set1_epi8(0x40)),
            zero: _mm512_testn_epi8_mask(x, x),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn zeros_avx512(run: &[Block; ZERO_BLOCKS]) -> bool {
        let mut any = _mm512_set1_epi8(0);
        for block in run {
            // SAFETY: a block has 64 bytes; the load needs no alignment.
            any = _mm512_or_si512(any, unsafe { _mm512_loadu_si512(block.as_ptr().cast()) });
        }
        _mm512_test_epi8_mask(any, any) == 0
    }
}
