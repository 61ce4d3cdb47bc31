//! Bitmaps: which sectors or granules are set.

use crate::field::wide;

/// Which bit of a byte comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    HighFirst,
    LowFirst,
}

/// Returns the bit at `from` and how many bits from there on have its value.
pub(crate) fn run(bitmap: &[u8], from: usize, order: Order) -> Option<(bool, u64)> {
    let first = from.wrapping_div(8);
    let within = u32::try_from(from.wrapping_rem(8)).unwrap_or(0);
    // Turned so that the first bit is the lowest, and so that equal bits are zeros.
    let lowest_first = |byte: u8| if order == Order::HighFirst { byte.reverse_bits() } else { byte };
    let head = lowest_first(*bitmap.get(first)?).checked_shr(within)?;
    let value = head & 1 == 1;
    let equal = if value { u8::MAX } else { 0 };
    let head_bits = 8_u32.saturating_sub(within);
    let in_head = (head ^ equal).trailing_zeros().min(head_bits);
    if in_head < head_bits {
        return Some((value, u64::from(in_head)));
    }
    let rest = bitmap.get(first.saturating_add(1)..).unwrap_or_default();
    let whole = rest.iter().take_while(|&&byte| byte == equal).count();
    let last = rest.get(whole).map_or(0, |&byte| (lowest_first(byte) ^ equal).trailing_zeros());
    let length = u64::from(head_bits).saturating_add(wide(whole).saturating_mul(8));
    Some((value, length.saturating_add(u64::from(last))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_of_single_bits() {
        let mut state = 1_u32;
        let bitmap: Vec<u8> = (0..200)
            .map(|_| {
                state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                [0, 0xff, state.to_be_bytes()[1]][(state >> 8) as usize % 3]
            })
            .collect();
        for order in [Order::HighFirst, Order::LowFirst] {
            let bit = |at: usize| {
                let shift = if order == Order::HighFirst { 7 - at % 8 } else { at % 8 };
                bitmap[at / 8] >> shift & 1 == 1
            };
            for from in 0..1600 {
                let expected = (from..1600).take_while(|&at| bit(at) == bit(from)).count() as u64;
                assert_eq!(run(&bitmap, from, order), Some((bit(from), expected)), "{order:?} {from}");
            }
            assert_eq!(run(&bitmap, 1600, order), None);
        }
    }
}
