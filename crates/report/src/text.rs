//! Words for readers: escaped names, amounts, and where something was found.

use airlock_model::{Check, Escaped, Finding};

/// Returns a text of a guest without anything that steers a terminal or a viewer.
pub(crate) fn plain(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}

/// Returns the bytes behind a text that [`Escaped`] wrote.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = escape(after, &mut bytes).unwrap_or_else(|| {
            bytes.push(b'\\');
            after
        });
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Reads what follows a backslash. Returns what is behind it.
fn escape<'t>(text: &'t str, bytes: &mut Vec<u8>) -> Option<&'t str> {
    if let Some(rest) = text.strip_prefix('\\') {
        bytes.push(b'\\');
        return Some(rest);
    }
    if let Some(rest) = text.strip_prefix('x') {
        bytes.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
        return rest.get(2..);
    }
    let (digits, rest) = text.strip_prefix("u{")?.split_once('}')?;
    let letter = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

/// Encodes bytes for a path in a URI (RFC 3986, section 2): unreserved letters and those of `keep` stay.
pub(crate) fn percent_encoded(bytes: &[u8], keep: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Says a number of bytes in the largest binary unit that leaves at least one.
pub(crate) fn amount(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let exponent = (u64::BITS - 1 - bytes.leading_zeros()) / 10;
    let tenth = (bytes >> (10 * (exponent - 1)) & 1023) * 10 / 1024;
    let unit = UNITS.get(exponent as usize - 1).copied().unwrap_or_default();
    format!("{}.{tenth} {unit}", bytes >> (10 * exponent))
}

/// Says in which file or other place something was found.
pub(crate) fn place_of(finding: &Finding) -> String {
    match &finding.path {
        Some(path) if finding.place == "file" => path.clone(),
        Some(path) => format!("{path} ({})", finding.place),
        None => format!("{} space of {}", finding.place, finding.disk),
    }
}

/// Returns whether `display` of a finding shows no part of a value that was found, but the name of a
/// package, a product or a rule.
pub(crate) fn shows_a_name(finding: &Finding) -> bool {
    matches!(finding.check, Check::Vulnerability | Check::Licensing | Check::Malware)
}

/// Says what a finding is, for reports that carry fingerprints: without any digit of the value.
pub(crate) fn message(finding: &Finding) -> String {
    if shows_a_name(finding) && !finding.display.is_empty() {
        return format!("{}: {}", finding.detector, finding.display);
    }
    let gone = if finding.deleted { ", in deleted data" } else { "" };
    format!("{} ({}), confidence {}{gone}", finding.detector, finding.check.name(), finding.confidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_escaped_can_be_read_back(bytes: Vec<u8>) {
            prop_assert_eq!(unescaped(&Escaped(&bytes).to_string()), bytes);
        }
    }

    #[test]
    fn half_an_escape_stands_for_itself() {
        for text in ["\\", "\\x", "\\xg0", "\\u{", "\\u{110000}", "\\q", "\\x\u{e4}"] {
            assert_eq!(unescaped(text), text.as_bytes());
        }
        assert_eq!(percent_encoded(b"/a b/\xff%", b"/"), "/a%20b/%FF%25");
        assert_eq!((amount(1023), amount(3 << 19)), ("1023 bytes".into(), "1.5 MiB".into()));
    }
}
