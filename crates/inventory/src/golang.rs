//! Go: `go.mod`, and what the linker writes into programs (package `debug/buildinfo`).

use crate::readers::Found;
use crate::{Ecosystem, Package};

/// Reads the modules that `go.mod` requires (go.dev/ref/mod, "go.mod files").
pub(crate) fn module_file(_: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes);
    let mut packages = Vec::new();
    let (mut offset, mut inside) = (0_u64, false);
    for line in text.split_inclusive('\n') {
        let at = offset;
        offset += line.len() as u64;
        let code = line.split("//").next().unwrap_or_default().trim();
        let required = match code {
            "require (" => {
                inside = true;
                continue;
            }
            ")" => {
                inside = false;
                continue;
            }
            _ if inside => Some(code),
            _ => code.strip_prefix("require "),
        };
        packages.extend(required.and_then(module).map(|package| (at, package)));
    }
    Found::packages(packages)
}

/// Reads `path version`.
fn module(text: &str) -> Option<Package> {
    let mut words = text.split_ascii_whitespace();
    let (path, version) = (words.next()?, words.next()?);
    let version = version.strip_prefix('v')?;
    Some(Package::new(Ecosystem::Golang, path.trim_matches('"'), version.to_owned()))
}

/// Where the section begins that the linker writes.
pub(crate) const MAGIC: &[u8] = b"\xff Go buildinf:";

/// Reads bytes at an address of the memory of a program.
pub(crate) type Memory<'m> = dyn FnMut(u64, u64) -> Option<Vec<u8>> + 'm;

/// Reads what the linker writes (package `debug/buildinfo`): behind a header of 32 bytes two strings, the version
/// and the list of modules between two marks of 16 bytes. Since Go 1.18 they follow with their lengths as varints;
/// before, the header has the addresses of both, as Go has strings in memory.
pub(crate) fn build_info(info: &[u8], memory: &mut Memory<'_>) -> Vec<Package> {
    let Some((version, modules)) = strings(info, memory) else { return Vec::new() };
    let inner = modules.get(16..modules.len().saturating_sub(16)).unwrap_or_default();
    let text = String::from_utf8_lossy(inner);
    let mut packages: Vec<Package> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('\t');
        match (words.next(), words.next(), words.next()) {
            (Some("dep"), Some(path), Some(version)) => {
                packages.extend(module(&format!("{path} {version}")));
            }
            // What stands in for the module of the line before.
            (Some("=>"), Some(path), Some(version)) => {
                packages.pop();
                packages.extend(module(&format!("{path} {version}")));
            }
            _ => {}
        }
    }
    let toolchain = String::from_utf8_lossy(&version);
    let toolchain = toolchain.split(' ').next().and_then(|word| word.strip_prefix("go"));
    packages.extend(toolchain.map(|version| Package::new(Ecosystem::Golang, "stdlib", version.to_owned())));
    packages
}

fn strings(info: &[u8], memory: &mut Memory<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (&pointer, &flags) = (info.get(14)?, info.get(15)?);
    if !info.starts_with(MAGIC) {
        return None;
    }
    if flags & 2 != 0 {
        let mut rest = info.get(32..)?;
        let version = string(&mut rest)?.to_vec();
        return Some((version, string(&mut rest)?.to_vec()));
    }
    // Big-endian programs are none that are read here.
    if flags & 1 != 0 || !matches!(pointer, 4 | 8) {
        return None;
    }
    let width = usize::from(pointer);
    let number = |bytes: &[u8], index: usize| {
        let bytes = bytes.get(index * width..(index + 1) * width)?;
        Some(bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)))
    };
    let mut text = |index| {
        let header = memory(number(info.get(16..)?, index)?, width as u64 * 2)?;
        memory(number(&header, 0)?, number(&header, 1)?)
    };
    Some((text(0)?, text(1)?))
}

/// Takes a string with its length before it.
fn string<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (mut length, mut shift) = (0_u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
    let (head, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(head)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn names(packages: Vec<Package>) -> Vec<(String, String)> {
        packages.into_iter().map(|one| (one.name, one.version)).collect()
    }

    #[test]
    fn blocks_and_lines_require() {
        let text = "module a.test/x\n\ngo 1.22\n\nrequire (\n\ta.test/b v1.0.0\n\ta.test/c/v2 v2.1.0+incompatible // indirect\n)\nrequire a.test/d v0.0.0-20200101000000-abcdefabcdef\nexclude a.test/e v1.0.0\n";
        let found = module_file(b"", text.as_bytes()).packages;
        let begins = ["\ta.test/b", "\ta.test/c", "require a.test/d"];
        let begins = begins.map(|line| text.find(line).unwrap() as u64);
        assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), begins);
        let versions: Vec<_> = found.iter().map(|(_, one)| one.version.as_str()).collect();
        assert_eq!(versions, ["1.0.0", "2.1.0+incompatible", "0.0.0-20200101000000-abcdefabcdef"]);
    }

    const MARK: [u8; 16] = [b'0'; 16];

    /// Returns what the linker writes since Go 1.18.
    pub(crate) fn info(version: &str, list: &str) -> Vec<u8> {
        let mut info = [MAGIC, &[8, 2], &[0; 16]].concat();
        for text in [version.as_bytes(), &[&MARK, list.as_bytes(), &MARK].concat()] {
            let length = text.len();
            info.extend([u8::try_from(length & 0x7f).unwrap() | 0x80, u8::try_from(length >> 7).unwrap()]);
            info.extend(text);
        }
        info
    }

    /// Returns what it wrote before, for a program that has it at that address.
    pub(crate) fn old_info(base: u64, version: &str, list: &str) -> Vec<u8> {
        let list = [&MARK, list.as_bytes(), &MARK].concat();
        let (headers, version_at) = (base + 32, base + 64);
        let list_at = version_at + version.len() as u64;
        let numbers = [headers, headers + 16, version_at, version.len() as u64, list_at, list.len() as u64];
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        [MAGIC, &[8, 0], &numbers, version.as_bytes(), &list].concat()
    }

    #[test]
    fn a_program_lists_its_modules() {
        let list = "path\ta.test/x\nmod\ta.test/x\t(devel)\t\ndep\ta.test/b\tv1.0.0\th1:x=\ndep\ta.test/c\tv1.0.0\n=>\ta.test/d\tv1.5.0\th1:y=\n";
        let section = info("go1.21.5", list);
        let expected = [("a.test/b", "1.0.0"), ("a.test/d", "1.5.0"), ("stdlib", "1.21.5")];
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(names(build_info(&section, &mut |_, _| None)), expected);
        for length in 0..section.len() {
            let _ = build_info(&section[..length], &mut |_, _| None);
        }
    }
}
