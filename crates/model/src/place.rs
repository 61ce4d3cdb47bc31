//! What every run of a disk *is*.
//!
//! A [`PlaceMap`] divides the address space of one disk into places. It is built
//! once by the survey of a disk and then only read, so it lives in four flat
//! arrays: 24 bytes per run and 32 per place, beside the names, each of which is there once
//! for all places of a file.

use crate::{Extent, Packed, Reason, Run};
use serde::{Deserialize, Serialize};

/// What a run of blocks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// Boot code and partition tables.
    PartitionTable,
    /// What a file system keeps for itself: superblocks, inode tables, directories, journals.
    Metadata,
    /// The content of a regular file, in file order.
    File,
    /// Bytes that a file's blocks hold beyond the file: behind its end, or preallocated and never written.
    Slack,
    /// Blocks that the file system calls free; deleted files are here.
    Free,
    /// Swap space.
    Swap,
    /// Bytes that no partition and no file system owns.
    Gap,
    /// A volume whose content is not understood; it is inspected as raw bytes.
    Raw,
    /// An encrypted volume or file.
    Encrypted,
}

impl PlaceKind {
    /// Every kind, in the order in which places are read and sent.
    pub const ALL: [Self; 9] = [
        Self::PartitionTable,
        Self::Metadata,
        Self::File,
        Self::Slack,
        Self::Free,
        Self::Swap,
        Self::Gap,
        Self::Raw,
        Self::Encrypted,
    ];

    /// Returns the name that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PartitionTable => "partition_table",
            Self::Metadata => "metadata",
            Self::File => "file",
            Self::Slack => "slack",
            Self::Free => "free",
            Self::Swap => "swap",
            Self::Gap => "gap",
            Self::Raw => "raw",
            Self::Encrypted => "encrypted",
        }
    }
}

/// A partition, or a whole disk without partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// `p1`, `p2`, … as the kernel would number it; `whole` for a disk without partitions;
    /// `disk` for what lies outside every partition.
    pub label: String,
    /// What is on it: `ext4`, `swap`, `luks`, `unknown`, …
    pub content: String,
    /// Where it lies on the disk.
    pub extent: Extent,
    /// Size of a block in bytes, where a file system is understood; else 4096.
    pub block_bytes: u32,
}

#[derive(Debug, Clone)]
struct Entry {
    name_start: u64,
    size: u64,
    first_run: u32,
    run_count: u32,
    name_bytes: u16,
    volume: u16,
    kind: PlaceKind,
    view: bool,
    packed: bool,
    unscannable: Option<Reason>,
}

const _: () = assert!(size_of::<Entry>() == 32 && size_of::<Run>() == 24, "as the module says");

/// The places of one disk.
#[derive(Debug, Clone, Default)]
pub struct PlaceMap {
    disk_bytes: u64,
    volumes: Vec<Volume>,
    entries: Vec<Entry>,
    runs: Vec<Run>,
    names: Vec<u8>,
    /// Pieces of packed files, by the position of the file's first run; sorted by it.
    packed: Vec<(u32, Box<[Packed]>)>,
}

/// One place of a [`PlaceMap`].
#[derive(Debug, Clone, Copy)]
pub struct Place<'m> {
    /// Position in the map.
    pub index: usize,
    /// What it is.
    pub kind: PlaceKind,
    /// The volume it lies on.
    pub volume: &'m Volume,
    /// Path within the volume as bytes, with a leading slash; empty where no file owns the place.
    pub path: &'m [u8],
    /// Logical size in bytes: the file's length, or the sum of the runs.
    pub size: u64,
    /// Where its bytes lie, in logical order. Logical gaps between runs read as zeros. Those of slack
    /// count from the first byte of the file.
    pub runs: &'m [Run],
    /// Whether the bytes belong to another place, too (a file's data kept inside its inode):
    /// a view is inspected, and counted and sent only as part of that other place.
    pub view: bool,
    /// For a file that its file system compresses, what the runs unpack to, in logical order:
    /// then the runs are the stored stream, counted from its first byte. Empty for all else.
    pub packed: &'m [Packed],
    /// Why its bytes are not what they stand for, as those of a file that is packed in a way that
    /// is not understood: they are inspected as they are.
    pub unscannable: Option<Reason>,
}

