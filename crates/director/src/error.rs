//! Why the director could not do something.

use std::path::PathBuf;

/// Why the director could not do something. A refusal by policy is no error: it is a
/// result, with evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the director's could not be read or written.
    #[error("cannot {what} {path:?}")]
    File {
        /// What was attempted.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the director's database failed")]
    Database(#[from] rusqlite::Error),
    /// Something stored is not what was stored.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// What it is.
        what: String,
        /// How it shows.
        why: String,
    },
    /// Another process uses the directory.
    #[error("{0:?} is in use by another director")]
    InUse(PathBuf),
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// Something in the way: a name that is taken, a transfer that is sealed already.
    #[error("{0}")]
    Conflict(String),
    /// What was handed in is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// Whoever asks may not do that.
    #[error("{0}")]
    NotAuthorised(String),
    /// A virtual data center may take no more.
    #[error("the quota of the virtual data center is {limit} {what}; {used} are used")]
    Quota {
        /// What is counted: `bytes`, `VMs` or `concurrent transfers`.
        what: &'static str,
        /// How many there may be.
        limit: u64,
        /// How many there are, or would be.
        used: u64,
    },
    /// What this site inspects with cannot be used.
    #[error("the rules of this site cannot be used: {0}")]
    Rules(String),
    /// A connection was cut from this side.
    #[error("{text}")]
    Cut {
        /// What kind of no that is.
        kind: airlock_transfer::RefusalKind,
        /// Why.
        text: &'static str,
    },
    /// The other site is gone or breaks the protocol.
    #[error("the manager is gone or broke the protocol: {0}")]
    Peer(String),
    /// The link to the other site failed.
    #[error(transparent)]
    Link(#[from] airlock_link::Error),
    /// Certificates could not be made or read.
    #[error(transparent)]
    Identity(#[from] airlock_link::IdentityError),
    /// The disk that arrived could not be read or judged.
    #[error("cannot judge what arrived")]
    Station(#[from] airlock_checks::StationError),
    /// The worker that was to inspect what arrives is lost.
    #[error(transparent)]
    Worker(#[from] crate::worker::Lost),
    /// Writing an exported image failed.
    #[error("cannot write the image")]
    Image(#[source] airlock_disk::Error),
}

impl Error {
    pub(crate) fn file(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn damaged(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), why: why.into() }
    }
}
