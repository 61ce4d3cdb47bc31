//! Cyclic checksums of file systems and their logs.

/// Tables that take eight bytes at a time, for a polynomial with its bits reversed.
#[expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, on nothing that a disk says"
)]
const fn tables(polynomial: u32) -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 0 { 0 } else { polynomial };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[table - 1][byte];
            tables[table][byte] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

static CASTAGNOLI: [[u32; 256]; 8] = tables(0x82f6_3b78);
static ETHERNET: [[u32; 256]; 8] = tables(0xedb8_8320);

/// Continues a checksum over `bytes`.
fn advance(tables: &[[u32; 256]; 8], seed: u32, bytes: &[u8]) -> u32 {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = tables;
    let look = |table: &[u32; 256], byte: u8| table.get(usize::from(byte)).copied().unwrap_or(0);
    let (words, rest) = bytes.as_chunks::<8>();
    let crc = words.iter().fold(seed, |crc, word| {
        let [b0, b1, b2, b3, b4, b5, b6, b7] = (u64::from_le_bytes(*word) ^ u64::from(crc)).to_le_bytes();
        let low = look(t7, b0) ^ look(t6, b1) ^ look(t5, b2) ^ look(t4, b3);
        low ^ look(t3, b4) ^ look(t2, b5) ^ look(t1, b6) ^ look(t0, b7)
    });
    rest.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ look(t0, low ^ byte)
    })
}

/// Continues a CRC-32C from `seed`, which is all ones at first; it is not inverted at the end.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    advance(&CASTAGNOLI, seed, bytes)
}

/// Continues a CRC-32 with the highest bit first, as the first jbd2 checksums are.
pub(crate) fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    // The mirror image of the usual order.
    let [table, ..] = &ETHERNET;
    let crc = bytes.iter().fold(seed.reverse_bits(), |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        let entry = table.get(usize::from(low ^ byte.reverse_bits())).copied().unwrap_or(0);
        (crc >> 8) ^ entry
    });
    crc.reverse_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        let digits = b"123456789";
        assert_eq!(!crc32c(u32::MAX, digits), 0xe306_9283);
        assert_eq!(!crc32c(crc32c(u32::MAX, &digits[..3]), &digits[3..]), 0xe306_9283);
        // CRC-32/MPEG-2.
        assert_eq!(crc32_be(u32::MAX, digits), 0x0376_e6e7);
    }
}
