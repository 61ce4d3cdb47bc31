//! Payload blocks and sector bitmaps ([MS-VHDX] 2.4 and 2.5).

use super::header::Region;
use super::metadata::Metadata;
use super::{MIB, damaged};
use crate::bits::{self, Order};
use crate::field::{le64, narrow};
use crate::file::HostFile;
use crate::layer::{Caches, Layer, Mapping, Target, joined};
use crate::table::{Cursor, Table};
use crate::{Error, Format};
use std::sync::Arc;

/// Sectors that one sector bitmap block tells of.
const CHUNK_SECTORS: u64 = 1 << 23;
/// How much of a sector bitmap is looked at together, and of how many sectors it tells.
const BITMAP_BYTES: u64 = 4096;
const BITMAP_SECTORS: u64 = BITMAP_BYTES * 8;

/// A VHDX without its parent.
#[derive(Debug)]
pub(super) struct Vhdx {
    host: HostFile,
    size: u64,
    block_bytes: u64,
    sector_bytes: u64,
    /// Payload blocks for each sector bitmap block.
    chunk_ratio: u64,
    has_parent: bool,
    bat: Table,
    caches: Arc<Caches>,
}

impl Vhdx {
    /// Takes an image whose metadata was read and checked.
    pub(super) fn new(
        host: HostFile,
        region: &Region,
        metadata: &Metadata,
        caches: Arc<Caches>,
    ) -> Result<Self, Error> {
        let Metadata { size, block_bytes, sector_bytes, .. } = *metadata;
        let chunk_bytes = CHUNK_SECTORS.saturating_mul(sector_bytes);
        let chunk_ratio = chunk_bytes.checked_div(block_bytes).unwrap_or(1).max(1);
        let has_parent = metadata.parent.is_some();
        let blocks = size.div_ceil(block_bytes);
        let entries = if has_parent {
            size.div_ceil(chunk_bytes).saturating_mul(chunk_ratio.saturating_add(1))
        } else {
            blocks.saturating_add(blocks.saturating_sub(1).checked_div(chunk_ratio).unwrap_or(0))
        };
        let bat =
            Table { format: Format::Vhdx, what: "read BAT", offset: region.offset, entries, entry_bytes: 8 };
        if entries.saturating_mul(8) > region.bytes || !bat.is_inside(host.bytes) {
            return Err(damaged("the BAT is too small for the disk", region.offset));
        }
        Ok(Self { host, size, block_bytes, sector_bytes, chunk_ratio, has_parent, bat, caches })
    }

    /// Tells what the bytes from `offset` to the end of the block, or of like sectors, are mapped to.
    fn run(&self, offset: u64, bat: &mut Cursor<'_>) -> Result<Mapping<'_>, Error> {
        let within = offset & self.block_bytes.wrapping_sub(1);
        let block = offset.wrapping_sub(within).checked_div(self.block_bytes).unwrap_or(0);
        let length = self.block_bytes.saturating_sub(within);
        let chunk = block.checked_div(self.chunk_ratio).unwrap_or(0);
        let (state, start) = entry(bat, block.saturating_add(chunk))?;
        match state {
            // Not present.
            0 => Ok(Mapping { target: Target::Hole, length }),
            // Undefined, zero, unmapped: nothing of the parent shows through.
            1..=3 => Ok(Mapping { target: Target::Zero, length }),
            6 => self.data(start, within, offset, length),
            7 if self.has_parent => {
                let (present, length) = self.sectors(block, chunk, within, bat)?;
                if present {
                    self.data(start, within, offset, length)
                } else {
                    Ok(Mapping { target: Target::Hole, length })
                }
            }
            _ => Err(damaged("a payload block has an impossible state", start)),
        }
    }

    fn data(&self, start: u64, within: u64, offset: u64, length: u64) -> Result<Mapping<'_>, Error> {
        let at = start.saturating_add(within);
        if start < MIB || !self.host.holds(at, length.min(self.size.saturating_sub(offset))) {
            return Err(damaged("a payload block is not inside the file", at));
        }
        Ok(Mapping { target: Target::Data(&self.host, at), length })
    }

    /// Tells whether the sectors from `within` of a block are in this image, and for how many bytes.
    fn sectors(
        &self,
        block: u64,
        chunk: u64,
        within: u64,
        bat: &mut Cursor<'_>,
    ) -> Result<(bool, u64), Error> {
        let index = chunk.saturating_add(1).saturating_mul(self.chunk_ratio.saturating_add(1));
        let (state, start) = entry(bat, index.saturating_sub(1))?;
        let table = Table {
            format: Format::Vhdx,
            what: "read sector bitmap",
            offset: start,
            entries: MIB.wrapping_div(BITMAP_BYTES),
            entry_bytes: BITMAP_BYTES,
        };
        if state != 6 || start < MIB || !table.is_inside(self.host.bytes) {
            return Err(damaged("a sector bitmap block is not inside the file", start));
        }
        let before = block.checked_rem(self.chunk_ratio).unwrap_or(0).saturating_mul(self.block_bytes);
        let sector = before.saturating_add(within).checked_div(self.sector_bytes).unwrap_or(0);
        let mut bitmap = bat.beside(table);
        let bitmap = bitmap.entry(sector.wrapping_div(BITMAP_SECTORS))?;
        let (present, count) =
            bits::run(bitmap, narrow(sector.wrapping_rem(BITMAP_SECTORS)), Order::LowFirst)
                .ok_or_else(|| damaged("a sector bitmap is too short", start))?;
        let into = within & self.sector_bytes.wrapping_sub(1);
        let length = count.saturating_mul(self.sector_bytes).saturating_sub(into);
        Ok((present, length.min(self.block_bytes.saturating_sub(within))))
    }
}

/// Returns state and file offset of an entry of the BAT.
fn entry(bat: &mut Cursor<'_>, index: u64) -> Result<(u64, u64), Error> {
    let entry = le64(bat.entry(index)?, 0).unwrap_or(u64::MAX);
    Ok((entry & 7, entry & !MIB.wrapping_sub(1)))
}

impl Layer for Vhdx {
    fn format(&self) -> Format {
        Format::Vhdx
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn map(&self, offset: u64, want: u64) -> Result<Mapping<'_>, Error> {
        let mut bat = self.bat.cursor(&self.host, &self.caches.tables);
        joined(offset, want, |at| self.run(at, &mut bat))
    }
}
