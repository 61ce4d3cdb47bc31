//! Sections of programs in which linkers leave what went into them (ELF: System V ABI, chapter 4).

use crate::content::Content;
use crate::readers::Found;
use crate::{Package, golang, rust};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

/// Most sections of a program that are looked at.
const SECTIONS_MAX: u64 = 256;
/// Longest section that is read.
const SECTION_BYTES_MAX: u64 = 8 << 20;
/// Longest list of crates, unpacked.
const LIST_BYTES_MAX: usize = 8 << 20;

/// Reads the sections of a program that list what was linked into it; none if it is no program.
pub(crate) fn program(content: &Content<'_>) -> Option<Found> {
    let mut found = Found::default();
    let head = content.read(0, 64)?;
    for section in sections(content, &head).unwrap_or_default() {
        let read: fn(&[u8]) -> Vec<Package> = match section.name.as_slice() {
            b".go.buildinfo" => golang::build_info,
            b".dep-v0" => auditable,
            _ => continue,
        };
        let bytes = content.read(section.offset, section.bytes.min(SECTION_BYTES_MAX))?;
        found.packages.extend(read(&bytes).into_iter().map(|package| (section.offset, package)));
        found.read.extend(bytes);
    }
    Some(found)
}

fn auditable(section: &[u8]) -> Vec<Package> {
    decompress_to_vec_zlib_with_limit(section, LIST_BYTES_MAX)
        .map_or_else(|_| Vec::new(), |json| rust::auditable(&json))
}

#[derive(Debug)]
struct Section {
    name: Vec<u8>,
    offset: u64,
    bytes: u64,
}

/// Returns the sections of a 64-bit or 32-bit little-endian program.
fn sections(content: &Content<'_>, head: &[u8]) -> Option<Vec<Section>> {
    if !head.starts_with(b"\x7fELF") || head.get(5) != Some(&1) {
        return None;
    }
    let wide = match head.get(4)? {
        1 => false,
        2 => true,
        _ => return None,
    };
    let half =
        |bytes: &[u8], at: usize| Some(u64::from(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?)));
    let word =
        |bytes: &[u8], at: usize| Some(u64::from(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)));
    let long = |bytes: &[u8], at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let (table, entry, count, names) = if wide {
        (long(head, 40)?, half(head, 58)?, half(head, 60)?, half(head, 62)?)
    } else {
        (word(head, 32)?, half(head, 46)?, half(head, 48)?, half(head, 50)?)
    };
    let count = count.min(SECTIONS_MAX);
    if entry < 40 || table >= content.size() {
        return None;
    }
    let bytes = content.read(table, entry.checked_mul(count)?)?;
    let of = |number: u64| {
        let at = usize::try_from(number.checked_mul(entry)?).ok()?;
        let header = bytes.get(at..)?;
        let (offset, length) = if wide {
            (long(header, 24)?, long(header, 32)?)
        } else {
            (word(header, 16)?, word(header, 20)?)
        };
        Some((word(header, 0)?, offset, length))
    };
    let (_, names_at, names_length) = of(names)?;
    let names = content.read(names_at, names_length.min(64 << 10))?;
    let section = |number| {
        let (name, offset, bytes) = of(number)?;
        let name = names.get(usize::try_from(name).ok()?..)?;
        let name = name.split(|byte| *byte == 0).next()?.to_vec();
        (offset < content.size()).then_some(Section { name, offset, bytes })
    };
    Some((0..count).filter_map(section).collect())
}
