//! Documents about patients.
//!
//! HL7 version 2.5 chapter 2 and 3; FHIR R4; C-CDA R2.1; ASC X12 005010 (the ISA segment
//! has 106 characters); DICOM PS3.5 and PS3.10; NCPDP Telecommunication D.0.

use crate::detectors::document::{Document, DocumentData, Kind, Look, Seen, count_fields, holds};
use airlock_inspect::{Detector, Literal, Window};

/// Characters of the ISA segment, its terminator included.
const ISA_LENGTH: usize = 106;

/// Places of the element separator in an ISA segment.
const ISA_SEPARATORS: [usize; 16] = [3, 6, 17, 20, 31, 34, 50, 53, 69, 76, 81, 83, 89, 99, 101, 103];

const KINDS: &[Kind] = &[
    kind("hl7v2", const { &[Literal::new(b"MSH|").wide()] }, hl7v2),
    kind(
        "fhir",
        const {
            &[
                Literal::new(b"resourceType").wide(),
                Literal::new(b"<birthDate value="),
                Literal::new(b"<family value="),
                Literal::new(b"http://hl7.org/fhir\""),
            ]
        },
        fhir,
    ),
    kind("ccda", const { &[Literal::new(b"ClinicalDocument").wide(), Literal::new(b"<recordTarget")] }, ccda),
    kind("x12_837", ISA, |_, window, data| x12(window, data, b"837")),
    kind("x12_835", ISA, |_, window, data| x12(window, data, b"835")),
    kind("x12_834", ISA, |_, window, data| x12(window, data, b"834")),
    kind("x12_270", ISA, |_, window, data| x12(window, data, b"270")),
    kind("x12_271", ISA, |_, window, data| x12(window, data, b"271")),
    kind(
        "dicom",
        const {
            &[
                Literal::new(b"DICM"),
                Literal::new(b"\x10\x00\x10\x00PN"),
                Literal::new(b"\x00\x10\x00\x10PN"),
                Literal::new(b"1.2.840.10008.5.1.4.1.1."),
            ]
        },
        dicom,
    ),
    kind("ncpdp", const { &[Literal::new(b"D0B1"), Literal::new(b"D0E1")] }, ncpdp),
];

const ISA: &[Literal] = const { &[Literal::new(b"ISA*0")] };

const fn kind(name: &'static str, literals: &'static [Literal], look: Look) -> Kind {
    Kind { name, check: "health", literals, look }
}

/// Makes the detectors of all of them.
pub(crate) fn documents() -> impl Iterator<Item = Box<dyn Detector>> {
    KINDS.iter().map(|kind| Box::new(Document::new(*kind)) as Box<dyn Detector>)
}

/// A message: its header names the encoding characters and a type such as `ADT^A01`.
/// Protected fields are those of the rule in the patient's segment.
fn hl7v2(_: usize, window: &Window<'_>, data: &DocumentData) -> Option<Seen> {
    let text = window.after;
    let end_of =
        |text: &[u8]| text.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(text.len());
    let header = &text[..end_of(text)];
    let mut fields = header.split(|byte| *byte == b'|').skip(1);
    let encoding = fields.next()?;
    let symbols = matches!(encoding.len(), 3..=5) && encoding.iter().all(u8::is_ascii_punctuation);
    let kind = fields.nth(6)?;
    let typed = kind.len() >= 3 && kind[..3].iter().all(u8::is_ascii_uppercase);
    let version = fields.nth(2).is_some_and(|version| version.starts_with(b"2"));
    if !symbols || !(typed || version) {
        return None;
    }
    let (mut seen, mut length) = (0, header.len());
    let mut at = header.len();
    while let Some(rest) = text.get(at..) {
        let start = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let segment = &rest[start..];
        let segment = &segment[..end_of(segment)];
        if segment.len() < 4 || segment.starts_with(b"MSH") || segment[3] != b'|' {
            break;
        }
        let filled = |field: &str| {
            let (name, place) = field.split_once('-')?;
            let place = place.parse().ok()?;
            let value = segment.strip_prefix(name.as_bytes())?.split(|byte| *byte == b'|').nth(place)?;
            (value.iter().any(u8::is_ascii_alphanumeric)).then_some(())
        };
        seen += data.fields.iter().filter(|field| filled(&field.name).is_some()).count();
        at += start + segment.len();
        length = at;
    }
    Some(Seen { first: 0, length, fields: u64::try_from(seen).ok()? })
}

