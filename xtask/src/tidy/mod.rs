//! The house rules. They are also a test, so that they hold in every change.

mod arrows;
mod lexer;
mod modules;
mod papers;
mod sizes;
mod tracked;

use crate::run::{command, output, root};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// The files of the project: what is tracked, and what is new and not ignored.
#[derive(Debug)]
pub(crate) struct Project {
    root: PathBuf,
    files: Vec<String>,
}

impl Project {
    /// Lists the files of the checkout.
    fn open() -> Result<Self> {
        let root = root();
        let listed = output(&mut command(
            "git",
            &["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
        ))?;
        let files = listed
            .split('\0')
            .filter(|path| !path.is_empty() && root.join(path).is_file())
            .map(str::to_owned)
            .collect();
        Ok(Self { root, files })
    }

    /// Returns the paths of the files that end with `suffix`, relative to the root.
    fn ending<'a>(&'a self, suffix: &'a str) -> impl Iterator<Item = &'a str> {
        self.files.iter().map(String::as_str).filter(move |path| path.ends_with(suffix))
    }

    /// Returns a file as text; empty where it is none.
    fn text(&self, path: impl AsRef<Path>) -> String {
        std::fs::read(self.root.join(path))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

/// Checks every rule and lists all that is wrong.
pub(crate) fn run() -> Result<()> {
    let problems = problems()?;
    if problems.is_empty() {
        println!("tidy ok");
        return Ok(());
    }
    for problem in &problems {
        println!("tidy: {problem}");
    }
    bail!("{} house rules are broken", problems.len())
}

/// Lowers the numbers of the ratchet to those of today.
pub(crate) fn accept() -> Result<()> {
    sizes::accept(&Project::open()?)
}

fn problems() -> Result<Vec<String>> {
    let project = Project::open()?;
    let mut problems = arrows::check(&project);
    problems.extend(modules::check(&project));
    problems.extend(sizes::check(&project));
    problems.extend(tracked::check(&project));
    problems.extend(papers::check(&project));
    Ok(problems)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_house_rules_hold() {
        let problems = super::problems().expect("the checkout can be listed");
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }
}
