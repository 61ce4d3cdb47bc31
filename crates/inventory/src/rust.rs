//! Rust: `Cargo.lock`, and the list that cargo-auditable links into programs.

use crate::readers::Found;
use crate::{Ecosystem, Package};
use serde::Deserialize;

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    source: Option<String>,
}

/// Reads `Cargo.lock`. What has no source is of the project itself.
pub(crate) fn lock(_: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes);
    let Ok(lock) = toml::from_str::<Lock>(&text) else { return Found::default() };
    let package = |entry: Entry| {
        entry.source.as_ref()?;
        let wanted = format!("name = \"{}\"\nversion = \"{}\"", entry.name, entry.version);
        let at = text.find(&wanted).unwrap_or(0) as u64;
        Some((at, Package::new(Ecosystem::Cargo, &entry.name, entry.version)))
    };
    Found::packages(lock.package.into_iter().filter_map(package).collect())
}

/// Reads the JSON of cargo-auditable (its PARSING.md).
pub(crate) fn auditable(json: &[u8]) -> Vec<Package> {
    #[derive(Deserialize)]
    struct List {
        packages: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        name: String,
        version: String,
        #[serde(default)]
        source: String,
        #[serde(default)]
        kind: String,
    }
    let Ok(list) = serde_json::from_slice::<List>(json) else { return Vec::new() };
    let linked = list.packages.into_iter().filter(|one| one.kind != "build" && one.source != "local");
    linked.map(|one| Package::new(Ecosystem::Cargo, &one.name, one.version)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_itself_is_no_package() {
        let text = "version = 3\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"quinn\"\nversion = \"0.11.13\"\nsource = \"registry+https://example.test/index\"\n";
        let found = lock(b"", text.as_bytes()).packages;
        assert_eq!(
            (found.len(), found[0].1.name.as_str(), found[0].0),
            (1, "quinn", text.find("name = \"quinn").unwrap() as u64)
        );
        assert_eq!(lock(b"", b"[[[").packages.len(), 0);
    }

    #[test]
    fn build_dependencies_are_not_linked() {
        let json = br#"{"packages":[{"name":"a","version":"1.0.0","source":"crates.io"},{"name":"b","version":"1.0.0","source":"crates.io","kind":"build"},{"name":"me","version":"0.1.0","source":"local","root":true}]}"#;
        let names: Vec<String> = auditable(json).into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["a"]);
    }
}
