//! Text that looks like what people keep: tables, logs, notes, pages.
//!
//! The filler has no run of digits that a detector could take for a value.

use crate::values::{Kind, Secret};
use crate::{Encoding, Rng};

const NAMES: &[&str] = &[
    "Amara Osei",
    "Jonas Keller",
    "Mei Tanaka",
    "Lucia Ferri",
    "Ivo Novak",
    "Priya Nair",
    "Sven Dahl",
    "Nora Quinn",
    "Omar Haddad",
    "Elena Petrova",
    "Tom Becker",
    "Ana Souza",
];
const CITIES: &[&str] = &["Leipzig", "Porto", "Osaka", "Bergen", "Accra", "Graz", "Tucson", "Leeds", "Quito"];
const WORDS: &[&str] = &[
    "the", "harbour", "invoice", "was", "sent", "before", "lunch", "and", "stored", "with", "other",
    "papers", "of", "spring", "while", "our", "team", "checked", "shelves", "twice", "machine", "room",
    "stays", "cold", "because", "fans", "run", "all", "night", "a", "list", "hangs", "near", "door",
    "please", "sign", "it", "when", "leaving", "green", "boxes", "hold", "cables", "blue", "ones", "screws",
    "nobody", "knows", "why", "backup", "tapes", "rest",
];

/// The form of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Document {
    /// A table with a header.
    Csv,
    /// One JSON object per line.
    JsonLines,
    /// Prose with labelled lines.
    Notes,
    /// A page with a table.
    Html,
    /// The values alone, one per line and no line end behind the last.
    Bare,
}

/// A value inside a rendered document.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) kind: Kind,
    pub(crate) value: Secret,
    /// First byte in the encoded document.
    pub(crate) offset: u64,
    /// Bytes in the encoded document.
    pub(crate) length: u64,
}

/// Collects a document in its encoding and notes where the values lie.
#[derive(Debug)]
pub(crate) struct Page {
    encoding: Encoding,
    pub(crate) bytes: Vec<u8>,
    pub(crate) marks: Vec<Mark>,
}

impl Page {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self { encoding, bytes: Vec::new(), marks: Vec::new() }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes.extend(self.encoding.encode(text));
    }

    pub(crate) fn value(&mut self, kind: Kind, value: Secret) {
        let encoded = self.encoding.encode(value.expose());
        self.marks.push(Mark { kind, value, offset: self.bytes.len() as u64, length: encoded.len() as u64 });
        self.bytes.extend(encoded);
    }

    /// Adds filler until the page has exactly `bytes` bytes.
    pub(crate) fn fill_to(&mut self, bytes: usize, rng: &mut Rng) {
        let unit = self.encoding.unit_bytes();
        let missing = bytes.saturating_sub(self.bytes.len()) / unit;
        self.text(&filler(missing, rng));
    }
}

impl Document {
    /// Returns a document that holds one value of each of `kinds`, in that order.
    pub(crate) fn render(self, kinds: &[Kind], encoding: Encoding, rng: &mut Rng) -> Page {
        let mut page = Page::new(encoding);
        if self != Self::Bare {
            page.bytes.extend_from_slice(encoding.mark());
        }
        match self {
            Self::Csv => csv(&mut page, kinds, rng),
            Self::JsonLines => json_lines(&mut page, kinds, rng),
            Self::Notes => notes(&mut page, kinds, rng),
            Self::Html => html(&mut page, kinds, rng),
            Self::Bare => {
                for (index, kind) in kinds.iter().enumerate() {
                    if index > 0 {
                        page.text("\n");
                    }
                    page.value(*kind, kind.make(rng));
                }
            }
        }
        page
    }
}

fn csv(page: &mut Page, kinds: &[Kind], rng: &mut Rng) {
    let mut columns: Vec<&str> = Vec::new();
    for kind in kinds {
        if !columns.contains(&kind.label()) {
            columns.push(kind.label());
        }
    }
    page.text(&format!("name,city,{},status\n", columns.join(",")));
    for kind in kinds {
        for _ in 0..rng.below(3) {
            let empty = ",".repeat(columns.len());
            page.text(&format!("{},{}{empty},none\n", rng.pick(NAMES), rng.pick(CITIES)));
        }
        page.text(&format!("{},{}", rng.pick(NAMES), rng.pick(CITIES)));
        for column in &columns {
            page.text(",");
            if *column == kind.label() {
                page.value(*kind, kind.make(rng));
            }
        }
        page.text(",open\n");
    }
}

fn json_lines(page: &mut Page, kinds: &[Kind], rng: &mut Rng) {
    for kind in kinds {
        page.text(&format!("{{\"level\":\"info\",\"message\":\"{}\"}}\n", sentence(rng)));
        let name = rng.pick(NAMES);
        page.text(&format!("{{\"customer\":\"{name}\",\"{}\":\"", kind.label()));
        page.value(*kind, kind.make(rng));
        page.text("\",\"paid\":true}\n");
    }
}

fn notes(page: &mut Page, kinds: &[Kind], rng: &mut Rng) {
    page.text("Notes of the week\n=================\n\n");
    for kind in kinds {
        for _ in 0..=rng.below(3) {
            page.text(&sentence(rng));
            page.text(".\n");
        }
        page.text(&format!("{}: {}\n", rng.pick(NAMES), kind.label().replace('_', " ")));
        page.value(*kind, kind.make(rng));
        page.text("\n\n");
    }
}

fn html(page: &mut Page, kinds: &[Kind], rng: &mut Rng) {
    page.text("<!doctype html>\n<html><head><title>Customers</title></head><body>\n<table>\n");
    for kind in kinds {
        page.text(&format!(
            "<tr><td>{}</td><th>{}</th><td>",
            rng.pick(NAMES),
            kind.label().replace('_', " ")
        ));
        page.value(*kind, kind.make(rng));
        page.text("</td></tr>\n");
    }
    page.text(&format!("</table>\n<p>{}.</p>\n</body></html>\n", sentence(rng)));
}

fn sentence(rng: &mut Rng) -> String {
    let words: Vec<&str> = (0..6 + rng.below(8)).map(|_| *rng.pick(WORDS)).collect();
    words.join(" ")
}

/// Returns `bytes` bytes of ASCII lines without anything that a detector looks for.
pub fn filler(bytes: usize, rng: &mut Rng) -> String {
    let mut out = String::with_capacity(bytes + 128);
    while out.len() < bytes {
        out.push_str(&sentence(rng));
        out.push('\n');
    }
    out.truncate(bytes);
    if out.pop().is_some() {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_has_the_size_and_no_digits() {
        for bytes in [0, 1, 7, 4096, 10_001] {
            let text = filler(bytes, &mut Rng::new(9));
            assert_eq!(text.len(), bytes);
            assert!(!text.bytes().any(|byte| byte.is_ascii_digit()));
        }
    }

    #[test]
    fn marks_point_at_the_values() {
        for document in [Document::Csv, Document::JsonLines, Document::Notes, Document::Html] {
            for encoding in Encoding::ALL {
                let page = document.render(&Kind::SHORT, encoding, &mut Rng::new(5));
                assert_eq!(page.marks.len(), Kind::SHORT.len());
                for mark in &page.marks {
                    let start = usize::try_from(mark.offset).expect("small");
                    let end = start + usize::try_from(mark.length).expect("small");
                    assert_eq!(page.bytes[start..end], encoding.encode(mark.value.expose()));
                }
            }
        }
    }
}
