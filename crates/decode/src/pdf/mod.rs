//! PDF: the streams of a file, and the text of its pages.
//!
//! Streams are found by their keyword and not by the tables of the file, so that those of older
//! revisions, and of files whose tables are damaged or lie, are opened as well.
//!
//! Numbers of sections are those of ISO 32000-1:2008.

mod ascii85;
mod text;

use crate::gzip::Inflate;
use crate::hex::Hex;
use crate::layer::Relation;
use crate::source::{Cursor, ReadAt, bytes_at, find};
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::Reason;
use airlock_model::field::{narrow, wide};
use std::io::{BufReader, Read};

/// Section 7.5.2.
pub(crate) const MAGIC: &[u8] = b"%PDF-";

/// Bytes before the keyword in which the dictionary of a stream is looked for.
const DICTIONARY_BYTES_MAX: u64 = 8 << 10;

/// Filters of one stream (section 7.4).
const FILTERS_MAX: usize = 4;

/// Opens every stream.
pub(crate) fn open(walk: &Walk<'_>, depth: usize, source: &mut dyn ReadAt) {
    let size = source.size();
    if find(source, b"/Encrypt", 0, size).is_some() {
        walk.note(Reason::Encrypted);
        return;
    }
    let mut at = 0;
    while let Some(keyword) = find(source, b"stream", at, size) {
        at = keyword.saturating_add(6);
        let lead = keyword.min(DICTIONARY_BYTES_MAX);
        let before = bytes_at(source, keyword.saturating_sub(lead), narrow(lead));
        let Some(dictionary) = dictionary(&before) else { continue };
        let end_of_line = bytes_at(source, at, 2);
        let skip = match end_of_line.as_slice() {
            [b'\r', b'\n'] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => 0,
        };
        let start = at.saturating_add(skip);
        let end = find(source, b"endstream", start, size).unwrap_or(size);
        let end = trimmed(source, dictionary, (start, end));
        open_stream(walk, depth, source, dictionary, (start, end));
        at = end.max(at);
    }
}

/// Returns where the data of a stream ends whose keyword is at `end`: where its length says, if only
/// an end of line is behind, and otherwise before that (section 7.3.8.1).
fn trimmed(source: &mut dyn ReadAt, dictionary: &[u8], (start, end): (u64, u64)) -> u64 {
    let from = end.saturating_sub(2).max(start);
    let last = bytes_at(source, from, narrow(end.saturating_sub(from)));
    let breaks = last.iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let least = end.saturating_sub(wide(breaks));
    let said = length(dictionary).and_then(|length| start.checked_add(length));
    let line = if last.ends_with(b"\r\n") { 2 } else { breaks.min(1) };
    said.filter(|said| (least..=end).contains(said)).unwrap_or(end.saturating_sub(wide(line)))
}

/// Returns the length that a dictionary says, unless it refers to another object.
fn length(dictionary: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find_iter(dictionary, b"/Length")
        .map(|at| at.saturating_add(7))
        .find(|at| dictionary.get(*at).is_some_and(|byte| !byte.is_ascii_alphanumeric()))?;
    let rest = dictionary.get(at..)?.trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, behind) = rest.split_at(digits);
    let refers = behind.trim_ascii_start().first().is_some_and(u8::is_ascii_digit);
    std::str::from_utf8(number).ok()?.parse().ok().filter(|_| !refers)
}

/// Returns the dictionary that ends right before a stream (section 7.3.8), if there is one.
fn dictionary(before: &[u8]) -> Option<&[u8]> {
    let end = before.trim_ascii_end();
    if !end.ends_with(b">>") {
        return None;
    }
    let start = memchr::memmem::rfind(end, b" obj").or_else(|| memchr::memmem::rfind(end, b"obj"));
    end.get(start.unwrap_or(0)..)
}

/// What a stream is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It may have operators that show text.
    Content,
    /// Pixels.
    Image,
    Other,
}

