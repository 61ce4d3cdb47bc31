//! What is installed on a guest: packages of its distribution and of languages, and products, each
//! with the file that says so.
//!
//! ```text
//! PlaceMap ─▶ files that a reader knows by their path ─▶ content ─▶ reader ─▶ Package, Product
//! ```
//!
//! Nothing of the guest is run, and no index is consulted: a package is what its own record says,
//! down to the byte where that record begins. What is no longer installed does not count: a package
//! that was removed and left its configuration is no package.
//!
//! Files come from a hostile guest. They are read up to [`FILE_BYTES_MAX`], all of them together up
//! to [`ALL_BYTES_MAX`], and an inventory has at most [`ENTRIES_MAX`] entries; whatever was left out
//! is counted in [`Inventory::left_out`].
#![forbid(unsafe_code)]

mod apk;
mod content;
mod dotnet;
mod dpkg;
mod golang;
mod java;
mod kernel;
mod marks;
mod members;
mod node;
mod os_release;
mod product;
mod program;
mod python;
mod readers;
mod registry;
mod rpm;
mod ruby;
mod rust;
mod stanza;
mod swid;
mod windows;

pub use os_release::System;

use airlock_decode::ReadAt;
use airlock_disk::BlockSource;
use airlock_guest::Survey;
use airlock_model::{Escaped, PlaceKind, Space};
use content::Content;
use readers::{Found, Reader};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most bytes of one file that are read.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most bytes of all files that are read.
pub const ALL_BYTES_MAX: u64 = 4 << 30;
/// Most entries of an inventory.
pub const ENTRIES_MAX: usize = 500_000;
/// Longest name or version, in bytes.
pub(crate) const WORD_BYTES_MAX: usize = 512;

/// Where packages of a kind come from, and by which rules their versions are ordered.
///
/// The names are those of package URLs (purl), which `CycloneDX` and OSV use, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Debian and its descendants.
    Deb,
    /// Alpine.
    Apk,
    /// Red Hat, SUSE and their descendants.
    Rpm,
    /// Python.
    Pypi,
    /// Node.
    Npm,
    /// Ruby.
    Gem,
    /// Java.
    Maven,
    /// Go modules.
    Golang,
    /// Rust crates.
    Cargo,
    /// .NET.
    Nuget,
    /// Kernels that lie on the disk, whoever put them there.
    Kernel,
}

impl Ecosystem {
    /// Returns its name in package URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Gem => "gem",
            Self::Maven => "maven",
            Self::Golang => "golang",
            Self::Cargo => "cargo",
            Self::Nuget => "nuget",
            Self::Kernel => "generic",
        }
    }
}

/// The file that says that something is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// The disk, such as `disk0`.
    pub disk: String,
    /// The volume, such as `p1`.
    pub volume: String,
    /// The path within the volume, escaped.
    pub path: String,
    /// The bytes that were read, as `blake3:` and hexadecimal digits.
    pub digest: String,
    /// Where in the file the record begins.
    pub offset: u64,
}

/// A package that is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// Where it comes from.
    #[serde(rename = "type")]
    pub ecosystem: Ecosystem,
    /// Its name, as its ecosystem compares names.
    pub name: String,
    /// Its version, as it was written.
    pub version: String,
    /// The source package that it was built from, where that has a name of its own.
    pub source: Option<String>,
    /// The version of that, where it differs.
    pub source_version: Option<String>,
    /// What it was built for.
    pub architecture: Option<String>,
    /// What its record says of its licence.
    pub licence: Option<String>,
    /// What says so.
    #[serde(flatten, with = "evidence")]
    pub evidence: Evidence,
}

impl Package {
    /// Returns a package of which nothing else is known so far.
    pub(crate) fn new(ecosystem: Ecosystem, name: &str, version: String) -> Self {
        Self {
            ecosystem,
            name: name.to_owned(),
            version,
            source: None,
            source_version: None,
            architecture: None,
            licence: None,
            evidence: Evidence::default(),
        }
    }
}

/// Evidence as fields of the entry that it is about.
mod evidence {
    use super::Evidence;
    use serde::ser::{SerializeMap, Serializer};

    pub(super) fn serialize<S: Serializer>(evidence: &Evidence, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(5))?;
        map.serialize_entry("evidence_disk", &evidence.disk)?;
        map.serialize_entry("evidence_volume", &evidence.volume)?;
        map.serialize_entry("evidence_path", &evidence.path)?;
        map.serialize_entry("evidence_digest", &evidence.digest)?;
        map.serialize_entry("evidence_offset", &evidence.offset)?;
        map.end()
    }
}

