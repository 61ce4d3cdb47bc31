//! Lines of the scoreboard, written by the tests that earn them.

use std::fs;
use std::path::{Path, PathBuf};

/// Writes `target/score/LINE.json`: so many passed of so many, from these seeds.
///
/// The line becomes the name of the file, in lower-case letters, digits and hyphens.
///
/// # Panics
/// Panics where the file cannot be written: a line that is missing looks like one that fell.
pub fn score(line: &str, passed: u64, of: u64, seeds: &str) {
    let name: String =
        line.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let folder = folder();
    let text = serde_json::json!({ "line": line, "passed": passed, "of": of, "seeds": seeds });
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join(format!("{name}.json")), format!("{text}\n")))
        .expect("the target folder can be written");
}

/// Returns `score` beside the profile's folder that this test was built into.
fn folder() -> PathBuf {
    let program = std::env::current_exe().expect("a test has a path");
    let in_target = |path: &&Path| path.file_name().is_some_and(|name| name == "deps");
    let deps = program.ancestors().find(in_target).unwrap_or(&program);
    deps.ancestors().nth(2).unwrap_or(Path::new(".")).join("score")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_beside_the_profile() {
        score("A test's own line", 2, 2, "7");
        let path = folder().join("a-test-s-own-line.json");
        let text = fs::read_to_string(&path).expect("written");
        assert_eq!(text, "{\"line\":\"A test's own line\",\"of\":2,\"passed\":2,\"seeds\":\"7\"}\n");
        fs::remove_file(path).expect("removed");
    }
}
