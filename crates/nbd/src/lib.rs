//! Network block devices (the NBD protocol, `doc/proto.md` of the project that keeps it).
//!
//! [`NbdDisk`] reads a disk that a server exports: a running QEMU, `qemu-nbd`, `nbdkit`. [`Server`] exports disks
//! for others to read. Both speak the fixed newstyle negotiation, structured replies, and the metadata context
//! `base:allocation`, by which holes cost nothing. Neither writes.
//!
//! The other side is hostile: what it announces is bounded before memory is taken, a reply covers exactly what
//! was asked for, and nothing is waited for without end.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

mod client;
mod protocol;
mod reply;
mod server;
mod uri;
mod wire;

pub use client::NbdDisk;
pub use server::{EXPORTS_MAX, Export, Server};
pub use uri::{Address, Uri, UriError};

/// Why a network block device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {doing}")]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// The other side does not speak the protocol, or breaks it.
    #[error("the server breaks the NBD protocol: {0}")]
    Protocol(String),
    /// The server says no.
    #[error("the server refuses the export {export:?}: {why}")]
    Refused {
        /// The export that was asked for, escaped.
        export: String,
        /// Why, in our words, and in the server's where it gives a reason.
        why: String,
    },
    /// The export is not what it was when it was opened.
    #[error("the export has {now} bytes now and had {before}")]
    Changed {
        /// Its size when it was opened.
        before: u64,
        /// Its size now.
        now: u64,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }
}