fn use_of(dictionary: &[u8]) -> Use {
    let has = |word: &[u8]| memchr::memmem::find(dictionary, word).is_some();
    if has(b"/Image") {
        return Use::Image;
    }
    let other: [&[u8]; 7] =
        [b"/ObjStm", b"/XRef", b"/FontFile", b"/Metadata", b"/EmbeddedFile", b"/Length1", b"/ICCBased"];
    if other.iter().any(|word| has(word)) { Use::Other } else { Use::Content }
}

/// Returns the names of the filters, the first one to be undone first.
fn filters(dictionary: &[u8]) -> Vec<&[u8]> {
    let Some(at) = memchr::memmem::find(dictionary, b"/Filter") else { return Vec::new() };
    let rest = dictionary.get(at.saturating_add(7)..).unwrap_or_default().trim_ascii_start();
    let list = rest.strip_prefix(b"[").and_then(|list| list.split(|byte| *byte == b']').next());
    let one = || {
        let end = rest.iter().skip(1).position(|byte| !byte.is_ascii_alphanumeric());
        rest.get(..end.map_or(rest.len(), |end| end.saturating_add(1))).unwrap_or(rest)
    };
    let part = list.unwrap_or_else(one);
    let names = part.split(|byte| *byte == b'/').skip(1);
    names.map(<[u8]>::trim_ascii).take(FILTERS_MAX).collect()
}

fn open_stream(
    walk: &Walk<'_>,
    depth: usize,
    source: &mut dyn ReadAt,
    dictionary: &[u8],
    (start, end): (u64, u64),
) {
    let names = filters(dictionary);
    let kind = use_of(dictionary);
    // What the file has in plain sight is not opened again, but for its text.
    let relation = if names.is_empty() { Relation::Same } else { Relation::Decoded };
    let size = source.size();
    let mut bytes: Box<dyn Read + '_> = Box::new(Cursor::new(source, start, end));
    for (place, name) in names.iter().enumerate() {
        bytes = match *name {
            // Deflate has an end of its own, and the keyword may be part of it.
            b"FlateDecode" | b"Fl" if place == 0 => {
                drop(bytes);
                Box::new(Inflate::new(BufReader::new(Cursor::new(source, start, size)), true))
            }
            b"FlateDecode" | b"Fl" => Box::new(Inflate::new(BufReader::new(bytes), true)),
            b"ASCIIHexDecode" | b"AHx" => Box::new(Hex::new(BufReader::new(bytes))),
            b"ASCII85Decode" | b"A85" => Box::new(ascii85::decode(BufReader::new(bytes))),
            // Compressed pictures have no text.
            b"DCTDecode" | b"DCT" | b"JPXDecode" | b"JBIG2Decode" | b"CCITTFaxDecode" | b"CCF" => return,
            _ if kind == Use::Image => return,
            _ => {
                walk.note(Reason::Unsupported);
                return;
            }
        };
    }
    let name = ("pdf", start);
    match kind {
        Use::Content => walk.open_by(depth, name, relation, bytes, &mut |stream| open_text(walk, stream)),
        _ => walk.open(depth, name, relation, bytes),
    }
}

/// Opens the text of a content stream.
fn open_text(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let depth = stream.depth();
    let at = stream.position();
    let text = text::text(stream);
    walk.open_by(depth, ("text", at), Relation::Rewritten, Box::new(text), &mut |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_one_or_a_list() {
        let check = |dictionary: &str, expected: &[&str]| {
            let names: Vec<String> = filters(dictionary.as_bytes())
                .iter()
                .map(|name| String::from_utf8_lossy(name).into())
                .collect();
            assert_eq!(names, expected);
        };
        check("<< /Length 5 >>", &[]);
        check("<</Filter/FlateDecode/Length 5>>", &["FlateDecode"]);
        check("<< /Filter [ /ASCII85Decode /FlateDecode ] >>", &["ASCII85Decode", "FlateDecode"]);
        assert_eq!(dictionary(b"4 0 obj\n<< /Length 5 >>\n").map(<[u8]>::len), Some(20));
        assert_eq!(dictionary(b"a word"), None);
    }
}
