//! The files of an image while it is opened: which may be, and which were.
//!
//! Formats open no file themselves: what an image names goes through
//! [`Chain::referred`], which stays beneath the directory that the caller allowed.

use crate::file::HostFile;
use crate::layer::{Caches, Layer};
use crate::probe::{Probe, probe_host};
use crate::{Error, Format};
use airlock_model::Escaped;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Most images in a chain of backing files.
const LAYERS_MAX: usize = 64;

/// Most files that one chain opens: a disk of 4 TiB in extents of 2 GiB, and some.
const FILES_MAX: usize = 4096;

/// Most bytes of tables of a whole chain that are kept in memory.
const TABLE_BYTES_MAX: u64 = 64 << 20;

/// One image of a chain as its format opened it.
pub(crate) struct Part {
    pub(crate) layer: Box<dyn Layer>,
    /// The image behind it.
    pub(crate) parent: Option<Parent>,
    /// What an image that is based on this one calls it; empty where the format has no such thing.
    pub(crate) identity: Vec<u8>,
}

/// The image behind another one, as that one describes it.
pub(crate) struct Parent {
    /// What it is called in errors.
    pub(crate) what: &'static str,
    /// Its name, and others to try where there is no such file.
    pub(crate) names: Vec<Vec<u8>>,
    /// Its format, where the image tells.
    pub(crate) format: Option<Format>,
    /// What its identity has to be one of, if the format says anything.
    pub(crate) identities: Vec<Vec<u8>>,
}

/// What is known of a chain of images while it is opened.
pub(crate) struct Chain<'o> {
    pub(crate) caches: Arc<Caches>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) probed: bool,
    allowed: Option<&'o Path>,
    seen: HashSet<(u64, u64, u64)>,
    table_bytes: u64,
}

impl<'o> Chain<'o> {
    /// Returns a chain without images; nothing outside of `allowed` is opened.
    pub(crate) fn new(allowed: Option<&'o Path>) -> Self {
        Self {
            caches: Arc::new(Caches::new()),
            files: Vec::new(),
            probed: false,
            allowed,
            seen: HashSet::new(),
            table_bytes: 0,
        }
    }

    /// Takes an image into the chain and returns its format.
    pub(crate) fn enter(
        &mut self,
        host: &HostFile,
        path: PathBuf,
        format: Option<Format>,
    ) -> Result<Format, Error> {
        let guess = format.unwrap_or(Format::Raw);
        if self.seen.len() >= LAYERS_MAX {
            return Err(guess.unsupported(format!("a chain of more than {LAYERS_MAX} backing files")));
        }
        if !self.seen.insert(host.identity()?) {
            return Err(guess.unsupported("a chain of backing files that leads back to itself"));
        }
        self.opened(path)?;
        if let Some(format) = format {
            return Ok(format);
        }
        self.probed = true;
        match probe_host(host)? {
            Probe::Image(format) => Ok(format),
            Probe::Foreign(name) => Err(Format::Raw.unsupported(format!(
                "it begins like a {name} image; name the format to read it as raw bytes"
            ))),
            Probe::Disk | Probe::Unknown => Ok(Format::Raw),
        }
    }

    fn opened(&mut self, path: PathBuf) -> Result<(), Error> {
        if self.files.len() >= FILES_MAX {
            return Err(Format::Raw.unsupported(format!("an image of more than {FILES_MAX} files")));
        }
        self.files.push(path);
        Ok(())
    }

    /// Counts a table that is kept in memory.
    pub(crate) fn charge(&mut self, format: Format, table_bytes: u64) -> Result<(), Error> {
        self.table_bytes = self.table_bytes.saturating_add(table_bytes);
        if self.table_bytes > TABLE_BYTES_MAX {
            return Err(format.unsupported("the tables of the chain are above 64 MiB"));
        }
        Ok(())
    }

