//! Sparse extents: grain directory, grain tables, grains (Virtual Disk Format 5.0,
//! "Grain Directory", "Grain Table", "Grain").

use super::header::{Encoding, SparseHeader};
use super::{SECTOR, damaged};
use crate::cache::Cache;
use crate::field::{le32, le64, narrow};
use crate::file::HostFile;
use crate::layer::{Mapping, Packed, Target, joined};
use crate::table::{Cursor, Table};
use crate::{Error, Format};

/// Size of the marker before a compressed grain: sector of the disk, size of the data.
const MARKER_BYTES: u64 = 12;

/// A sparse extent.
#[derive(Debug)]
pub(super) struct Sparse {
    host: HostFile,
    header: SparseHeader,
    directory: Table,
}

/// The highest four bits of an entry of a space-efficient extent.
const KIND: u64 = 0xf << 60;

impl Encoding {
    fn entry_bytes(self) -> u64 {
        match self {
            Self::Sectors { .. } => 4,
            Self::SpaceEfficient { .. } => 8,
        }
    }

    fn number(self, entry: &[u8]) -> u64 {
        match self {
            Self::Sectors { .. } => le32(entry, 0).map(u64::from),
            Self::SpaceEfficient { .. } => le64(entry, 0),
        }
        .unwrap_or(u64::MAX)
    }

    /// Returns where the grain table of a directory entry is.
    fn table(self, entry: u64, table_entries: u64) -> Result<Option<u64>, Error> {
        match self {
            _ if entry == 0 => Ok(None),
            Self::Sectors { .. } => Ok(Some(entry.saturating_mul(SECTOR))),
            Self::SpaceEfficient { tables, .. } => {
                if entry >> 32 != 0x1000_0000 {
                    return Err(damaged("an entry of the grain directory is impossible", entry));
                }
                let number = entry & 0xffff_ffff;
                let bytes = number.saturating_mul(table_entries.saturating_mul(8));
                Ok(Some(tables.saturating_add(bytes)))
            }
        }
    }

    /// Returns where the grain of a table entry is: nowhere, zeros, or a place in the file.
    fn grain(self, entry: u64, grain_bytes: u64) -> Result<Grain, Error> {
        match self {
            _ if entry == 0 => Ok(Grain::Hole),
            Self::Sectors { zero_grains: true, .. } if entry == 1 => Ok(Grain::Zero),
            Self::Sectors { .. } => Ok(Grain::At(entry.saturating_mul(SECTOR))),
            Self::SpaceEfficient { grains, .. } => match (entry & KIND) >> 60 {
                // Unmapped by the guest, or zeroed.
                1 | 2 => Ok(Grain::Zero),
                3 => {
                    let number = ((entry >> 48) & 0xfff) | ((entry & 0xffff_ffff_ffff) << 12);
                    Ok(Grain::At(grains.saturating_add(number.saturating_mul(grain_bytes))))
                }
                _ => Err(damaged("an entry of a grain table is impossible", entry)),
            },
        }
    }
}

enum Grain {
    Hole,
    Zero,
    At(u64),
}

impl Sparse {
    /// Takes an extent whose header was read.
    pub(super) fn new(host: HostFile, header: SparseHeader) -> Result<Self, Error> {
        let covers = header.grain_bytes.saturating_mul(header.table_entries);
        let entries = header.capacity_bytes.div_ceil(covers.max(1));
        let directory = Table {
            format: Format::Vmdk,
            what: "read grain directory",
            offset: header.directory,
            entries,
            entry_bytes: header.encoding.entry_bytes(),
        };
        if !directory.is_inside(host.bytes) {
            return Err(damaged("the grain directory is not inside the file", header.directory));
        }
        Ok(Self { host, header, directory })
    }

    /// Returns whether grains are compressed.
    pub(super) fn is_compressed(&self) -> bool {
        matches!(self.header.encoding, Encoding::Sectors { compressed: true, .. })
    }

