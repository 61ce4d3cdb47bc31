//! Bitmaps in which a set bit is a block in use.

use crate::field::{narrow, u8_at};

/// Returns whether a bit is set, counted from the lowest one of the first byte.
pub(crate) fn is_set(bits: &[u8], bit: u64) -> bool {
    let byte = u8_at(bits, narrow(bit >> 3));
    u32::from(byte) & 1_u32.checked_shl(u32::try_from(bit & 7).unwrap_or(0)).unwrap_or(0) != 0
}

/// Returns the first bit from `first` to `last` that is not `state`, or `last`.
pub(crate) fn next_change(bits: &[u8], first: u64, last: u64, state: bool) -> u64 {
    let same = if state { 0xff } else { 0 };
    let mut bit = first;
    while bit < last {
        if bit.trailing_zeros() >= 3 {
            let rest = bits.get(narrow(bit >> 3)..).unwrap_or_default();
            let bytes = rest.iter().take_while(|&&byte| byte == same).count();
            if bytes > 0 {
                let skipped = u64::try_from(bytes).unwrap_or(0).saturating_mul(8);
                bit = bit.saturating_add(skipped);
                continue;
            }
        }
        if is_set(bits, bit) != state {
            return bit;
        }
        bit = bit.saturating_add(1);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_found_bit_by_bit() {
        let bits = [0b1111_0000, 0xff, 0xff, 0b0000_0001, 0, 0];
        let check = |first, last, state, expected| {
            assert_eq!(next_change(&bits, first, last, state), expected);
        };
        check(0, 48, false, 4);
        check(4, 48, true, 25);
        check(25, 48, false, 48);
        check(25, 30, false, 30);
        check(4, 10, true, 10);
        check(40, 100, false, 100);
    }
}
