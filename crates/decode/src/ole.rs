//! Compound files ([MS-CFB]): documents of old Office programs, mails of Outlook, installers.
//!
//! Every entry of the directory is opened, whether the tree refers to it or not.

use crate::layer::Relation;
use crate::source::{ReadAt, bytes_at};
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::field::{le16, le32, le64, narrow, wide};
use airlock_model::{Escaped, Reason};
use std::cell::Cell;
use std::io::{self, Read};

/// Section 2.2.
pub(crate) const MAGIC: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

const HEADER_BYTES: usize = 512;
const ENTRY_BYTES: usize = 128;

/// Places of sectors of the table in the header (section 2.2).
const HEADER_SECTORS: usize = 109;

/// The largest number of a sector; greater ones end a chain or are no sector (section 2.1).
const SECTOR_MAX: u32 = 0xffff_fffa;

/// Sectors of a file that are followed, at most: 4 million, 2 GiB of the smaller ones.
const SECTORS_MAX: usize = 4 << 20;

/// Entries of the directory that are opened, at most.
const ENTRIES_MAX: usize = 64 << 10;

/// A file and its tables.
struct Compound<'s> {
    source: &'s mut dyn ReadAt,
    sector_bytes: u64,
    /// The sector behind each sector.
    table: Vec<u32>,
    small_bytes: u64,
    small_table: Vec<u32>,
    /// Streams shorter than this lie in small sectors.
    cutoff: u64,
    /// Where the small sectors lie: which of their bytes, where in the file, and how many.
    small: Vec<(u64, u64, u64)>,
    /// Sectors that may still be followed: chains of a hostile file share sectors.
    steps_left: Cell<usize>,
}

/// Opens every stream.
pub(crate) fn open(walk: &Walk<'_>, depth: usize, source: &mut dyn ReadAt) {
    let Some((mut file, directory)) = Compound::read(walk, source) else {
        walk.note(Reason::Unsupported);
        return;
    };
    let entries: Vec<Vec<u8>> =
        file.parts(&directory).chunks_exact(ENTRY_BYTES).map(<[u8]>::to_vec).collect();
    walk.note_if(entries.len() > ENTRIES_MAX, Reason::Limit);
    let entries = entries.iter().take(ENTRIES_MAX).filter_map(|entry| Entry::read(entry));
    let entries: Vec<Entry> = entries.collect();
    if let Some(root) = entries.iter().find(|entry| entry.kind == Entry::ROOT) {
        let mut logical = 0;
        for (start, length) in file.chain(walk, root.start, root.size) {
            file.small.push((logical, start, length));
            logical = logical.saturating_add(length);
        }
    }
    for entry in entries.iter().filter(|entry| entry.kind == Entry::STREAM && entry.size > 0) {
        let extents = if entry.size < file.cutoff {
            file.small_chain(walk, entry.start, entry.size)
        } else {
            file.chain(walk, entry.start, entry.size)
        };
        let length = extents.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
        walk.note_if(length < entry.size, Reason::Unsupported);
        let Some(&(at, _)) = extents.first() else { continue };
        let relation = if extents.len() == 1 { Relation::Same } else { Relation::Rewritten };
        let name = format!("ole:{}", Escaped(entry.name.as_bytes()));
        let packaged = entry.name == "\u{1}Ole10Native";
        let parts = Box::new(Parts { source: &mut *file.source, extents: &extents, done: 0 });
        if packaged {
            let enter = &mut |stream: &mut Stream<'_, '_>| open_package(walk, stream);
            walk.open_by(depth, (&name, at), relation, parts, enter);
        } else {
            walk.open(depth, (&name, at), relation, parts);
        }
    }
}

/// An entry of the directory (section 2.6.1).
struct Entry {
    name: String,
    kind: u8,
    start: u32,
    size: u64,
}

impl Entry {
    const STREAM: u8 = 2;
    const ROOT: u8 = 5;

