//! Decisions are indexed, and every rule carries its own tests.

use super::Project;
use std::path::Path;

const EXAMPLES_MIN: usize = 2;

/// Lists decisions that the index does not name, and rules without examples.
pub(super) fn check(project: &Project) -> Vec<String> {
    let mut problems = Vec::new();
    let index = project.text("docs/adr/README.md");
    for path in project.ending(".md").filter(|path| path.starts_with("docs/adr/")) {
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path);
        if name != "README.md" && !index.contains(name) {
            problems.push(format!("docs/adr/README.md does not list {name}"));
        }
    }
    for path in project.ending(".yaml").filter(|path| path.starts_with("rules/")) {
        let text = project.text(path);
        for key in ["examples", "counter_examples"] {
            let lists = lists(&text, key);
            if lists.is_empty() || lists.iter().any(|items| *items < EXAMPLES_MIN) {
                problems.push(format!("{path}: every rule needs {EXAMPLES_MIN} {key} at least"));
            }
        }
    }
    problems
}

/// Returns the number of items of each block list under `key`.
fn lists(text: &str, key: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let name = line.trim_start().trim_start_matches("- ");
        if name.trim_end() != format!("{key}:") {
            continue;
        }
        let own = line.len() - name.len();
        let body = lines[number + 1..]
            .iter()
            .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
            .take_while(|line| {
                indent(line) > own || (indent(line) == own && line.trim_start().starts_with("- "))
            });
        let mut item = None;
        let mut count = 0;
        for line in body {
            // Items of a list inside an item are indented further than the first item.
            if line.trim_start().starts_with('-') && *item.get_or_insert(indent(line)) == indent(line) {
                count += 1;
            }
        }
        found.push(count);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted() {
        let text = "id: x\nexamples:\n  - text: a\n    finds:\n      - b\n  # why\n  - c\ncounter_examples:\n- d\nnext: 1\n";
        assert_eq!(lists(text, "examples"), [2]);
        assert_eq!(lists(text, "counter_examples"), [1]);
        assert!(lists(text, "nothing").is_empty());
    }
}