/// A resource in JSON by the member that names it, or in XML by members that only it has.
fn fhir(which: usize, window: &Window<'_>, data: &DocumentData) -> Option<Seen> {
    let whole = |text: &[u8]| usize::min(text.len(), 512);
    match which {
        0 => {
            let rest = window.after.strip_prefix(b"resourceType\"")?;
            let rest = skip_space(skip_space(rest).strip_prefix(b":")?).strip_prefix(b"\"")?;
            let name = &rest[..rest.iter().position(|byte| *byte == b'"')?];
            let known = data.contents.iter().any(|content| content.as_bytes() == name);
            if window.before.last() != Some(&b'"') || !known {
                return None;
            }
            // Members of the resource come before or behind; the next one has its own.
            let next = memchr::memmem::find(rest, b"\"resourceType\"").unwrap_or(rest.len());
            let last = memchr::memmem::rfind(window.before, b"\"resourceType\"").unwrap_or(0);
            let count = |text: &[u8]| count_fields(text, data, |name| format!("\"{name}\""));
            let fields = count(&rest[..next]) + count(&window.before[last..]);
            Some(Seen { first: -1, length: whole(window.after), fields })
        }
        1 | 2 => {
            let value = window.after.iter().position(|byte| *byte == b'=')? + 1;
            let quoted = matches!(window.after.get(value), Some(b'"' | b'\''));
            let filled = window.after.get(value + 1).is_some_and(u8::is_ascii_alphanumeric);
            (quoted && filled).then_some(Seen { first: 0, length: value + 1, fields: 1 })
        }
        _ => {
            let before = window.before.strip_suffix(b"xmlns=\"")?;
            let start = before.iter().rposition(|byte| *byte == b'<')?;
            let name = before[start + 1..].split(u8::is_ascii_whitespace).next()?;
            let known = data.contents.iter().any(|content| content.as_bytes() == name);
            known.then_some(Seen { first: 0, length: 20, fields: 0 })
        }
    }
}

fn skip_space(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// A clinical document, by its root element and its patient.
fn ccda(which: usize, window: &Window<'_>, data: &DocumentData) -> Option<Seen> {
    let text = window.after;
    if which == 0 {
        let opens = matches!(window.before.last(), Some(b'<' | b':'));
        let before = &window.before[window.before.len().saturating_sub(16)..];
        let closes = holds(before, "</");
        let space = holds(text, "urn:hl7-org:v3") && text.get(16).is_some_and(u8::is_ascii_whitespace);
        return (opens && !closes && space).then_some(Seen { first: -1, length: 17, fields: 0 });
    }
    let end = memchr::memmem::find(text, b"</recordTarget").unwrap_or(text.len());
    let fields = count_fields(&text[..end], data, |name| format!("<{name}"));
    let patient = holds(&text[..end], "patientRole");
    patient.then_some(Seen { first: 0, length: end, fields })
}

/// An interchange whose first transaction is of kind `code`.
fn x12(window: &Window<'_>, data: &DocumentData, code: &[u8]) -> Option<Seen> {
    let text = window.after;
    let header = text.get(..ISA_LENGTH)?;
    if !ISA_SEPARATORS.iter().all(|place| header[*place] == b'*') {
        return None;
    }
    let terminator = header[ISA_LENGTH - 1];
    let mut segments = text[ISA_LENGTH..].split(|byte| *byte == terminator).map(<[u8]>::trim_ascii);
    let start = segments.by_ref().take(4).find_map(|segment| segment.strip_prefix(b"ST*"))?;
    if start.split(|byte| *byte == b'*').next() != Some(code) {
        return None;
    }
    let protects = |segment: &[u8]| {
        let named = |name: &str| segment.starts_with(name.as_bytes());
        data.fields.iter().any(|field| named(&field.name))
    };
    let fields = segments.filter(|segment| protects(segment)).count();
    Some(Seen { first: 0, length: text.len(), fields: u64::try_from(fields).ok()? })
}

/// A DICOM file by its prefix, or a data set by its class or the patient's name.
fn dicom(which: usize, window: &Window<'_>, _: &DocumentData) -> Option<Seen> {
    let text = window.after;
    let printable = |bytes: &[u8]| {
        let content = bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
        bytes.iter().all(|byte| *byte >= b' ' || *byte == 0) && content > 0
    };
    let length = |place: usize| Some([*text.get(place)?, *text.get(place + 1)?]);
    let bytes = match which {
        0 => {
            let group = text.get(4..10)?;
            let meta = group[..2] == [2, 0] && [b"UL", b"OB", b"UI"].iter().any(|kind| group[4..] == **kind);
            return meta.then_some(Seen { first: 0, length: 4, fields: 0 });
        }
        1 => usize::from(u16::from_le_bytes(length(6)?)),
        2 => usize::from(u16::from_be_bytes(length(6)?)),
        _ => {
            // The class of a data set (0008,0016), explicit or implicit.
            let tag = window.before.last_chunk::<8>()?;
            let class = tag[..4] == [8, 0, 0x16, 0] || tag[..4] == [0, 8, 0, 0x16];
            return class.then_some(Seen { first: -8, length: 32, fields: 0 });
        }
    };
    if bytes > 64 || bytes % 2 == 1 {
        return None;
    }
    let filled = text.get(8..8 + bytes).is_some_and(printable);
    Some(Seen { first: 0, length: 8 + bytes, fields: u64::from(filled) })
}

/// A pharmacy claim: six digits of the payer, version and transaction, control fields.
fn ncpdp(_: usize, window: &Window<'_>, data: &DocumentData) -> Option<Seen> {
    let payer = window.before.last_chunk::<6>()?.iter().all(u8::is_ascii_digit);
    let header = window.after.get(4..50)?;
    let count = matches!(header.get(10), Some(b'1'..=b'4'));
    let text = window.after;
    let separated = text.contains(&0x1e) && text.contains(&0x1c);
    let fields = count_fields(text, data, |name| format!("\x1c{name}"));
    (payer && count && separated).then_some(Seen { first: -6, length: 50, fields })
}
