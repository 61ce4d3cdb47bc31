//! Mails: parts of MIME (RFC 2045, RFC 2046) and mailboxes of several messages (RFC 4155).

use crate::base64::Base64;
use crate::layer::Relation;
use crate::quoted;
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::{Escaped, Reason};
use std::io::{self, BufReader, Read};

/// Bytes of the header of a part that are kept.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Bytes of a line that are looked at to tell a boundary; RFC 2046 allows 70 and RFC 5322 lines
/// of 998.
const LINE_BYTES: usize = 1024;

/// Boundaries of multipart bodies within each other.
const BOUNDARIES_MAX: usize = 32;

/// Returns whether `head` begins with the header of a mail, or with the line that separates mails.
pub(crate) fn is_mail(head: &[u8]) -> bool {
    let Some(first) = head.split(|byte| *byte == b'\n').next() else { return false };
    let name = first.split(|byte| *byte == b':').next().unwrap_or_default();
    let field = name.len() < first.len()
        && !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    if !field && !first.starts_with(b"From ") {
        return false;
    }
    let header = head.to_ascii_lowercase();
    let has = |field: &[u8]| {
        header.starts_with(field.get(1..).unwrap_or_default())
            || memchr::memmem::find(&header, field).is_some()
    };
    has(b"\nmime-version:")
        || has(b"\ncontent-transfer-encoding:")
        || has(b"\ncontent-type: multipart/")
        || has(b"\nfrom:") && (has(b"\nto:") || has(b"\nsubject:") || has(b"\ndate:"))
}

/// What the header of a part says.
#[derive(Debug, Default)]
struct Header {
    kind: Vec<u8>,
    boundary: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    encoding: Vec<u8>,
}

impl Header {
    /// Reads a header: its fields, each with its folded lines (RFC 5322, section 2.2.3).
    fn parse(bytes: &[u8]) -> Self {
        let mut fields: Vec<Vec<u8>> = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match fields.last_mut() {
                Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                    last.extend_from_slice(line);
                }
                _ => fields.push(line.to_vec()),
            }
        }
        let mut header = Self::default();
        for field in fields {
            let Some(colon) = field.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = field.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            let first = value.split(|byte| matches!(byte, b';' | b' ')).find(|word| !word.is_empty());
            let first = || first.unwrap_or_default().trim_ascii().to_ascii_lowercase();
            match name.to_ascii_lowercase().as_slice() {
                b"content-type" => {
                    header.kind = first();
                    header.boundary = parameter(value, b"boundary");
                    header.name = header.name.take().or_else(|| parameter(value, b"name"));
                }
                b"content-disposition" => header.name = parameter(value, b"filename").or(header.name.take()),
                b"content-transfer-encoding" => header.encoding = first(),
                _ => {}
            }
        }
        header
    }

    /// Returns the name of the layer.
    fn layer(&self) -> String {
        let name = self.name.as_deref().unwrap_or(if self.kind.is_empty() { b"text" } else { &self.kind });
        format!("mime:{}", Escaped(name.get(..256).unwrap_or(name)))
    }
}

/// Returns a parameter of a field (RFC 2045, section 5.1).
fn parameter(value: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value;
    loop {
        let at = rest.iter().position(|byte| *byte == b';')?;
        rest = rest.get(at.checked_add(1)?..)?.trim_ascii_start();
        let Some(found) = rest.get(..name.len()).filter(|word| word.eq_ignore_ascii_case(name)) else {
            continue;
        };
        let Some(text) = rest.get(found.len()..)?.trim_ascii_start().strip_prefix(b"=") else { continue };
        let text = text.trim_ascii_start();
        let text = match text.strip_prefix(b"\"") {
            Some(quoted) => quoted.split(|byte| *byte == b'"').next(),
            None => text.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next(),
        };
        return text.map(<[u8]>::to_vec).filter(|text| !text.is_empty());
    }
}

