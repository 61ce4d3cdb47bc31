//! The vector twins of [`crate::classes::portable`] and the loop over blocks.
//!
//! This module and those in it are the only ones of the crate with unsafe code: unaligned loads from a block, and
//! the calls of functions compiled for an instruction set that was found at run time.

use crate::classes::{BLOCK_BYTES, Block, portable, portable_zeros};
use crate::grams::{Grams, Lookup, SHAPE_BITS};
use crate::stage::{Candidate, Hint, Stage, Wanted, candidates};

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
    /// 64-byte vectors with compares into masks, and tables of 128 bytes (VBMI).
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Returns the name of the instruction set that inspection runs on here: `portable` where there is no vector one.
pub fn instruction_set() -> &'static str {
    Isa::best().name()
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
            if x86::has_avx512() {
                all.push(Self::Avx512);
            }
            all
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Portable]
    }

    /// Returns its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Ssse3 => "SSSE3",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
        }
    }

    /// Returns how it looks up sets of buckets.
    pub(crate) fn lookup(self) -> Lookup {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Lookup::Ascii,
            _ => Lookup::Nibbles,
        }
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

/// Blocks whose grams are sought before any is looked at: one bit of a word each.
///
/// What seeks them is a loop without a branch or a call, so that its tables stay in registers.
const BATCH_BLOCKS: usize = 64;

/// Bytes of half a block.
const HALF_BYTES: usize = BLOCK_BYTES / 2;

/// Defines the loop over blocks for one instruction set, and what it does where grams end.
macro_rules! blocks {
    ($(#[$meta:meta])* $name:ident, $seek:ident, $window:ident, $classify:ident, $zeros:ident, $teddy:ident) => {
        $(#[$meta])*
        pub(super) fn $name(
            stage: &mut Stage,
            blocks: &[Block],
            mut at: u64,
            wanted: &Wanted,
            out: &mut Vec<Candidate>,
        ) {
            let bytes = blocks.as_flattened();
            let mut teddy = $teddy::new(&wanted.grams, &stage.block);
            let mut ends = [Ends::default(); BATCH_BLOCKS];
            let mut start = 0_usize;
            for batch in blocks.chunks(BATCH_BLOCKS) {
                let seen = $seek(&mut teddy, batch, &mut ends);
                // What ends late in a block is decided together with the next.
                let mut visits = seen | seen << 1 | u64::from(stage.shapes != 0);
                while visits != 0 {
                    let index = usize::try_from(visits.trailing_zeros()).unwrap_or(0);
                    visits &= visits.wrapping_sub(1);
                    let (Some(block), Some(here)) = (batch.get(index), ends.get(index)) else { break };
                    let before = index.checked_sub(1).and_then(|before| ends.get(before));
                    let hint = Hint::new(before.map_or(stage.shapes, |before| before.shapes), here.shapes);
                    let place = start.wrapping_add(index.wrapping_mul(BLOCK_BYTES));
                    let at = at.wrapping_add(u64::try_from(index).unwrap_or(0).wrapping_mul(64));
                    let back = |steps: usize| bytes.get(place.checked_sub(steps)?..)?.first_chunk::<BLOCK_BYTES>();
                    if hint.front != 0 {
                        // The blocks lie side by side, so the edge need not be copied.
                        match back(HALF_BYTES) {
                            Some(edge) => $window(edge, at.wrapping_sub(32), wanted.shapes, out),
                            None => $window(&stage.edge(block), at.wrapping_sub(32), wanted.shapes, out),
                        }
                    }
                    if hint.back != 0 {
                        $window(block, at, wanted.shapes, out);
                    }
                    if here.literals != 0 {
                        let last = back(BLOCK_BYTES).unwrap_or(&stage.block);
                        wanted.grams.report(here.literals, (last, block), at, out);
                    }
                }
                stage.shapes = batch.len().checked_sub(1).and_then(|last| ends.get(last)).map_or(0, |ends| ends.shapes);
                start = start.wrapping_add(batch.as_flattened().len());
                at = at.wrapping_add(u64::try_from(batch.as_flattened().len()).unwrap_or(0));
            }
            if let Some(last) = blocks.last() {
                stage.block = *last;
            }
        }

        /// Finds where grams end in up to [`BATCH_BLOCKS`] blocks; returns in which some do.
        $(#[$meta])*
        #[inline(never)]
        fn $seek(teddy: &mut $teddy, blocks: &[Block], ends: &mut [Ends; BATCH_BLOCKS]) -> u64 {
            let mut state = teddy.clone();
            let mut seen = 0;
            // What is kept of one block of zeros holds for all behind it.
            let empty = blocks.first().is_some_and(|first| first.first_chunk() == Some(&[0; 8])) && $zeros(blocks);
            let blocks = if empty { blocks.get(..1).unwrap_or(blocks) } else { blocks };
            if empty {
                *ends = [Ends::default(); BATCH_BLOCKS];
            }
            for (index, (block, slot)) in blocks.iter().zip(ends.iter_mut()).enumerate() {
                *slot = state.step(block);
                seen |= u64::from(slot.shapes | slot.literals != 0) << index;
            }
            *teddy = state;
            seen
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
#[derive(Clone)]
struct PortableTeddy<'g> {
    grams: &'g Grams,
    last: Block,
}

impl<'g> PortableTeddy<'g> {
    fn new(grams: &'g Grams, last: &Block) -> Self {
        Self { grams, last: *last }
    }

    fn step(&mut self, block: &Block) -> Ends {
        let found = self.grams.portable(&self.last, block);
        self.last = *block;
        let some = |of: u8| found.iter().rev().fold(0, |bits, byte| (bits << 1) | u64::from(byte & of != 0));
        Ends { shapes: some(SHAPE_BITS), literals: some(!SHAPE_BITS) }
    }
}

blocks!(portable_blocks, portable_seek, portable_window, portable, portable_zeros, PortableTeddy);

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and stores")]
mod teddy;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads, and calls of functions for a detected instruction set")]
#[expect(clippy::as_conversions, reason = "bit patterns: movemask gives i32, characters are given as i8")]
#[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "bit patterns")]
mod x86;
