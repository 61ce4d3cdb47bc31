//! Reads qcow2 images (QEMU docs/interop/qcow2.txt, "Cluster mapping").
//!
//! Refcounts are not looked at: a reader has no use for them.

use super::decompress::Decompressor;
use super::header::{Header, damaged};
use crate::cache::Cache;
use crate::field::{be64, narrow, wide};
use crate::file::HostFile;
use crate::source::check_range;
use crate::{BlockSource, Error, Format, Span, SpanKind};
use std::fmt;
use std::sync::Arc;

/// Bits 9 to 55 of an L1 or L2 entry: a host offset.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const COPIED: u64 = 1 << 63;
const ALL_ZERO: u64 = 1;

/// Most clusters or subclusters that one lookup walks over.
const UNITS_PER_LOOKUP_MAX: u32 = 16_384;

/// The caches that all images of a chain share.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(crate) tables: Cache,
    pub(crate) clusters: Cache,
}

impl Caches {
    /// 64 tables of the usual 64 KiB, and a few decompressed clusters.
    pub(crate) fn new() -> Self {
        Self { tables: Cache::new(4 << 20), clusters: Cache::new(4 << 20) }
    }
}

/// A qcow2 image, version 2 or 3, with the images behind it.
pub(crate) struct Qcow2 {
    host: HostFile,
    /// External data file, where the image has one.
    data: Option<HostFile>,
    header: Header,
    l1: Vec<u64>,
    layer: u32,
    caches: Arc<Caches>,
    decompressor: Decompressor,
    backing: Option<Arc<dyn BlockSource>>,
}

/// What a run of guest bytes is mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Nothing: the backing file shows through.
    Hole,
    /// Zeros, whatever the backing file holds.
    Zero,
    /// Bytes of the file from this offset.
    Data(u64),
    /// One compressed cluster with this descriptor.
    Compressed(u64),
}

