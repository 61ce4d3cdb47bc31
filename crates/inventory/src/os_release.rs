//! What a root file system says it is (os-release(5)).

use crate::readers::Found;
use crate::{Evidence, Product};
use serde::{Deserialize, Serialize};

/// An operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// `ID`, such as `debian`.
    pub id: String,
    /// `VERSION_ID`, such as `12`; empty where there is none, as on rolling distributions.
    pub version: String,
    /// `VERSION_CODENAME`, such as `bookworm`.
    pub codename: String,
    /// `PRETTY_NAME`, else `NAME`, else `ID`.
    pub name: String,
    /// What says so.
    pub evidence: Option<Evidence>,
}

impl System {
    pub(crate) fn found_in(self, evidence: Evidence) -> Self {
        Self { evidence: Some(evidence), ..self }
    }

    /// Returns the product that it is, where that needs a subscription.
    pub(crate) fn product(&self) -> Option<Product> {
        let publisher = match self.id.as_str() {
            "rhel" => "Red Hat",
            "sles" | "sled" | "sles_sap" => "SUSE",
            "ol" => "Oracle",
            _ => return None,
        };
        let evidence = self.evidence.clone()?;
        Some(Product { evidence, ..Product::new(&self.name, self.version.clone(), publisher.to_owned()) })
    }
}

/// Reads `os-release`.
pub(crate) fn read(_: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes);
    let get = |name: &str| {
        let field = |line: &str| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
        };
        text.lines().find_map(field).unwrap_or_default()
    };
    let id = get("ID");
    let name = [get("PRETTY_NAME"), get("NAME"), id.clone()].into_iter().find(|name| !name.is_empty());
    let system = (!id.is_empty()).then(|| System {
        id,
        version: get("VERSION_ID"),
        codename: get("VERSION_CODENAME"),
        name: name.unwrap_or_default(),
        evidence: None,
    });
    Found { system, ..Found::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_off() {
        let text = b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        let system = read(b"", text).system.unwrap();
        assert_eq!((system.id.as_str(), system.version.as_str()), ("debian", "12"));
        assert_eq!(system.name, "Debian GNU/Linux 12 (bookworm)");
        assert!(read(b"", b"NAME=x\n").system.is_none());
    }
}
