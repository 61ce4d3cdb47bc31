//! Java: what `pom.properties` (Maven Archiver, "pom.properties content") and `META-INF/MANIFEST.MF` (JAR File
//! Specification, "JAR Manifest") say of a module, unpacked or inside of archives, and those inside of each other:
//! `.war` with `WEB-INF/lib`, Spring Boot's `BOOT-INF/lib`, `.ear`.

use crate::members::{Members, Wanted};
use crate::readers::Found;
use crate::{Ecosystem, Package};
use airlock_decode::ReadAt;
use std::collections::BTreeSet;

/// Returns whether files with this ending, in lower case, are archives of Java.
pub(crate) fn is_archive(ending: &[u8]) -> bool {
    matches!(
        ending,
        b"jar" | b"war" | b"ear" | b"par" | b"sar" | b"rar" | b"hpi" | b"jpi" | b"kar" | b"lpkg" | b"nar"
    )
}

/// Reads `pom.properties`.
pub(crate) fn pom(_: &[u8], bytes: &[u8]) -> Found {
    Found::packages(properties(bytes).into_iter().map(|package| (0, package)).collect())
}

fn properties(bytes: &[u8]) -> Option<Package> {
    let text = String::from_utf8_lossy(bytes);
    let get = |name: &str| {
        let field = |line: &str| {
            let (key, value) = line.split_once(['=', ':'])?;
            (key.trim() == name).then(|| value.trim().to_owned())
        };
        text.lines().find_map(field).filter(|value| !value.is_empty())
    };
    let (group, name, version) = (get("groupId")?, get("artifactId")?, get("version")?);
    Some(Package::new(Ecosystem::Maven, &format!("{group}:{name}"), version))
}

/// Reads an archive, and those inside of it.
pub(crate) fn archive(path: &[u8], file: &mut dyn ReadAt) -> Option<Found> {
    let wanted: Wanted = |name| {
        name.ends_with(b"/pom.properties") && name.starts_with(b"META-INF/maven/")
            || name == b"META-INF/MANIFEST.MF"
    };
    let (archives, mut found) = Members::read(path, file, wanted)?;
    // Members of an archive that is stored as it is may be told as members of the one around it, too.
    let mut known = BTreeSet::new();
    let mut add = |at: u64, package: Package| {
        if known.insert((package.name.clone(), package.version.clone())) {
            found.packages.push((at, package));
        }
    };
    for archive in archives {
        // A module that was put together with others lists them all.
        let poms = archive.members.iter().filter(|member| member.name.ends_with(b".properties"));
        let modules: Vec<Package> = poms.filter_map(|member| properties(&member.bytes)).collect();
        let manifest = archive.members.iter().find(|member| member.name.ends_with(b".MF"));
        let own = file_name(&archive.path);
        // Where the module itself has no record, its manifest and the name of its file say what it is.
        let (name, _) = split(&own);
        let listed = modules.iter().any(|one| one.name.rsplit(':').next() == Some(name));
        if !listed && let Some(package) = manifest.and_then(|manifest| by_manifest(&own, &manifest.bytes)) {
            add(archive.at, package);
        }
        for package in modules {
            add(archive.at, package);
        }
    }
    Some(found)
}

/// Returns the name of a file without its folders and its ending.
fn file_name(path: &[u8]) -> String {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    name.rsplit_once('.').map_or(name.as_ref(), |(name, _)| name).to_owned()
}

/// Divides `name-version`: the version begins with the first digit behind a hyphen.
fn split(file: &str) -> (&str, Option<&str>) {
    let digit = |at: usize| file.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
    let at = file.match_indices('-').map(|(at, _)| at).find(|at| digit(*at));
    at.map_or((file, None), |at| (file.get(..at).unwrap_or(file), file.get(at + 1..)))
}

