//! From the extents of a file to what it claims, and how it is read.

use super::Fs;
use super::item::{FileExtent, Shape};
use crate::field::{quotient, remainder, word};
use crate::fs::{NodeKind, Role};
use airlock_model::{Codec, Packed, Run};
use std::collections::HashMap;

/// Plain parts of files that are partly compressed are pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

/// A claim of a file: role, first sector, number of sectors, first sector in the file.
pub(crate) type Part = (Role, u64, u32, u64);

/// How a file is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) kind: NodeKind,
    pub(crate) size: u64,
    pub(crate) claims: Vec<Part>,
    pub(crate) views: Vec<Run>,
    pub(crate) packs: Vec<Packed>,
}

impl Layout {
    fn new(kind: NodeKind, size: u64) -> Self {
        Self { kind, size, claims: Vec::new(), views: Vec::new(), packs: Vec::new() }
    }

    /// Turns what a log has covered into a view that shows nothing, if it is compressed: its blocks
    /// are inspected as they are anyway.
    pub(crate) fn into_old(mut self, sector_bytes: u64) -> Option<Self> {
        let seen = self.packs.iter().map(|piece| piece.logical.saturating_add(piece.length));
        self.size = seen.max()?;
        self.kind = NodeKind::View;
        self.packs.iter_mut().for_each(|piece| piece.spare = true);
        let bytes = |sectors: u64| sectors.saturating_mul(sector_bytes);
        self.views.extend(self.claims.drain(..).map(|(_, sector, count, logical)| Run {
            logical: bytes(logical),
            disk: bytes(sector),
            length: bytes(u64::from(count)),
        }));
        Some(self)
    }

    fn claim(&mut self, part: Part) {
        let (role, block, length, logical) = part;
        if let Some(last) = self.claims.last_mut() {
            let count = u64::from(last.2);
            let joined = last.2.checked_add(length);
            let touches = last.0 == role
                && last.1.saturating_add(count) == block
                && last.3.saturating_add(count) == logical;
            if let Some(joined) = joined.filter(|_| touches) {
                last.2 = joined;
                return;
            }
        }
        self.claims.push(part);
    }
}

/// What a file comes to.
#[derive(Debug)]
pub(crate) struct Layouts {
    /// The file itself first; then what is read in another way.
    pub(crate) list: Vec<Layout>,
    /// Sectors of its extents that it has and does not show, as first and number of them.
    pub(crate) rests: Vec<(u64, u32)>,
    /// Extents that are nowhere on the volume.
    pub(crate) outside: u64,
    /// Extents that are compressed or encrypted in a way that is not known.
    pub(crate) unknown: u64,
}

/// Makes the layouts of a file.
struct Maker<'f, 'd> {
    fs: &'f Fs<'d>,
    size: u64,
    main: Layout,
    /// The same in the second copy of the data.
    second: Layout,
    inline: Option<Layout>,
    /// Where in the stored stream compressed extents are, by their address and length.
    stored: HashMap<(u64, u64), u64>,
    stored_end: u64,
    rests: Vec<(u64, u32)>,
    outside: u64,
    unknown: u64,
}

/// Returns what a file of these extents comes to.
pub(crate) fn layouts(fs: &Fs<'_>, size: u64, extents: &[FileExtent]) -> Layouts {
    let is_packed =
        |extent: &FileExtent| extent.shape == Shape::Written && extent.disk != 0 && extent.codec.is_some();
    let packed = extents.iter().any(is_packed);
    let mut maker = Maker {
        fs,
        size,
        main: Layout::new(if packed { NodeKind::Packed } else { NodeKind::File }, size),
        second: Layout::new(NodeKind::View, size),
        inline: None,
        stored: HashMap::new(),
        stored_end: 0,
        rests: Vec::new(),
        outside: 0,
        unknown: 0,
    };
    for extent in extents {
        let done = match extent.shape {
            Shape::Inline => {
                maker.inline(extent);
                Some(())
            }
            _ if extent.disk == 0 => Some(()),
            Shape::Unknown => {
                maker.unknown = maker.unknown.saturating_add(1);
                maker.rest(extent)
            }
            Shape::Unwritten if packed => maker.rest(extent),
            Shape::Written if packed => maker.pack(extent),
            Shape::Written => maker.plain(extent, Role::Written),
            Shape::Unwritten => maker.plain(extent, Role::Unwritten),
        };
        maker.outside = maker.outside.saturating_add(u64::from(done.is_none()));
    }
    maker.finish()
}

impl Maker<'_, '_> {
    /// Returns where a part of the address space lies: byte and sectors, and byte of the second copy.
    fn place(&self, address: u64, length: u64) -> Option<(u64, u64, u32, Option<u64>)> {
        let sector_bytes = self.fs.superblock.sector_bytes;
        let copies = self.fs.chunks.locate(address, length)?;
        let sector = quotient(copies.first, sector_bytes);
        let count = quotient(length, sector_bytes);
        let whole = remainder(copies.first, sector_bytes) == 0 && remainder(length, sector_bytes) == 0;
        let inside = sector.checked_add(count)? <= self.fs.superblock.sectors;
        let count = u32::try_from(count).ok()?;
        (whole && inside && count > 0).then_some((copies.first, sector, count, copies.second))
    }

    fn push_second(&mut self, logical: u64, at: Option<u64>, length: u64) {
        let Some(disk) = at else { return };
        if disk.saturating_add(length) <= self.fs.window.bytes() {
            self.second.views.push(Run { logical, disk, length });
        }
    }