impl PlaceMap {
    /// Returns the size of the disk in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// Returns the volumes.
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// Returns how many places there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the place at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<Place<'_>> {
        let entry = self.entries.get(index)?;
        let first = entry.first_run as usize;
        Some(Place {
            index,
            kind: entry.kind,
            volume: self.volumes.get(usize::from(entry.volume))?,
            path: self.name(entry)?,
            size: entry.size,
            runs: self.runs.get(first..first + entry.run_count as usize)?,
            view: entry.view,
            packed: if entry.packed { self.packed_at(entry.first_run) } else { &[] },
            unscannable: entry.unscannable,
        })
    }

    /// Returns how many bytes of memory the map takes, beside itself.
    pub fn memory_bytes(&self) -> usize {
        let packed = self.packed.iter().map(|(_, pieces)| size_of_val::<[Packed]>(pieces)).sum::<usize>();
        self.volumes.capacity() * size_of::<Volume>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.runs.capacity() * size_of::<Run>()
            + self.names.capacity()
            + self.packed.capacity() * size_of::<(u32, Box<[Packed]>)>()
            + packed
    }

    fn name(&self, entry: &Entry) -> Option<&[u8]> {
        let start = usize::try_from(entry.name_start).ok()?;
        self.names.get(start..start + usize::from(entry.name_bytes))
    }

    fn packed_at(&self, first_run: u32) -> &[Packed] {
        let found = self.packed.binary_search_by_key(&first_run, |(run, _)| *run);
        found.ok().and_then(|index| self.packed.get(index)).map_or(&[], |(_, pieces)| pieces)
    }

    /// Returns all places in the order in which they are read and sent.
    pub fn iter(&self) -> impl Iterator<Item = Place<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// A packed file for [`PlaceMapBuilder::packed`].
#[derive(Debug, Clone, Copy)]
pub struct PackedFile<'b> {
    /// The volume it lies on.
    pub volume: u16,
    /// Path within the volume.
    pub path: &'b [u8],
    /// Length of the file.
    pub size: u64,
    /// The stored stream: `logical` counts from its first byte.
    pub runs: &'b [Run],
    /// What it unpacks to.
    pub packed: &'b [Packed],
    /// Whether the stored bytes belong to another place.
    pub view: bool,
}

/// What becomes an entry.
#[derive(Clone, Copy)]
struct Added<'b> {
    volume: u16,
    kind: PlaceKind,
    path: &'b [u8],
    size: u64,
    runs: &'b [Run],
    packed: &'b [Packed],
    view: bool,
}

/// Collects the places of one disk.
///
/// ```
/// use airlock_model::{Extent, PlaceKind, PlaceMapBuilder, Run, Volume};
/// let mut map = PlaceMapBuilder::new(8192);
/// let volume = map.volume(Volume {
///     label: "whole".into(), content: "unknown".into(),
///     extent: Extent::new(0, 8192), block_bytes: 4096,
/// });
/// map.place(volume, PlaceKind::Raw, b"", 8192, &[Run { logical: 0, disk: 0, length: 8192 }]);
/// assert_eq!(map.finish().len(), 1);
/// ```
#[derive(Debug)]
pub struct PlaceMapBuilder {
    map: PlaceMap,
}

impl PlaceMapBuilder {
    /// Starts the map of a disk of `disk_bytes`.
    pub fn new(disk_bytes: u64) -> Self {
        Self { map: PlaceMap { disk_bytes, ..PlaceMap::default() } }
    }

    /// Adds a volume and returns the number that [`Self::place`] takes.
    ///
    /// # Panics
    /// With more than 65,535 volumes; a survey stops long before.
    pub fn volume(&mut self, volume: Volume) -> u16 {
        let index = u16::try_from(self.map.volumes.len()).expect("a survey has a limit on volumes");
        self.map.volumes.push(volume);
        index
    }

    /// Adds a place with its runs in logical order.
    ///
    /// A path over 65,535 bytes is cut; no file system allows one that long.
    pub fn place(&mut self, volume: u16, kind: PlaceKind, path: &[u8], size: u64, runs: &[Run]) {
        self.add(Added { volume, kind, path, size, runs, packed: &[], view: false });
    }

