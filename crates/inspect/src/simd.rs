//! The vector twins of [`crate::classes::portable`] and the loop over blocks.
//!
//! This module and those in it are the only ones of the crate with unsafe code: unaligned loads from a block, and
//! the calls of functions compiled for an instruction set that was found at run time.

use crate::classes::{BLOCK_BYTES, Block, portable, portable_zeros};
use crate::grams::{Grams, SHAPE_BITS};
use crate::stage::{Candidate, Stage, Wanted, candidates};

/// An instruction set that stage 1 can run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// No vector instructions.
    Portable,
    /// 16-byte vectors with shuffles; no x86-64 of the last fifteen years is without.
    #[cfg(target_arch = "x86_64")]
    Ssse3,
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
            let mut all = vec![Self::Portable];
            if std::arch::is_x86_feature_detected!("ssse3") {
                all.push(Self::Ssse3);
            }
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
    wanted: &Wanted,
    out: &mut Vec<Candidate>,
) {
    match isa {
        Isa::Portable => portable_blocks(stage, blocks, at, wanted, out),
        #[cfg(target_arch = "x86_64")]
        Isa::Ssse3 => x86::run_ssse3(stage, blocks, at, wanted, out),
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
    ($(#[$meta:meta])* $name:ident, $window:ident, $classify:ident, $zeros:ident, $teddy:ident) => {
        $(#[$meta])*
        pub(super) fn $name(
            stage: &mut Stage,
            blocks: &[Block],
            mut at: u64,
            wanted: &Wanted,
            out: &mut Vec<Candidate>,
        ) {
            let bytes = blocks.as_flattened();
            let mut trail = stage.trail;
            let grams = &wanted.grams;
            let mut teddy = $teddy::new(grams, &stage.block);
            let mut rest = blocks;
            let mut place = 0_usize;
            while let Some((block, after)) = rest.split_first() {
                let ends = if teddy.step(block) { teddy.ends() } else { Ends::default() };
                let hint = trail.step(ends.shapes);
                if hint.front | hint.back != 0 {
                    if hint.front != 0 {
                        // The blocks lie side by side, so the edge need not be copied.
                        let start = place.checked_sub(HALF_BYTES);
                        match start.and_then(|start| bytes.get(start..)?.first_chunk::<BLOCK_BYTES>()) {
                            Some(edge) => $window(edge, at.wrapping_sub(32), wanted.shapes, out),
                            None => $window(&stage.edge(block), at.wrapping_sub(32), wanted.shapes, out),
                        }
                    }
                    if hint.back != 0 {
                        $window(block, at, wanted.shapes, out);
                    }
                }
                let last = || {
                    let start = place.checked_sub(BLOCK_BYTES);
                    start.and_then(|start| bytes.get(start..)?.first_chunk::<BLOCK_BYTES>())
                };
                if ends.literals != 0 {
                    let blocks = (last().unwrap_or(&stage.block), block);
                    grams.report(ends.literals, blocks, at, out);
                }
                if block.first_chunk() == Some(&[0; 8]) {
                    // What the teddy keeps of one block of zeros holds for all of them.
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
        fn $window(block: &Block, at: u64, shapes: u32, out: &mut Vec<Candidate>) {
            candidates($classify(block), at, shapes, out);
        }
    };
}

/// Where grams end in a block.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    /// Grams of shapes, one bit a byte.
    shapes: u64,
    /// Where one of a literal may end.
    literals: u64,
}

/// Finds grams without vector instructions.
struct PortableTeddy<'g> {
    grams: &'g Grams,
    last: Block,
    found: Block,
}

impl<'g> PortableTeddy<'g> {
    fn new(grams: &'g Grams, last: &Block) -> Self {
        Self { grams, last: *last, found: [0; BLOCK_BYTES] }
    }

    fn step(&mut self, block: &Block) -> bool {
        self.found = self.grams.portable(&self.last, block);
        self.last = *block;
        self.found != [0; BLOCK_BYTES]
    }

    fn ends(&self) -> Ends {
        let some =
            |of: u8| self.found.iter().rev().fold(0, |bits, byte| (bits << 1) | u64::from(byte & of != 0));
        Ends { shapes: some(SHAPE_BITS), literals: some(!SHAPE_BITS) }
    }
}

blocks!(portable_blocks, portable_window, portable, portable_zeros, PortableTeddy);

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores")]
mod teddy;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads, and calls of functions for a detected instruction set")]
#[expect(clippy::as_conversions, reason = "bit patterns: movemask gives i32, characters are given as i8")]
#[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "bit patterns")]
mod x86;
