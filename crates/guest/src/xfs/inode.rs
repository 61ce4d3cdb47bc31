//! Inodes and their forks (XFS Algorithms & Data Structures, "On-disk Inode").

use crate::field::{be16, be32, be64, narrow, u8_at, wide};
use airlock_model::Extent;

pub(crate) const MAGIC: u16 = 0x494e;

/// Bytes in front of the forks, without and with checksums.
const CORE_BYTES: usize = 100;
const CORE_BYTES_3: usize = 176;

const FLAG_REALTIME: u16 = 1;
const FLAG2_WIDE_COUNTS: u64 = 0x10;

/// What an inode is, as far as a survey is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Other,
}

/// Where a fork has its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// In the inode.
    Local,
    /// In blocks that a list in the inode names.
    Extents,
    /// In blocks that a tree names, whose root is in the inode.
    Tree,
    /// A device number, or nothing.
    None,
}

/// An inode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inode<'b> {
    bytes: &'b [u8],
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) links: u32,
}

/// A part of an inode that says where data or attributes are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fork<'b> {
    pub(crate) format: Format,
    pub(crate) bytes: &'b [u8],
    /// Extents that a list has.
    pub(crate) extents: u64,
}

impl<'b> Inode<'b> {
    /// Returns the inode in `bytes`, if it is in use.
    pub(crate) fn parse(bytes: &'b [u8]) -> Option<Self> {
        let mode = be16(bytes, 2);
        if be16(bytes, 0) != MAGIC || mode == 0 {
            return None;
        }
        let kind = match mode & 0xf000 {
            0x8000 => Kind::File,
            0x4000 => Kind::Directory,
            _ => Kind::Other,
        };
        let links = if u8_at(bytes, 4) == 1 { u32::from(be16(bytes, 6)) } else { be32(bytes, 16) };
        Some(Self { bytes, kind, size: be64(bytes, 56), links })
    }

    /// Returns whether its data is on another device.
    pub(crate) fn is_realtime(&self) -> bool {
        be16(self.bytes, 90) & FLAG_REALTIME != 0
    }

    fn core_bytes(&self) -> usize {
        core_bytes(self.bytes)
    }

    fn has_wide_counts(&self) -> bool {
        u8_at(self.bytes, 4) >= 3 && be64(self.bytes, 120) & FLAG2_WIDE_COUNTS != 0
    }

    /// Returns where in the inode the data fork is.
    pub(crate) fn data_place(&self) -> Extent {
        let (start, end) = (self.core_bytes(), data_end(self.bytes));
        Extent::new(wide(start), wide(end.saturating_sub(start)))
    }

    /// Returns the fork of the data.
    pub(crate) fn data(&self) -> Fork<'b> {
        let place = self.data_place();
        let bytes = self.bytes.get(narrow(place.offset)..narrow(place.end())).unwrap_or_default();
        let extents =
            if self.has_wide_counts() { be64(self.bytes, 24) } else { u64::from(be32(self.bytes, 76)) };
        Fork { format: format(u8_at(self.bytes, 5)), bytes, extents }
    }

    /// Returns the fork of the attributes, if there is one.
    pub(crate) fn attributes(&self) -> Option<Fork<'b>> {
        let start = data_end(self.bytes);
        let bytes = self.bytes.get(start..).filter(|bytes| !bytes.is_empty())?;
        let extents =
            if self.has_wide_counts() { be32(self.bytes, 76) } else { u32::from(be16(self.bytes, 80)) };
        Some(Fork { format: format(u8_at(self.bytes, 83)), bytes, extents: u64::from(extents) })
    }
}

/// Returns how many bytes are in front of the forks.
pub(crate) fn core_bytes(inode: &[u8]) -> usize {
    if u8_at(inode, 4) >= 3 { CORE_BYTES_3 } else { CORE_BYTES }
}

/// Returns where the fork of the data ends, and that of the attributes begins.
pub(crate) fn data_end(inode: &[u8]) -> usize {
    match usize::from(u8_at(inode, 82)).saturating_mul(8) {
        0 => inode.len(),
        offset => core_bytes(inode).saturating_add(offset).min(inode.len()),
    }
}

fn format(number: u8) -> Format {
    match number {
        1 => Format::Local,
        2 => Format::Extents,
        3 => Format::Tree,
        _ => Format::None,
    }
}