    fn read(bytes: &[u8]) -> Option<Self> {
        let length = usize::from(le16(bytes, 64)?).saturating_sub(2).min(62);
        let units: Vec<u16> = (0..length / 2).filter_map(|unit| le16(bytes, unit.checked_mul(2)?)).collect();
        Some(Self {
            name: String::from_utf16_lossy(&units),
            kind: *bytes.get(66)?,
            start: le32(bytes, 116)?,
            size: le64(bytes, 120)?,
        })
    }
}

impl<'s> Compound<'s> {
    /// Reads the header and the tables, and where the directory lies.
    fn read(walk: &Walk<'_>, source: &'s mut dyn ReadAt) -> Option<(Self, Vec<(u64, u64)>)> {
        let header = bytes_at(source, 0, HEADER_BYTES);
        let (shift, small_shift) = (le16(&header, 30)?, le16(&header, 32)?);
        let version = le16(&header, 26)?;
        if !matches!((version, shift), (3, 9) | (4, 12)) || small_shift != 6 {
            return None;
        }
        let sector_bytes = 1_u64 << shift;
        let mut file = Self {
            source,
            sector_bytes,
            table: Vec::new(),
            small_bytes: 1 << small_shift,
            small_table: Vec::new(),
            cutoff: u64::from(le32(&header, 56)?),
            small: Vec::new(),
            steps_left: Cell::new(SECTORS_MAX.saturating_mul(4)),
        };
        let sectors = narrow(file.source.size() >> shift);
        walk.note_if(sectors > SECTORS_MAX, Reason::Limit);
        let mut of_table: Vec<u32> = (0..HEADER_SECTORS)
            .filter_map(|place| le32(&header, place.checked_mul(4)?.checked_add(76)?))
            .collect();
        // More places of sectors of the table lie in sectors of their own (section 2.5).
        let mut next = le32(&header, 68)?;
        let in_sector = narrow(sector_bytes) / 4;
        let mut seen = 0_usize;
        while next <= SECTOR_MAX && seen <= sectors.min(SECTORS_MAX) {
            let words = file.words(next);
            let (link, places) = words.split_last()?;
            of_table.extend_from_slice(places);
            next = *link;
            seen = seen.saturating_add(1);
        }
        let wanted = sectors.min(SECTORS_MAX).saturating_add(in_sector);
        for sector in of_table.into_iter().filter(|sector| *sector <= SECTOR_MAX) {
            if file.table.len() >= wanted {
                break;
            }
            let words = file.words(sector);
            file.table.extend(words);
        }
        let small = file.chain(walk, le32(&header, 60)?, u64::MAX);
        let bytes = file.parts(&small);
        file.small_table = bytes.chunks_exact(4).filter_map(|word| le32(word, 0)).collect();
        let directory = file.chain(walk, le32(&header, 48)?, u64::MAX);
        Some((file, directory))
    }

    /// Returns where a sector begins (section 2.1): the header is as long as one.
    fn place(&self, sector: u32) -> u64 {
        u64::from(sector).saturating_add(1).saturating_mul(self.sector_bytes)
    }

    /// Returns a sector as numbers.
    fn words(&mut self, sector: u32) -> Vec<u32> {
        let at = self.place(sector);
        let mut bytes = bytes_at(self.source, at, narrow(self.sector_bytes));
        bytes.resize(narrow(self.sector_bytes), 0xff);
        bytes.chunks_exact(4).filter_map(|word| le32(word, 0)).collect()
    }

    /// Returns where the first `size` bytes of a chain of sectors lie.
    fn chain(&self, walk: &Walk<'_>, start: u32, size: u64) -> Vec<(u64, u64)> {
        let place = |sector| (self.place(sector), self.source.size());
        follow(walk, (&self.table, &self.steps_left), self.sector_bytes, (start, size), place)
    }

    /// The same of a chain of small sectors.
    fn small_chain(&self, walk: &Walk<'_>, start: u32, size: u64) -> Vec<(u64, u64)> {
        let place = |sector: u32| {
            let at = u64::from(sector).saturating_mul(self.small_bytes);
            let behind = self.small.partition_point(|(logical, ..)| *logical <= at);
            let extent = behind.checked_sub(1).and_then(|place| self.small.get(place));
            extent.map_or((0, 0), |(logical, start, length)| {
                (start.saturating_add(at.saturating_sub(*logical)), start.saturating_add(*length))
            })
        };
        follow(walk, (&self.small_table, &self.steps_left), self.small_bytes, (start, size), place)
    }

