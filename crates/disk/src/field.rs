//! Fields of a header.

pub(crate) use airlock_model::field::{array, be32, be64, le16, le32, le64, narrow, wide};

/// Returns UTF-16 text up to its first NUL as UTF-8; `unit` reads one code unit.
pub(crate) fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair)).take_while(|&unit| unit != 0);
    char::decode_utf16(units).map(|one| one.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
