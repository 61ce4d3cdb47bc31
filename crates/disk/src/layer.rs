//! Where the bytes of a disk are: what every format tells, and the one reader of it.
//!
//! A format is a [`Layer`]: a map from the disk to its files. An [`Image`] reads a
//! layer with the images behind it, so that reading, spans, decompressed units and
//! parents are the same for every format.
//!
//! ```text
//! Image { delta.vmdk: Layer, backing ─▶ Image { base.vmdk: Layer, backing: none } }
//!            │ map(offset) = Data(file, at) | Zero | Packed unit | Hole ─▶ backing
//! ```

use crate::cache::{Cache, Key};
use crate::field::{narrow, wide};
use crate::file::HostFile;
use crate::source::check_range;
use crate::{BlockSource, Error, Format, Span, SpanKind};
use std::fmt;
use std::sync::Arc;

/// Most units (clusters, grains, blocks) that one lookup walks over.
const UNITS_PER_LOOKUP_MAX: u32 = 4096;

/// What a run of the disk is mapped to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'l> {
    /// Nothing: the image behind shows through, or zeros where there is none.
    Hole,
    /// Zeros, whatever the image behind holds.
    Zero,
    /// Bytes of a file from this offset.
    Data(&'l HostFile, u64),
    /// Part of a compressed unit.
    Packed(Packed<'l>),
}

/// Part of a unit that has to be decompressed as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'l> {
    pub(crate) host: &'l HostFile,
    /// What the format needs to find it in `host`, and what names it in the cache.
    pub(crate) descriptor: u64,
    /// First byte of the part.
    pub(crate) within: u64,
    /// Size of the unit when it is decompressed.
    pub(crate) unit_bytes: u64,
}

/// A run of the disk and what it is mapped to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping<'l> {
    pub(crate) target: Target<'l>,
    pub(crate) length: u64,
}

impl Target<'_> {
    /// Returns whether `next` is what follows after `length` bytes of this.
    fn goes_on(&self, length: u64, next: &Self) -> bool {
        match (self, next) {
            (Self::Hole, Self::Hole) | (Self::Zero, Self::Zero) => true,
            (Self::Data(host, at), Self::Data(next, next_at)) => {
                host.number == next.number && at.checked_add(length) == Some(*next_at)
            }
            _ => false,
        }
    }
}

/// Joins what `one` tells of neighbouring runs into one run from `offset`, for at most `want` bytes.
///
/// `one` is called with the first byte of each run. Damage behind the first run ends
/// the mapping, and is told when that place is asked for.
pub(crate) fn joined<'l>(
    offset: u64,
    want: u64,
    mut one: impl FnMut(u64) -> Result<Mapping<'l>, Error>,
) -> Result<Mapping<'l>, Error> {
    let Mapping { target, mut length } = one(offset)?;
    for _ in 0..UNITS_PER_LOOKUP_MAX {
        if length >= want || matches!(target, Target::Packed(_)) {
            break;
        }
        match one(offset.saturating_add(length)) {
            Ok(next) if target.goes_on(length, &next.target) => {
                length = length.saturating_add(next.length.max(1));
            }
            _ => break,
        }
    }
    Ok(Mapping { target, length: length.min(want).max(1) })
}

/// One image of a chain, without those behind it.
pub(crate) trait Layer: Send + Sync + fmt::Debug {
    /// Returns the format.
    fn format(&self) -> Format;

    /// Returns the virtual size in bytes.
    fn size(&self) -> u64;

    /// Tells what the bytes from `offset` are mapped to, for at most `want` bytes; both lie on the disk.
    fn map(&self, offset: u64, want: u64) -> Result<Mapping<'_>, Error>;

    /// Decompresses a whole unit into `out`.
    fn unpack(&self, packed: &Packed<'_>, out: &mut [u8]) -> Result<(), Error> {
        out.fill(0);
        Err(self.format().damaged("a compressed unit in a format that has none", packed.descriptor))
    }
}

/// The caches that all images of a chain share.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(crate) tables: Cache,
    pub(crate) units: Cache,
}

impl Caches {
    /// 64 tables of the usual 64 KiB, and a few decompressed units.
    pub(crate) fn new() -> Self {
        Self { tables: Cache::new(4 << 20), units: Cache::new(4 << 20) }
    }
}

/// A layer with the images behind it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) layer: Box<dyn Layer>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) backing: Option<Arc<dyn BlockSource>>,
}

impl Image {
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

    /// Fills `buffer` from a compressed unit; one that is read in part is kept for the next part.
    fn read_packed(&self, packed: &Packed<'_>, buffer: &mut [u8]) -> Result<(), Error> {
        if packed.within == 0 && wide(buffer.len()) == packed.unit_bytes {
            return self.layer.unpack(packed, buffer);
        }
        let key = Key { file: packed.host.number, offset: packed.descriptor };
        let unit = match self.caches.units.get(key) {
            Some(unit) if wide(unit.len()) == packed.unit_bytes => unit,
            _ => {
                let mut bytes = vec![0; narrow(packed.unit_bytes)];
                self.layer.unpack(packed, &mut bytes)?;
                let unit: Arc<[u8]> = bytes.into();
                self.caches.units.put(key, Arc::clone(&unit));
                unit
            }
        };
        let within = narrow(packed.within);
        let part = unit.get(within..within.saturating_add(buffer.len()));
        let short = || self.format().damaged("a compressed unit is too short", packed.descriptor);
        buffer.copy_from_slice(part.ok_or_else(short)?);
        Ok(())
    }
}

impl BlockSource for Image {
    fn size(&self) -> u64 {
        self.layer.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        check_range(self.size(), offset, buffer)?;
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let mapping = self.layer.map(at, wide(rest.len()))?;
            let length = narrow(mapping.length).clamp(1, rest.len());
            let (part, behind) = rest.split_at_mut(length);
            match mapping.target {
                Target::Hole => self.read_backing(at, part)?,
                Target::Zero => part.fill(0),
                Target::Data(host, from) => host.read_padded("read data of image", from, part)?,
                Target::Packed(packed) => self.read_packed(&packed, part)?,
            }
            at = at.saturating_add(wide(length));
            rest = behind;
        }
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        check_range(self.size(), offset, &[0])?;
        let rest = self.size().saturating_sub(offset);
        let mapping = self.layer.map(offset, rest)?;
        let span = |kind| Span { kind, length: mapping.length };
        let within = |inner: Span| Span { kind: inner.kind, length: inner.length.min(mapping.length) };
        Ok(match (mapping.target, &self.backing) {
            (Target::Hole, Some(backing)) if offset < backing.size() => within(backing.span_at(offset)?),
            (Target::Hole | Target::Zero, _) => span(SpanKind::Zero),
            // What the image calls data may still be a hole of its file.
            (Target::Data(host, at), _) if at < host.bytes => within(host.span_at(at)),
            (Target::Data(..) | Target::Packed(_), _) => span(SpanKind::Data),
        })
    }

    fn format(&self) -> Format {
        self.layer.format()
    }
}
