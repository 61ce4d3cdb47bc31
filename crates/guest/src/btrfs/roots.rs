//! The tree of roots: where all other trees are.

use super::Fs;
use super::chunks::CHUNK_ITEM;
use super::item::{EXTENT_DATA, Entry, FileExtent, ROOT_BACKREF, ROOT_ITEM, Shape};
use super::tree::{Root, Walker};
use crate::field::{le32, le64, u8_at};
use crate::fs::Failure;

pub(crate) const EXTENT_TREE: u64 = 2;
pub(crate) const FS_TREE: u64 = 5;
/// Inodes and subvolumes that people make have numbers from here on, and to the same distance
/// from the end.
pub(crate) const FIRST_FREE: u64 = 256;
pub(crate) const LAST_FREE: u64 = 0_u64.wrapping_sub(256);
/// Where files are while a balance moves them.
const DATA_RELOCATION: u64 = 0_u64.wrapping_sub(9);

/// Most subvolumes and snapshots.
const SUBVOLUMES_MAX: usize = 1 << 16;

/// A subvolume or snapshot.
#[derive(Debug)]
pub(crate) struct Subvolume {
    pub(crate) number: u64,
    pub(crate) root: Root,
    /// Whether it is deleted, and on its way to be freed.
    pub(crate) deleted: bool,
    /// Subvolume above, inode of the directory there, and name.
    pub(crate) place: Option<(u64, u64, Vec<u8>)>,
}

/// What the tree of roots says.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    pub(crate) extent_tree: Option<Root>,
    pub(crate) subvolumes: Vec<Subvolume>,
    /// Extents of the file system's own files.
    pub(crate) own: Vec<(u64, u64)>,
    pub(crate) relocation: Option<Root>,
    pub(crate) limited: bool,
}

/// Returns the root that an item has.
pub(crate) fn root_of(bytes: &[u8]) -> Root {
    Root { bytenr: le64(bytes, 176), generation: le64(bytes, 160), level: u8_at(bytes, 238) }
}

impl Roots {
    pub(crate) fn read(fs: &Fs<'_>, walker: &mut Walker) -> Self {
        let mut roots = Self::default();
        walker.walk(fs, fs.superblock.root, |item| match (item.key.kind, item.key.object) {
            (ROOT_ITEM, EXTENT_TREE) => roots.extent_tree = Some(root_of(item.bytes)),
            (ROOT_ITEM, DATA_RELOCATION) => roots.relocation = Some(root_of(item.bytes)),
            (ROOT_ITEM, number) if number == FS_TREE || (FIRST_FREE..=LAST_FREE).contains(&number) => {
                if roots.subvolumes.len() >= SUBVOLUMES_MAX {
                    roots.limited = true;
                    return;
                }
                let deleted = number != FS_TREE && le32(item.bytes, 216) == 0;
                let root = root_of(item.bytes);
                roots.subvolumes.push(Subvolume { number, root, deleted, place: None });
            }
            (ROOT_BACKREF, number) => {
                let last = roots.subvolumes.last_mut().filter(|last| last.number == number);
                if let (Some(last), Some(entry)) = (last, Entry::of_root(item.bytes)) {
                    last.place = Some((item.key.offset, entry.object, entry.name.to_vec()));
                }
            }
            (EXTENT_DATA, _) => roots.own_extent(FileExtent::parse(item.bytes, item.key.offset, item.at)),
            _ => {}
        });
        roots
    }

    /// Notes the extents of files that a balance is moving.
    pub(crate) fn read_relocation(&mut self, fs: &Fs<'_>, walker: &mut Walker) {
        if let Some(root) = self.relocation {
            walker.walk(fs, root, |item| {
                if item.key.kind == EXTENT_DATA {
                    self.own_extent(FileExtent::parse(item.bytes, item.key.offset, item.at));
                }
            });
        }
    }

    fn own_extent(&mut self, extent: Option<FileExtent>) {
        const OWN_MAX: usize = 1 << 20;
        if let Some(extent) = extent.filter(|extent| extent.shape != Shape::Inline && extent.disk != 0) {
            if self.own.len() < OWN_MAX {
                self.own.push((extent.disk, extent.disk_bytes));
            } else {
                self.limited = true;
            }
        }
    }
}

/// Reads the tree of chunks, beside those that the superblock has.
pub(crate) fn read_chunks(fs: &mut Fs<'_>, walker: &mut Walker) -> Result<u64, Failure> {
    let mut found = Vec::new();
    walker.walk(fs, fs.superblock.chunk_root, |item| {
        if item.key.kind == CHUNK_ITEM {
            found.push((item.key.offset, item.bytes.to_vec()));
        }
    });
    let mut damaged = 0_u64;
    for (start, bytes) in found {
        let fits = fs.chunks.add(start, &bytes, &fs.superblock)?;
        damaged = damaged.saturating_add(u64::from(!fits));
    }
    Ok(damaged)
}
