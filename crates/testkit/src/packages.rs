//! Debian packages: downloaded by apt, unpacked without being installed, kept in a folder.

use crate::error::IoContext;
use crate::{Error, Result, Tool};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Holds a folder against other processes until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    _file: File,
}

impl Claim {
    /// Waits until no other process works in `folder`, which is made if it is missing.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).on("create", folder)?;
        let path = folder.join(".claim");
        let file = File::create(&path).on("create", &path)?;
        file.lock().on("lock", &path)?;
        Ok(Self { _file: file })
    }
}

/// Downloads packages into `folder`, unless they are there, and returns the archives in the order asked for.
///
/// The folder must be claimed by the caller.
pub(crate) fn download(folder: &Path, packages: &[&str]) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).on("create", folder)?;
    let missing: Vec<&str> =
        packages.iter().copied().filter(|package| archive(folder, package).is_none()).collect();
    if !missing.is_empty() {
        let fetch = || Tool::new("apt-get")?.args(["download", "-q"]).args(&missing).folder(folder).run();
        if fetch().is_err() {
            // The lists may be older than the archive; only root may renew them.
            Tool::new("apt-get")?.args(["update", "-q"]).run()?;
            fetch()?;
        }
    }
    packages
        .iter()
        .map(|package| {
            archive(folder, package)
                .ok_or_else(|| Error::Layout(format!("apt-get did not download {package}")))
        })
        .collect()
}

fn archive(folder: &Path, package: &str) -> Option<PathBuf> {
    let prefix = format!("{package}_");
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
            name.starts_with(&prefix) && path.extension().is_some_and(|suffix| suffix == "deb")
        })
        .collect();
    found.sort();
    found.pop()
}

/// Unpacks a package below `root` without running anything of it.
pub(crate) fn unpack(archive: &Path, root: &Path) -> Result<()> {
    Tool::new("dpkg-deb")?.arg("-x").arg(archive).arg(root).run().map(drop)
}

/// Returns the package that a package without content stands for, such as the newest kernel.
pub(crate) fn stands_for(package: &str, prefix: &str) -> Result<String> {
    let ask = || Tool::new("apt-cache")?.args(["depends", package]).accept(100).run();
    let find = |text: &str| {
        text.lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
    };
    if let Some(name) = find(&ask()?) {
        return Ok(name);
    }
    Tool::new("apt-get")?.args(["update", "-q"]).run()?;
    find(&ask()?).ok_or_else(|| Error::Layout(format!("no archive of this system has {package}")))
}

/// Returns the address of the archive that this system installs its release from.
pub(crate) fn archive_address() -> Result<String> {
    let release = |text: &str| {
        text.lines().find_map(|line| {
            let (address, rest) = line.split_once(' ')?;
            (rest == "bookworm main").then(|| address.to_owned())
        })
    };
    let ask = || {
        Tool::new("apt-get")?
            .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"])
            .run()
    };
    release(&ask()?).ok_or_else(|| Error::Layout("apt knows no archive of Debian bookworm".to_owned()))
}
