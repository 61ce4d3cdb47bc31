//! What can go wrong while a test guest is built.

use std::path::{Path, PathBuf};

/// Why a guest or an image could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program that the build needs is not installed.
    #[error("`{tool}` is not installed: apt-get install {package}")]
    MissingTool {
        /// The program.
        tool: String,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// A program failed.
    #[error("`{command}` failed ({status}): {output}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// Exit code or signal.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A program gave another layout than the test needs.
    #[error("{0}")]
    Layout(String),
    /// A child did not finish in time.
    #[error("{what} did not finish within {seconds} s; the last lines were:\n{tail}")]
    TimedOut {
        /// What was running.
        what: String,
        /// The limit.
        seconds: u64,
        /// The end of its output.
        tail: String,
    },
}

/// A result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the action and the path of an input or output error.
pub(crate) trait IoContext<T> {
    fn on(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn on(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.as_ref().to_owned(), source })
    }
}
