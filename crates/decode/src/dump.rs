//! Dumps of bytes as hexadecimal digits with something between them: of `xxd`, `hexdump -C`, `od -t x1`, debuggers,
//! arrays in source code, fingerprints.

use crate::hex::digit;
use crate::rewrite::{Rewrite, Rewriter};
use std::io::BufRead;

/// Longest line that is looked at.
const LINE_BYTES_MAX: usize = 1024;
/// Lines at the beginning that must be lines of a dump, and bytes that they must make.
const LINES_JUDGED: usize = 4;
const BYTES_MIN: usize = 16;
/// What may stand before the digits of a byte.
const PREFIXES: [&[u8]; 4] = [b"0x", b"0X", b"\\x", b"$"];

/// Whether content begins with lines of a dump.
pub(crate) fn is_dump(head: &[u8]) -> bool {
    if !head.first().is_some_and(|byte| byte.is_ascii_hexdigit() || matches!(byte, b' ' | b'\t' | b'\\')) {
        return false;
    }
    let (mut judged, mut made) = (0_usize, 0_usize);
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        // The last line may be cut.
        if !line.ends_with(b"\n") && judged > 0 {
            break;
        }
        let Some(bytes) = bytes_of(line) else { return false };
        made = made.saturating_add(bytes.len());
        judged = judged.saturating_add(1);
        if judged >= LINES_JUDGED {
            break;
        }
    }
    made >= BYTES_MIN
}

/// Returns the bytes of a line; nothing if it is no line of a dump.
fn bytes_of(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.trim_ascii();
    let rest = without_address(line);
    let mut bytes = Vec::new();
    let mut at = 0_usize;
    let mut widths = [0_usize; 2];
    let mut stands_apart = false;
    loop {
        let gap = rest.get(at..)?.iter().take_while(|byte| is_between(**byte)).count();
        let blanks = rest.get(at..)?.get(..gap)?.iter().filter(|byte| matches!(byte, b' ' | b'\t')).count();
        // What is drawn beside the digits stands apart; the gap between two halves is as wide.
        let halves = bytes.len() == 8 && widths == [2, 2];
        if at > 0 && blanks > 1 && !halves {
            stands_apart = true;
            break;
        }
        at = at.checked_add(gap)?;
        let token = rest.get(at..)?;
        let prefix =
            PREFIXES.iter().find(|prefix| token.starts_with(prefix)).map_or(0, |prefix| prefix.len());
        let digits = token.get(prefix..)?.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let behind = token.get(prefix.checked_add(digits)?);
        let ends =
            behind.is_none_or(|byte| is_between(*byte) || matches!(byte, b'\\' | b'}' | b'\r' | b'\n'));
        if !(ends && digits >= 2 && digits % 2 == 0 && digits <= 32) {
            break;
        }
        for pair in token.get(prefix..)?.get(..digits)?.chunks_exact(2) {
            let [high, low] = pair else { continue };
            bytes.push((digit(*high)? << 4) | digit(*low)?);
        }
        widths = [widths[1].max(digits), digits];
        at = at.checked_add(prefix)?.checked_add(digits)?;
    }
    let drawn = rest.get(at..)?;
    // Digits without anything between them are a run, and words that happen to be digits are none.
    let is_line =
        bytes.len() >= 2 && widths[1] <= 8 && (bytes.len() >= 8 || stands_apart || drawn.len() <= 2);
    is_line.then_some(bytes)
}

fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b':' | b',' | b';' | b'-' | b'{')
}

/// Returns what stands behind an address at the beginning of a line: at least four digits, longer than what
/// follows, and a colon or two blanks, or six digits and one.
fn without_address(line: &[u8]) -> &[u8] {
    let start = usize::from(line.starts_with(b"0x")).saturating_mul(2);
    let digits = line.get(start..).unwrap_or_default();
    let count = digits.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let rest = digits.get(count..).unwrap_or_default();
    let is_address = match rest {
        [b':', b' ' | b'\t', ..] | [b' ', b' ', ..] => count >= 4,
        [b' ' | b'\t', ..] => count >= 6 && count != 8,
        _ => false,
    };
    if is_address { rest.strip_prefix(b":").unwrap_or(rest).trim_ascii_start() } else { line }
}

/// Makes bytes of lines.
pub(crate) struct Dump {
    line: Vec<u8>,
}

/// Reads a dump as the bytes that it shows.
pub(crate) fn bytes<R: BufRead>(inner: R) -> Rewrite<R, Dump> {
    Rewrite::new(inner, Dump { line: Vec::new() })
}

impl Rewriter for Dump {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte == b'\n' {
            self.end(out);
        } else if self.line.len() < LINE_BYTES_MAX {
            self.line.push(byte);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(bytes) = bytes_of(&self.line) {
            out.extend(bytes);
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const TEXT: &[u8] = b"Card number: 4539 1488 0343 6467, and feed be added.";

    fn lines(width: usize, line: impl Fn(usize, &[u8]) -> String) -> String {
        TEXT.chunks(width).enumerate().map(|(number, piece)| line(number * width, piece) + "\n").collect()
    }

    fn joined(piece: &[u8], between: &str) -> String {
        piece.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
    }

    fn check(content: &str) {
        assert!(is_dump(content.as_bytes()), "{content}");
        let mut made = Vec::new();
        bytes(content.as_bytes()).read_to_end(&mut made).unwrap();
        assert_eq!(String::from_utf8_lossy(&made), String::from_utf8_lossy(TEXT), "{content}");
    }

    fn drawn(piece: &[u8]) -> String {
        String::from_utf8_lossy(piece).into_owned()
    }

    #[test]
    fn dumps_become_bytes() {
        // xxd
        check(&lines(16, |at, piece| {
            let pairs: Vec<String> = piece.chunks(2).map(|pair| joined(pair, "")).collect();
            format!("{at:08x}: {:<39}  {}", pairs.join(" "), drawn(piece))
        }));
        // hexdump -C
        check(&lines(16, |at, piece| {
            let (left, right) = piece.split_at(piece.len().min(8));
            format!("{at:08x}  {:<23}  {:<23}  |{}|", joined(left, " "), joined(right, " "), drawn(piece))
        }));
        // od -A x -t x1z
        check(&lines(16, |at, piece| format!("{at:06x} {:<47}  >{}<", joined(piece, " "), drawn(piece))));
        check(&lines(13, |_, piece| joined(piece, " ")));
        check(&lines(20, |_, piece| joined(piece, ":")));
        check(&lines(12, |_, piece| format!("  0x{},", joined(piece, ", 0x"))));
        check(&joined(TEXT, " "));
    }

    #[test]
    fn other_content_is_left() {
        for content in [
            "face the facade: a bad deed\n",
            "2026-11-23 10:11:12 a line of a log\n",
            "10.0.0.1 - - [23/Nov/2026] GET\n",
            "de:ad:be:ef:00:01\n",
            "00000000000000000000000000000000\n",
            "abcdef0123456789abcdef0123456789  file.iso\n",
            "1,2,3,4,5,6,7,8,9,10,11,12,13,14\n",
            "12 34 56\n",
            "",
        ] {
            assert!(!is_dump(content.repeat(2).as_bytes()), "{content}");
        }
    }
}