struct Mapping {
    target: Target,
    length: u64,
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
        layer: u32,
        caches: Arc<Caches>,
        backing: Option<Arc<dyn BlockSource>>,
    ) -> Result<Self, Error> {
        let mut bytes = vec![0; narrow(header.l1_entries.saturating_mul(8))];
        host.read("read L1 table", header.l1_offset, &mut bytes)?;
        let l1 = bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect();
        let decompressor = Decompressor::new(header.compression);
        Ok(Self { host, data, header, l1, layer, caches, decompressor, backing })
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
        let key = (self.layer, offset);
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

    /// Tells what the bytes from `offset` are mapped to, for at most `want` bytes.
    fn map(&self, offset: u64, want: u64) -> Result<Mapping, Error> {
        let geometry = self.geometry();
        let l1_index = shr(offset, geometry.table_bits);
        let table_end = |index: u64| shl(index.saturating_add(1), geometry.table_bits);
        let Some(table) = self.table(l1_index)? else {
            let mut index = l1_index;
            let end = offset.saturating_add(want);
            let empty = |index| {
                let entry = self.l1.get(narrow(index));
                entry.is_some_and(|entry| entry & OFFSET_MASK == 0)
            };
            while table_end(index) < end && empty(index.saturating_add(1)) {
                index = index.saturating_add(1);
            }
            let length = table_end(index).saturating_sub(offset).min(want);
            return Ok(Mapping { target: Target::Hole, length });
        };
        let in_table = offset & mask(geometry.table_bits);
        let end = in_table.saturating_add(want).min(shl(1, geometry.table_bits));
        let target = match self.target(&table, in_table, &geometry)? {
            Target::Data(host) => Target::Data(host.saturating_add(offset & mask(geometry.unit_bits))),
            Target::Compressed(descriptor) => {
                let cluster_end = (offset | mask(geometry.cluster_bits)).saturating_add(1);
                return Ok(Mapping {
                    target: Target::Compressed(descriptor),
                    length: cluster_end.saturating_sub(offset).min(want),
                });
            }
            other => other,
        };
        let mut at = in_table;
        for _ in 0..UNITS_PER_LOOKUP_MAX {
            at = (at | mask(geometry.unit_bits)).saturating_add(1);
            if at >= end {
                break;
            }
            let expected = match target {
                Target::Data(host) => Target::Data(host.saturating_add(at.saturating_sub(in_table))),
                other => other,
            };
            if self.target(&table, at, &geometry)? != expected {
                break;
            }
        }
        let length = at.min(end).saturating_sub(in_table).max(1);
        Ok(Mapping { target, length })
    }

    /// Returns what the unit at `in_table` is mapped to; data from the unit's first byte.
    fn target(&self, table: &[u8], in_table: u64, geometry: &Geometry) -> Result<Target, Error> {
        let index = shr(in_table, geometry.cluster_bits);
        let at = narrow(index.saturating_mul(geometry.entry_bytes));
        let entry = be64(table, at).unwrap_or(0);
        if entry & COMPRESSED != 0 {
            return Ok(Target::Compressed(entry & !(COMPRESSED | COPIED)));
        }
        let host = entry & OFFSET_MASK;
        let present = host != 0 || (self.data.is_some() && entry & COPIED != 0);
        let in_cluster = in_table & mask(geometry.cluster_bits) & !mask(geometry.unit_bits);
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
        if host >= self.data_host().bytes {
            return Err(damaged("a cluster is not inside the file", host));
        }
        Ok(Target::Data(host.saturating_add(in_cluster)))
    }

    /// Returns the file that guest data is in.
    fn data_host(&self) -> &HostFile {
        self.data.as_ref().unwrap_or(&self.host)
    }

    /// Fills `buffer` from the images behind this one; behind their end there are zeros.
    fn read_backing(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let Some(backing) = &self.backing else {
            buffer.fill(0);
            return Ok(());
        };
        let inside = narrow(backing.size().saturating_sub(offset)).min(buffer.len());
        let (shared, behind) = buffer.split_at_mut(inside);
        behind.fill(0);
        if shared.is_empty() {
            return Ok(());
        }
        backing.read_at(offset, shared)
    }

    /// Reads from the compressed cluster that holds `offset`.
    fn read_compressed(&self, descriptor: u64, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let cluster_bytes = self.header.cluster_bytes();
        let within = narrow(offset & cluster_bytes.wrapping_sub(1));
        // Bits of the host offset: 62 - (cluster_bits - 8); the rest counts extra sectors.
        let offset_bits = 70_u32.saturating_sub(self.header.cluster_bits);
        let host = descriptor & mask(offset_bits);
        let sectors = shr(descriptor, offset_bits).saturating_add(1);
        let length = sectors.saturating_mul(512).saturating_sub(host & 511);
        let length = length.min(self.host.bytes.saturating_sub(host));
        if length == 0 {
            return Err(damaged("a compressed cluster is not inside the file", host));
        }
        let read = |out: &mut [u8]| -> Result<(), Error> {
            let mut packed = vec![0; narrow(length)];
            self.host.read("read compressed cluster", host, &mut packed)?;
            let done = self.decompressor.run(&packed, out);
            done.ok_or_else(|| damaged("a cluster cannot be decompressed", host))
        };
        if within == 0 && wide(buffer.len()) == cluster_bytes {
            return read(buffer);
        }
        let key = (self.layer, descriptor);
        let cluster = if let Some(cluster) = self.caches.clusters.get(key) {
            cluster
        } else {
            let mut bytes = vec![0; narrow(cluster_bytes)];
            read(&mut bytes)?;
            let cluster: Arc<[u8]> = bytes.into();
            self.caches.clusters.put(key, Arc::clone(&cluster));
            cluster
        };
        let part = cluster.get(within..within.saturating_add(buffer.len()));
        buffer.copy_from_slice(part.ok_or_else(|| damaged("a cluster is too short", host))?);
        Ok(())
    }
}

impl BlockSource for Qcow2 {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        check_range(self.size(), offset, buffer)?;
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let mapping = self.map(at, wide(rest.len()))?;
            let length = narrow(mapping.length).min(rest.len());
            let (part, behind) = rest.split_at_mut(length);
            match mapping.target {
                Target::Hole => self.read_backing(at, part)?,
                Target::Zero => part.fill(0),
                Target::Data(host) => self.data_host().read_padded("read cluster", host, part)?,
                Target::Compressed(descriptor) => self.read_compressed(descriptor, at, part)?,
            }
            at = at.saturating_add(mapping.length);
            rest = behind;
        }
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        check_range(self.size(), offset, &[0])?;
        let rest = self.size().saturating_sub(offset);
        let mapping = self.map(offset, rest)?;
        let zero = Span { kind: SpanKind::Zero, length: mapping.length };
        Ok(match (mapping.target, &self.backing) {
            (Target::Hole, Some(backing)) if offset < backing.size() => {
                let span = backing.span_at(offset)?;
                Span { kind: span.kind, length: span.length.min(mapping.length) }
            }
            (Target::Hole | Target::Zero, _) => zero,
            (Target::Data(_) | Target::Compressed(_), _) => {
                Span { kind: SpanKind::Data, length: mapping.length }
            }
        })
    }

    fn format(&self) -> Format {
        Format::Qcow2
    }
}

impl fmt::Debug for Qcow2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2")
            .field("header", &self.header)
            .field("layer", &self.layer)
            .field("backing", &self.backing)
            .finish_non_exhaustive()
    }
}
