//! Modules of Node (docs.npmjs.com, "package.json").

use crate::readers::Found;
use crate::{Ecosystem, Package};
use serde_json::Value;

/// Reads the `package.json` of an installed module.
pub(crate) fn package(_: &[u8], bytes: &[u8]) -> Found {
    let json: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(Value::as_str);
    let package = text("name").zip(text("version")).map(|(name, version)| Package {
        licence: text("license").map(str::to_owned),
        ..Package::new(Ecosystem::Npm, name, version.to_owned())
    });
    Found::packages(package.map(|package| (0, package)).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_is_no_module() {
        let found = package(b"", br#"{"name": "@a/b", "version": "1.2.3", "license": "MIT"}"#).packages;
        assert_eq!((found[0].1.name.as_str(), found[0].1.licence.as_deref()), ("@a/b", Some("MIT")));
        assert_eq!(package(b"", b"{\"private\": true}").packages.len(), 0);
        assert_eq!(package(b"", b"[").packages.len(), 0);
    }
}
