//! What may be in the repository at all.

use super::Project;

const FILE_BYTES_MAX: u64 = 256 << 10;
/// Larger files, each with the reason why it is one file.
const LARGE: &[&str] = &[];

/// Lists large files and paths of one person's machine.
pub(super) fn check(project: &Project) -> Vec<String> {
    let mut problems = Vec::new();
    for path in &project.files {
        let bytes = std::fs::metadata(project.root.join(path)).map_or(0, |file| file.len());
        if bytes > FILE_BYTES_MAX && !LARGE.contains(&path.as_str()) {
            problems.push(format!("{path} has {bytes} bytes: make it by code, or list it in xtask"));
        }
        let text = project.text(path);
        for (number, line) in text.lines().enumerate() {
            if let Some(place) = machine_path(line) {
                problems.push(format!("{path}:{}: {place} exists on one machine only", number + 1));
            }
        }
    }
    problems
}

/// Returns the path of a machine that a line names, if it does.
fn machine_path(line: &str) -> Option<&'static str> {
    // Put together here so that this file does not name them.
    const PLACES: &[(&str, &str)] = &[
        ("/wo", "rk/main"),
        ("/wo", "rk/shared"),
        ("/wo", "rk/."),
        ("/ro", "ot/.cargo"),
        ("/ro", "ot/.rustup"),
        ("/ro", "ot/.pyenv"),
        ("/tm", "p/target-"),
    ];
    PLACES
        .iter()
        .any(|(head, tail)| line.match_indices(head).any(|(at, _)| line[at + head.len()..].starts_with(tail)))
        .then_some("a path in this line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_machine_are_seen() {
        let line = format!("see {}{}", "/wo", "rk/shared/x");
        assert!(machine_path(&line).is_some());
        assert!(machine_path("the network/routes of /var/lib").is_none());
    }
}
