//! The text of XML and HTML, without its markup.
//!
//! Word processors split a number over several runs of text wherever its formatting or spelling
//! marks change. So tags that only mark a part of a line vanish, and all others become a line
//! break or, for cells, a tab.

use crate::layer::Relation;
use crate::rewrite::{Rewrite, Rewriter};
use crate::stream::Stream;
use crate::walk::Walk;
use std::io::BufRead;

/// Longest tag or entity that is looked at; what is longer is passed over as it comes.
const NAME_BYTES_MAX: usize = 32;

/// Opens the text.
pub(crate) fn open(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let (depth, at) = (stream.depth(), stream.position());
    walk.open(depth, ("text", at), Relation::Rewritten, Box::new(text(stream)));
}

/// Whether content begins like XML or HTML.
pub(crate) fn is_markup(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |word: &[u8]| head.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    begins(b"<?xml") || begins(b"<!doctype html") || begins(b"<html")
}

/// Whether a file on its own is a document of an office program in one XML file (Word 2003,
/// flat OPC, flat `OpenDocument`, or HTML that such a program wrote).
pub(crate) fn is_office(head: &[u8]) -> bool {
    const MARKS: [&[u8]; 3] =
        [b"mso-application", b"schemas-microsoft-com:office", b"oasis:names:tc:opendocument"];
    is_markup(head) && MARKS.iter().any(|mark| memchr::memmem::find(head, mark).is_some())
}

/// Where in the markup a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Text,
    Entity,
    /// Within a tag, in its name.
    Name,
    /// Within a tag, behind its name, and in which quotes.
    Tag(u8),
    Comment,
    Data,
}

/// Follows markup.
#[derive(Default)]
struct Text {
    place: Place,
    /// The name or entity so far, or the last bytes of a comment.
    name: Vec<u8>,
}

/// Reads the text of markup.
fn text<R: BufRead>(markup: R) -> Rewrite<R, Text> {
    Rewrite::new(markup, Text::default())
}

impl Text {
    fn begin(&mut self, place: Place) {
        self.place = place;
        self.name.clear();
    }

    /// Whether the last bytes, `byte` the last of them, are `end`.
    fn ends_with(&mut self, byte: u8, end: &[u8]) -> bool {
        if self.name.len() >= end.len() {
            self.name.remove(0);
        }
        self.name.push(byte);
        self.name == end
    }

    fn end_tag(&mut self, out: &mut Vec<u8>) {
        self.place = Place::Text;
        let name = self.name.strip_prefix(b"/").unwrap_or(&self.name);
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let closing = self.name.first() == Some(&b'/') || self.name.last() == Some(&b'/');
        let name = name.to_ascii_lowercase();
        match joint(&name) {
            Some(joint) if closing || !ends_only(&name) => out.push(joint),
            _ => {}
        }
    }

