//! Just enough of Rust's lexical structure to count lines and find items.

/// Returns the source with comments, strings and characters blanked; line breaks stay.
pub(super) fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if let Some(end) = token_end(bytes, at) {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Returns the end of the comment, string or character that begins at `at`, if one does.
fn token_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let word_before = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => Some(find(bytes, at, |byte| byte == b'\n')),
        [b'/', b'*', ..] => Some(comment_end(bytes, at)),
        [b'"', ..] => Some(string_end(bytes, at)),
        [b'r', b'"' | b'#', ..] if !word_before => raw_end(bytes, at + 1),
        [b'b', b'r', b'"' | b'#', ..] if !word_before => raw_end(bytes, at + 2),
        [b'\'', b'\\', _, ..] => Some(find(bytes, at + 3, |byte| byte == b'\'') + 1),
        [b'\'', first, ..] => {
            // A lifetime has no closing quote behind its first character.
            let width = match first {
                0..=0x7f => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            (rest.get(1 + width) == Some(&b'\'')).then_some(at + width + 2)
        }
        _ => None,
    }
}

fn find(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    (from..bytes.len()).find(|index| wanted(bytes[*index])).unwrap_or(bytes.len())
}

fn comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_u32;
    let mut index = at;
    while index + 1 < bytes.len() {
        match &bytes[index..index + 2] {
            b"/*" => (depth, index) = (depth + 1, index + 2),
            b"*/" if depth == 1 => return index + 2,
            b"*/" => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut index = at + 1;
    while index < bytes.len() {
        match bytes[index] {
            b'\\' => index += 2,
            b'"' => return index + 1,
            _ => index += 1,
        }
    }
    bytes.len()
}

fn raw_end(bytes: &[u8], hashes_at: usize) -> Option<usize> {
    let quote = find(bytes, hashes_at, |byte| byte != b'#');
    if bytes.get(quote) != Some(&b'"') {
        return None;
    }
    let hashes = quote - hashes_at;
    let mut index = quote + 1;
    while index < bytes.len() {
        let closing = bytes[index] == b'"'
            && bytes.get(index + 1..=index + hashes).is_some_and(|tail| tail.iter().all(|b| *b == b'#'));
        if closing {
            return Some(index + 1 + hashes);
        }
        index += 1;
    }
    Some(bytes.len())
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A function and the number of lines from its `fn` to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) lines: usize,
}

/// Returns the functions with a body in a source that was blanked.
pub(super) fn functions(blanked: &str) -> Vec<Function> {
    let bytes = blanked.as_bytes();
    let mut found = Vec::new();
    for (at, _) in blanked.match_indices("fn ") {
        if at > 0 && is_word(bytes[at - 1]) {
            continue;
        }
        let name: String =
            blanked[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(bytes, at) {
            let lines = 1 + blanked[at..end].matches('\n').count();
            found.push(Function { name, lines });
        }
    }
    found
}

/// Returns the closing brace of the body behind `at`; none where a semicolon comes first.
fn body_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    let mut nested = 0_i32;
    for (index, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => nested += 1,
            b')' | b']' => nested -= 1,
            b';' if depth == 0 && nested == 0 => return None,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth <= 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_blanked_and_lines_stay() {
        let source =
            "let a = \"fn x() {\"; // fn y\nlet b = r#\"}\"# /* { /* } */ */;\nlet c = '{'; fn z<'a>() {}\n";
        let blanked = blank(source);
        assert_eq!(blanked.lines().count(), 3);
        assert!(!blanked.contains("fn x") && !blanked.contains("fn y"));
        assert!(blanked.contains("fn z<'a>() {}"));
        assert_eq!(blanked.matches('{').count(), 1);
    }

    #[test]
    fn functions_are_measured() {
        let source = "fn a() {\n    if x {\n    }\n}\ntrait T { fn b(x: [u8; 2]); }\nfn c() {}\n";
        let found: Vec<_> = functions(&blank(source)).into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("a".to_owned(), 4), ("c".to_owned(), 1)]);
    }
}
