//! A disk of extents in a row (Virtual Disk Format 5.0, "Extent Descriptions", "Simple Extents").

use super::damaged;
use super::sparse::{Sparse, read_marked};
use crate::decompress::{Compression, Decompressor};
use crate::file::HostFile;
use crate::layer::{Caches, Layer, Mapping, Packed, Target};
use crate::{Error, Format};
use std::sync::Arc;

/// A run of the disk and what holds it.
#[derive(Debug)]
pub(super) struct Extent {
    /// First byte of the disk.
    pub(super) start: u64,
    pub(super) bytes: u64,
    pub(super) body: Body,
}

/// What holds the bytes of an extent.
#[derive(Debug)]
pub(super) enum Body {
    Zero,
    /// The bytes as they are, from `at` of a file that is long enough.
    Flat {
        host: HostFile,
        at: u64,
    },
    Sparse(Sparse),
}

/// A VMDK without its parent.
#[derive(Debug)]
pub(super) struct Vmdk {
    extents: Vec<Extent>,
    size: u64,
    caches: Arc<Caches>,
    decompressor: Decompressor,
}

impl Vmdk {
    /// Takes extents that lie one behind the other.
    pub(super) fn new(extents: Vec<Extent>, caches: Arc<Caches>) -> Result<Self, Error> {
        let last = extents.last().map_or(Some(0), |last| last.start.checked_add(last.bytes));
        // Offsets of host files are signed.
        let size = last.filter(|&size| i64::try_from(size).is_ok());
        let size = size.ok_or_else(|| damaged("the disk is impossibly large", 0))?;
        Ok(Self { extents, size, caches, decompressor: Decompressor::new(Compression::Zlib) })
    }
}

impl Layer for Vmdk {
    fn format(&self) -> Format {
        Format::Vmdk
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn map(&self, offset: u64, want: u64) -> Result<Mapping<'_>, Error> {
        let behind = self.extents.partition_point(|extent| extent.start <= offset);
        // Of extents that begin at one place all but the last are empty.
        let extent = behind.checked_sub(1).and_then(|index| self.extents.get(index));
        let extent = extent.ok_or_else(|| damaged("no extent holds the place", offset))?;
        let within = offset.saturating_sub(extent.start);
        let want = want.min(extent.bytes.saturating_sub(within));
        match &extent.body {
            Body::Zero => Ok(Mapping { target: Target::Zero, length: want }),
            Body::Flat { host, at } => {
                Ok(Mapping { target: Target::Data(host, at.saturating_add(within)), length: want })
            }
            Body::Sparse(sparse) => sparse.map(within, want, &self.caches.tables),
        }
    }

    fn unpack(&self, packed: &Packed<'_>, out: &mut [u8]) -> Result<(), Error> {
        let bytes = read_marked(packed.host, packed.descriptor, packed.unit_bytes)?;
        let done = self.decompressor.run(&bytes, out);
        done.ok_or_else(|| damaged("a grain cannot be decompressed", packed.descriptor))
    }
}
