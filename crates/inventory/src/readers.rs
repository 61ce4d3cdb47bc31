//! Which file is read by what.

use crate::{Package, Product, System};
use crate::{
    apk, dotnet, dpkg, golang, java, kernel, marks, node, os_release, product, program, python, rpm, ruby,
    rust, swid, windows,
};
use airlock_decode::ReadAt;

/// What a reader found in one file; entries with the offset of their record.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) system: Option<System>,
    pub(crate) packages: Vec<(u64, Package)>,
    pub(crate) products: Vec<(u64, Product)>,
    /// What was read, where that is not the whole file.
    pub(crate) read: Seen,
    /// Records that were left out: too long, damaged, or too many.
    pub(crate) left_out: u64,
    /// Digest of what was read.
    pub(crate) digest: String,
}

/// What a reader has read of a file: its digest and length.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    hasher: blake3::Hasher,
}

impl Seen {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Returns how many bytes were read.
    pub(crate) fn bytes(&self) -> u64 {
        self.hasher.count()
    }

    pub(crate) fn digest(&self) -> blake3::Hash {
        self.hasher.finalize()
    }
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
    /// In parts; the reader is told the path.
    Parts(fn(&[u8], &mut dyn ReadAt) -> Option<Found>),
    /// Not at all: its path says everything.
    Path(fn(&[u8]) -> Found),
}

/// Programs shorter than this carry no list of what was linked into them.
const PROGRAM_BYTES_MIN: u64 = 64 << 10;

/// Endings of long files that are no programs.
const NO_PROGRAMS: &[&[u8]] = &[
    b"db", b"gz", b"xz", b"zst", b"bz2", b"zip", b"iso", b"img", b"qcow2", b"raw", b"log", b"txt", b"json",
    b"xml", b"html", b"js", b"css", b"py", b"pyc", b"pack", b"idx", b"png", b"jpg", b"jpeg", b"gif", b"svg",
    b"pdf", b"ttf", b"otf", b"woff2", b"mp3", b"mp4", b"ko", b"a", b"o", b"rlib", b"csv", b"sql", b"tar",
    b"tgz", b"deb", b"rpm", b"mo", b"h", b"c", b"cpp", b"rs", b"go", b"java", b"ibd", b"wav", b"ogg",
    b"journal",
];

/// Returns what reads a file, by its path and size.
pub(crate) fn reader_of(path: &[u8], size: u64) -> Option<Reader> {
    let slash = memchr::memrchr(b'/', path)?;
    let (folder, name) = (path.get(..slash)?, path.get(slash.checked_add(1)?..)?);
    let parent = folder.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
    let reader = match name {
        b"status" if folder.ends_with(b"/lib/dpkg") => Reader::Whole(dpkg::status),
        _ if folder.ends_with(b"/lib/dpkg/status.d") && !name.contains(&b'.') => Reader::Whole(dpkg::status),
        b"installed" if folder.ends_with(b"/apk/db") => Reader::Whole(apk::installed),
        b"Packages" | b"Packages.db" | b"rpmdb.sqlite" if parent == b"rpm" => Reader::Parts(rpm::database),
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
        b"locations" | b"manifest.txt" if parent == b"vmware-tools" => Reader::Path(marks::vmware_tools),
        _ if is(b"SOFTWARE") && parent.eq_ignore_ascii_case(b"config") => Reader::Whole(windows::software),
        _ if is(b"SYSTEM") && parent.eq_ignore_ascii_case(b"config") => Reader::Whole(windows::system),
        _ => return by_ending(folder, name, size),
    };
    Some(reader)
}

fn by_ending(folder: &[u8], name: &[u8], size: u64) -> Option<Reader> {
    let parent = folder.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let ending =
        memchr::memrchr(b'.', name).and_then(|dot| name.get(dot.checked_add(1)?..)).unwrap_or_default();
    let ending = ending.to_ascii_lowercase();
    let reader = match ending.as_slice() {
        b"egg-info" => Reader::Whole(python::metadata),
        b"gemspec" if parent == b"specifications" || parent == b"default" => Reader::Whole(ruby::gem),
        b"json" if name.ends_with(b".deps.json") => Reader::Whole(dotnet::deps),
        b"swidtag" => Reader::Whole(swid::tag),
        b"pem" if parent == b"product" || parent == b"product-default" => Reader::Whole(marks::red_hat),
        _ if java::is_archive(&ending) => Reader::Parts(java::archive),
        _ if name.starts_with(b"vmlinuz-") && parent == b"boot" => Reader::Path(kernel::image),
        b"egg" => Reader::Parts(python::egg),
        other if size >= PROGRAM_BYTES_MIN && !NO_PROGRAMS.contains(&other) => Reader::Parts(program::read),
        _ => return None,
    };
    Some(reader)
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
