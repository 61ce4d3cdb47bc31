//! The database of dpkg (deb822 fields: Debian Policy 5.1; states: dpkg(1), "Package states").

use crate::readers::Found;
use crate::stanza::stanzas;
use crate::{Ecosystem, Package};

/// Reads `/var/lib/dpkg/status`, or a file of `status.d`, which has no states.
pub(crate) fn status(path: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes);
    let listed = path.windows(10).any(|part| part == b"/status.d/");
    let package = |stanza: crate::stanza::Stanza<'_>| {
        let state = stanza.get("Status").and_then(|status| status.split_ascii_whitespace().nth(2));
        // Unpacked and half configured packages have their files on the disk.
        let present = match state {
            Some(state) => !matches!(state, "not-installed" | "config-files"),
            None => listed,
        };
        if !present {
            return None;
        }
        let version = stanza.get("Version")?.to_owned();
        let (source, source_version) = match stanza.get("Source").map(split_source) {
            Some((name, version)) => (Some(name.to_owned()), version.map(str::to_owned)),
            None => (None, None),
        };
        Some((
            stanza.offset,
            Package {
                source,
                source_version,
                architecture: stanza.get("Architecture").map(str::to_owned),
                ..Package::new(Ecosystem::Deb, stanza.get("Package")?, version)
            },
        ))
    };
    Found::packages(stanzas(&text).filter_map(package).collect())
}

/// Divides `name (version)`.
fn split_source(source: &str) -> (&str, Option<&str>) {
    match source.split_once('(') {
        Some((name, version)) => (name.trim(), Some(version.trim_end_matches(')').trim())),
        None => (source.trim(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nSource: glibc (2.36-9)\nArchitecture: amd64\nVersion: 2.36-9+b1\nDescription: C\n more\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: half\nStatus: install ok half-configured\nVersion: 1:2~rc1\n";

    #[test]
    fn what_is_installed_is_listed_with_its_source() {
        let found = status(b"/var/lib/dpkg/status", STATUS.as_bytes()).packages;
        let named: Vec<_> = found
            .iter()
            .map(|(at, one)| (*at, one.name.as_str(), one.version.as_str(), one.source.as_deref()))
            .collect();
        let half = STATUS.find("Package: half").unwrap() as u64;
        assert_eq!(named, [(0, "libc6", "2.36-9+b1", Some("glibc")), (half, "half", "1:2~rc1", None)]);
        assert_eq!(found[0].1.source_version.as_deref(), Some("2.36-9"));
    }

    #[test]
    fn a_file_of_its_own_needs_no_state() {
        let text = b"Package: base-files\nVersion: 12\n";
        assert_eq!(status(b"/var/lib/dpkg/status.d/base", text).packages.len(), 1);
        assert_eq!(status(b"/var/lib/dpkg/status", text).packages.len(), 0);
    }
}
