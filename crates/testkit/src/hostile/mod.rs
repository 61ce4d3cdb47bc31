//! Images, bundles and archives that mean harm, made by code: nothing is downloaded, and no blob is kept.
//!
//! Each case is a few files and what must become of them. Cases are numbered by nothing but their names, which
//! say what is wrong with them.

mod archives;
mod bytes;
mod images;
mod lvm;
mod names;
mod references;
mod volumes;

pub use archives::archives;
pub use images::images;
pub use names::{HOSTILE_NAMES, names};
pub use references::{TARGETS, references};
pub use volumes::volumes;

use crate::Result;
use crate::error::IoContext;
use std::fs;
use std::path::{Path, PathBuf};

/// What must become of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is refused as a whole: an error that names it.
    Refused,
    /// The value in it is found, or what hides it is not called clean.
    NotClean,
    /// It ends, in time and memory, with any of the documented codes.
    Ends,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is wrong with it.
    pub name: String,
    /// The file that is opened.
    pub main: String,
    /// All files, by name below a folder of the case's own.
    pub files: Vec<(String, Vec<u8>)>,
    /// Symbolic links: name, and what it points to.
    pub links: Vec<(String, String)>,
    /// Bytes of the first file behind what it holds: a hole.
    pub hole: u64,
    /// What must become of it.
    pub expected: Expected,
    /// What it refers to and must not be opened.
    pub target: Option<String>,
}

impl Case {
    /// A case of one file.
    pub fn new(name: impl Into<String>, main: &str, bytes: Vec<u8>, expected: Expected) -> Self {
        Self {
            name: name.into(),
            main: main.to_owned(),
            files: vec![(main.to_owned(), bytes)],
            links: Vec::new(),
            hole: 0,
            expected,
            target: None,
        }
    }

    /// Writes it below a folder, and returns what is to be opened.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).on("create", folder)?;
        for (index, (name, bytes)) in self.files.iter().enumerate() {
            let path = folder.join(name);
            fs::write(&path, bytes).on("write", &path)?;
            if index == 0 && self.hole > 0 {
                let file = fs::OpenOptions::new().write(true).open(&path).on("open", &path)?;
                file.set_len(bytes.len() as u64 + self.hole).on("resize", &path)?;
            }
        }
        for (name, to) in &self.links {
            let path = folder.join(name);
            std::os::unix::fs::symlink(to, &path).on("link", &path)?;
        }
        Ok(folder.join(&self.main))
    }
}

/// Values for a field of so many bytes that its writer did not think of.
fn extremes(width: usize) -> Vec<u64> {
    let most = if width == 8 { u64::MAX } else { (1 << (8 * width)) - 1 };
    vec![0, 1, most / 2, most / 2 + 1, most]
}
