//! Programs in which linkers leave what went into them: ELF (System V ABI, chapters 4 and 5) and PE (Microsoft,
//! "PE Format").

use crate::content::part;
use crate::readers::Found;
use crate::{Package, golang, rust};
use airlock_decode::ReadAt;
use airlock_model::field::{le16, le32, le64};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

/// Most sections or segments of a program that are looked at.
const PARTS_MAX: u64 = 256;
/// Longest section that is read.
const SECTION_BYTES_MAX: u64 = 8 << 20;
/// Longest list of crates, unpacked.
const LIST_BYTES_MAX: usize = 8 << 20;
/// Bytes of the data of a program in which Go's mark is looked for, as `debug/buildinfo` does.
const MARK_BYTES: u64 = 1 << 20;
/// Bytes at the beginning in which the headers of a PE lie.
const HEAD_BYTES: u64 = 4096;

/// Reads what a program says of what was linked into it; nothing if it is no program.
pub(crate) fn read(_: &[u8], file: &mut dyn ReadAt) -> Option<Found> {
    let head = part(file, 0, HEAD_BYTES)?;
    let layout = match head.get(..4)? {
        b"\x7fELF" => elf(file, &head),
        [b'M', b'Z', ..] => pe(&head),
        _ => return Some(Found::default()),
    };
    let mut found = Found::default();
    let Some(layout) = layout else { return Some(found) };
    if let Some((offset, packages)) = go(file, &layout, &mut found) {
        found.packages.extend(packages.into_iter().map(|package| (offset, package)));
    }
    for section in layout.sections.iter().filter(|section| section.name == b".dep-v0") {
        let bytes = part(file, section.offset, section.bytes.min(SECTION_BYTES_MAX))?;
        found.packages.extend(auditable(&bytes).into_iter().map(|package| (section.offset, package)));
        found.read.add(&bytes);
    }
    Some(found)
}

fn auditable(section: &[u8]) -> Vec<Package> {
    decompress_to_vec_zlib_with_limit(section, LIST_BYTES_MAX)
        .map_or_else(|_| Vec::new(), |json| rust::auditable(&json))
}

/// Finds and reads what Go leaves: in a section of its own, or in the first data of a program without sections.
fn go(file: &mut dyn ReadAt, layout: &Layout, found: &mut Found) -> Option<(u64, Vec<Package>)> {
    let named = layout.sections.iter().find(|section| section.name == b".go.buildinfo");
    let (offset, bytes) = match named {
        Some(section) => (section.offset, section.bytes.min(SECTION_BYTES_MAX)),
        None => layout.segments.iter().find(|segment| segment.data).map(|one| (one.offset, one.bytes))?,
    };
    let data = part(file, offset, bytes.min(MARK_BYTES))?;
    let at = (0..data.len())
        .step_by(16)
        .find(|at| data.get(*at..).is_some_and(|rest| rest.starts_with(golang::MAGIC)))?;
    // The lists of modules of large programs are longer than what was searched.
    let offset = offset + at as u64;
    let info = part(file, offset, bytes.checked_sub(at as u64)?.min(SECTION_BYTES_MAX))?;
    let mut memory = |address: u64, length: u64| {
        let segment =
            layout.segments.iter().find(|one| (one.address..one.address + one.bytes).contains(&address))?;
        let bytes = part(file, segment.offset + (address - segment.address), length.min(SECTION_BYTES_MAX))?;
        (bytes.len() as u64 == length).then_some(bytes)
    };
    let packages = golang::build_info(&info, &mut memory);
    if !packages.is_empty() {
        found.read.add(info.get(..info.len().min(LIST_BYTES_MAX))?);
    }
    Some((offset, packages))
}

