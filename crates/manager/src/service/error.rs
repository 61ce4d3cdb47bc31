//! What can go wrong with a manager.

use std::path::{Path, PathBuf};

/// Why a manager could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// A file or a socket.
    #[error("cannot {doing} {path:?}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The database.
    #[error("the database of the manager failed")]
    Database(#[from] rusqlite::Error),
    /// Its certificate.
    #[error(transparent)]
    Identity(#[from] airlock_link::IdentityError),
    /// TLS.
    #[error(transparent)]
    Link(#[from] airlock_link::Error),
    /// What is kept cannot be read.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// What.
        what: String,
        /// How.
        why: String,
    },
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// It cannot be done as things stand.
    #[error("{0}")]
    Conflict(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Another process has the directory.
    #[error("another process uses {0:?}")]
    InUse(PathBuf),
}

impl ServiceError {
    pub(crate) fn file<'p>(
        doing: &'static str,
        path: &'p Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<'p> {
        move |source| Self::File { doing, path: path.to_path_buf(), source }
    }
}
