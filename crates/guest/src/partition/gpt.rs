//! GUID partition tables (UEFI 2.10, section 5.3).

use super::crc32::crc32;
use super::{Layout, Oddities, PARTITIONS_MAX, Partition};
use crate::Error;
use crate::field::{has, le32, le64, narrow, quotient, u8_at, wide};
use crate::window::Window;
use airlock_disk::BlockSource;
use airlock_model::Extent;

const WHAT: &str = "the GPT";

/// Logical block sizes that disks have.
const SECTORS: [u64; 2] = [512, 4096];

/// Most bytes of a partition entry array; the usual one has 16 KiB.
const ARRAY_BYTES_MAX: u64 = 1 << 20;

/// A valid header with its entry array.
struct Table {
    sector: u64,
    header_lba: u64,
    alternate_lba: u64,
    array_lba: u64,
    entry_bytes: u64,
    array: Vec<u8>,
}

/// Reads the GPT: the primary one, else the backup at the end of the disk.
///
/// Without a protective MBR, only a valid primary table counts: leftovers of an
/// older table at the end of a disk are common.
pub(super) fn read(
    disk: &dyn BlockSource,
    protective: bool,
    oddities: &mut Oddities,
) -> Result<Option<Layout>, Error> {
    let whole = Window::new(disk, Extent::new(0, u64::MAX));
    for sector in SECTORS {
        if let Some(primary) = table_at(&whole, sector, 1)? {
            let backup = table_at(&whole, sector, primary.alternate_lba)?;
            let at = |table: &Table| lba(table.header_lba, sector, 1);
            match &backup {
                None => oddities.add("disk", "the backup GPT is damaged", at(&primary)),
                Some(backup) if backup.array != primary.array => {
                    oddities.add("disk", "the backup GPT differs", at(backup));
                }
                Some(_) => {}
            }
            let mut found = layout(&whole, &primary, backup.as_ref(), oddities);
            if let Some(backup) = backup.filter(|backup| backup.array != primary.array) {
                found.doubt("backup", &layout(&whole, &backup, None, &mut Oddities::default()).partitions);
            }
            return Ok(Some(found));
        }
    }
    if !protective {
        return Ok(None);
    }
    for sector in SECTORS {
        let last = quotient(whole.bytes(), sector).saturating_sub(1);
        let header = whole.bytes_at(WHAT, sector, 512)?;
        let named = has(&header, 0, b"EFI PART").then(|| le64(&header, 32));
        for at in [Some(last), named].into_iter().flatten() {
            if let Some(backup) = table_at(&whole, sector, at)? {
                let primary = lba(1, sector, 1);
                oddities.add("disk", "the primary GPT is damaged, the backup is used", primary);
                let mut layout = layout(&whole, &backup, None, oddities);
                layout.tables.push(primary);
                return Ok(Some(layout));
            }
        }
    }
    Ok(None)
}

fn lba(first: u64, sector: u64, count: u64) -> Extent {
    Extent::new(first.saturating_mul(sector), count.saturating_mul(sector))
}

/// Returns the table whose header is at `header_lba`, if it is valid.
fn table_at(disk: &Window<'_>, sector: u64, header_lba: u64) -> Result<Option<Table>, Error> {
    let place = lba(header_lba, sector, 1);
    if header_lba == 0 || place.end() > disk.bytes() {
        return Ok(None);
    }
    let mut header = disk.bytes_at(WHAT, place.offset, narrow(sector))?;
    let length = narrow(u64::from(le32(&header, 12)));
    let crc = le32(&header, 16);
    let (alternate_lba, array_lba) = (le64(&header, 32), le64(&header, 72));
    let entries = u64::from(le32(&header, 80));
    let entry_bytes = u64::from(le32(&header, 84));
    let array_crc = le32(&header, 88);
    if !has(&header, 0, b"EFI PART") || le64(&header, 24) != header_lba {
        return Ok(None);
    }
    if let Some(field) = header.get_mut(16..20) {
        field.fill(0);
    }
    let counted = header.get(..length).filter(|_| length >= 92);
    if counted.is_none_or(|counted| crc32(counted) != crc) {
        return Ok(None);
    }
    let array_bytes = entries.saturating_mul(entry_bytes);
    let array_at = array_lba.saturating_mul(sector);
    if !(128..=4096).contains(&entry_bytes)
        || entry_bytes & 7 != 0
        || array_bytes > ARRAY_BYTES_MAX
        || array_lba == 0
        || array_at.saturating_add(array_bytes) > disk.bytes()
    {
        return Ok(None);
    }
    let array = disk.bytes_at(WHAT, array_at, narrow(array_bytes))?;
    if crc32(&array) != array_crc {
        return Ok(None);
    }
    Ok(Some(Table { sector, header_lba, alternate_lba, array_lba, entry_bytes, array }))
}

fn layout(disk: &Window<'_>, table: &Table, backup: Option<&Table>, oddities: &mut Oddities) -> Layout {
    let sector = table.sector;
    let mut tables = vec![lba(0, sector, 1)];
    for table in [Some(table), backup].into_iter().flatten() {
        let array_sectors = wide(table.array.len()).div_ceil(sector);
        tables.push(lba(table.header_lba, sector, 1));
        tables.push(lba(table.array_lba, sector, array_sectors));
    }
    let (mut partitions, mut limited) = (Vec::new(), false);
    for (number, entry) in (1_u32..).zip(table.array.chunks(narrow(table.entry_bytes))) {
        if (0..16).all(|at| u8_at(entry, at) == 0) {
            continue;
        }
        let label = format!("p{number}");
        let (first, last) = (le64(entry, 32), le64(entry, 40));
        let sectors = last.saturating_sub(first).saturating_add(1);
        let claimed = lba(first, sector, sectors);
        let inside = claimed.intersect(&disk.extent()).filter(|_| first <= last);
        let Some(extent) = inside else {
            oddities.add(&label, "partition is not on the disk", claimed);
            continue;
        };
        if extent != claimed {
            oddities.add(&label, "partition reaches behind the end of the disk", claimed);
        }
        if partitions.len() >= PARTITIONS_MAX {
            oddities.add("disk", "partition table has too many entries", claimed);
            limited = true;
            break;
        }
        partitions.push(Partition { number, extent });
    }
    Layout { scheme: "gpt", partitions, tables, others: Vec::new(), limited }
}