    /// Adds a view: a file whose bytes belong to another place.
    pub fn view(&mut self, volume: u16, path: &[u8], size: u64, runs: &[Run]) {
        self.add(Added { volume, kind: PlaceKind::File, path, size, runs, packed: &[], view: true });
    }

    /// Adds a file that its file system compresses: `runs` are what the disk stores of it,
    /// `packed` what that unpacks to, in logical order.
    ///
    /// A file without runs or without pieces is one of zeros.
    pub fn packed(&mut self, file: PackedFile<'_>) {
        let PackedFile { volume, path, size, runs, packed, view } = file;
        let packed = if runs.is_empty() { &[] } else { packed };
        self.add(Added { volume, kind: PlaceKind::File, path, size, runs, packed, view });
    }

    /// Returns how many places were added.
    pub fn places(&self) -> usize {
        self.map.entries.len()
    }

    /// Says of all places behind the first `places` why they are not scanned for what they are.
    pub fn unscannable(&mut self, places: usize, reason: Reason) {
        self.map.entries.iter_mut().skip(places).for_each(|entry| entry.unscannable = Some(reason));
    }

    fn add(&mut self, added: Added<'_>) {
        let Added { volume, kind, path, size, runs, packed, view } = added;
        let map = &mut self.map;
        if !packed.is_empty() {
            let first_run = u32::try_from(map.runs.len()).expect("a survey has a limit on runs");
            map.packed.push((first_run, packed.into()));
        }
        let name_bytes = u16::try_from(path.len()).unwrap_or(u16::MAX);
        let path = &path[..usize::from(name_bytes)];
        // The places of a file come one after another, and have its name once.
        let last = map.entries.last().filter(|last| map.name(last) == Some(path));
        let name_start = last.map_or(map.names.len() as u64, |last| last.name_start);
        if last.is_none() {
            map.names.extend_from_slice(path);
        }
        let entry = Entry {
            name_start,
            size,
            first_run: u32::try_from(map.runs.len()).expect("a survey has a limit on runs"),
            run_count: u32::try_from(runs.len()).expect("a survey has a limit on runs"),
            name_bytes,
            volume,
            kind,
            view,
            packed: !packed.is_empty(),
            unscannable: None,
        };
        map.runs.extend_from_slice(runs);
        map.entries.push(entry);
    }

    /// Puts the places into reading order and returns the map.
    ///
    /// The order is: partition tables, metadata, then everything else by its first
    /// byte on the disk. So a receiver has what it needs to understand a disk first,
    /// and the rest is read in disk order.
    pub fn finish(mut self) -> PlaceMap {
        let runs = &self.map.runs;
        self.map.entries.sort_by_key(|entry| {
            let class = match entry.kind {
                PlaceKind::PartitionTable => 0,
                PlaceKind::Metadata => 1,
                _ => 2,
            };
            let first = (entry.run_count > 0).then(|| runs[entry.first_run as usize].disk);
            (class, first.unwrap_or(0), entry.view, entry.kind)
        });
        self.map.names.shrink_to_fit();
        self.map.runs.shrink_to_fit();
        self.map.entries.shrink_to_fit();
        self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finish_orders_metadata_before_files_and_files_by_disk() {
        let mut map = PlaceMapBuilder::new(100);
        let volume = map.volume(Volume {
            label: "whole".into(),
            content: "ext4".into(),
            extent: Extent::new(0, 100),
            block_bytes: 1024,
        });
        let run = |disk| [Run { logical: 0, disk, length: 10 }];
        map.place(volume, PlaceKind::File, b"/late", 10, &run(50));
        map.place(volume, PlaceKind::File, b"/early", 10, &run(10));
        map.place(volume, PlaceKind::Metadata, b"", 10, &run(90));
        let map = map.finish();
        let order: Vec<_> = map.iter().map(|place| (place.kind, place.path.to_vec())).collect();
        assert_eq!(
            order,
            [
                (PlaceKind::Metadata, b"".to_vec()),
                (PlaceKind::File, b"/early".to_vec()),
                (PlaceKind::File, b"/late".to_vec())
            ]
        );
    }
}
