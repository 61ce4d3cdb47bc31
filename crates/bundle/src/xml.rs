//! XML descriptors, read without their document type and with limits.

use crate::Error;
use roxmltree::{Document, Node, ParsingOptions};
use std::path::Path;

/// Longest descriptor.
pub(crate) const DESCRIPTOR_BYTES_MAX: u64 = 16 << 20;

/// Most nodes of a descriptor.
const NODES_MAX: u32 = 500_000;

/// Returns the text of a descriptor: UTF-8, or UTF-16 behind a byte order mark.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| -> String {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Parses a descriptor.
pub(crate) fn parse<'t>(path: &Path, text: &'t str) -> Result<Document<'t>, Error> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options)
        .map_err(|error| Error::damaged(path, format!("it is no XML that can be read: {error}")))
}

/// Returns the children of an element with a name, whatever their namespace.
pub(crate) fn children<'a, 'i>(node: Node<'a, 'i>, name: &'a str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// Returns the first of them.
pub(crate) fn child<'a, 'i>(node: Node<'a, 'i>, name: &'a str) -> Option<Node<'a, 'i>> {
    children(node, name).next()
}

/// Returns the text of the first of them, trimmed; empty where there is none.
pub(crate) fn text_in<'a>(node: Node<'a, '_>, name: &'a str) -> &'a str {
    child(node, name).and_then(|child| child.text()).map_or("", str::trim)
}

/// Returns an attribute by its local name, whatever its namespace; empty where there is none.
pub(crate) fn attribute<'a>(node: Node<'a, '_>, name: &str) -> &'a str {
    node.attributes().find(|attribute| attribute.name() == name).map_or("", |attribute| attribute.value())
}