    /// Tells what the bytes from `offset` of the extent are mapped to.
    pub(super) fn map(&self, offset: u64, want: u64, cache: &Cache) -> Result<Mapping<'_>, Error> {
        let mut directory = self.directory.cursor(&self.host, cache);
        let mut table = None;
        joined(offset, want, |at| self.run(at, &mut directory, &mut table))
    }

    /// Tells what the grain that holds `offset` is mapped to, or a hole of a whole grain table.
    fn run<'s, 'c>(
        &'s self,
        offset: u64,
        directory: &mut Cursor<'c>,
        kept: &mut Option<(u64, Cursor<'c>)>,
    ) -> Result<Mapping<'s>, Error> {
        let SparseHeader { grain_bytes, table_entries, encoding, .. } = self.header;
        let within = offset & grain_bytes.wrapping_sub(1);
        let grain = offset.wrapping_sub(within).checked_div(grain_bytes).unwrap_or(0);
        let index = grain.checked_div(table_entries).unwrap_or(0);
        if kept.as_ref().is_none_or(|(kept, _)| *kept != index) {
            let entry = encoding.number(directory.entry(index)?);
            let Some(at) = encoding.table(entry, table_entries)? else {
                let end = index.saturating_add(1).saturating_mul(table_entries).saturating_mul(grain_bytes);
                return Ok(Mapping { target: Target::Hole, length: end.saturating_sub(offset) });
            };
            *kept = Some((index, directory.beside(self.table(at)?)));
        }
        let Some((_, table)) = kept else {
            return Err(damaged("a grain table is lost", offset));
        };
        let entry = encoding.number(table.entry(grain.checked_rem(table_entries).unwrap_or(0))?);
        let length = grain_bytes.saturating_sub(within);
        let target = match encoding.grain(entry, grain_bytes)? {
            Grain::Hole => Target::Hole,
            Grain::Zero => Target::Zero,
            Grain::At(at) if self.is_compressed() => {
                let start = offset.saturating_sub(within);
                Target::Packed(Packed {
                    host: &self.host,
                    descriptor: at,
                    within,
                    unit_bytes: grain_bytes.min(self.header.capacity_bytes.saturating_sub(start)),
                })
            }
            Grain::At(at) => {
                // The last grain may be cut off where the disk is.
                let needed = length.min(self.header.capacity_bytes.saturating_sub(offset));
                let at = at.saturating_add(within);
                if !self.host.holds(at, needed) {
                    return Err(damaged("a grain is not inside the file", at));
                }
                Target::Data(&self.host, at)
            }
        };
        Ok(Mapping { target, length })
    }

    fn table(&self, offset: u64) -> Result<Table, Error> {
        let table = Table {
            format: Format::Vmdk,
            what: "read grain table",
            offset,
            entries: self.header.table_entries,
            entry_bytes: self.header.encoding.entry_bytes(),
        };
        if !table.is_inside(self.host.bytes) {
            return Err(damaged("a grain table is not inside the file", offset));
        }
        Ok(table)
    }
}

/// Returns the compressed bytes of the grain behind the marker at `offset`.
pub(super) fn read_marked(host: &HostFile, offset: u64, unit_bytes: u64) -> Result<Vec<u8>, Error> {
    let outside = || damaged("a compressed grain is not inside the file", offset);
    let mut marker = [0; 12];
    if !host.holds(offset, MARKER_BYTES) {
        return Err(outside());
    }
    host.read("read grain marker", offset, &mut marker)?;
    let length = u64::from(le32(&marker, 8).ok_or_else(outside)?);
    let start = offset.saturating_add(MARKER_BYTES);
    // Deflate adds little to what it cannot compress.
    if length == 0 || length > unit_bytes.saturating_mul(2).saturating_add(SECTOR) {
        return Err(damaged("the size of a compressed grain is impossible", offset));
    }
    if !host.holds(start, length) {
        return Err(outside());
    }
    let mut bytes = vec![0; narrow(length)];
    host.read("read compressed grain", start, &mut bytes)?;
    Ok(bytes)
}
