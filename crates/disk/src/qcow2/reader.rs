//! Reads qcow2 images (QEMU docs/interop/qcow2.txt, "Cluster mapping").
//!
//! Refcounts are not looked at: a reader has no use for them.

use super::header::{Header, damaged};
use crate::cache::Key;
use crate::decompress::Decompressor;
use crate::field::{be64, narrow, wide};
use crate::file::HostFile;
use crate::layer::{Caches, Layer, Mapping, Packed, Target, joined};
use crate::{Error, Format};
use std::fmt;
use std::sync::Arc;

/// Bits 9 to 55 of an L1 or L2 entry: a host offset.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const COPIED: u64 = 1 << 63;
const ALL_ZERO: u64 = 1;

/// A qcow2 image, version 2 or 3.
pub(crate) struct Qcow2 {
    host: HostFile,
    /// External data file, where the image has one.
    data: Option<HostFile>,
    header: Header,
    l1: Vec<u64>,
    caches: Arc<Caches>,
    decompressor: Decompressor,
}

/// The geometry that one lookup works with, in bytes and powers of two.
struct Geometry {
    cluster_bits: u32,
    /// Bits of a subcluster; of a cluster where the image has none.
    unit_bits: u32,
    entry_bytes: u64,
    /// Bits of what one L2 table covers.
    table_bits: u32,
}

fn shl(value: u64, bits: u32) -> u64 {
    value.checked_shl(bits).unwrap_or(0)
}

fn shr(value: u64, bits: u32) -> u64 {
    value.checked_shr(bits).unwrap_or(0)
}

fn mask(bits: u32) -> u64 {
    shl(1, bits).wrapping_sub(1)
}

impl Qcow2 {
    /// Takes an image whose header was read and whose other files were opened.
    pub(crate) fn new(
        host: HostFile,
        data: Option<HostFile>,
        header: Header,
        caches: Arc<Caches>,
    ) -> Result<Self, Error> {
        let mut bytes = vec![0; narrow(header.l1_entries.saturating_mul(8))];
        host.read("read L1 table", header.l1_offset, &mut bytes)?;
        let l1 = bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect();
        let decompressor = Decompressor::new(header.compression);
        Ok(Self { host, data, header, l1, caches, decompressor })
    }

    fn geometry(&self) -> Geometry {
        let cluster_bits = self.header.cluster_bits;
        let (unit_less, entry_bits) = if self.header.extended_l2 { (5, 4) } else { (0, 3) };
        Geometry {
            cluster_bits,
            unit_bits: cluster_bits.saturating_sub(unit_less),
            entry_bytes: shl(1, entry_bits),
            table_bits: cluster_bits.saturating_mul(2).saturating_sub(entry_bits),
        }
    }

    /// Returns the L2 table of an L1 entry, or nothing where there is none.
    fn table(&self, index: u64) -> Result<Option<Arc<[u8]>>, Error> {
        let entry = self.l1.get(narrow(index)).copied().unwrap_or(0);
        let offset = entry & OFFSET_MASK;
        if offset == 0 {
            return Ok(None);
        }
        let key = Key { file: self.host.number, offset };
        if let Some(table) = self.caches.tables.get(key) {
            return Ok(Some(table));
        }
        let cluster = self.header.cluster_bytes();
        if offset & cluster.wrapping_sub(1) != 0 || offset.saturating_add(cluster) > self.host.bytes {
            return Err(damaged("an L2 table is not inside the file", offset));
        }
        let mut bytes = vec![0; narrow(cluster)];
        self.host.read("read L2 table", offset, &mut bytes)?;
        let table: Arc<[u8]> = bytes.into();
        self.caches.tables.put(key, Arc::clone(&table));
        Ok(Some(table))
    }

