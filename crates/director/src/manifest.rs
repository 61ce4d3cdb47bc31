//! The list of everything that a sealed VM consists of.
//!
//! The file is `AIRLOCKM`, the version as a little-endian `u32`, then the list in
//! postcard, wrapped under the tenant's wrapping key with the transfer's id as
//! associated data. So whoever has the key knows that not a byte of it was altered.

use crate::Error;
use crate::keys::{self, Key};
use crate::sealed_disk::Placement;
use crate::segment::Stored;
use airlock_model::{Machine, Space};
use airlock_policy::Cleared;
use airlock_transfer::Hello;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

const MAGIC: &[u8; 8] = b"AIRLOCKM";
const VERSION: u32 = 2;

/// A sealed VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) vm: String,
    /// Its disks and its other files.
    pub(crate) space: Space,
    /// What it is, as its bundle described it.
    pub(crate) machine: Option<Machine>,
    pub(crate) placements: Vec<Placement>,
    pub(crate) chunks: Vec<Stored>,
}

impl Manifest {
    /// Lists what is kept; that is nothing but what was cleared (invariant I7).
    pub(crate) fn new(hello: &Hello, placements: Vec<Cleared<Placement>>, chunks: Vec<Stored>) -> Self {
        Self {
            vm: hello.vm.clone(),
            space: hello.space.clone(),
            machine: hello.machine.clone(),
            placements: placements.into_iter().map(Cleared::into_inner).collect(),
            chunks,
        }
    }

    /// Writes the manifest durably and returns the BLAKE3 of the file, in hexadecimal.
    pub(crate) fn write(&self, path: &Path, transfer: &[u8; 16], key: &Key) -> Result<String, Error> {
        let plain = zeroize::Zeroizing::new(postcard::to_stdvec(self).expect("plain data"));
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&keys::wrap(key, transfer, &plain));
        let temporary = path.with_extension("new");
        let mut file = std::fs::File::create(&temporary).map_err(Error::file("create", &temporary))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(Error::file("write", &temporary))?;
        std::fs::rename(&temporary, path).map_err(Error::file("rename", &temporary))?;
        keys::sync_parent(path)?;
        Ok(blake3::hash(&bytes).to_hex().to_string())
    }

    /// Reads a manifest. Returns it with the BLAKE3 of the file.
    pub(crate) fn read(path: &Path, transfer: &[u8; 16], key: &Key) -> Result<(Self, String), Error> {
        let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
        let damaged = |why: &str| Error::damaged(format!("manifest {}", path.display()), why);
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it is no manifest"))?;
        let rest =
            rest.strip_prefix(&VERSION.to_le_bytes()).ok_or_else(|| damaged("its version is not 2"))?;
        let plain = keys::unwrap(key, transfer, rest).ok_or_else(|| damaged("it fails authentication"))?;
        let manifest = postcard::from_bytes(&plain).map_err(|_| damaged("it cannot be read"))?;
        Ok((manifest, blake3::hash(&bytes).to_hex().to_string()))
    }
}
