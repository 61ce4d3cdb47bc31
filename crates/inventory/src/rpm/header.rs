//! Headers of packages (rpm.org, "RPM V4 Package format", "Header structure"; tags: `rpmtag.h`).
//!
//! ```text
//! entries (4) │ bytes of data (4) │ entries of 16 bytes: tag, type, offset, count │ data
//! ```
//!
//! All numbers are big-endian. In a database the 8 bytes of magic before it are left out.

use crate::{Ecosystem, Package};
use airlock_model::field::be32;

/// Most entries of a header, as rpm itself has it (`HEADER_TAGS_MAX`).
const ENTRIES_MAX: usize = 65_535;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENSE: u32 = 1014;
const ARCH: u32 = 1022;
const SOURCERPM: u32 = 1044;

/// Types of values (`rpmTagType`).
const INT32: u32 = 4;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const I18NSTRING: u32 = 9;

/// A header.
struct Header<'h> {
    entries: &'h [[u8; 16]],
    data: &'h [u8],
}

impl<'h> Header<'h> {
    fn parse(bytes: &'h [u8]) -> Option<Self> {
        let entries = usize::try_from(be32(bytes, 0)?).ok().filter(|count| *count <= ENTRIES_MAX)?;
        let data = usize::try_from(be32(bytes, 4)?).ok()?;
        let data_at = entries.checked_mul(16)?.checked_add(8)?;
        let (entries, _) = bytes.get(8..data_at)?.as_chunks();
        Some(Self { entries, data: bytes.get(data_at..data_at.checked_add(data)?)? })
    }

    /// Returns the type of a value, and the data from it on.
    fn value(&self, tag: u32) -> Option<(u32, &'h [u8])> {
        let entry = self.entries.iter().find(|entry| be32(*entry, 0) == Some(tag))?;
        let offset = usize::try_from(be32(entry, 8)?).ok()?;
        Some((be32(entry, 4)?, self.data.get(offset..)?))
    }

    /// Returns a text, or the first of several.
    fn text(&self, tag: u32) -> Option<String> {
        let (kind, bytes) = self.value(tag)?;
        if !matches!(kind, STRING | STRING_ARRAY | I18NSTRING) {
            return None;
        }
        let end = memchr::memchr(0, bytes)?;
        Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
    }

    fn number(&self, tag: u32) -> Option<u32> {
        let (kind, bytes) = self.value(tag)?;
        if kind == INT32 { be32(bytes, 0) } else { None }
    }
}

/// Returns the package of a header; none for a key of a signer, which is kept in the same table.
#[expect(clippy::option_option, reason = "no header, and a header of no package, are two things")]
pub(super) fn package(bytes: &[u8]) -> Option<Option<Package>> {
    let header = Header::parse(bytes)?;
    let name = header.text(NAME)?;
    if name == "gpg-pubkey" {
        return Some(None);
    }
    let epoch = header.number(EPOCH).map_or_else(String::new, |epoch| format!("{epoch}:"));
    let version = format!("{epoch}{}-{}", header.text(VERSION)?, header.text(RELEASE)?);
    let source = header.text(SOURCERPM).filter(|source| source != "(none)");
    let source = source.as_deref().and_then(split_source);
    Some(Some(Package {
        // A source has the epoch of its packages unless its recipe says otherwise, and its name does not tell.
        source_version: source.map(|(_, version)| format!("{epoch}{version}")).filter(|one| *one != version),
        source: source.map(|(name, _)| name.to_owned()),
        architecture: header.text(ARCH),
        licence: header.text(LICENSE),
        ..Package::new(Ecosystem::Rpm, &name, version)
    }))
}

/// Divides `name-version-release.src.rpm` into the name and the version with its release.
fn split_source(file: &str) -> Option<(&str, &str)> {
    let bare = file.strip_suffix(".rpm")?;
    let (bare, _) = bare.rsplit_once('.')?;
    let (rest, _) = bare.rsplit_once('-')?;
    let (name, _) = rest.rsplit_once('-')?;
    Some((name, bare.get(name.len() + 1..)?))
}
