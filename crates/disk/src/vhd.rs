//! Virtual hard disks, version 1 (Microsoft "Virtual Hard Disk Image Format Specification",
//! 1.0 of 2006; [MS-VHD]).
//!
//! | section of the specification | where |
//! |---|---|
//! | Hard Disk Footer Format; Fixed Hard Disk Image | `header` |
//! | Dynamic Disk Header Format; Parent Locator | `header` |
//! | Block Allocation Table and Data Blocks; Differencing Hard Disk Image | `reader` |
//!
//! The size is the footer's *Current Size*. Tools differ here: QEMU writes images
//! whose size it rounded up to whole cylinders, and takes the size of images by
//! Virtual PC from the *Disk Geometry*; what it added reads as zeros.
//!
//! The footer at the end of the file counts, because a guest cannot write there:
//! the first sector of a fixed disk is the guest's own. Only where there is no
//! footer at the end is the copy at the start of a dynamic disk used.
//!
//! The sector bitmap of a block decides for every sector, in dynamic disks too:
//! what was never written reads as zeros, or as the parent in a differencing disk.

mod header;
mod reader;

pub(crate) use header::is_fixed_footer;

use crate::chain::{Chain, Parent, Part, windows_names};
use crate::file::HostFile;
use crate::{Error, Format};
use header::{DiskType, DynamicHeader, Footer};
use reader::Vhd;
use std::sync::Arc;

fn damaged(what: &'static str, offset: u64) -> Error {
    Format::Vhd.damaged(what, offset)
}

/// Opens a VHD as a layer of a chain.
pub(crate) fn part(host: HostFile, chain: &Chain<'_>) -> Result<Part, Error> {
    let footer = Footer::read(&host)?;
    let identity = footer.unique_id.to_vec();
    let caches = Arc::clone(&chain.caches);
    if footer.disk_type == DiskType::Fixed {
        let layer = Box::new(Vhd::fixed(host, &footer, caches)?);
        return Ok(Part { layer, parent: None, identity });
    }
    let header = DynamicHeader::read(&host, footer.data_offset)?;
    let parent = match footer.disk_type {
        DiskType::Differencing => Some(Parent {
            what: "parent",
            names: windows_names(header.parent_names(&host)?),
            format: Some(Format::Vhd),
            identities: vec![header.parent_id.to_vec()],
        }),
        DiskType::Fixed | DiskType::Dynamic => None,
    };
    let layer = Box::new(Vhd::dynamic(host, &footer, &header, caches)?);
    Ok(Part { layer, parent, identity })
}
