//! The threat model names tests; they must be there.

use airlock_testkit::residue;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Fewer than this would mean that the names are written in another way now.
const NAMED_MIN: usize = 30;

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("docs/THREAT-MODEL.md")).expect("the threat model");
    let named: BTreeSet<(&str, &str)> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(_, test)| test.contains('_'))
        .collect();
    assert!(named.len() >= NAMED_MIN, "{} tests are named", named.len());
    let mut sources = residue::files(root.join("crates")).expect("sources");
    sources.retain(|path| path.extension().is_some_and(|ending| ending == "rs"));
    for (module, test) in named {
        let is_there = |path: &std::path::PathBuf| {
            let source = fs::read_to_string(path).expect("a source");
            let lines: Vec<&str> = source.lines().map(str::trim).collect();
            // Its attribute stands on one of the lines above it.
            lines.windows(2).any(|pair| {
                (pair[0].ends_with("test]") || pair[0] == "#[test]")
                    && pair[1].contains(&format!("fn {test}("))
            })
        };
        let mut of_module = sources.iter().filter(|path| path.file_stem().is_some_and(|stem| stem == module));
        let found = of_module.any(is_there);
        assert!(found, "there is no test {module}::{test}");
    }
}
