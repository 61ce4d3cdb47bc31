//! Every Rust file is part of a crate: declared by a `mod`, or a root that cargo finds itself.

use super::Project;
use super::lexer::{blank, is_word};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Lists files that nothing declares, and tests that are switched off.
pub(super) fn check(project: &Project) -> Vec<String> {
    let files: BTreeSet<PathBuf> = project.ending(".rs").map(PathBuf::from).collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<PathBuf> = files.iter().filter(|file| is_root(file)).cloned().collect();
    while let Some(file) = open.pop() {
        if !reached.insert(file.clone()) {
            continue;
        }
        let source = project.text(&file);
        open.extend(declared(&file, &source).into_iter().filter(|child| files.contains(child)));
    }
    let mut problems: Vec<String> = files
        .difference(&reached)
        .map(|file| format!("{}: no `mod` declares this file", file.display()))
        .collect();
    let ignored = concat!("#[", "ignore");
    problems.extend(
        project.ending(".rs").filter(|path| blank(&project.text(path)).contains(ignored)).map(|path| {
            format!("{path}: a test is switched off; assert today's answer with a FIXME instead")
        }),
    );
    problems
}

/// Returns whether cargo takes a file as the root of a crate.
fn is_root(file: &Path) -> bool {
    let parts: Vec<&str> = file.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        [.., "src", "lib.rs" | "main.rs"] | [.., "src", "bin", _] | [.., "build.rs"] => true,
        [.., "tests" | "benches" | "examples" | "fuzz_targets", name] => {
            !parts.contains(&"src") && Path::new(name).extension().is_some_and(|e| e == "rs")
        }
        [.., "tests" | "benches" | "examples", _, "main.rs"] => !parts.contains(&"src"),
        _ => false,
    }
}

/// Returns where the modules that a file declares may lie.
fn declared(file: &Path, source: &str) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
    let own = match stem {
        "mod" | "lib" | "main" => folder.to_owned(),
        _ if is_root(file) => folder.to_owned(),
        _ => folder.join(stem),
    };
    let mut children = Vec::new();
    let blanked = blank(source);
    for (at, _) in blanked.match_indices("mod ") {
        if at > 0 && is_word(blanked.as_bytes()[at - 1]) {
            continue;
        }
        let rest = &blanked[at + 4..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if rest[name.len()..].trim_start().starts_with(';') {
            children.push(own.join(format!("{name}.rs")));
            children.push(own.join(&name).join("mod.rs"));
        }
    }
    for line in source.lines() {
        if let Some(path) = line.trim().strip_prefix("#[path = \"").and_then(|rest| rest.split('"').next()) {
            children.push(folder.join(path));
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_lead_to_files() {
        let children = declared(Path::new("a/src/ext/mod.rs"), "mod tree;\npub(crate) mod inner { }\n");
        assert_eq!(children, [Path::new("a/src/ext/tree.rs"), Path::new("a/src/ext/tree/mod.rs")]);
        let children = declared(Path::new("a/src/ext.rs"), "mod tree;");
        assert_eq!(children[0], Path::new("a/src/ext/tree.rs"));
        let children = declared(Path::new("a/tests/all.rs"), "mod common;");
        assert_eq!(children[1], Path::new("a/tests/common/mod.rs"));
    }

    #[test]
    fn roots_are_those_of_cargo() {
        assert!(is_root(Path::new("crates/a/src/lib.rs")));
        assert!(is_root(Path::new("crates/a/tests/a.rs")));
        assert!(!is_root(Path::new("crates/a/src/tests/a.rs")));
    }
}
