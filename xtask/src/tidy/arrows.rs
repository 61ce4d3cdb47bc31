//! Which crate may depend on which. Arrows point down only.

use super::Project;

/// Each crate with those of the workspace that it may depend on. A new arrow needs an ADR.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("disk", &["model"]),
    ("policy", &["model"]),
    ("evidence", &["model", "policy"]),
    ("rulebook", &["evidence"]),
    ("bundle", &["model", "disk"]),
    ("nbd", &["model", "disk"]),
    ("guest", &["model", "disk"]),
    ("inspect", &["model"]),
    ("decode", &["model"]),
    ("inventory", &["model", "disk", "guest", "decode"]),
    ("vulnerability", &["inventory"]),
    ("licensing", &["inventory"]),
    ("report", &["model", "inventory", "vulnerability", "licensing"]),
    (
        "checks",
        &["model", "disk", "policy", "guest", "inspect", "decode", "inventory", "vulnerability", "licensing"],
    ),
    ("jail", &[]),
    ("transfer", &["model", "policy"]),
    ("link", &["model", "policy", "transfer"]),
    ("console", &["link"]),
    (
        "manager",
        &[
            "model",
            "disk",
            "policy",
            "evidence",
            "guest",
            "bundle",
            "inspect",
            "inventory",
            "checks",
            "transfer",
            "link",
            "console",
        ],
    ),
    (
        "director",
        &[
            "model",
            "disk",
            "policy",
            "evidence",
            "guest",
            "inspect",
            "inventory",
            "checks",
            "transfer",
            "link",
            "rulebook",
            "jail",
            "console",
        ],
    ),
    (
        "airlock",
        &[
            "model",
            "disk",
            "policy",
            "evidence",
            "guest",
            "bundle",
            "inspect",
            "checks",
            "transfer",
            "link",
            "inventory",
            "vulnerability",
            "licensing",
            "report",
            "rulebook",
            "nbd",
            "manager",
            "director",
            "testkit",
        ],
    ),
    ("testkit", &[]),
];

/// Lists arrows that are not in the table, and crates that are not.
pub(super) fn check(project: &Project) -> Vec<String> {
    let mut problems = Vec::new();
    for manifest in project.ending("/Cargo.toml").filter(|path| path.starts_with("crates/")) {
        let Some(name) = manifest.split('/').nth(1) else { continue };
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            problems.push(format!("{manifest}: the crate is not in the table of arrows in xtask"));
            continue;
        };
        for target in arrows(&project.text(manifest)) {
            if !allowed.contains(&target.as_str()) {
                problems.push(format!("{manifest}: {name} must not depend on {target}"));
            }
        }
    }
    problems
}

/// Returns the crates of the workspace that a manifest depends on; what only tests use does not count.
fn arrows(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut counts = false;
    for line in manifest.lines() {
        let line = line.trim();
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            counts = table.split('.').any(|part| part == "dependencies" || part == "build-dependencies");
            if counts && let Some(name) = table.rsplit('.').next().and_then(|n| n.strip_prefix("airlock-")) {
                found.push(name.to_owned());
            }
        } else if counts && let Some(rest) = line.strip_prefix("airlock-") {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_are_read_from_a_manifest() {
        let manifest = "[dependencies]\nairlock-model.workspace = true\nserde = \"1\"\n\
                        [target.'cfg(unix)'.dependencies]\nairlock-disk = { workspace = true }\n\
                        [dev-dependencies]\nairlock-testkit.workspace = true\n\
                        [dependencies.airlock-guest]\nworkspace = true\n";
        assert_eq!(arrows(manifest), ["model", "disk", "guest"]);
    }

    #[test]
    fn no_arrow_points_up_and_the_sites_never_meet() {
        for (index, (name, allowed)) in ALLOWED.iter().enumerate() {
            for target in *allowed {
                let place = ALLOWED.iter().position(|(other, _)| other == target);
                assert!(place < Some(index) || *target == "testkit", "{name} -> {target}");
            }
        }
        for (one, other) in [("manager", "director"), ("director", "manager")] {
            let (_, allowed) = ALLOWED.iter().find(|(name, _)| *name == one).expect("known");
            assert!(!allowed.contains(&other));
        }
    }
}