    /// Opens a file that `image` refers to and that is not an image itself.
    pub(crate) fn part_of(
        &mut self,
        what: &'static str,
        name: &[u8],
        image: &Path,
    ) -> Result<HostFile, Error> {
        let (host, path) = self.referred(what, name, image)?;
        self.opened(path)?;
        Ok(host)
    }

    /// Opens the image behind `image`: the first of its names that exists.
    pub(crate) fn parent(&self, parent: &Parent, image: &Path) -> Result<(HostFile, PathBuf), Error> {
        let missing = |error: &Error| match error {
            Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Error::Reference { .. } => self.allowed.is_some(),
            _ => false,
        };
        let mut first = None;
        for name in &parent.names {
            match self.referred(parent.what, name, image) {
                Err(error) if missing(&error) => first = first.or(Some(error)),
                other => return other,
            }
        }
        let nameless = || Error::Reference { what: parent.what, name: String::new() };
        Err(first.unwrap_or_else(nameless))
    }

    /// Opens a file that `image` refers to, beneath the allowed directory.
    fn referred(&self, what: &'static str, name: &[u8], image: &Path) -> Result<(HostFile, PathBuf), Error> {
        let refused = || Error::Reference { what, name: Escaped(name).to_string() };
        let allowed = self.allowed.ok_or_else(refused)?;
        let inner = inner_name(name, image, allowed).ok_or_else(refused)?;
        match HostFile::open_beneath(allowed, &inner) {
            Ok(host) => Ok((host, allowed.join(inner))),
            // EXDEV: it leaves the directory; ELOOP: a link is on the way.
            Err(Error::Io { source, .. }) if [Some(18), Some(40)].contains(&source.raw_os_error()) => {
                Err(refused())
            }
            Err(other) => Err(other),
        }
    }
}

/// Returns the name below `allowed` of the file that `image` calls `name`.
///
/// A relative name counts from the directory of the image where that lies inside
/// `allowed`, else from `allowed` itself. Names with a protocol are nothing's name here.
fn inner_name(name: &[u8], image: &Path, allowed: &Path) -> Option<PathBuf> {
    let head = name.split(|&byte| byte == b'/').next().unwrap_or_default();
    if head.contains(&b':') || name.contains(&0) || name.is_empty() {
        return None;
    }
    let name = Path::new(OsStr::from_bytes(name));
    let roots = [std::path::absolute(allowed), allowed.canonicalize()];
    let mut roots = roots.iter().flatten();
    if name.is_absolute() {
        let inner = roots.find_map(|root| name.strip_prefix(root).ok())?;
        return (!inner.as_os_str().is_empty()).then(|| inner.to_path_buf());
    }
    let image = std::path::absolute(image).ok()?;
    let directory = image.parent()?;
    let inside = |root: &PathBuf| {
        let inner = directory.strip_prefix(root).ok()?;
        let plain = inner.components().all(|part| matches!(part, Component::Normal(_)));
        plain.then(|| inner.join(name))
    };
    Some(roots.find_map(inside).unwrap_or_else(|| name.to_path_buf()))
}

/// Returns the names to try of a file that Windows wrote down: each as it is, then beside the image.
pub(crate) fn windows_names(paths: Vec<String>) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let paths: Vec<String> = paths.into_iter().map(|path| path.replace('\\', "/")).collect();
    let last = paths.iter().filter_map(|path| path.rsplit('/').next());
    for name in paths.iter().map(String::as_str).chain(last) {
        if !name.is_empty() && !names.contains(&name.as_bytes().to_vec()) {
            names.push(name.as_bytes().to_vec());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_looked_for_where_windows_says_and_beside_the_image() {
        let names = windows_names(vec![r"..\base\a.vhd".into(), r"C:\vm\a.vhd".into(), String::new()]);
        let expected: [&[u8]; 3] = [b"../base/a.vhd", b"C:/vm/a.vhd", b"a.vhd"];
        assert_eq!(names, expected);
    }
}
