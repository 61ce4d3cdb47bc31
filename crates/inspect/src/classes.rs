//! Byte classes of a block of 64 bytes, one bit a byte, and their portable twin.

/// Bytes in a block.
pub(crate) const BLOCK_BYTES: usize = 64;

/// A block of the stream.
pub(crate) type Block = [u8; BLOCK_BYTES];

/// Bit `i` of each field says whether byte `i` of the block is of that class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Classes {
    /// `0` to `9`.
    pub(crate) digit: u64,
    /// Letters of either case.
    pub(crate) letter: u64,
    /// Letters of upper case.
    pub(crate) capital: u64,
    /// Zero bytes.
    pub(crate) zero: u64,
    /// `-`.
    pub(crate) dash: u64,
    /// A space.
    pub(crate) space: u64,
    /// `(`.
    pub(crate) paren: u64,
}

/// Classifies a block without vector instructions.
pub(crate) fn portable(block: &Block) -> Classes {
    let collect = |class: fn(u8) -> bool| {
        block.iter().rev().fold(0_u64, |bits, &byte| (bits << 1) | u64::from(class(byte)))
    };
    Classes {
        digit: collect(|byte| byte.is_ascii_digit()),
        letter: collect(|byte| byte.is_ascii_alphabetic()),
        capital: collect(|byte| byte.is_ascii_uppercase()),
        zero: collect(|byte| byte == 0),
        dash: collect(|byte| byte == b'-'),
        space: collect(|byte| byte == b' '),
        paren: collect(|byte| byte == b'('),
    }
}

/// Returns whether all bytes of some blocks are zero.
pub(crate) fn portable_zeros(blocks: &[Block]) -> bool {
    blocks.as_flattened().iter().all(|byte| *byte == 0)
}
