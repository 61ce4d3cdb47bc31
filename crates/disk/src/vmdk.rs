//! VMware virtual disks (VMware "Virtual Disk Format 5.0" technical note).
//!
//! A disk is a text descriptor and extents; a *sparse* single file holds both.
//!
//! | section of the specification | where |
//! |---|---|
//! | The Descriptor File, Link Hint and CIDs | `descriptor` |
//! | Simple Extents (flat), joining of extents | `extent` |
//! | Hosted Sparse Extents, Grain Directory and Tables | `sparse`, `header` |
//! | Stream-Optimized Compressed Sparse Extents: markers, footer | `header`, `extent` |
//! | ESX Server Sparse Extents (COWD, `vmfsSparse`) | `header` |
//!
//! Space-efficient sparse extents (`SESPARSE`) are in no published document; their
//! header is as QEMU's `block/vmdk.c` (`VMDKSESparseConstHeader`) describes it.
//!
//! A hole of a disk whose `parentCID` is not `ffffffff` shows its parent, which
//! must be there and have that CID: a delta alone is refused, never read as zeros.
//! For the same reason a sparse extent without a descriptor is refused.
//! Raw device mappings and encrypted disks are refused by name.

mod descriptor;
mod extent;
mod header;
mod sparse;

use crate::chain::{Chain, Parent, Part};
use crate::field::narrow;
use crate::file::HostFile;
use crate::{Error, Format};
use descriptor::{DESCRIPTOR_BYTES_MAX, Descriptor, ExtentKind, ExtentLine};
use extent::{Body, Extent, Vmdk};
use header::SparseHeader;
use sparse::Sparse;
use std::path::Path;
use std::sync::Arc;

const SECTOR: u64 = 512;

fn damaged(what: &'static str, offset: u64) -> Error {
    Format::Vmdk.damaged(what, offset)
}

fn unsupported(what: impl Into<String>) -> Error {
    Format::Vmdk.unsupported(what)
}

/// Opens a VMDK as a layer of a chain.
pub(crate) fn part(host: HostFile, path: &Path, chain: &mut Chain<'_>) -> Result<Part, Error> {
    let (descriptor, extents) = if let Some(header) = SparseHeader::read(&host)? {
        let Some((offset, length)) = header.descriptor else {
            return Err(unsupported("an extent without its descriptor; name the descriptor's file instead"));
        };
        let descriptor = Descriptor::parse(&text(&host, offset, length)?)?;
        let [ExtentLine { kind: ExtentKind::Sparse, .. }] = descriptor.extents.as_slice() else {
            return Err(unsupported("a sparse file whose descriptor has other extents"));
        };
        let bytes = header.capacity_bytes;
        let sparse = Sparse::new(host, header)?;
        (descriptor, vec![Extent { start: 0, bytes, body: Body::Sparse(sparse) }])
    } else {
        let descriptor = Descriptor::parse(&text(&host, 0, host.bytes)?)?;
        let extents = open_extents(&descriptor, path, chain)?;
        (descriptor, extents)
    };
    let identity = descriptor.cid.to_be_bytes().to_vec();
    let parent = descriptor.parent.map(|(cid, hint)| Parent {
        what: "parent",
        names: names(hint),
        format: Some(Format::Vmdk),
        identities: vec![cid.to_be_bytes().to_vec()],
    });
    let layer = Box::new(Vmdk::new(extents, Arc::clone(&chain.caches))?);
    Ok(Part { layer, parent, identity })
}

/// Reads the text of a descriptor, which ends at the first NUL.
fn text(host: &HostFile, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
    if length > DESCRIPTOR_BYTES_MAX {
        return Err(damaged("the descriptor is too long", offset));
    }
    let mut bytes = vec![0; narrow(length)];
    if !host.holds(offset, length) {
        return Err(damaged("the descriptor is not inside the file", offset));
    }
    host.read("read descriptor", offset, &mut bytes)?;
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    Ok(bytes)
}

/// Returns the names under which a parent may be found: as it is written, then beside the image.
fn names(hint: Vec<u8>) -> Vec<Vec<u8>> {
    let last = hint.rsplit(|byte| b"/\\".contains(byte)).next().unwrap_or_default().to_vec();
    if last == hint || last.is_empty() { vec![hint] } else { vec![hint, last] }
}

/// Opens the extents that a descriptor names.
fn open_extents(descriptor: &Descriptor, path: &Path, chain: &mut Chain<'_>) -> Result<Vec<Extent>, Error> {
    let mut start = 0_u64;
    let mut extents = Vec::new();
    for line in &descriptor.extents {
        let too_large = || damaged("the extents are too large", 0);
        let bytes = line.sectors.checked_mul(SECTOR).ok_or_else(too_large)?;
        let body = open_extent(line, bytes, path, chain)?;
        extents.push(Extent { start, bytes, body });
        start = start.checked_add(bytes).ok_or_else(too_large)?;
    }
    Ok(extents)
}

fn open_extent(line: &ExtentLine, bytes: u64, path: &Path, chain: &mut Chain<'_>) -> Result<Body, Error> {
    if line.kind == ExtentKind::Zero {
        return Ok(Body::Zero);
    }
    let host = chain.part_of("extent", &line.name, path)?;
    if line.kind == ExtentKind::Flat {
        let at = line.offset.checked_mul(SECTOR);
        let at = at.filter(|&at| host.holds(at, bytes));
        let at =
            at.ok_or_else(|| damaged("a flat extent is shorter than its descriptor says", host.bytes))?;
        return Ok(Body::Flat { host, at });
    }
    let header = SparseHeader::read(&host)?;
    let header = header.ok_or_else(|| damaged("a sparse extent has no header", 0))?;
    if header.capacity_bytes < bytes {
        return Err(damaged("a sparse extent is smaller than its descriptor says", 0));
    }
    Ok(Body::Sparse(Sparse::new(host, header)?))
}
