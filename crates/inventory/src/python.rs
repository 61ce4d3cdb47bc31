//! Metadata of Python distributions (packaging.python.org, "Core metadata specifications").

use crate::members::Members;
use crate::readers::Found;
use crate::stanza::stanzas;
use crate::{Ecosystem, Package};
use airlock_decode::ReadAt;

/// Reads `METADATA` or `PKG-INFO`: its first record.
pub(crate) fn metadata(_: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let package = stanzas(&text).next().and_then(|head| {
        let licence = head.get("License-Expression").or_else(|| head.get("License"));
        let licence = licence.filter(|text| !text.is_empty() && *text != "UNKNOWN");
        Some(Package {
            licence: licence.map(str::to_owned),
            ..Package::new(Ecosystem::Pypi, &normal(head.get("Name")?), head.get("Version")?.to_owned())
        })
    });
    Found::packages(package.map(|package| (0, package)).into_iter().collect())
}

/// Reads an egg: a zip archive with `EGG-INFO/PKG-INFO` (setuptools, "The Internal Structure of Python Eggs").
pub(crate) fn egg(path: &[u8], file: &mut dyn ReadAt) -> Option<Found> {
    let (archives, mut found) = Members::read(path, file, |name| name == b"EGG-INFO/PKG-INFO")?;
    for archive in archives {
        let packages = archive.members.iter().flat_map(|member| metadata(path, &member.bytes).packages);
        found.packages.extend(packages.map(|(_, package)| (archive.at, package)));
    }
    Some(found)
}

/// Returns a name as names are compared (PEP 503).
fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for letter in name.chars() {
        let letter = if matches!(letter, '-' | '_' | '.') { '-' } else { letter.to_ascii_lowercase() };
        if letter != '-' || !normal.ends_with('-') {
            normal.push(letter);
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_counts_and_names_are_normal() {
        let text = b"Metadata-Version: 2.1\r\nName: Zope._-Interface\r\nVersion: 5.0\r\nLicense: ZPL 2.1\r\n\r\nName: no\r\n";
        let found = metadata(b"", text).packages;
        assert_eq!((found[0].1.name.as_str(), found[0].1.version.as_str()), ("zope-interface", "5.0"));
        assert_eq!((found.len(), found[0].1.licence.as_deref()), (1, Some("ZPL 2.1")));
        assert_eq!(metadata(b"", b"Name: x\n").packages.len(), 0);
    }

    #[test]
    fn eggs_are_archives() {
        let info = b"Metadata-Version: 1.0\nName: PyYAML\nVersion: 5.3\n";
        let egg = crate::members::tests::zip(&[("EGG-INFO/PKG-INFO", info), ("yaml/x.py", b"")]);
        let (packages, _) = crate::read_file(b"/usr/lib/python3/site-packages/PyYAML-5.3-py3.egg", &egg);
        assert_eq!((packages[0].name.as_str(), packages[0].version.as_str()), ("pyyaml", "5.3"));
    }
}
