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

/// Reads the section `.go.buildinfo` in its form since Go 1.18: two strings behind 32 bytes of header,
/// each with its length as a varint; the second is the list of modules between two marks of 16 bytes.
pub(crate) fn build_info(section: &[u8]) -> Vec<Package> {
    let Some(flags) = section.get(15).filter(|_| section.starts_with(MAGIC)) else { return Vec::new() };
    if flags & 2 == 0 {
        return Vec::new();
    }
    let mut rest = section.get(32..).unwrap_or_default();
    let Some(version) = string(&mut rest) else { return Vec::new() };
    let Some(modules) = string(&mut rest) else { return Vec::new() };
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
    let toolchain = String::from_utf8_lossy(version);
    let toolchain = toolchain.split(' ').next().and_then(|word| word.strip_prefix("go"));
    packages.extend(toolchain.map(|version| Package::new(Ecosystem::Golang, "stdlib", version.to_owned())));
    packages
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
mod tests {
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

    #[test]
    fn a_program_lists_its_modules() {
        let list = "path\ta.test/x\nmod\ta.test/x\t(devel)\t\ndep\ta.test/b\tv1.0.0\th1:x=\ndep\ta.test/c\tv1.0.0\n=>\ta.test/d\tv1.5.0\th1:y=\n";
        let mut section = [MAGIC, &[8, 2], &[0; 16]].concat();
        section.extend([8]);
        section.extend(b"go1.21.5");
        let modules = [[b'0'; 16].as_slice(), list.as_bytes(), &[b'1'; 16]].concat();
        section.extend([
            u8::try_from(modules.len() & 0x7f).unwrap() | 0x80,
            u8::try_from(modules.len() >> 7).unwrap(),
        ]);
        section.extend(modules);
        let expected = [("a.test/b", "1.0.0"), ("a.test/d", "1.5.0"), ("stdlib", "1.21.5")];
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(names(build_info(&section)), expected);
        for length in 0..section.len() {
            let _ = build_info(&section[..length]);
        }
    }
}
