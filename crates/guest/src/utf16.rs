//! Names of sixteen-bit units.

/// Appends a name of little-endian UTF-16 as UTF-8.
///
/// An unpaired surrogate, which Windows takes in a name, is encoded like any other unit
/// (WTF-8), so that two names stay two. A slash or a zero, through which no path leads, is
/// U+FFFD.
pub(crate) fn utf8(name: &[u8], into: &mut Vec<u8>) {
    let units = name.chunks_exact(2).filter_map(|unit| Some(u16::from_le_bytes(unit.try_into().ok()?)));
    let mut buffer = [0; 4];
    for unit in char::decode_utf16(units) {
        match unit {
            Ok('/' | '\0') => into.extend_from_slice("\u{fffd}".as_bytes()),
            Ok(char) => into.extend_from_slice(char.encode_utf8(&mut buffer).as_bytes()),
            Err(lone) => {
                let [high, low] = lone.unpaired_surrogate().to_be_bytes();
                let middle = high << 2 & 0x3c | low >> 6;
                into.extend_from_slice(&[0xe0 | high >> 4, 0x80 | middle, 0x80 | low & 0x3f]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(units: &[u16], expected: &[u8]) {
        let name: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let mut into = Vec::new();
        utf8(&name, &mut into);
        assert_eq!(into, expected, "{units:x?}");
    }

    #[test]
    fn names_are_utf_8() {
        check(&[0x61, 0xe9, 0x20ac], "aé€".as_bytes());
        check(&[0xd83d, 0xde00], "😀".as_bytes());
        check(&[0xd800, 0x61], b"\xed\xa0\x80a");
        check(&[0xdfff], b"\xed\xbf\xbf");
        check(&[0x2f, 0], "\u{fffd}\u{fffd}".as_bytes());
    }
}