/// A product that is installed and may need a licence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Product {
    /// Its name, as it calls itself.
    pub name: String,
    /// Its version, as it was written; empty where nothing says it.
    pub version: String,
    /// Who makes it; empty where nothing says it.
    pub publisher: String,
    /// What says so.
    #[serde(flatten, with = "evidence")]
    pub evidence: Evidence,
}

impl Product {
    pub(crate) fn new(name: &str, version: String, publisher: String) -> Self {
        Self { name: name.to_owned(), version, publisher, evidence: Evidence::default() }
    }
}

/// What is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// The operating systems, one for each root file system.
    pub systems: Vec<System>,
    /// Packages, sorted.
    pub packages: Vec<Package>,
    /// Products, sorted.
    pub products: Vec<Product>,
    /// Files that a reader knows and that were left out: too long, unreadable, or too many.
    pub left_out: u64,
}

/// Takes the inventory of a bundle.
pub fn take(source: &dyn BlockSource, space: &Space, survey: &Survey) -> Inventory {
    let mut inventory = Inventory::default();
    let mut bytes_left = ALL_BYTES_MAX;
    for place in survey.map.iter().filter(|place| place.kind == PlaceKind::File) {
        let Some(reader) = readers::reader_of(place.path, place.size) else { continue };
        let mut content = Content::new(source, &place);
        let Some(found) = read(reader, &mut content, place.path, &mut bytes_left) else {
            inventory.left_out += 1;
            continue;
        };
        inventory.left_out += found.left_out;
        let at = place.runs.first().map_or(place.volume.extent.offset, |run| run.disk);
        let evidence = |offset| Evidence {
            disk: space.locate(at).0.to_owned(),
            volume: place.volume.label.clone(),
            path: Escaped(place.path).to_string(),
            digest: found.digest.clone(),
            offset,
        };
        if inventory.packages.len() + inventory.products.len() + found.len() > ENTRIES_MAX {
            inventory.left_out += 1;
            continue;
        }
        inventory.systems.extend(found.system.clone().map(|system| system.found_in(evidence(0))));
        let package =
            |(offset, package): &(u64, Package)| Package { evidence: evidence(*offset), ..package.clone() };
        inventory.packages.extend(found.packages.iter().map(package));
        let product =
            |(offset, product): &(u64, Product)| Product { evidence: evidence(*offset), ..product.clone() };
        inventory.products.extend(found.products.iter().map(product));
    }
    inventory.products.extend(inventory.systems.iter().filter_map(System::product));
    inventory.packages = sorted(inventory.packages);
    inventory.products = sorted(inventory.products);
    inventory
}

fn sorted<T: Ord>(entries: Vec<T>) -> Vec<T> {
    entries.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}

/// Returns the packages and products that a file names, as [`take`] would if it lay at that path.
pub fn read_file(path: &[u8], mut bytes: &[u8]) -> (Vec<Package>, Vec<Product>) {
    let reader = readers::reader_of(path, bytes.len() as u64);
    let found = reader.and_then(|reader| read(reader, &mut bytes, path, &mut { ALL_BYTES_MAX }));
    let found = found.unwrap_or_default();
    let packages = found.packages.into_iter().map(|(_, package)| package);
    (packages.collect(), found.products.into_iter().map(|(_, product)| product).collect())
}

fn read(reader: Reader, file: &mut dyn ReadAt, path: &[u8], bytes_left: &mut u64) -> Option<Found> {
    let mut found = match reader {
        Reader::Whole(read) => {
            let bytes = content::all(file, FILE_BYTES_MAX.min(*bytes_left))?;
            *bytes_left = bytes_left.saturating_sub(bytes.len() as u64);
            let mut found = read(path, &bytes);
            found.digest = format!("blake3:{}", blake3::hash(&bytes));
            found
        }
        Reader::Parts(_) if *bytes_left == 0 => return None,
        Reader::Parts(read) => {
            let mut found = read(path, file)?;
            *bytes_left = bytes_left.saturating_sub(found.read.bytes());
            found.digest = format!("blake3:{}", found.read.digest());
            found
        }
        Reader::Path(read) => {
            let mut found = read(path);
            found.digest = format!("blake3:{}", blake3::hash(path));
            found
        }
    };
    let fits = |text: &str| !text.is_empty() && text.len() <= WORD_BYTES_MAX;
    found.packages.retain(|(_, package)| fits(&package.name) && fits(&package.version));
    found.products.retain(|(_, product)| fits(&product.name) && product.version.len() <= WORD_BYTES_MAX);
    Some(found)
}