/// Opens every part of every message.
pub(crate) fn open(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let many = stream.peek(5) == b"From ";
    let mut marks = Marks { boundaries: Vec::new(), many };
    while !stream.next_piece().is_empty() {
        let header = Header::parse(&read_header(stream, many));
        if let Some(boundary) = header.boundary.as_ref().filter(|_| header.kind.starts_with(b"multipart/")) {
            if marks.boundaries.len() >= BOUNDARIES_MAX {
                walk.note(Reason::Limit);
                marks.boundaries.remove(0);
            }
            marks.boundaries.push([b"--", boundary.as_slice()].concat());
            // What is before the first boundary is for programs without MIME.
            let _ = io::copy(&mut Part { stream, marks: &marks, left: 0, done: false }, &mut io::sink());
        } else if header.kind.starts_with(b"message/") && header.encoding != b"base64" {
            // A message whose own header follows.
            continue;
        } else {
            open_part(walk, &header, stream, &marks);
        }
        pass_boundary(stream, &mut marks);
    }
}

fn open_part(walk: &Walk<'_>, header: &Header, stream: &mut Stream<'_, '_>, marks: &Marks) {
    let (depth, at, name) = (stream.depth(), stream.position(), header.layer());
    let mut part = Part { stream, marks, left: 0, done: false };
    let (relation, source): (_, Box<dyn Read + '_>) = match header.encoding.as_slice() {
        b"base64" => (Relation::Decoded, Box::new(Base64::new(BufReader::new(&mut part)))),
        b"quoted-printable" => (Relation::Rewritten, Box::new(quoted::printable(BufReader::new(&mut part)))),
        _ => (Relation::Same, Box::new(&mut part)),
    };
    walk.open(depth, (&name, at), relation, source);
    // Whatever a decoder left of the part.
    let _ = io::copy(&mut part, &mut io::sink());
}

/// Passes over the boundary that the stream is at, and forgets those within it.
fn pass_boundary(stream: &mut Stream<'_, '_>, marks: &mut Marks) {
    // A part may end with the line break before the boundary.
    let line = line(stream);
    let length = line.len();
    if let Some(place) = marks.matching(line) {
        let mark = marks.boundaries.get(place).map_or(0, Vec::len);
        let last = line.get(mark..).is_some_and(|rest| rest.starts_with(b"--"));
        marks.boundaries.truncate(if last { place } else { place.saturating_add(1) });
        stream.take(length);
        if last {
            let _ = io::copy(&mut Part { stream, marks, left: 0, done: false }, &mut io::sink());
            if !marks.boundaries.is_empty() {
                pass_boundary(stream, marks);
            }
        }
    } else {
        marks.boundaries.clear();
    }
}

/// What ends a part.
struct Marks {
    boundaries: Vec<Vec<u8>>,
    /// Whether a line that begins with `From ` separates messages.
    many: bool,
}

impl Marks {
    fn matching(&self, line: &[u8]) -> Option<usize> {
        self.boundaries.iter().rposition(|boundary| line.starts_with(boundary))
    }

    fn end_at(&self, line: &[u8]) -> bool {
        self.many && line.starts_with(b"From ") || line.starts_with(b"--") && self.matching(line).is_some()
    }
}

/// Returns the next line with its end, or the first [`LINE_BYTES`] of it.
fn line<'l>(stream: &'l mut Stream<'_, '_>) -> &'l [u8] {
    let head = stream.peek(LINE_BYTES);
    let end = memchr::memchr(b'\n', head).map_or(head.len(), |end| end.saturating_add(1));
    head.get(..end).unwrap_or(head)
}

/// Reads a header up to the empty line behind it, and that line.
fn read_header(stream: &mut Stream<'_, '_>, many: bool) -> Vec<u8> {
    let mut header = Vec::new();
    loop {
        let line = line(stream);
        let length = line.len();
        let empty = line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if header.len() < HEADER_BYTES_MAX && !(many && line.starts_with(b"From ")) {
            header.extend_from_slice(line);
        }
        stream.take(length);
        if empty {
            return header;
        }
    }
}

/// The body of a part, up to a boundary.
struct Part<'p, 'a, 's> {
    stream: &'p mut Stream<'a, 's>,
    marks: &'p Marks,
    /// Bytes of the line in work that are of the body.
    left: usize,
    done: bool,
}

impl Read for Part<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0_usize;
        while !self.done && done < into.len() {
            if self.left == 0 {
                let line = line(self.stream);
                self.left = line.len();
                self.done = line.is_empty() || self.marks.end_at(line);
                if self.done {
                    self.left = 0;
                    break;
                }
            }
            let slots = into.get_mut(done..).unwrap_or_default();
            let count = self.stream.peek(self.left).read(slots)?;
            self.stream.take(count);
            self.left = self.left.saturating_sub(count);
            done = done.saturating_add(count);
        }
        Ok(done)
    }
}
