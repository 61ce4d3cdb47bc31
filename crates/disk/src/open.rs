//! Opens an image and, where the caller allows it, the images behind it.

use crate::file::HostFile;
use crate::probe::{Probe, probe_host};
use crate::qcow2::{Caches, Header, Qcow2};
use crate::{BlockSource, Error, Format, RawFile};
use airlock_model::Escaped;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Most images in a chain of backing files.
const LAYERS_MAX: usize = 64;

/// Most bytes of L1 tables of a whole chain, which are kept in memory.
const L1_BYTES_MAX: u64 = 64 << 20;

/// How [`open`] treats an image.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The format, where the caller knows it. Otherwise the first bytes decide, which
    /// a guest may have written; then [`Opened::probed`] is set.
    pub format: Option<Format>,
    /// The directory below which backing files and external data files may be opened.
    /// Nothing that an image names is opened without it.
    pub allow_backing: Option<PathBuf>,
}

/// An open image.
#[derive(Debug)]
pub struct Opened {
    /// The disk.
    pub source: Arc<dyn BlockSource>,
    /// Whether the format of any file was decided by its first bytes.
    pub probed: bool,
    /// Every file that was opened, the image itself first.
    pub files: Vec<PathBuf>,
}

/// Opens the image at `path`.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Opened, Error> {
    let mut chain = Chain {
        allowed: options.allow_backing.as_deref(),
        seen: HashSet::new(),
        files: Vec::new(),
        probed: false,
        l1_bytes: 0,
    };
    let mut layers = Vec::new();
    let mut next = Some((HostFile::open(path)?, path.to_path_buf(), options.format));
    let mut base: Option<Arc<dyn BlockSource>> = None;
    while let Some((host, path, format)) = next.take() {
        match chain.enter(&host, &path, format)? {
            Format::Raw => base = Some(Arc::new(RawFile::of(host))),
            Format::Qcow2 => {
                let header = Header::read(&host)?;
                chain.charge(header.l1_entries)?;
                let data = chain.data_file(&header, &path)?;
                next = chain.backing(&header, &path)?;
                layers.push((host, data, header));
            }
        }
    }
    let caches = Arc::new(Caches::new());
    for (number, (host, data, header)) in (0_u32..).zip(layers.into_iter().rev()) {
        let caches = Arc::clone(&caches);
        base = Some(Arc::new(Qcow2::new(host, data, header, number, caches, base.take())?));
    }
    let Some(source) = base else {
        return Err(unsupported("there is no image"));
    };
    Ok(Opened { source, probed: chain.probed, files: chain.files })
}

fn unsupported(what: impl Into<String>) -> Error {
    Error::Unsupported { format: Format::Qcow2, what: what.into() }
}

/// What is known of a chain of images while it is opened.
struct Chain<'o> {
    allowed: Option<&'o Path>,
    seen: HashSet<(u64, u64)>,
    files: Vec<PathBuf>,
    probed: bool,
    l1_bytes: u64,
}

impl Chain<'_> {
    /// Takes a file into the chain and returns its format.
    fn enter(&mut self, host: &HostFile, path: &Path, format: Option<Format>) -> Result<Format, Error> {
        if self.files.len() >= LAYERS_MAX {
            return Err(unsupported(format!("a chain of more than {LAYERS_MAX} backing files")));
        }
        if !self.seen.insert(host.identity()?) {
            return Err(unsupported("a chain of backing files that leads back to itself"));
        }
        self.files.push(path.to_path_buf());
        if let Some(format) = format {
            return Ok(format);
        }
        self.probed = true;
        match probe_host(host)? {
            Probe::Image(format) => Ok(format),
            Probe::Foreign(name) => Err(Error::Unsupported {
                format: Format::Raw,
                what: format!("it begins like a {name} image; name the format to read it as raw bytes"),
            }),
            Probe::Disk | Probe::Unknown => Ok(Format::Raw),
        }
    }

    /// Counts the L1 table of one more image.
    fn charge(&mut self, l1_entries: u64) -> Result<(), Error> {
        self.l1_bytes = self.l1_bytes.saturating_add(l1_entries.saturating_mul(8));
        if self.l1_bytes > L1_BYTES_MAX {
            return Err(unsupported("the L1 tables of the chain are above 64 MiB"));
        }
        Ok(())
    }

    /// Opens the external data file of an image, if it has one.
    fn data_file(&mut self, header: &Header, image: &Path) -> Result<Option<HostFile>, Error> {
        let Some(name) = &header.data_file else {
            return Ok(None);
        };
        let (host, path) = self.referred("external data file", name, image)?;
        self.files.push(path);
        Ok(Some(host))
    }

    /// Opens the backing file of an image, if it has one.
    fn backing(
        &self,
        header: &Header,
        image: &Path,
    ) -> Result<Option<(HostFile, PathBuf, Option<Format>)>, Error> {
        let Some(name) = &header.backing else {
            return Ok(None);
        };
        let format = match header.backing_format.as_deref() {
            None | Some(b"") => None,
            Some(b"raw") => Some(Format::Raw),
            Some(b"qcow2") => Some(Format::Qcow2),
            Some(other) => {
                let other = Escaped(other);
                return Err(unsupported(format!("a backing file of format \"{other}\"")));
            }
        };
        let (host, path) = self.referred("backing file", name, image)?;
        Ok(Some((host, path, format)))
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