/// Where what lies.
#[derive(Debug, Default)]
struct Layout {
    sections: Vec<Section>,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Section {
    name: Vec<u8>,
    offset: u64,
    bytes: u64,
}

/// A part of the file that has an address in memory.
#[derive(Debug)]
struct Segment {
    address: u64,
    offset: u64,
    bytes: u64,
    /// Whether it can be written to.
    data: bool,
}

fn half(bytes: &[u8], at: usize) -> Option<u64> {
    le16(bytes, at).map(u64::from)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    le32(bytes, at).map(u64::from)
}

/// Reads the tables of a little-endian ELF.
fn elf(file: &mut dyn ReadAt, head: &[u8]) -> Option<Layout> {
    if head.get(5) != Some(&1) {
        return None;
    }
    let wide = match head.get(4)? {
        1 => false,
        2 => true,
        _ => return None,
    };
    let segments = if wide {
        (le64(head, 32)?, half(head, 54)?, half(head, 56)?)
    } else {
        (word(head, 28)?, half(head, 42)?, half(head, 44)?)
    };
    let segment = |header: &[u8]| {
        let (flags, offset, address, bytes) = if wide {
            (word(header, 4)?, le64(header, 8)?, le64(header, 16)?, le64(header, 32)?)
        } else {
            (word(header, 24)?, word(header, 4)?, word(header, 8)?, word(header, 16)?)
        };
        address.checked_add(bytes)?;
        offset.checked_add(bytes)?;
        (word(header, 0)? == 1).then_some(Segment { address, offset, bytes, data: flags & 2 != 0 })
    };
    let segments = table(file, segments).unwrap_or_default().iter().filter_map(|one| segment(one)).collect();
    Some(Layout { sections: elf_sections(file, head, wide).unwrap_or_default(), segments })
}

/// Returns the entries of a table: where it begins, bytes of an entry, entries.
fn table(file: &mut dyn ReadAt, (at, entry, count): (u64, u64, u64)) -> Option<Vec<Vec<u8>>> {
    if entry < 32 || at >= file.size() {
        return None;
    }
    let bytes = part(file, at, entry.checked_mul(count.min(PARTS_MAX))?)?;
    Some(bytes.chunks_exact(usize::try_from(entry).ok()?).map(<[u8]>::to_vec).collect())
}

fn elf_sections(file: &mut dyn ReadAt, head: &[u8], wide: bool) -> Option<Vec<Section>> {
    let (at, names) = if wide {
        ((le64(head, 40)?, half(head, 58)?, half(head, 60)?), half(head, 62)?)
    } else {
        ((word(head, 32)?, half(head, 46)?, half(head, 48)?), half(head, 50)?)
    };
    let headers = table(file, at)?;
    let place = |header: &[u8]| {
        let (offset, bytes) = if wide {
            (le64(header, 24)?, le64(header, 32)?)
        } else {
            (word(header, 16)?, word(header, 20)?)
        };
        Some((word(header, 0)?, offset, bytes))
    };
    let (_, names_at, names_bytes) = place(headers.get(usize::try_from(names).ok()?)?)?;
    let names = part(file, names_at, names_bytes.min(64 << 10))?;
    let section = |header: &Vec<u8>| {
        let (name, offset, bytes) = place(header)?;
        let name = names.get(usize::try_from(name).ok()?..)?;
        let name = name.split(|byte| *byte == 0).next()?.to_vec();
        (offset < file.size()).then_some(Section { name, offset, bytes })
    };
    Some(headers.iter().filter_map(section).collect())
}

/// Reads the sections of a PE.
fn pe(head: &[u8]) -> Option<Layout> {
    const WRITABLE_DATA: u64 = 0x8000_0040;
    let at = usize::try_from(le32(head, 0x3c)?).ok()?;
    let coff = head.get(at..)?.strip_prefix(b"PE\0\0")?;
    let optional = coff.get(20..)?;
    let base = match le16(optional, 0)? {
        0x20b => le64(optional, 24)?,
        0x10b => word(optional, 28)?,
        _ => return None,
    };
    let table = optional.get(usize::from(le16(coff, 16)?)..)?;
    let mut layout = Layout::default();
    for header in table.chunks_exact(40).take(usize::from(le16(coff, 2)?)) {
        let name = header.get(..8)?.split(|byte| *byte == 0).next()?.to_vec();
        let (offset, bytes) = (word(header, 20)?, word(header, 16)?);
        let address =
            base.checked_add(word(header, 12)?).filter(|address| address.checked_add(bytes).is_some())?;
        let data = word(header, 36)? & WRITABLE_DATA == WRITABLE_DATA;
        layout.sections.push(Section { name, offset, bytes });
        layout.segments.push(Segment { address, offset, bytes, data });
    }
    Some(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a PE with one section of data.
    fn pe_with(name: &[u8], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = 1;
        bytes[0x94] = 112;
        bytes[0x98..0x9a].copy_from_slice(&[0x0b, 2]);
        let header = 0x98 + 112;
        bytes[header..header + name.len()].copy_from_slice(name);
        let length = u32::try_from(data.len()).unwrap().to_le_bytes();
        bytes[header + 12..header + 16].copy_from_slice(&0x1000_u32.to_le_bytes());
        bytes[header + 16..header + 20].copy_from_slice(&length);
        bytes[header + 20..header + 24].copy_from_slice(&0x400_u32.to_le_bytes());
        bytes[header + 36..header + 40].copy_from_slice(&0xc000_0040_u32.to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len() + (64 << 10), 0);
        bytes
    }

    /// Returns an ELF without sections and with one segment of data.
    fn elf_with(data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 1;
        bytes[68] = 6;
        bytes[72..80].copy_from_slice(&0x400_u64.to_le_bytes());
        bytes[80..88].copy_from_slice(&0x1000_u64.to_le_bytes());
        bytes[96..104].copy_from_slice(&(data.len() as u64).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len() + (64 << 10), 0);
        bytes
    }

    fn names(path: &str, bytes: &[u8]) -> Vec<String> {
        let (packages, _) = crate::read_file(path.as_bytes(), bytes);
        packages.iter().map(|one| format!("{} {}", one.name, one.version)).collect()
    }

    #[test]
    fn programs_without_sections_and_those_of_windows_are_read() {
        let info =
            [&[0; 32], golang::tests::info("go1.21.5", "dep\ta.test/b\tv1.0.0\th1:x=\n").as_slice()].concat();
        let expected = ["a.test/b 1.0.0", "stdlib 1.21.5"];
        assert_eq!(names("/usr/bin/tool-1.2", &elf_with(&info)), expected);
        assert_eq!(names("/app/tool.exe", &pe_with(b".data", &info)), expected);
        let old = golang::tests::old_info(0x1000, "go1.16.3", "dep\ta.test/b\tv1.0.0\th1:x=\n");
        let expected = ["a.test/b 1.0.0", "stdlib 1.16.3"];
        assert_eq!(names("/usr/bin/tool", &elf_with(&old)), expected);
        assert_eq!(names("/app/tool.exe", &pe_with(b".data", &old)), expected);
        for bytes in [elf_with(&old), pe_with(b".data", &info)] {
            for length in (0..bytes.len()).step_by(31) {
                let _ = names("/usr/bin/tool", &bytes[..length]);
            }
        }
    }

    #[test]
    fn crates_are_listed_in_programs_of_windows_too() {
        let json = br#"{"packages":[{"name":"a","version":"1.0.0","source":"crates.io"}]}"#;
        let packed = miniz_oxide::deflate::compress_to_vec_zlib(json, 6);
        assert_eq!(names("/app/tool.exe", &pe_with(b".dep-v0", &packed)), ["a 1.0.0"]);
    }
}