    /// Adds the character of an entity (XML 1.0, sections 4.1 and 4.6).
    fn entity(&mut self, out: &mut Vec<u8>) {
        let number = self.name.strip_prefix(b"#").and_then(|digits| {
            let (digits, radix) = match digits.strip_prefix(b"x").or(digits.strip_prefix(b"X")) {
                Some(digits) => (digits, 16),
                None => (digits, 10),
            };
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
        });
        let character = match (number, self.name.as_slice()) {
            (Some(number), _) => char::from_u32(number),
            (None, b"amp") => Some('&'),
            (None, b"lt") => Some('<'),
            (None, b"gt") => Some('>'),
            (None, b"quot") => Some('"'),
            (None, b"apos") => Some('\''),
            (None, b"nbsp") => Some(' '),
            (None, b"ndash" | b"mdash" | b"shy") => Some('-'),
            _ => None,
        };
        // Blanks and dashes of all widths are as good as those of ASCII.
        let character = match character.unwrap_or(' ') {
            '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' => ' ',
            '\u{ad}' | '\u{2010}'..='\u{2015}' => '-',
            other => other,
        };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

impl Rewriter for Text {
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.place {
            Place::Text => match byte {
                b'<' => self.begin(Place::Name),
                b'&' => self.begin(Place::Entity),
                b'\r' => {}
                _ => out.push(byte),
            },
            Place::Entity => {
                if byte == b';' {
                    self.entity(out);
                    self.place = Place::Text;
                } else if self.name.len() >= NAME_BYTES_MAX || !(byte == b'#' || byte.is_ascii_alphanumeric())
                {
                    // An ampersand by itself.
                    out.push(b'&');
                    out.append(&mut self.name);
                    self.place = Place::Text;
                    self.step(byte, out);
                } else {
                    self.name.push(byte);
                }
            }
            Place::Name => match byte {
                b'>' => self.end_tag(out),
                b' ' | b'\t' | b'\n' | b'\r' => self.place = Place::Tag(0),
                _ => {
                    if self.name.len() < NAME_BYTES_MAX {
                        self.name.push(byte);
                    }
                    match self.name.as_slice() {
                        b"!--" => self.begin(Place::Comment),
                        b"![CDATA[" => self.begin(Place::Data),
                        _ => {}
                    }
                }
            },
            Place::Tag(0) => match byte {
                b'>' => self.end_tag(out),
                b'"' | b'\'' => self.place = Place::Tag(byte),
                _ => {}
            },
            Place::Tag(quote) => {
                if byte == quote {
                    self.place = Place::Tag(0);
                }
            }
            Place::Comment => {
                if self.ends_with(byte, b"-->") {
                    self.place = Place::Text;
                }
            }
            Place::Data => {
                // Its last two bytes wait in `name`: they may begin the mark of the end.
                self.name.push(byte);
                if self.name == b"]]>" {
                    self.place = Place::Text;
                } else if self.name.len() > 2 {
                    out.push(self.name.remove(0));
                }
            }
        }
    }
}

/// Tags of cells.
const CELLS: [&[u8]; 6] = [b"w:tc", b"w:tab", b"td", b"th", b"table:table-cell", b"text:tab"];

/// Vocabularies of office programs in which few tags break a line, and those that do.
const WORDS: [&[u8]; 5] = [b"w:", b"a:", b"text:", b"w14:", b"mc:"];
const BREAKS: [&[u8]; 12] = [
    b"w:p",
    b"w:br",
    b"w:cr",
    b"w:tr",
    b"w:tbl",
    b"w:sectpr",
    b"a:p",
    b"a:br",
    b"a:tc",
    b"text:p",
    b"text:h",
    b"text:line-break",
];

/// Tags that do not break a line everywhere else: those of shared strings of spreadsheets, and of
/// HTML.
const INLINE: [&[u8]; 29] = [
    b"r",
    b"t",
    b"rpr",
    b"sz",
    b"color",
    b"rfont",
    b"family",
    b"scheme",
    b"b",
    b"i",
    b"u",
    b"strike",
    b"vertalign",
    b"phoneticpr",
    b"rph",
    b"span",
    b"em",
    b"strong",
    b"font",
    b"a",
    b"code",
    b"sub",
    b"sup",
    b"small",
    b"mark",
    b"wbr",
    b"tt",
    b"kbd",
    b"o:p",
];

/// Returns what a tag stands for between characters, if it does not join them.
fn joint(name: &[u8]) -> Option<u8> {
    if CELLS.contains(&name) {
        return Some(b'\t');
    }
    let joined = if WORDS.iter().any(|prefix| name.starts_with(prefix)) {
        !BREAKS.contains(&name)
    } else {
        INLINE.contains(&name)
    };
    (!joined).then_some(b'\n')
}

/// Whether only the end of an element breaks: a cell has its tab behind it.
fn ends_only(name: &[u8]) -> bool {
    joint(name) == Some(b'\t') || name.starts_with(b"w:p")
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    fn check(markup: &str, expected: &str) {
        for size in [1, 3, 1000] {
            let inner = BufReader::with_capacity(size, markup.as_bytes());
            let mut text = String::new();
            super::text(inner).read_to_string(&mut text).expect("text");
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn runs_of_a_line_are_joined() {
        check(
            "<w:p><w:r><w:t>4539 14</w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>88</w:t></w:r></w:p>x",
            "4539 1488\nx",
        );
        check("<si><r><t>45</t></r><r><rPr><b/></rPr><t>39</t></r></si>", "\n4539\n");
        check("<text:p>a<text:span x=\">\">b</text:span></text:p>", "\nab\n");
        check("<tr><td>a</td><td>b</td></tr>", "\na\tb\t\n");
    }

    #[test]
    fn entities_are_characters() {
        check("&#52;&#x35;&amp;&nbsp;&unknown;&x y & z", "45&  &x y & z");
        check("a<!-- b > - -- c -->d<![CDATA[<e>&]]>f", "ad<e>&f");
    }
}
