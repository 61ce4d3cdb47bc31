//! The database of apk (Alpine wiki, "Apk spec", installed database V2).

use crate::readers::Found;
use crate::stanza::stanzas;
use crate::{Ecosystem, Package};

/// Reads `/lib/apk/db/installed`.
pub(crate) fn installed(_: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes);
    let package = |stanza: crate::stanza::Stanza<'_>| {
        // One letter is one field, and `p` is not `P`.
        let get = |name| stanza.get_exact(name);
        let version = get("V")?.to_owned();
        Some((
            stanza.offset,
            Package {
                source: get("o").map(str::to_owned),
                architecture: get("A").map(str::to_owned),
                licence: get("L").map(str::to_owned),
                ..Package::new(Ecosystem::Apk, get("P")?, version)
            },
        ))
    };
    Found::packages(stanzas(&text).filter_map(package).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_told_apart_by_case() {
        let text = b"C:Q1abc=\np:so:libz=1\nP:zlib\nV:1.2.11-r3\nA:x86_64\no:zlib-src\nL:Zlib\nF:lib\n\nP:musl\nV:1.2.2-r1\n";
        let found = installed(b"", text).packages;
        let named: Vec<_> = found.iter().map(|(_, one)| (one.name.as_str(), one.version.as_str())).collect();
        assert_eq!(named, [("zlib", "1.2.11-r3"), ("musl", "1.2.2-r1")]);
        assert_eq!(found[0].1.source.as_deref(), Some("zlib-src"));
    }
}