    /// Tells what the run that begins at `offset` is mapped to, where only what is below `end`
    /// matters; `table` keeps the L2 table for the next run.
    fn run(
        &self,
        offset: u64,
        end: u64,
        geometry: &Geometry,
        table: &mut Option<(u64, Option<Arc<[u8]>>)>,
    ) -> Result<Mapping<'_>, Error> {
        let index = shr(offset, geometry.table_bits);
        if table.as_ref().is_none_or(|(kept, _)| *kept != index) {
            *table = Some((index, self.table(index)?));
        }
        let Some((_, Some(table))) = table else {
            // The L1 table is in memory: a hole of many tables is one run.
            let start = narrow(index.saturating_add(1));
            let tables = self.l1.get(start..narrow(shr(end, geometry.table_bits))).unwrap_or_default();
            let empty = tables.iter().take_while(|&&entry| entry & OFFSET_MASK == 0).count();
            let next = index.saturating_add(wide(empty)).saturating_add(1);
            return Ok(Mapping {
                target: Target::Hole,
                length: shl(next, geometry.table_bits).saturating_sub(offset),
            });
        };
        let unit_end = |bits| (offset | mask(bits)).saturating_add(1).saturating_sub(offset);
        let in_table = offset & mask(geometry.table_bits);
        let target = self.target(table, in_table, geometry)?;
        let bits =
            if matches!(target, Target::Packed(_)) { geometry.cluster_bits } else { geometry.unit_bits };
        Ok(Mapping { target, length: unit_end(bits) })
    }

    /// Returns what the byte at `in_table` of what an L2 table covers is mapped to.
    fn target(&self, table: &[u8], in_table: u64, geometry: &Geometry) -> Result<Target<'_>, Error> {
        let index = shr(in_table, geometry.cluster_bits);
        let at = narrow(index.saturating_mul(geometry.entry_bytes));
        let entry = be64(table, at).unwrap_or(0);
        let in_cluster = in_table & mask(geometry.cluster_bits);
        if entry & COMPRESSED != 0 {
            return Ok(Target::Packed(Packed {
                host: &self.host,
                descriptor: entry & !(COMPRESSED | COPIED),
                within: in_cluster,
                unit_bytes: self.header.cluster_bytes(),
            }));
        }
        let host = entry & OFFSET_MASK;
        let present = host != 0 || (self.data.is_some() && entry & COPIED != 0);
        if self.header.extended_l2 {
            let bitmap = be64(table, at.saturating_add(8)).unwrap_or(0);
            let sub = u32::try_from(shr(in_cluster, geometry.unit_bits)).unwrap_or(0);
            if shr(bitmap, sub.saturating_add(32)) & 1 == 1 {
                return Ok(Target::Zero);
            }
            if shr(bitmap, sub) & 1 == 0 {
                return Ok(Target::Hole);
            }
            if !present {
                return Err(damaged("a subcluster is allocated nowhere", 0));
            }
        } else if entry & ALL_ZERO != 0 {
            return Ok(Target::Zero);
        } else if !present {
            return Ok(Target::Hole);
        }
        if host & mask(geometry.cluster_bits) != 0 {
            return Err(damaged("a cluster is not aligned", host));
        }
        let data = self.data_host();
        if host >= data.bytes {
            return Err(damaged("a cluster is not inside the file", host));
        }
        Ok(Target::Data(data, host.saturating_add(in_cluster)))
    }

    /// Returns the file that guest data is in.
    fn data_host(&self) -> &HostFile {
        self.data.as_ref().unwrap_or(&self.host)
    }
}

impl Layer for Qcow2 {
    fn format(&self) -> Format {
        Format::Qcow2
    }

    fn size(&self) -> u64 {
        self.header.size
    }

    fn map(&self, offset: u64, want: u64) -> Result<Mapping<'_>, Error> {
        let geometry = self.geometry();
        let mut table = None;
        let end = offset.saturating_add(want);
        joined(offset, want, |at| self.run(at, end, &geometry, &mut table))
    }

    fn unpack(&self, packed: &Packed<'_>, out: &mut [u8]) -> Result<(), Error> {
        // Bits of the host offset: 62 - (cluster_bits - 8); the rest counts extra sectors.
        let offset_bits = 70_u32.saturating_sub(self.header.cluster_bits);
        let host = packed.descriptor & mask(offset_bits);
        let sectors = shr(packed.descriptor, offset_bits).saturating_add(1);
        let length = sectors.saturating_mul(512).saturating_sub(host & 511);
        let length = length.min(self.host.bytes.saturating_sub(host));
        if length == 0 {
            return Err(damaged("a compressed cluster is not inside the file", host));
        }
        let mut bytes = vec![0; narrow(length)];
        self.host.read("read compressed cluster", host, &mut bytes)?;
        let done = self.decompressor.run(&bytes, out);
        done.ok_or_else(|| damaged("a cluster cannot be decompressed", host))
    }
}

impl fmt::Debug for Qcow2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2").field("header", &self.header).finish_non_exhaustive()
    }
}
