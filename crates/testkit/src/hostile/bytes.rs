//! Putting numbers and sums into bytes.

/// Writes the low `width` bytes of a number, low byte first.
pub(super) fn put_le(bytes: &mut [u8], at: usize, width: usize, value: u64) {
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

/// Writes the low `width` bytes of a number, high byte first.
pub(super) fn put_be(bytes: &mut [u8], at: usize, width: usize, value: u64) {
    bytes[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
}

/// CRC-32 as of ISO 3309, which GPT and ZIP use.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

/// Bytes as DEFLATE (RFC 1951), stored: no byte is saved.
pub(super) fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut parts = bytes.chunks(0xffff).peekable();
    while let Some(part) = parts.next() {
        let length = u16::try_from(part.len()).expect("at most 65,535");
        out.push(u8::from(parts.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// So many zeros and an ASCII text as DEFLATE with the fixed codes: one literal, then copies of 258 bytes in 13
/// bits each, then literals.
pub(super) fn deflated_zeros(count: u64, text: &[u8]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0b1, 1);
    bits.put(0b01, 2);
    // Literal 0 is 00110000 and stands high bit first.
    bits.put_code(0x30, 8);
    for _ in 0..(count.saturating_sub(1)) / 258 {
        // Length 258 is code 285 (11000101), distance 1 is code 0 of five bits.
        bits.put_code(0b1100_0101, 8);
        bits.put_code(0, 5);
    }
    for _ in 0..(count.saturating_sub(1)) % 258 {
        bits.put_code(0x30, 8);
    }
    for byte in text {
        bits.put_code(0x30 + u32::from(*byte), 8);
    }
    bits.put_code(0, 7);
    bits.finish()
}

/// A gzip member (RFC 1952) around DEFLATE.
pub(super) fn gzip(deflated: &[u8], plain: (u32, u32)) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    out.extend_from_slice(deflated);
    out.extend_from_slice(&plain.0.to_le_bytes());
    out.extend_from_slice(&plain.1.to_le_bytes());
    out
}

#[derive(Default)]
struct Bits {
    out: Vec<u8>,
    current: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, bits: u32) {
        self.current |= value << self.count;
        self.count += bits;
        while self.count >= 8 {
            self.out.push(u8::try_from(self.current & 0xff).expect("a byte"));
            self.current >>= 8;
            self.count -= 8;
        }
    }

    /// Huffman codes stand with their high bit first.
    fn put_code(&mut self, code: u32, bits: u32) {
        self.put(code.reverse_bits() >> (32 - bits), bits);
    }

    fn finish(mut self) -> Vec<u8> {
        self.put(0, 7);
        self.out
    }
}
