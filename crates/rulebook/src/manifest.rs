//! What a rulebook says of itself.

use serde::{Deserialize, Serialize};

/// Version of the format.
pub(crate) const FORMAT: &str = "airlock.rulebook/1";
/// Most members of a rulebook.
const MEMBERS_MAX: usize = 64;
/// Longest name.
const NAME_BYTES_MAX: usize = 64;
/// How far the clocks of a publisher and a site may differ.
const SKEW_SECONDS: u64 = 86_400;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Feeds of vulnerabilities, as `airlock rules import --to` writes them.
    Feeds,
    /// A list of hashes of malicious files.
    Hashes,
    /// Signatures of malicious files; the end of its name says of which kind.
    Signatures,
    /// Entitlements of a tenant.
    Entitlements,
    /// Keyed hashes of values of a customer's own, as `airlock rules edm` writes them.
    Exact,
    /// Fingerprints of documents, as `airlock rules fingerprints` writes them.
    Documents,
}

impl Kind {
    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Feeds => "feeds",
            Self::Hashes => "hashes",
            Self::Signatures => "signatures",
            Self::Entitlements => "entitlements",
            Self::Exact => "exact",
            Self::Documents => "documents",
        }
    }
}

/// A part of a rulebook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// What it is.
    pub kind: Kind,
    /// What it is called.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of it, in hexadecimal.
    pub blake3: String,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `airlock.rulebook/1`.
    pub format: String,
    /// Its name: letters, digits and hyphens.
    pub name: String,
    /// Its version; a newer one has a greater number.
    pub version: u64,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub issued_at: u64,
    /// From when on it is not used any more.
    pub expires_at: u64,
    /// Its parts, in the order of the file.
    pub members: Vec<Member>,
}

impl Manifest {
    /// Says what of it makes no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        let must = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        must(self.format == FORMAT, "its format is another one")?;
        must(is_name(&self.name), "its name has other letters than a-z, 0-9 and -, or is too long")?;
        must(self.version > 0, "its version is 0")?;
        must(self.issued_at < self.expires_at, "it expires before it was issued")?;
        must(!self.members.is_empty(), "it has no members")?;
        must(self.members.len() <= MEMBERS_MAX, "it has too many members")?;
        for member in &self.members {
            must(member.name.len() <= NAME_BYTES_MAX * 4, "a member has a name that is too long")?;
            must(member.blake3.len() == 64, "a member has no digest")?;
        }
        let sum = self.members.iter().try_fold(0_u64, |sum, member| sum.checked_add(member.bytes));
        must(sum.is_some(), "its members are longer than a file can be")
    }

    /// Says whether it may be used at a time.
    pub(crate) fn check_time(&self, now: u64) -> Result<(), crate::Error> {
        let (name, version) = (self.name.clone(), self.version);
        if now >= self.expires_at {
            return Err(crate::Error::Expired { name, version });
        }
        if self.issued_at > now.saturating_add(SKEW_SECONDS) {
            return Err(crate::Error::Future { name, version });
        }
        Ok(())
    }
}

/// Returns whether a text can be the name of a rulebook, and of its file.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-')
}
