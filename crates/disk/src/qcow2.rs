//! QEMU copy-on-write images, version 2 and 3 (QEMU docs/interop/qcow2.txt).
//!
//! | section of the specification | where |
//! |---|---|
//! | Header, Header extensions | `header` |
//! | Snapshots, Bitmaps | `extras` |
//! | Cluster mapping, Extended L2 entries, Compressed clusters | `reader` |
//!
//! Encrypted images are refused by name: their clusters would be read as if they were data.
//! Refcounts are not looked at: a reader has no use for them.

mod extras;
mod header;
mod reader;
mod writer;

pub use extras::{Bitmap, BitmapState, QcowExtras, Snapshot};
pub(crate) use header::MAGIC;
pub use writer::Writer;

use crate::chain::{Chain, Parent, Part};
use crate::file::HostFile;
use crate::{Error, Format};
use airlock_model::Escaped;
use header::Header;
use reader::Qcow2;
use std::path::Path;
use std::sync::Arc;

/// Opens a qcow2 image as a layer of a chain.
pub(crate) fn part(host: HostFile, path: &Path, chain: &mut Chain<'_>) -> Result<Part, Error> {
    let header = Header::read(&host)?;
    chain.charge(Format::Qcow2, header.l1_entries.saturating_mul(8))?;
    let data = match &header.data_file {
        Some(name) => Some(chain.part_of("external data file", name, path)?),
        None => None,
    };
    let parent = parent(&header)?;
    let layer = Qcow2::new(host, data, header, Arc::clone(&chain.caches))?;
    Ok(Part { layer: Box::new(layer), parent, identity: Vec::new() })
}

/// Returns the backing file that a header names.
fn parent(header: &Header) -> Result<Option<Parent>, Error> {
    let Some(name) = &header.backing else {
        return Ok(None);
    };
    let format = match header.backing_format.as_deref() {
        None | Some(b"") => None,
        Some(b"raw") => Some(Format::Raw),
        Some(b"qcow2") => Some(Format::Qcow2),
        Some(b"vmdk") => Some(Format::Vmdk),
        Some(b"vpc") => Some(Format::Vhd),
        Some(b"vhdx") => Some(Format::Vhdx),
        Some(b"vdi") => Some(Format::Vdi),
        Some(other) => {
            let what = format!("a backing file of format \"{}\"", Escaped(other));
            return Err(Format::Qcow2.unsupported(what));
        }
    };
    let names = vec![name.clone()];
    Ok(Some(Parent { what: "backing file", names, format, identities: Vec::new() }))
}
