//! Modules of Node (docs.npmjs.com, "package.json").

use crate::readers::Found;
use crate::{Ecosystem, Package};
use serde_json::Value;

/// Reads the `package.json` of an installed module.
pub(crate) fn package(_: &[u8], bytes: &[u8]) -> Found {
    let json: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(Value::as_str);
    let package = text("name").zip(text("version")).map(|(name, version)| Package {
        licence: licence(&json),
        ..Package::new(Ecosystem::Npm, name, version.to_owned())
    });
    Found::packages(package.map(|package| (0, package)).into_iter().collect())
}

/// Returns the licence: an expression, or in old modules an object, or several to choose from.
fn licence(json: &Value) -> Option<String> {
    let name =
        |one: &Value| one.as_str().or_else(|| one.get("type").and_then(Value::as_str)).map(str::to_owned);
    let several = || {
        let names: Vec<String> = json.get("licenses")?.as_array()?.iter().filter_map(name).collect();
        (!names.is_empty()).then(|| names.join(" OR "))
    };
    json.get("license").and_then(name).or_else(several)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_is_no_module() {
        let found = package(b"", br#"{"name": "@a/b", "version": "1.2.3", "license": "MIT"}"#).packages;
        assert_eq!((found[0].1.name.as_str(), found[0].1.licence.as_deref()), ("@a/b", Some("MIT")));
        let licences = |text: &[u8]| licence(&serde_json::from_slice(text).unwrap());
        assert_eq!(licences(br#"{"license": {"type": "ISC", "url": "x"}}"#).as_deref(), Some("ISC"));
        assert_eq!(
            licences(br#"{"licenses": [{"type": "MIT"}, "GPL-2.0"]}"#).as_deref(),
            Some("MIT OR GPL-2.0")
        );
        assert_eq!(package(b"", b"{\"private\": true}").packages.len(), 0);
        assert_eq!(package(b"", b"[").packages.len(), 0);
    }
}
