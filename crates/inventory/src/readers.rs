//! Which file is read by what.

use crate::content::Content;
use crate::{Package, Product, System};
use crate::{
    apk, dotnet, dpkg, elf, golang, java, kernel, node, os_release, product, python, ruby, rust, swid,
    windows,
};
use airlock_model::Place;

/// What a reader found in one file; entries with the offset of their record.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) system: Option<System>,
    pub(crate) packages: Vec<(u64, Package)>,
    pub(crate) products: Vec<(u64, Product)>,
    /// What was read, where that is not the whole file.
    pub(crate) read: Vec<u8>,
    /// Digest of what was read.
    pub(crate) digest: String,
}

impl Found {
    pub(crate) fn len(&self) -> usize {
        self.packages.len() + self.products.len()
    }

    pub(crate) fn packages(packages: Vec<(u64, Package)>) -> Self {
        Self { packages, ..Self::default() }
    }

    pub(crate) fn products(products: Vec<(u64, Product)>) -> Self {
        Self { products, ..Self::default() }
    }
}

/// How a file is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reader {
    /// As a whole; the reader is told the path.
    Whole(fn(&[u8], &[u8]) -> Found),
    /// In parts.
    Parts(fn(&Content<'_>) -> Option<Found>),
    /// Not at all: its path says everything.
    Path(fn(&[u8]) -> Found),
}

/// Programs shorter than this carry no list of what was linked into them.
const PROGRAM_BYTES_MIN: u64 = 64 << 10;

/// Returns what reads a file, by its path.
pub(crate) fn reader_of(place: &Place<'_>) -> Option<Reader> {
    let path = place.path;
    let slash = memchr::memrchr(b'/', path)?;
    let (folder, name) = (path.get(..slash)?, path.get(slash.checked_add(1)?..)?);
    let parent = folder.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let reader = match name {
        b"status" if folder.ends_with(b"/lib/dpkg") => Reader::Whole(dpkg::status),
        _ if folder.ends_with(b"/lib/dpkg/status.d") && !name.contains(&b'.') => Reader::Whole(dpkg::status),
        b"installed" if folder.ends_with(b"/apk/db") => Reader::Whole(apk::installed),
        b"os-release" if parent == b"etc" || parent == b"lib" => Reader::Whole(os_release::read),
        b"METADATA" if parent.ends_with(b".dist-info") => Reader::Whole(python::metadata),
        b"PKG-INFO" if parent.ends_with(b".egg-info") || parent == b"EGG-INFO" => {
            Reader::Whole(python::metadata)
        }
        b"package.json" if is_module(folder) => Reader::Whole(node::package),
        b"go.mod" => Reader::Whole(golang::module_file),
        b"Cargo.lock" => Reader::Whole(rust::lock),
        b"pom.properties" => Reader::Whole(java::pom),
        b"inventory.xml" if parent == b"ContentsXML" => Reader::Whole(product::oracle),
        _ if name.eq_ignore_ascii_case(b"SOFTWARE") && parent.eq_ignore_ascii_case(b"config") => {
            Reader::Whole(windows::software)
        }
        _ => return by_ending(place, folder, name),
    };
    Some(reader)
}

fn by_ending(place: &Place<'_>, folder: &[u8], name: &[u8]) -> Option<Reader> {
    let parent = folder.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name.ends_with(b".egg-info") {
        return Some(Reader::Whole(python::metadata));
    }
    if name.ends_with(b".gemspec") && parent == b"specifications" {
        return Some(Reader::Path(ruby::gem));
    }
    if name.ends_with(b".deps.json") {
        return Some(Reader::Whole(dotnet::deps));
    }
    if name.ends_with(b".swidtag") {
        return Some(Reader::Whole(swid::tag));
    }
    if name.starts_with(b"vmlinuz-") && parent == b"boot" {
        return Some(Reader::Path(kernel::image));
    }
    let program = place.size >= PROGRAM_BYTES_MIN && (!name.contains(&b'.') || name.ends_with(b".so"));
    program.then_some(Reader::Parts(elf::program))
}

/// Whether a folder is that of an installed module: `node_modules/name` or `node_modules/@scope/name`.
fn is_module(folder: &[u8]) -> bool {
    let mut parts = folder.rsplit(|byte| *byte == b'/').skip(1);
    match (parts.next(), parts.next()) {
        (Some(b"node_modules"), _) => true,
        (Some(scope), Some(b"node_modules")) => scope.starts_with(b"@"),
        _ => false,
    }
}
