//! Fields of on-disk structures, that are zero where the structure is too short.

use airlock_model::field;
pub(crate) use airlock_model::field::{narrow, wide};

/// Returns the byte at `at`; zero where the structure is too short.
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Returns the 16-bit field at `at`; zero where the structure is too short.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    field::le16(bytes, at).unwrap_or(0)
}

/// Returns the 32-bit field at `at`; zero where the structure is too short.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    field::le32(bytes, at).unwrap_or(0)
}

/// Returns the 64-bit field at `at`; zero where the structure is too short.
pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    field::le64(bytes, at).unwrap_or(0)
}

/// Returns the big-endian 16-bit field at `at`; zero where the structure is too short.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    field::be16(bytes, at).unwrap_or(0)
}

/// Returns the big-endian 32-bit field at `at`; zero where the structure is too short.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    field::be32(bytes, at).unwrap_or(0)
}

/// Returns the big-endian 64-bit field at `at`; zero where the structure is too short.
pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    field::be64(bytes, at).unwrap_or(0)
}

/// Returns a 64-bit number from its lower and upper half, as ext4 keeps most of them.
pub(crate) fn halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Returns whether `magic` is at `at`.
pub(crate) fn has(bytes: &[u8], at: usize, magic: &[u8]) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

/// Returns how often `divisor` goes into `number`; zero where it is zero.
pub(crate) fn quotient(number: u64, divisor: u64) -> u64 {
    number.checked_div(divisor).unwrap_or(0)
}

/// Returns what is left of `number` then.
pub(crate) fn remainder(number: u64, divisor: u64) -> u64 {
    number.checked_rem(divisor).unwrap_or(0)
}

/// Returns a number as 32 bits, saturating.
pub(crate) fn word(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
