//! Long files and long functions, as a ratchet: the numbers of today may only shrink.

use super::Project;
use super::lexer::{blank, functions};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 100;
const RATCHET: &str = "xtask/ratchet.txt";

/// Lists files and functions that are too long and not, or no longer, excused.
pub(super) fn check(project: &Project) -> Vec<String> {
    let excused = excused(&project.text(RATCHET));
    let today = too_long(project);
    let mut problems = Vec::new();
    for (what, lines) in &today {
        match excused.get(what) {
            None => problems.push(format!("{what} has {lines} lines: split it")),
            Some(limit) if lines > limit => {
                problems.push(format!("{what} has grown from {limit} to {lines} lines: split it"));
            }
            Some(limit) if lines < limit => problems
                .push(format!("{what} has shrunk from {limit} to {lines} lines: cargo xtask tidy --accept")),
            Some(_) => {}
        }
    }
    for what in excused.keys().filter(|what| !today.contains_key(*what)) {
        problems.push(format!("{what} needs no excuse any more: cargo xtask tidy --accept"));
    }
    problems
}

/// Writes the numbers that have shrunk.
pub(super) fn accept(project: &Project) -> Result<()> {
    let excused = excused(&project.text(RATCHET));
    let mut text = String::from("# Lines of files over 600 and functions over 100; may only shrink.\n");
    for (what, lines) in too_long(project) {
        if let Some(limit) = excused.get(&what) {
            let _ = writeln!(text, "{} {what}", lines.min(*limit));
        }
    }
    std::fs::write(project.root.join(RATCHET), text).context("cannot write the ratchet")
}

fn excused(text: &str) -> BTreeMap<String, usize> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (lines, what) = line.split_once(' ')?;
            Some((what.to_owned(), lines.parse().ok()?))
        })
        .collect()
}

fn too_long(project: &Project) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for path in project.ending(".rs") {
        let source = project.text(path);
        let lines = source.lines().count();
        if lines > FILE_LINES_MAX {
            found.insert(path.to_owned(), lines);
        }
        for function in functions(&blank(&source)) {
            if function.lines > FUNCTION_LINES_MAX {
                found.insert(format!("{path}:{}", function.name), function.lines);
            }
        }
    }
    found
}
