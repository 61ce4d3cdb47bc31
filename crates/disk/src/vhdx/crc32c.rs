//! CRC-32C, which every structure of a VHDX carries ([MS-VHDX] 2.2.2, "Checksum").

/// Remainders of four bits, reflected polynomial 0x82f63b78.
const NIBBLES: [u32; 16] = [
    0x0000_0000,
    0x105e_c76f,
    0x20bd_8ede,
    0x30e3_49b1,
    0x417b_1dbc,
    0x5125_dad3,
    0x61c6_9362,
    0x7198_540d,
    0x82f6_3b78,
    0x92a8_fc17,
    0xa24b_b5a6,
    0xb215_72c9,
    0xc38d_26c4,
    0xd3d3_e1ab,
    0xe330_a81a,
    0xf36e_6f75,
];

/// Returns the checksum of some parts, one behind the other.
pub(super) fn crc32c<'b>(parts: impl IntoIterator<Item = &'b [u8]>) -> u32 {
    let nibble = |crc: u32| {
        let index = usize::try_from(crc & 0xf).unwrap_or(0);
        (crc >> 4) ^ NIBBLES.get(index).copied().unwrap_or(0)
    };
    let bytes = parts.into_iter().flatten();
    !bytes.fold(u32::MAX, |crc, &byte| nibble(nibble(crc ^ u32::from(byte))))
}

/// Returns the checksum of `bytes` with the four bytes at `at`, where it is kept, as zeros.
pub(super) fn sealed(bytes: &[u8], at: usize) -> u32 {
    let head = bytes.get(..at).unwrap_or_default();
    let rest = bytes.get(at.saturating_add(4)..).unwrap_or_default();
    crc32c([head, &[0; 4], rest])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c([&b"123456789"[..]]), 0xe306_9283);
        assert_eq!(crc32c([&[0; 30][..], &[0; 2]]), 0x8a91_36aa);
        assert_eq!(crc32c([&[0xff; 32][..]]), 0x62a8_ab43);
        assert_eq!(sealed(&[0, 1, 2, 3, 4, 5], 1), crc32c([&[0, 0, 0, 0, 0, 5][..]]));
    }
}