/// Returns the module of an archive by its name and its manifest. What has a version nowhere is none, and so is a
/// program without the name of a module.
fn by_manifest(file: &str, manifest: &[u8]) -> Option<Package> {
    let text = unfolded(manifest);
    let get = |name: &str| {
        // Only the first section is about the archive.
        let main = text.lines().take_while(|line| !line.trim().is_empty());
        let mut fields = main.filter_map(|line| line.split_once(':'));
        let value =
            fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned());
        value.filter(|value| !value.is_empty() && !value.contains("${"))
    };
    let (name, version) = split(file);
    let version = version.map(str::to_owned).or_else(|| {
        ["Implementation-Version", "Bundle-Version", "Specification-Version"].into_iter().find_map(get)
    })?;
    let symbolic =
        get("Bundle-SymbolicName").map(|name| name.split(';').next().unwrap_or_default().trim().to_owned());
    let name = if name.is_empty() { return None } else { name };
    let dotted = |text: &String| text.contains('.') && !text.contains([' ', '/', ',']);
    let above = |text: String| {
        let whole = text.strip_suffix(name).and_then(|rest| rest.strip_suffix('.')).map(str::to_owned);
        whole.or_else(|| text.rsplit_once('.').map(|(group, _)| group.to_owned()))
    };
    let group = get("Implementation-Vendor-Id")
        .filter(dotted)
        .or_else(|| symbolic.filter(dotted).and_then(above))
        .or_else(|| get("Automatic-Module-Name").filter(dotted).and_then(above));
    let full = group.map_or_else(|| name.to_owned(), |group| format!("{group}:{name}"));
    let licence =
        get("Bundle-License").map(|text| text.split([';', ',']).next().unwrap_or_default().trim().to_owned());
    Some(Package { licence, ..Package::new(Ecosystem::Maven, &full, version) })
}

/// Puts lines together that were folded at 72 bytes.
fn unfolded(manifest: &[u8]) -> String {
    String::from_utf8_lossy(manifest).replace("\r\n", "\n").replace("\n ", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::tests::zip;

    fn names(path: &str, bytes: &[u8]) -> Vec<String> {
        let (packages, _) = crate::read_file(path.as_bytes(), bytes);
        let mut names: Vec<_> = packages.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
        names.sort();
        names
    }

    const LOG4J: &[u8] =
        b"#Created\nversion=2.14.1\ngroupId=org.apache.logging.log4j\nartifactId=log4j-core\n";

    #[test]
    fn a_module_has_a_group() {
        let found = pom(b"", LOG4J);
        assert_eq!(found.packages[0].1.name, "org.apache.logging.log4j:log4j-core");
        assert_eq!(pom(b"", b"version=1\n").packages.len(), 0);
    }

    #[test]
    fn archives_inside_of_archives_are_read() {
        let manifest = b"Manifest-Version: 1.0\r\nBundle-SymbolicName: org.apache.commons.commons-te\r\n xt;singleton:=true\r\nBundle-License: https://www.apache.org/licenses/LICENSE-2.0.txt\r\n\r\nName: x\r\nImplementation-Version: 9\r\n";
        let text = zip(&[("META-INF/MANIFEST.MF", manifest), ("A.class", b"\xca\xfe\xba\xbe")]);
        let core = zip(&[("META-INF/maven/org.apache.logging.log4j/log4j-core/pom.properties", LOG4J)]);
        let boot = zip(&[
            ("META-INF/MANIFEST.MF", b"Implementation-Title: shop\n"),
            ("META-INF/maven/shop/shop/pom.properties", b"groupId=test.shop\nartifactId=shop\nversion=1.0\n"),
            ("BOOT-INF/lib/log4j-core-2.14.1.jar", &core),
            ("BOOT-INF/lib/commons-text-1.9.jar", &text),
        ]);
        let expected = [
            "org.apache.commons:commons-text 1.9",
            "org.apache.logging.log4j:log4j-core 2.14.1",
            "test.shop:shop 1.0",
        ];
        assert_eq!(names("/srv/shop-1.0.jar", &boot), expected);
        let ear = zip(&[("shop.war", &boot)]);
        assert_eq!(names("/srv/all.ear", &ear), expected);
        for length in (0..ear.len()).step_by(7) {
            let _ = names("/srv/all.ear", &ear[..length]);
        }
    }

    #[test]
    fn names_of_files_and_manifests_say_what_has_no_record() {
        let named = |file: &str, manifest: &str| {
            by_manifest(file, manifest.as_bytes()).map(|one| format!("{} {}", one.name, one.version))
        };
        let check = |file, manifest, expected: Option<&str>| {
            assert_eq!(named(file, manifest).as_deref(), expected, "{file}");
        };
        check("struts-1.2.9", "Implementation-Vendor-Id: org.apache\n", Some("org.apache:struts 1.2.9"));
        check(
            "guava",
            "Bundle-SymbolicName: com.google.guava\nBundle-Version: 30.1.0\n",
            Some("com.google:guava 30.1.0"),
        );
        check("plain-1.0", "Manifest-Version: 1.0\n", Some("plain 1.0"));
        check("app", "Main-Class: a.B\n", None);
        check("x", "Implementation-Version: ${project.version}\n", None);
    }
}
