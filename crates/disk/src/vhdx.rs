//! Virtual hard disks, version 2 ([MS-VHDX] "Virtual Hard Disk v2 (VHDX) File Format").
//!
//! | section of the specification | where |
//! |---|---|
//! | 2.2 Header Section: file type, headers, region table | `header` |
//! | 2.3 Log: entries, replay | `log` |
//! | 2.4 Blocks, 2.5 BAT: payload and sector bitmap blocks | `reader` |
//! | 2.6 Metadata Region: table, known items, parent locator | `metadata` |
//!
//! A log that was not yet replayed holds changes to the BAT and the metadata. It is
//! replayed into memory and laid over the file, which is not written to; a log that
//! is damaged makes the image refused, because what it would change is not known.
//!
//! A differencing image is based on the one whose `DataWriteGuid` its
//! `parent_linkage` names; any other file in its place is refused.

mod crc32c;
mod header;
mod log;
mod metadata;
mod reader;

use crate::chain::{Chain, Parent, Part, windows_names};
use crate::file::HostFile;
use crate::{Error, Format};
use header::{Header, Regions};
use metadata::Metadata;
use reader::Vhdx;
use std::sync::Arc;

/// What all offsets of regions and blocks are multiples of.
const MIB: u64 = 1 << 20;

fn damaged(what: &'static str, offset: u64) -> Error {
    Format::Vhdx.damaged(what, offset)
}

fn unsupported(what: impl Into<String>) -> Error {
    Format::Vhdx.unsupported(what)
}

/// Opens a VHDX as a layer of a chain.
pub(crate) fn part(mut host: HostFile, chain: &Chain<'_>) -> Result<Part, Error> {
    let header = Header::read(&host)?;
    if let Some(overlay) = log::replay(&host, &header)? {
        host.lay_over(overlay);
    }
    let regions = Regions::read(&host)?;
    let metadata = Metadata::read(&host, &regions.metadata)?;
    let parent = metadata.parent.as_ref().map(|locator| Parent {
        what: "parent",
        names: windows_names(locator.paths.clone()),
        format: Some(Format::Vhdx),
        identities: locator.linkages.iter().map(|id| id.to_vec()).collect(),
    });
    let identity = header.data_write_id.to_vec();
    let layer = Box::new(Vhdx::new(host, &regions.bat, &metadata, Arc::clone(&chain.caches))?);
    Ok(Part { layer, parent, identity })
}
