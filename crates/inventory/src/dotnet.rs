//! Libraries of .NET programs (`NAME.deps.json`; docs: "Runtime configuration files").

use crate::readers::Found;
use crate::{Ecosystem, Package};
use serde_json::Value;

/// Reads the libraries that are packages.
pub(crate) fn deps(_: &[u8], bytes: &[u8]) -> Found {
    let json: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let libraries = json.get("libraries").and_then(Value::as_object);
    let package = |(key, value): (&String, &Value)| {
        let (name, version) = key.split_once('/')?;
        let kind = value.get("type").and_then(Value::as_str)?;
        (kind == "package").then(|| (0, Package::new(Ecosystem::Nuget, name, version.to_owned())))
    };
    Found::packages(libraries.into_iter().flatten().filter_map(package).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_itself_is_no_package() {
        let text = br#"{"libraries": {"App/1.0.0": {"type": "project"}, "Newtonsoft.Json/12.0.1": {"type": "package"}}}"#;
        let found = deps(b"", text).packages;
        assert_eq!((found.len(), found[0].1.name.as_str()), (1, "Newtonsoft.Json"));
    }
}
