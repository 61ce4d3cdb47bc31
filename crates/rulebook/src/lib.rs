//! Rulebooks: signed, versioned and expiring sets of what a site inspects with.
//!
//! ```text
//! publisher: feeds, hash lists, entitlements ─▶ build ─▶ file, signed
//! site:      file ─▶ Store::import (key, version, day, digests) ─▶ Store::open_all ─▶ members
//! ```
//!
//! A rulebook is one file: a DSSE envelope with a [`Manifest`] that names each member with its length and
//! digest, and the members behind it. The digest of the manifest therefore stands for all of it, and is what
//! evidence and reports name.
//!
//! A site trusts a publisher's key for a name, once, when it first imports a rulebook of that name. From then
//! on that name belongs to that key, and versions only go up, even after the rulebook was removed: neither
//! another key, nor an older version, nor other content under a known version is let in. What has expired is
//! not used.
//!
//! Deliberately absent: downloads, clocks (times are seconds since 1970-01-01 UTC, given by the caller), and
//! what members mean.
#![forbid(unsafe_code)]

mod file;
mod manifest;
mod store;
#[cfg(test)]
mod tests;

pub use file::{Input, Rulebook, build};
pub use manifest::{Kind, Manifest, Member};
pub use store::{Imported, Installed, Store, Trusted};

use std::path::PathBuf;

/// Why a rulebook is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system failed.
    #[error("cannot {what} {path}", path = .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// It is not one, or was cut or changed.
    #[error("{path} is no rulebook, or was altered: {why}", path = .path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The publisher's signature is not under it.
    #[error("{path} is not by the publisher that is trusted for it", path = .path.display())]
    Publisher {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: airlock_evidence::Failure,
    },
    /// Nobody is trusted for the name so far.
    #[error("nobody is trusted to publish {name:?} here")]
    Untrusted {
        /// The name.
        name: String,
    },
    /// Another publisher is trusted for the name.
    #[error("{name:?} is published by the key {trusted}, not by {offered}")]
    OtherKey {
        /// The name.
        name: String,
        /// The key that is trusted.
        trusted: String,
        /// The key that was named.
        offered: String,
    },
    /// A newer version was here.
    #[error("{name:?} is version {offered}, and version {known} was here already")]
    Older {
        /// The name.
        name: String,
        /// The version of the file.
        offered: u64,
        /// The newest version that was ever imported.
        known: u64,
    },
    /// The same version was here with other content.
    #[error("{name:?} version {version} was here with other content")]
    Reissued {
        /// The name.
        name: String,
        /// The version.
        version: u64,
    },
    /// Its time is over.
    #[error("{name:?} version {version} has expired")]
    Expired {
        /// The name.
        name: String,
        /// The version.
        version: u64,
    },
    /// It was issued in the future, so one of two clocks is wrong.
    #[error("{name:?} version {version} was issued in the future; is the clock right?")]
    Future {
        /// The name.
        name: String,
        /// The version.
        version: u64,
    },
    /// The manifest of a new rulebook makes no sense.
    #[error("no such rulebook can be made: {0}")]
    Manifest(String),
}

impl Error {
    pub(crate) fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_path_buf(), source }
    }
}
