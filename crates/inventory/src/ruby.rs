//! Gems: `specifications/NAME-VERSION[-PLATFORM].gemspec` says what is installed, and in it what its licence is
//! (guides.rubygems.org, "Specification Reference").

use crate::readers::Found;
use crate::{Ecosystem, Package};

/// Reads a specification as `RubyGems` writes it down.
pub(crate) fn gem(path: &[u8], bytes: &[u8]) -> Found {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    let package = split(name.trim_end_matches(".gemspec")).map(|(name, version)| {
        let licence = licence(&String::from_utf8_lossy(bytes));
        (0, Package { licence, ..Package::new(Ecosystem::Gem, name, version.to_owned()) })
    });
    Found::packages(package.into_iter().collect())
}

/// Returns the licences of `s.licenses = ["MIT".freeze]`: any of them may be chosen.
fn licence(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("s.licenses = ["))?;
    let names: Vec<&str> = line.split(']').next()?.split('"').skip(1).step_by(2).collect();
    (!names.is_empty()).then(|| names.join(" OR "))
}

/// Divides a name from its version: the first part behind a dash that begins with a digit.
fn split(text: &str) -> Option<(&str, &str)> {
    let (at, _) = text
        .match_indices('-')
        .find(|(at, _)| text.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit))?;
    let rest = text.get(at + 1..)?;
    Some((text.get(..at)?, rest.split_once('-').map_or(rest, |(version, _)| version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_dashes_and_versions_a_platform() {
        assert_eq!(split("rack-2.2.3"), Some(("rack", "2.2.3")));
        assert_eq!(split("net-http-persistent-4.0.1.pre"), Some(("net-http-persistent", "4.0.1.pre")));
        assert_eq!(split("nokogiri-1.13.0-x86_64-linux"), Some(("nokogiri", "1.13.0")));
        assert_eq!(split("noversion"), None);
        let text = b"Gem::Specification.new do |s|\n  s.licenses = [\"Ruby\".freeze, \"BSD-2-Clause\".freeze]\nend\n";
        let found = gem(b"/x/specifications/json-2.6.1.gemspec", text).packages;
        assert_eq!(found[0].1.licence.as_deref(), Some("Ruby OR BSD-2-Clause"));
    }
}
