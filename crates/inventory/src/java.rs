//! Java: `pom.properties` of a module that lies unpacked (Maven Archiver, "pom.properties content").

use crate::readers::Found;
use crate::{Ecosystem, Package};

/// Reads `pom.properties`.
pub(crate) fn pom(_: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes);
    let get = |name: &str| {
        let field = |line: &str| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        };
        text.lines().find_map(field)
    };
    let package =
        get("groupId").zip(get("artifactId")).zip(get("version")).map(|((group, name), version)| {
            (0, Package::new(Ecosystem::Maven, &format!("{group}:{name}"), version))
        });
    Found::packages(package.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_has_a_group() {
        let found =
            pom(b"", b"#Created\nversion=2.14.1\ngroupId=org.apache.logging.log4j\nartifactId=log4j-core\n");
        assert_eq!(found.packages[0].1.name, "org.apache.logging.log4j:log4j-core");
        assert_eq!(pom(b"", b"version=1\n").packages.len(), 0);
    }
}
