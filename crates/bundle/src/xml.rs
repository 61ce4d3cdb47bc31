//! XML descriptors, read without their document type and with limits.

use crate::Error;
use roxmltree::{Document, Node, ParsingOptions};
use std::path::Path;

/// Longest descriptor.
pub(crate) const DESCRIPTOR_BYTES_MAX: u64 = 16 << 20;

/// Most nodes of a descriptor.
const NODES_MAX: u32 = 500_000;

/// Most prefixes that are declared for a descriptor that forgot to.
const PREFIXES_MAX: usize = 8;

/// Returns the text of a descriptor: UTF-8, or UTF-16 behind a byte order mark.
///
/// Some exporters use prefixes that they do not declare, mostly `ovf`. Other readers of OVF take
/// them, and elements and attributes are found by their local names here anyway; so they are declared.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let mut text = decoded(bytes);
    for _ in 0..PREFIXES_MAX {
        let parsed = Document::parse_with_options(&text, options()).map(|_| ());
        let Err(roxmltree::Error::UnknownNamespace(prefix, _)) = parsed else { break };
        let Some(at) = end_of_root_name(&text) else { break };
        text.insert_str(at, &format!(" xmlns:{prefix}=\"undeclared\""));
    }
    text
}

/// Returns where the name of the topmost element ends.
fn end_of_root_name(text: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        at += text.get(at..)?.find('<')?;
        let rest = &text[at..];
        let skipped = match () {
            () if rest.starts_with("<!--") => rest.find("-->")? + 3,
            () if rest.starts_with("<?") => rest.find("?>")? + 2,
            () => {
                let ends = |char: char| char.is_whitespace() || matches!(char, '/' | '>');
                return Some(at + rest.find(ends)?);
            }
        };
        at += skipped;
    }
}

fn decoded(bytes: &[u8]) -> String {
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

fn options<'t>() -> ParsingOptions<'t> {
    ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() }
}

/// Parses a descriptor.
pub(crate) fn parse<'t>(path: &Path, text: &'t str) -> Result<Document<'t>, Error> {
    Document::parse_with_options(text, options())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let text = text_of(text.as_bytes());
        let found = parse(Path::new("vm.ovf"), &text).ok();
        let found = found.as_ref().map(|document| attribute(document.root_element(), "id"));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_prefix_that_nobody_declared_is_taken() {
        check("<Envelope ovf:id='a'/>", Some("a"));
        check("<?xml version='1.0'?><!-- <a> --><x:Envelope ovf:id='b'><y:a/></x:Envelope>", Some("b"));
        check("<Envelope xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1' ovf:id='c'/>", Some("c"));
        check("<Envelope ovf:id='a'>", None);
        check("<a:a><b:b/><c:c/><d:d/><e:e/><f:f/><g:g/><h:h/><i:i/></a:a>", None);
        check("<!DOCTYPE a><Envelope ovf:id='a'/>", None);
        check("<", None);
    }
}
