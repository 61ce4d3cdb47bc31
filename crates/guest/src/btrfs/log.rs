//! The log trees: what was synchronised since the last commit, put over the trees of files.
//!
//! The log of a subvolume has items of the same kinds as its tree. An inode of the log
//! replaces the one of the tree, its extents cover those of the tree, its names in a
//! directory replace those in that directory; of the indices of a directory that the log
//! says it has, what is not in the log is deleted.

use super::Fs;
use super::item::{
    DIR_INDEX, DIR_LOG_INDEX, EXTENT_DATA, Entry, FileExtent, INODE_EXTREF, INODE_ITEM, INODE_REF, InodeItem,
    ROOT_ITEM, names,
};
use super::roots;
use super::tree::{Item, Root, Walker};
use crate::field::le64;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most items of all logs.
const ITEMS_MAX: usize = 4 << 20;

/// The tree of logs has them under this object.
const TREE_LOG: u64 = 0_u64.wrapping_sub(6);

/// An inode of a log.
#[derive(Debug, Default)]
pub(crate) struct LogInode {
    pub(crate) item: Option<InodeItem>,
    pub(crate) extents: Vec<FileExtent>,
    /// Directories and names.
    pub(crate) names: Vec<(u64, Vec<u8>)>,
}

/// The log of a subvolume.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) inodes: BTreeMap<u64, LogInode>,
    /// Indices that the log has all of, by directory.
    ranges: HashMap<u64, Vec<(u64, u64)>>,
    /// Directories and indices of the log.
    entries: HashSet<(u64, u64)>,
    /// What a directory has under a name.
    by_name: HashMap<(u64, Vec<u8>), u64>,
    /// Inodes, and directories in which all of their names are in the log.
    replaced: HashSet<(u64, u64)>,
    /// Directories and names that are deleted.
    removed: HashSet<(u64, Vec<u8>)>,
}

impl Log {
    fn item(&mut self, item: Item<'_>) {
        let Item { key, bytes, at } = item;
        match key.kind {
            INODE_ITEM => self.inode(key.object).item = Some(InodeItem::parse(bytes)),
            INODE_REF | INODE_EXTREF => names(key.kind, key.offset, bytes, |parent, name| {
                self.inode(key.object).names.push((parent, name.to_vec()));
                self.by_name.insert((parent, name.to_vec()), key.object);
                self.replaced.insert((key.object, parent));
            }),
            EXTENT_DATA => {
                if let Some(extent) = FileExtent::parse(bytes, key.offset, at) {
                    let extents = &mut self.inode(key.object).extents;
                    let end = extents.last().and_then(FileExtent::end);
                    if end.is_none_or(|end| end <= extent.logical) {
                        extents.push(extent);
                    }
                }
            }
            DIR_LOG_INDEX => {
                let range = (key.offset, le64(bytes, 0));
                self.ranges.entry(key.object).or_default().push(range);
            }
            DIR_INDEX => {
                self.entries.insert((key.object, key.offset));
                if let Some(entry) = Entry::parse(bytes).filter(|entry| entry.inode) {
                    self.by_name.insert((key.object, entry.name.to_vec()), entry.object);
                }
            }
            _ => {}
        }
    }

    fn inode(&mut self, number: u64) -> &mut LogInode {
        self.inodes.entry(number).or_default()
    }

    /// Returns whether a directory's entries have to be shown to [`Self::entry`].
    pub(crate) fn wants(&self, directory: u64) -> bool {
        self.ranges.contains_key(&directory)
    }

    /// Looks at an entry that a directory has in the tree, and deletes it if the log has not got it.
    pub(crate) fn entry(&mut self, directory: u64, index: u64, name: &[u8]) {
        let ranges = self.ranges.get(&directory).map_or(&[][..], Vec::as_slice);
        let covered = ranges.iter().any(|(first, last)| (*first..=*last).contains(&index));
        if covered && !self.entries.contains(&(directory, index)) {
            self.removed.insert((directory, name.to_vec()));
        }
    }

    /// Returns whether a name that an inode has in the tree is not there any more.
    pub(crate) fn is_gone(&self, inode: u64, directory: u64, name: &[u8]) -> bool {
        if self.replaced.contains(&(inode, directory)) {
            return true;
        }
        let key = (directory, name.to_vec());
        match self.by_name.get(&key) {
            Some(other) => *other != inode,
            None => self.removed.contains(&key),
        }
    }

    /// Returns inodes, directories and names that entries of directories in the log tell of.
    pub(crate) fn added(&self) -> Vec<(u64, u64, Vec<u8>)> {
        let named = self.by_name.iter().map(|((parent, name), inode)| (*inode, *parent, name.clone()));
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        named
    }
}

/// The logs of all subvolumes.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) by_root: BTreeMap<u64, Log>,
    /// Blocks of the logs.
    pub(crate) blocks: u64,
    /// Whether something could not be read.
    pub(crate) damaged: bool,
    /// Whether there are too many items.
    pub(crate) limited: bool,
}

impl Logs {
    /// Reads the logs that hang below `root`.
    pub(crate) fn read(fs: &Fs<'_>, walker: &mut Walker, root: Root) -> Self {
        let mut logs = Self::default();
        let before = walker.damage;
        let first_block = walker.blocks.len();
        let mut roots = Vec::new();
        walker.walk(fs, root, |item| {
            if item.key.object == TREE_LOG && item.key.kind == ROOT_ITEM {
                roots.push((item.key.offset, roots::root_of(item.bytes)));
            }
        });
        let mut items_left = ITEMS_MAX;
        for (subvolume, root) in roots {
            let mut log = Log::default();
            walker.walk(fs, root, |item| {
                if let Some(left) = items_left.checked_sub(1) {
                    items_left = left;
                    log.item(item);
                }
            });
            // A file that never had a name is not brought back.
            log.inodes.retain(|_, inode| inode.item.is_none_or(|item| item.links > 0));
            logs.by_root.insert(subvolume, log);
        }
        logs.limited = items_left == 0;
        logs.damaged = before != walker.damage || logs.limited || walker.exhausted;
        let blocks = walker.blocks.len().saturating_sub(first_block);
        logs.blocks = u64::try_from(blocks).unwrap_or(u64::MAX);
        logs
    }
}

/// Puts the extents of a log over those of a file; both are in order. What of those is left out
/// of the file is in `covered`.
pub(crate) fn cover(
    extents: &[FileExtent],
    log: &[FileExtent],
    sector_bytes: u64,
    covered: &mut Vec<FileExtent>,
) -> Vec<FileExtent> {
    // What is in a leaf takes the place of a whole sector.
    let end_of = |extent: &FileExtent| {
        let end = extent.end().unwrap_or(u64::MAX);
        end.checked_next_multiple_of(sector_bytes.max(1)).unwrap_or(u64::MAX)
    };
    let mut list = log.to_vec();
    for extent in extents {
        let first = log.partition_point(|logged| end_of(logged) <= extent.logical);
        let end = extent.end().unwrap_or(u64::MAX);
        let mut at = extent.logical;
        let mut touched = false;
        for logged in log.iter().skip(first).take_while(|logged| logged.logical < end) {
            touched = true;
            list.extend(extent.cut(at, logged.logical).filter(|_| extent.disk != 0));
            at = end_of(logged);
        }
        if touched {
            covered.push(*extent);
        }
        list.extend(extent.cut(at, u64::MAX));
    }
    list.sort_unstable_by_key(|extent| extent.logical);
    list
}
