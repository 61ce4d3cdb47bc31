//! Bundles: everything that a virtual machine consists of, as one address space.
//!
//! [`open`] takes whatever path a user names: a disk image, an OVA, a descriptor (OVF, VMX,
//! libvirt XML, VirtualBox), a folder that holds a VM, or a plain folder or file. What comes
//! back is the same for all: the disks and the other files behind each other in one
//! [`Space`], and a [`Machine`] where the bundle describes one.
//!
//! ```text
//! path ─▶ what it is ─▶ descriptor ─▶ disks (crate disk) ─┬─▶ Composite: disk0, disk1, …, files
//!                                  └▶ every other file ───┘
//! ```
//!
//! A bundle is hostile: nothing that a descriptor names is opened outside the folder that the
//! caller named or allowed, links are not followed, and an archive is read where it lies,
//! never unpacked. [`write`] is the way back: a [`Machine`] as libvirt XML or as OVF.
#![forbid(unsafe_code)]

mod archive;
mod composite;
mod describe;
mod files;
mod folder;
mod open;
pub mod write;
mod xml;

pub use open::{Bundle, Kind, Options, open};

use std::path::PathBuf;

/// Why something could not be opened as a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing at the path.
    #[error("there is no {0:?}")]
    NotFound(PathBuf),
    /// The operating system refused.
    #[error("cannot read {path:?}")]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A disk image cannot be read.
    #[error("cannot read the disk image {path:?}")]
    Image {
        /// The path, or the name in the archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: airlock_disk::Error,
    },
    /// The path is a disk image of a format that is not read.
    #[error("{path:?} is a {format} image, which is not supported")]
    Foreign {
        /// The path.
        path: PathBuf,
        /// The format.
        format: &'static str,
    },
    /// A descriptor or an archive is not what it should be.
    #[error("{path:?} is damaged: {what}")]
    Damaged {
        /// The path, or the name in the archive.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A bundle names a file that is out of reach.
    #[error("{path:?} names {name:?}, which {why}")]
    Reference {
        /// The descriptor.
        path: PathBuf,
        /// The name in it, escaped.
        name: String,
        /// Why it is not opened.
        why: &'static str,
    },
    /// A folder holds several VMs.
    #[error("{path:?} holds several descriptors: {names}")]
    Several {
        /// The folder.
        path: PathBuf,
        /// Their names.
        names: String,
    },
    /// What is there makes no address space.
    #[error("cannot take {path:?} as a bundle")]
    Space {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: airlock_model::SpaceError,
    },
}

impl Error {
    fn damaged(path: impl Into<PathBuf>, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), what: what.into() }
    }

    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound(path),
            _ => Self::Io { path, source },
        }
    }
}
