//! Blocks of a VHD ("Block Allocation Table and Data Blocks").

use super::damaged;
use super::header::{DynamicHeader, Footer};
use crate::bits::{self, Order};
use crate::field::{be32, narrow};
use crate::file::HostFile;
use crate::layer::{Caches, Layer, Mapping, Target, joined};
use crate::table::{Cursor, Table};
use crate::{Error, Format};
use std::sync::Arc;

const SECTOR: u64 = 512;
/// Entry of the block allocation table of a block that is not there.
const ABSENT: u64 = 0xffff_ffff;
/// Sectors whose bits are looked at together: one sector of the bitmap.
const BITMAP_SECTORS: u64 = SECTOR * 8;

/// A VHD without its parent.
#[derive(Debug)]
pub(super) struct Vhd {
    host: HostFile,
    size: u64,
    caches: Arc<Caches>,
    /// Absent for a fixed disk, whose bytes are as they are.
    blocks: Option<Blocks>,
}

#[derive(Debug)]
struct Blocks {
    table: Table,
    block_bytes: u64,
    /// Size of the bitmap before the data of each block.
    bitmap_bytes: u64,
}

impl Vhd {
    pub(super) fn fixed(host: HostFile, footer: &Footer, caches: Arc<Caches>) -> Result<Self, Error> {
        if footer.size > host.bytes.saturating_sub(SECTOR) {
            return Err(damaged("the file is shorter than the disk", host.bytes));
        }
        Ok(Self { host, size: footer.size, caches, blocks: None })
    }

    pub(super) fn dynamic(
        host: HostFile,
        footer: &Footer,
        header: &DynamicHeader,
        caches: Arc<Caches>,
    ) -> Result<Self, Error> {
        let needed = footer.size.div_ceil(header.block_bytes);
        if header.table_entries < needed {
            return Err(damaged("the block allocation table is too small for the disk", header.table_offset));
        }
        let table = Table {
            format: Format::Vhd,
            what: "read block allocation table",
            offset: header.table_offset,
            entries: needed,
            entry_bytes: 4,
        };
        if !table.is_inside(host.bytes) {
            return Err(damaged("the block allocation table is not inside the file", header.table_offset));
        }
        let bitmap_bytes = header.block_bytes.div_ceil(BITMAP_SECTORS).next_multiple_of(SECTOR);
        let blocks = Blocks { table, block_bytes: header.block_bytes, bitmap_bytes };
        Ok(Self { host, size: footer.size, caches, blocks: Some(blocks) })
    }

    /// Tells what the sectors from `offset` on are mapped to.
    fn run(&self, offset: u64, blocks: &Blocks, table: &mut Cursor<'_>) -> Result<Mapping<'_>, Error> {
        let within = offset & blocks.block_bytes.wrapping_sub(1);
        let index = offset.wrapping_sub(within).checked_div(blocks.block_bytes).unwrap_or(0);
        let entry = be32(table.entry(index)?, 0).map_or(ABSENT, u64::from);
        if entry == ABSENT {
            return Ok(Mapping { target: Target::Hole, length: blocks.block_bytes.saturating_sub(within) });
        }
        let start = entry.saturating_mul(SECTOR);
        let bitmap = Table {
            format: Format::Vhd,
            what: "read sector bitmap",
            offset: start,
            entries: blocks.bitmap_bytes.wrapping_div(SECTOR),
            entry_bytes: SECTOR,
        };
        if !bitmap.is_inside(self.host.bytes) {
            return Err(damaged("a block is not inside the file", start));
        }
        let sector = within.wrapping_div(SECTOR);
        let mut bits = table.beside(bitmap);
        let bits = bits.entry(sector.wrapping_div(BITMAP_SECTORS))?;
        let first = narrow(sector.wrapping_rem(BITMAP_SECTORS));
        let (present, sectors) = bits::run(bits, first, Order::HighFirst)
            .ok_or_else(|| damaged("a sector bitmap is too short", start))?;
        let into = within.wrapping_rem(SECTOR);
        let length = sectors.saturating_mul(SECTOR).saturating_sub(into);
        let length = length.min(blocks.block_bytes.saturating_sub(within));
        if !present {
            return Ok(Mapping { target: Target::Hole, length });
        }
        let at = start.saturating_add(blocks.bitmap_bytes).saturating_add(within);
        if !self.host.holds(at, length.min(self.size.saturating_sub(offset))) {
            return Err(damaged("a block is not inside the file", at));
        }
        Ok(Mapping { target: Target::Data(&self.host, at), length })
    }
}

impl Layer for Vhd {
    fn format(&self) -> Format {
        Format::Vhd
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn map(&self, offset: u64, want: u64) -> Result<Mapping<'_>, Error> {
        let Some(blocks) = &self.blocks else {
            return Ok(Mapping { target: Target::Data(&self.host, offset), length: want });
        };
        let mut table = blocks.table.cursor(&self.host, &self.caches.tables);
        joined(offset, want, |at| self.run(at, blocks, &mut table))
    }
}
