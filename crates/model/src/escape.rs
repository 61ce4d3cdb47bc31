//! File names and other bytes of a guest, made safe to print.

use std::fmt;

/// Shows hostile bytes: printable ASCII and valid UTF-8 as they are, everything
/// that could steer a terminal, a log or a report as `\xNN` or `\u{NNNN}`.
///
/// A backslash is shown as `\\`, so the form can be read back without doubt.
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in self.0.utf8_chunks() {
            for letter in piece.valid().chars() {
                match letter {
                    '\\' => f.write_str("\\\\")?,
                    ' ' => f.write_str(" ")?,
                    _ if is_plain(letter) => fmt::Write::write_char(f, letter)?,
                    _ if letter.is_ascii() => write!(f, "\\x{:02x}", u32::from(letter))?,
                    _ => write!(f, "\\u{{{:x}}}", u32::from(letter))?,
                }
            }
            for byte in piece.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Whether a character has no effect beyond its own glyph: no controls, no white
/// space that breaks lines, no bidirectional or invisible formatting marks.
fn is_plain(letter: char) -> bool {
    let invisible = matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !letter.is_control() && !letter.is_whitespace() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(Escaped(bytes).to_string(), expected);
    }

    #[test]
    fn steering_bytes_are_escaped() {
        check(b"/srv/a b.csv", "/srv/a b.csv");
        check("/srv/\u{e9}t\u{e9}".as_bytes(), "/srv/\u{e9}t\u{e9}");
        check(b"/a\x1b[2Jb\n", "/a\\x1b[2Jb\\x0a");
        check(b"/\xff\xfe", "/\\xff\\xfe");
        check("/a\u{202e}cod.exe".as_bytes(), "/a\\u{202e}cod.exe");
        check(b"/a\\x1b", "/a\\\\x1b");
    }
}
