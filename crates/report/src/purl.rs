//! Names of packages that every tool understands (package-url/purl-spec, PURL-SPECIFICATION and PURL-TYPES).

use crate::text::percent_encoded;
use airlock_inventory::{Ecosystem, Inventory, Package, System};

/// Returns the package URL of a package.
pub(crate) fn of(inventory: &Inventory, package: &Package) -> String {
    let encoded = |text: &str| percent_encoded(text.as_bytes(), b"");
    let path = |text: &str| text.split('/').map(encoded).collect::<Vec<_>>().join("/");
    let name = match package.ecosystem {
        Ecosystem::Deb => format!("{}/{}", vendor(inventory, package, "debian"), encoded(&package.name)),
        Ecosystem::Apk => format!("{}/{}", vendor(inventory, package, "alpine"), encoded(&package.name)),
        Ecosystem::Rpm => format!("{}/{}", vendor(inventory, package, "redhat"), encoded(&package.name)),
        // Group and artifact.
        Ecosystem::Maven => path(&package.name.replacen(':', "/", 1)),
        // Scopes and module paths.
        Ecosystem::Npm | Ecosystem::Golang => path(&package.name),
        _ => encoded(&package.name),
    };
    // The epoch of an rpm is a qualifier.
    let (epoch, version) = match package.version.split_once(':') {
        Some((epoch, version)) if package.ecosystem == Ecosystem::Rpm => (Some(epoch), version),
        _ => (None, package.version.as_str()),
    };
    let mut url = format!("pkg:{}/{name}@{}", package.ecosystem.name(), encoded(version));
    let system = system_of(inventory, package);
    let mut qualifiers = Vec::new();
    if let Some(architecture) = &package.architecture {
        qualifiers.push(format!("arch={}", encoded(architecture)));
    }
    let of_system = matches!(package.ecosystem, Ecosystem::Deb | Ecosystem::Apk | Ecosystem::Rpm);
    if let Some(system) = system.filter(|_| of_system) {
        let release = if system.codename.is_empty() { &system.version } else { &system.codename };
        let release = if package.ecosystem == Ecosystem::Rpm && !release.is_empty() {
            format!("{}-{release}", system.id)
        } else {
            release.clone()
        };
        if !release.is_empty() {
            qualifiers.push(format!("distro={}", encoded(&release)));
        }
    }
    if let Some(epoch) = epoch {
        qualifiers.push(format!("epoch={}", encoded(epoch)));
    }
    if !qualifiers.is_empty() {
        url.push('?');
        url.push_str(&qualifiers.join("&"));
    }
    url
}

fn vendor(inventory: &Inventory, package: &Package, otherwise: &str) -> String {
    let id = system_of(inventory, package).map_or(otherwise, |system| system.id.as_str());
    percent_encoded(id.as_bytes(), b"")
}

fn system_of<'i>(inventory: &'i Inventory, package: &Package) -> Option<&'i System> {
    let here = |system: &&System| {
        let evidence = system.evidence.as_ref();
        evidence.is_some_and(|at| at.disk == package.evidence.disk && at.volume == package.evidence.volume)
    };
    inventory.systems.iter().find(here).or(inventory.systems.first())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn packages_have_the_names_that_other_tools_give_them() {
        let inventory = sample::inventory();
        for (ecosystem, name, version, expected) in [
            (
                Ecosystem::Deb,
                "libstdc++6",
                "1:12.2-14+b1",
                "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2-14%2Bb1?distro=bookworm",
            ),
            (
                Ecosystem::Rpm,
                "openssl-libs",
                "1:3.0.7-27.el9",
                "pkg:rpm/debian/openssl-libs@3.0.7-27.el9?distro=debian-bookworm&epoch=1",
            ),
            (Ecosystem::Npm, "@angular/core", "1.0.0", "pkg:npm/%40angular/core@1.0.0"),
            (Ecosystem::Golang, "golang.org/x/net", "v0.1.0", "pkg:golang/golang.org/x/net@v0.1.0"),
            (Ecosystem::Maven, "org.apache:log4j", "2.1", "pkg:maven/org.apache/log4j@2.1"),
            (Ecosystem::Cargo, "a b?", "1", "pkg:cargo/a%20b%3F@1"),
        ] {
            let package = sample::package(ecosystem, name, version);
            assert_eq!(of(&inventory, &package), expected);
        }
    }
}
