//! Opens an image and, where the caller allows it, the images behind it.

use crate::chain::{Chain, Parent, Part, windows_names};
use crate::file::HostFile;
use crate::layer::{Image, Layer};
use crate::{BlockSource, Error, Format, qcow2, raw, vdi, vhd, vhdx, vmdk};
use airlock_model::Extent;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How [`open`] treats an image.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The format, where the caller knows it. Otherwise the first bytes decide, which
    /// a guest may have written; then [`Opened::probed`] is set.
    pub format: Option<Format>,
    /// The directory below which parents, extents and external data files may be opened.
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
    open_host(HostFile::open(path)?, path, options)
}

/// Opens the image that is a part of the file at `path`, such as a member of an archive.
pub fn open_part(path: &Path, part: Extent, options: &OpenOptions) -> Result<Opened, Error> {
    open_host(HostFile::open(path)?.part(part)?, path, options)
}

/// Opens the image that the file `named_in` calls `name`, beneath the directory that the caller allowed.
pub fn open_named(name: &str, named_in: &Path, options: &OpenOptions) -> Result<Opened, Error> {
    let parent = Parent {
        what: "disk image",
        names: windows_names(vec![name.to_owned()]),
        format: options.format,
        identities: Vec::new(),
    };
    let (host, path) = Chain::new(options.allow_backing.as_deref()).parent(&parent, named_in)?;
    open_host(host, &path, options)
}

fn open_host(host: HostFile, path: &Path, options: &OpenOptions) -> Result<Opened, Error> {
    let mut chain = Chain::new(options.allow_backing.as_deref());
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    let mut next = Some((host, path.to_path_buf(), options.format));
    let mut expected = Vec::new();
    while let Some((host, path, format)) = next.take() {
        let format = chain.enter(&host, path.clone(), format)?;
        let part = part(format, host, &path, &mut chain)?;
        check_identity(&part, &expected, layers.last().map_or(format, |child| child.format()))?;
        if let Some(parent) = &part.parent {
            let (host, path) = chain.parent(parent, &path)?;
            next = Some((host, path, parent.format));
        }
        expected = part.parent.map(|parent| parent.identities).unwrap_or_default();
        layers.push(part.layer);
    }
    let mut source: Option<Arc<dyn BlockSource>> = None;
    for layer in layers.into_iter().rev() {
        let caches = Arc::clone(&chain.caches);
        source = Some(Arc::new(Image { layer, caches, backing: source.take() }));
    }
    let source = source.ok_or_else(|| Format::Raw.unsupported("there is no image"))?;
    Ok(Opened { source, probed: chain.probed, files: chain.files })
}

/// Opens one image of a chain.
fn part(format: Format, host: HostFile, path: &Path, chain: &mut Chain<'_>) -> Result<Part, Error> {
    match format {
        Format::Raw => Ok(raw::part(host)),
        Format::Qcow2 => qcow2::part(host, path, chain),
        Format::Vmdk => vmdk::part(host, path, chain),
        Format::Vhd => vhd::part(host, chain),
        Format::Vdi => vdi::part(host, chain),
        Format::Vhdx => vhdx::part(host, chain),
    }
}

/// Refuses a parent that is not the one its child was made from.
fn check_identity(part: &Part, expected: &[Vec<u8>], child: Format) -> Result<(), Error> {
    if expected.is_empty() || expected.contains(&part.identity) {
        return Ok(());
    }
    let hex = |id: &Vec<u8>| id.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let expected: Vec<_> = expected.iter().map(hex).collect();
    Err(Error::WrongParent { format: child, found: hex(&part.identity), expected: expected.join(" or ") })
}