    /// Takes all of an extent for what the file has and does not show.
    fn rest(&mut self, extent: &FileExtent) -> Option<()> {
        let (_, sector, count, _) = self.place(extent.disk, extent.disk_bytes)?;
        self.rests.push((sector, count));
        Some(())
    }

    fn plain(&mut self, extent: &FileExtent, role: Role) -> Option<()> {
        let address = extent.disk.checked_add(extent.offset)?;
        let sector_bytes = self.fs.superblock.sector_bytes;
        if remainder(extent.logical, sector_bytes) != 0 {
            return None;
        }
        let (_, sector, count, second) = self.place(address, extent.length)?;
        self.main.claim((role, sector, count, quotient(extent.logical, sector_bytes)));
        let seen = self.size.saturating_sub(extent.logical).min(extent.length);
        if role == Role::Written && seen > 0 {
            self.push_second(extent.logical, second, seen);
        }
        if (extent.offset, extent.length) != (0, extent.disk_bytes) {
            self.rest(extent);
        }
        Some(())
    }

    /// Adds a part of a file that is compressed, in part at least.
    fn pack(&mut self, extent: &FileExtent) -> Option<()> {
        let left = self.size.saturating_sub(extent.logical);
        let Some(codec) = extent.codec else {
            return if left == 0 { self.rest(extent) } else { self.pack_plain(extent, left) };
        };
        let length = extent.length.min(left).min(extent.unpacked.saturating_sub(extent.offset));
        let spare = length == 0;
        let known = self.stored.get(&(extent.disk, extent.disk_bytes)).copied();
        let stored = if let Some(stored) = known {
            stored
        } else {
            let stored = self.append(extent.disk, extent.disk_bytes)?;
            self.stored.insert((extent.disk, extent.disk_bytes), stored);
            stored
        };
        self.main.packs.push(Packed {
            logical: extent.logical,
            length: if spare { extent.unpacked } else { length },
            stored,
            stored_bytes: extent.disk_bytes,
            skip: if spare { 0 } else { extent.offset },
            unpacked: extent.unpacked,
            codec,
            spare,
        });
        Some(())
    }

    /// Adds a part that is not compressed of a file that is elsewhere.
    fn pack_plain(&mut self, extent: &FileExtent, left: u64) -> Option<()> {
        let mut stored = self.append(extent.disk.checked_add(extent.offset)?, extent.length)?;
        let (mut logical, mut bytes) = (extent.logical, extent.length);
        let mut left = left.min(extent.length);
        while left > 0 {
            let length = left.min(PIECE_BYTES);
            // The last piece has what is behind the end of the file, too.
            let stored_bytes = if left > PIECE_BYTES { length } else { bytes };
            self.main.packs.push(Packed {
                logical,
                length,
                stored,
                stored_bytes,
                skip: 0,
                unpacked: length,
                codec: Codec::Stored,
                spare: false,
            });
            stored = stored.checked_add(stored_bytes)?;
            logical = logical.checked_add(length)?;
            bytes = bytes.saturating_sub(stored_bytes);
            left = left.saturating_sub(length);
        }
        if (extent.offset, extent.length) != (0, extent.disk_bytes) {
            self.rest(extent);
        }
        Some(())
    }

    /// Claims a part for the stored stream, and returns where in the stream it is.
    fn append(&mut self, address: u64, length: u64) -> Option<u64> {
        let (_, sector, count, second) = self.place(address, length)?;
        let stored = self.stored_end;
        self.main.claim((Role::Written, sector, count, quotient(stored, self.fs.superblock.sector_bytes)));
        self.push_second(stored, second, length);
        self.stored_end = stored.checked_add(length)?;
        Some(stored)
    }

    /// Adds a part that lies in a leaf.
    fn inline(&mut self, extent: &FileExtent) {
        let seen = self.size.saturating_sub(extent.logical);
        let mut layout = Layout::new(NodeKind::View, self.size);
        let length = match extent.codec {
            Some(_) => extent.disk_bytes,
            None => extent.disk_bytes.min(seen),
        };
        if let Some(codec) = extent.codec {
            let unpacked = extent.unpacked;
            layout.packs.push(Packed {
                logical: extent.logical,
                length: unpacked.min(seen),
                stored: 0,
                stored_bytes: length,
                skip: 0,
                unpacked,
                codec,
                spare: false,
            });
        }
        let logical = if extent.codec.is_some() { 0 } else { extent.logical };
        if length > 0 && seen > 0 && self.inline.is_none() {
            layout.views.push(Run { logical, disk: extent.disk, length });
            self.inline = Some(layout);
        }
    }

    fn finish(self) -> Layouts {
        let Self { main, mut second, inline, rests, outside, unknown, .. } = self;
        second.packs.clone_from(&main.packs);
        let whole = |runs: &[Run]| word(runs.iter().fold(0, |sum, run| run.length.saturating_add(sum)));
        let doubled = !second.views.is_empty()
            && (second.packs.is_empty() || u64::from(whole(&second.views)) == self.stored_end);
        let mut list = Vec::new();
        if inline.is_none() || !main.claims.is_empty() {
            list.push(main);
        }
        list.extend(inline);
        if doubled {
            list.push(second);
        }
        Layouts { list, rests, outside, unknown }
    }
}
