//! Master boot records and the chain of extended ones (UEFI 2.10, section 5.2, for the
//! record; the chain as the kernel's `block/partitions/msdos.c` follows it).

use super::{Layout, Oddities, Partition};
use crate::Error;
use crate::field::{has, le32, narrow, u8_at};
use crate::window::Window;
use airlock_disk::BlockSource;
use airlock_model::Extent;
use std::collections::HashSet;

const SECTOR: u64 = 512;
const WHAT: &str = "the MBR";

/// Most logical partitions; the kernel stops at 256 minors.
const LOGICAL_MAX: usize = 256;

const PROTECTIVE: u8 = 0xee;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// One of the four entries of a record.
#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: u8,
    first: u64,
    sectors: u64,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.sectors != 0
    }

    fn is_extended(&self) -> bool {
        EXTENDED.contains(&self.kind)
    }

    /// Returns where it lies, counted from sector `base`.
    fn extent(&self, base: u64) -> Extent {
        let first = base.saturating_add(self.first);
        Extent::new(first.saturating_mul(SECTOR), self.sectors.saturating_mul(SECTOR))
    }
}

/// A valid master boot record.
#[derive(Debug)]
pub(super) struct Mbr {
    entries: [Entry; 4],
}

/// Returns the entries of a record, if it has the signature and its entries are possible.
fn entries(record: &[u8]) -> Option<[Entry; 4]> {
    if !has(record, 510, b"\x55\xaa") {
        return None;
    }
    let mut possible = true;
    let entries = [446_usize, 462, 478, 494].map(|at| {
        possible &= matches!(u8_at(record, at), 0 | 0x80);
        Entry {
            kind: u8_at(record, at.saturating_add(4)),
            first: u64::from(le32(record, at.saturating_add(8))),
            sectors: u64::from(le32(record, at.saturating_add(12))),
        }
    });
    possible.then_some(entries)
}

/// Returns whether the sector starts a file system whose boot sector has the same signature.
fn is_boot_sector(record: &[u8]) -> bool {
    [(3, b"NTFS    "), (3, b"EXFAT   "), (3, b"-FVE-FS-")].iter().any(|(at, magic)| has(record, *at, *magic))
        || [(54, b"FAT"), (82, b"FAT")].iter().any(|(at, magic)| has(record, *at, *magic))
}

/// Reads the record in the first sector, if it describes at least one partition.
pub(super) fn read(disk: &dyn BlockSource) -> Result<Option<Mbr>, Error> {
    let whole = Window::new(disk, Extent::new(0, u64::MAX));
    let record = whole.bytes_at(WHAT, 0, narrow(SECTOR))?;
    let found = entries(&record).map(|entries| Mbr { entries });
    Ok(found.filter(|mbr| {
        // The kernel believes any table whose boot indicators are possible. The boot code of
        // a file system must at least look like a partition that is inside the disk.
        let boot_sector = is_boot_sector(&record);
        let on_disk = |entry: &Entry| {
            let extent = entry.extent(0);
            let fits = extent.offset > 0 && extent.end() <= whole.bytes();
            entry.is_used() && extent.offset < whole.bytes() && (fits || !boot_sector)
        };
        mbr.entries.iter().any(on_disk)
    }))
}

impl Mbr {
    /// Returns whether an entry says that the disk is a GPT disk.
    pub(super) fn is_protective(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == PROTECTIVE)
    }

    /// Notes partitions of a hybrid record that the GPT does not have.
    pub(super) fn compare(&self, gpt: &mut Layout, oddities: &mut Oddities) {
        for (number, entry) in (1_u32..).zip(&self.entries) {
            let extent = entry.extent(0);
            let known = gpt.partitions.iter().any(|known| known.extent == extent);
            if entry.is_used() && entry.kind != PROTECTIVE && !known {
                oddities.add("disk", "MBR and GPT disagree about a partition", extent);
                gpt.doubt("mbr", &[Partition { number, extent }]);
            }
        }
    }

    /// Returns all partitions, following the chain of extended records.
    pub(super) fn layout(&self, disk: &dyn BlockSource, oddities: &mut Oddities) -> Result<Layout, Error> {
        let whole = Window::new(disk, Extent::new(0, u64::MAX));
        let mut layout = Layout {
            scheme: "mbr",
            partitions: Vec::new(),
            tables: vec![Extent::new(0, SECTOR.min(whole.bytes()))],
            others: Vec::new(),
            limited: false,
        };
        let mut extended = None;
        for (number, entry) in (1_u32..).zip(self.entries) {
            if !entry.is_used() || entry.kind == PROTECTIVE {
                continue;
            }
            if !entry.is_extended() {
                add(&mut layout, &whole, number, entry.extent(0), oddities);
            } else if extended.is_none() {
                extended = Some(entry);
            } else {
                let what = "a second extended partition is not followed";
                oddities.add("disk", what, entry.extent(0));
            }
        }
        if let Some(extended) = extended {
            follow(&mut layout, &whole, extended, oddities)?;
        }
        Ok(layout)
    }
}

/// Adds a partition, cut to the size of the disk.
fn add(layout: &mut Layout, disk: &Window<'_>, number: u32, claimed: Extent, oddities: &mut Oddities) {
    let label = format!("p{number}");
    let Some(extent) = claimed.intersect(&disk.extent()) else {
        oddities.add(&label, "partition is not on the disk", claimed);
        return;
    };
    if extent != claimed {
        oddities.add(&label, "partition reaches behind the end of the disk", claimed);
    }
    layout.partitions.push(Partition { number, extent });
}

/// Follows the chain of extended boot records from the extended partition on.
fn follow(
    layout: &mut Layout,
    disk: &Window<'_>,
    extended: Entry,
    oddities: &mut Oddities,
) -> Result<(), Error> {
    let base = extended.first;
    let mut at = base;
    let mut seen = HashSet::new();
    let mut number = 5_u32;
    for _ in 0..LOGICAL_MAX {
        let place = Extent::new(at.saturating_mul(SECTOR), SECTOR);
        if !seen.insert(at) || place.end() > disk.bytes() {
            oddities.add("disk", "the chain of extended records is damaged", place);
            return Ok(());
        }
        let record = disk.bytes_at("an extended boot record", place.offset, narrow(SECTOR))?;
        let Some(entries) = entries(&record) else {
            oddities.add("disk", "the chain of extended records is damaged", place);
            return Ok(());
        };
        layout.tables.push(place);
        let mut next = None;
        for entry in entries.iter().filter(|entry| entry.is_used()) {
            if entry.is_extended() {
                next = next.or(Some(base.saturating_add(entry.first)));
            } else {
                add(layout, disk, number, entry.extent(at), oddities);
                number = number.saturating_add(1);
            }
        }
        match next {
            Some(next) => at = next,
            None => return Ok(()),
        }
    }
    let place = Extent::new(at.saturating_mul(SECTOR), SECTOR);
    oddities.add("disk", "the chain of extended records is too long", place);
    layout.limited = true;
    Ok(())
}