    /// Returns the bytes of a table or the directory.
    fn parts(&mut self, extents: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let most = wide(SECTORS_MAX.saturating_mul(4));
        let parts = Parts { source: &mut *self.source, extents, done: 0 };
        // What cannot be read ends it.
        let _ = parts.take(most).read_to_end(&mut bytes);
        bytes
    }
}

/// Follows a chain through a table. `place` says where a sector begins, and where what it lies in
/// ends. A chain that comes back to itself ends.
fn follow(
    walk: &Walk<'_>,
    (table, steps_left): (&[u32], &Cell<usize>),
    sector_bytes: u64,
    (mut sector, size): (u32, u64),
    place: impl Fn(u32) -> (u64, u64),
) -> Vec<(u64, u64)> {
    let mut extents: Vec<(u64, u64)> = Vec::new();
    let (mut left, mut steps) = (size, 0_usize);
    while sector <= SECTOR_MAX && left > 0 {
        let (at, end) = place(sector);
        let length = sector_bytes.min(left).min(end.saturating_sub(at));
        steps = steps.saturating_add(1);
        let Some(budget) = steps_left.get().checked_sub(1) else {
            walk.note(Reason::Limit);
            break;
        };
        steps_left.set(budget);
        if length == 0 || steps > table.len() {
            walk.note(Reason::Unsupported);
            break;
        }
        left = left.saturating_sub(length);
        match extents.last_mut() {
            Some((start, before)) if start.saturating_add(*before) == at => {
                *before = before.saturating_add(length);
            }
            _ => extents.push((at, length)),
        }
        sector = table.get(narrow(u64::from(sector))).copied().unwrap_or(u32::MAX);
    }
    extents
}

/// Parts of a source behind each other.
struct Parts<'s, 'e> {
    source: &'s mut dyn ReadAt,
    extents: &'e [(u64, u64)],
    /// Bytes of the first extent that were read.
    done: u64,
}

impl Read for Parts<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some((&(at, length), rest)) = self.extents.split_first() {
            let left = length.saturating_sub(self.done);
            if left == 0 {
                (self.extents, self.done) = (rest, 0);
                continue;
            }
            let room = narrow(left).min(into.len());
            let had =
                self.source.read_at(at.saturating_add(self.done), into.get_mut(..room).unwrap_or_default());
            self.done = self.done.saturating_add(wide(had));
            return if had == 0 && room > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(had) };
        }
        Ok(0)
    }
}

/// Opens the file that a package holds ([MS-OLEDS], section 2.3.6; what is in it is not specified):
/// its size, two bytes, two names, eight bytes with the length of a third name, the size of the
/// file and the file.
fn open_package(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    const HEAD_BYTES: usize = 4096;
    let head = stream.peek(HEAD_BYTES);
    let parse = || {
        let mut at = 6_usize;
        let text = |at: &mut usize| {
            let rest = head.get(*at..)?;
            let name = rest.split(|byte| *byte == 0).next()?;
            *at = at.checked_add(name.len())?.checked_add(1)?;
            Some(name.to_vec())
        };
        let name = text(&mut at)?;
        text(&mut at)?;
        let third = le32(head, at.checked_add(4)?)?;
        at = at.checked_add(8)?.checked_add(usize::try_from(third).ok()?)?;
        let size = le32(head, at)?;
        Some((name, at.checked_add(4)?, u64::from(size)))
    };
    let Some((name, at, size)) = parse().filter(|(_, at, _)| *at < head.len()) else { return };
    stream.take(at);
    let (depth, start) = (stream.depth(), stream.position());
    let name = format!("package:{}", Escaped(&name));
    let member = Read::take(&mut *stream, size);
    walk.open(depth, (&name, start), Relation::Same, Box::new(member));
}
