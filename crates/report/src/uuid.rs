//! Names that are UUIDs.

use sha1::{Digest, Sha1};

/// The name space of this project: a random UUID, drawn once.
const NAMESPACE: [u8; 16] =
    [0x5d, 0x0c, 0x1f, 0x9a, 0x6b, 0x3e, 0x4c, 0x72, 0x9d, 0x41, 0x27, 0xe8, 0xb0, 0x53, 0xaa, 0x16];

/// Returns the UUID of a name: version 5 of RFC 9562, section 5.5. The same parts give the same one.
pub(crate) fn of(parts: &[&str]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(NAMESPACE);
    for part in parts {
        // With its length, so that parts cannot run into each other.
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hasher.finalize()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_uuid_each() {
        let one = of(&["ab", "c"]);
        assert_eq!(one, of(&["ab", "c"]));
        assert_ne!(one, of(&["a", "bc"]));
        assert_eq!((one.len(), &one[14..15]), (36, "5"));
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"), "{one}");
    }
}
