//! `VirtualBox` disk images, version 1.1 (`Storage/VDICore.h` of its sources: `VDIPREHEADER`,
//! `VDIHEADER1PLUS`; `VDI.cpp` for the block map).
//!
//! | structure | what is used of it |
//! |---|---|
//! | `VDIPREHEADER` | signature, version |
//! | `VDIHEADER1PLUS` | type, offsets of block map and data, size, block size, UUIDs |
//! | block map | `VDI_IMAGE_BLOCK_FREE` is a hole, `VDI_IMAGE_BLOCK_ZERO` zeros, else a block's number |
//!
//! A differencing or undo image names its parent by UUID only, and which file that
//! is stands in the machine's `.vbox`: such an image is refused by name.

use crate::chain::{Chain, Part};
use crate::field::{le32, le64};
use crate::file::HostFile;
use crate::layer::{Caches, Layer, Mapping, Target, joined};
use crate::table::{Cursor, Table};
use crate::{Error, Format};
use std::sync::Arc;

const SIGNATURE: u32 = 0xbeda_107f;
const FREE: u64 = 0xffff_ffff;
const ZERO: u64 = 0xffff_fffe;

fn damaged(what: &'static str, offset: u64) -> Error {
    Format::Vdi.damaged(what, offset)
}

fn unsupported(what: impl Into<String>) -> Error {
    Format::Vdi.unsupported(what)
}

/// A dynamic or fixed VDI.
#[derive(Debug)]
struct Vdi {
    host: HostFile,
    size: u64,
    block_bytes: u64,
    data_offset: u64,
    map: Table,
    caches: Arc<Caches>,
}

/// Opens a VDI as a layer of a chain.
pub(crate) fn part(host: HostFile, chain: &Chain<'_>) -> Result<Part, Error> {
    let mut bytes = [0; 512];
    host.read_padded("read VDI header", 0, &mut bytes)?;
    let short = || damaged("the header is cut off", 0);
    let field = |at| le32(&bytes, at).map(u64::from).ok_or_else(short);
    if le32(&bytes, 64) != Some(SIGNATURE) {
        return Err(damaged("there is no VDI signature", 64));
    }
    let version = field(68)?;
    if version != 0x0001_0001 {
        return Err(unsupported(format!("version {}.{}", version >> 16, version & 0xffff)));
    }
    match field(76)? {
        // Dynamic and fixed: the block map tells all there is to know.
        1 | 2 => {}
        3 => return Err(unsupported("an undo image, whose parent only the machine's .vbox names")),
        4 => return Err(unsupported("a differencing image, whose parent only the machine's .vbox names")),
        other => return Err(unsupported(format!("image type {other}"))),
    }
    let size = le64(&bytes, 368).ok_or_else(short)?;
    let block_bytes = field(376)?;
    if !block_bytes.is_power_of_two() || !(4096..=256 << 20).contains(&block_bytes) {
        return Err(damaged("the block size is not 4 KiB to 256 MiB", 376));
    }
    if field(380)? != 0 {
        return Err(unsupported("blocks with extra data"));
    }
    let needed = size.div_ceil(block_bytes);
    if field(384)? < needed {
        return Err(damaged("the block map is too small for the disk", 384));
    }
    let map = Table {
        format: Format::Vdi,
        what: "read block map",
        offset: field(340)?,
        entries: needed,
        entry_bytes: 4,
    };
    if !map.is_inside(host.bytes) {
        return Err(damaged("the block map is not inside the file", map.offset));
    }
    let data_offset = field(344)?;
    let caches = Arc::clone(&chain.caches);
    let layer = Box::new(Vdi { host, size, block_bytes, data_offset, map, caches });
    Ok(Part { layer, parent: None, identity: Vec::new() })
}

impl Vdi {
    /// Tells what the rest of the block that holds `offset` is mapped to.
    fn run(&self, offset: u64, map: &mut Cursor<'_>) -> Result<Mapping<'_>, Error> {
        let within = offset & self.block_bytes.wrapping_sub(1);
        let length = self.block_bytes.saturating_sub(within);
        let index = offset.wrapping_sub(within).checked_div(self.block_bytes).unwrap_or(0);
        let entry = le32(map.entry(index)?, 0).map_or(FREE, u64::from);
        let target = match entry {
            FREE => Target::Hole,
            ZERO => Target::Zero,
            number => {
                let block = self.data_offset.saturating_add(number.saturating_mul(self.block_bytes));
                let at = block.saturating_add(within);
                if !self.host.holds(at, length.min(self.size.saturating_sub(offset))) {
                    return Err(damaged("a block is not inside the file", at));
                }
                Target::Data(&self.host, at)
            }
        };
        Ok(Mapping { target, length })
    }
}

impl Layer for Vdi {
    fn format(&self) -> Format {
        Format::Vdi
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn map(&self, offset: u64, want: u64) -> Result<Mapping<'_>, Error> {
        let mut map = self.map.cursor(&self.host, &self.caches.tables);
        joined(offset, want, |at| self.run(at, &mut map))
    }
}
