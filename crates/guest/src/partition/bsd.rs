//! BSD disklabels (FreeBSD `sys/disk/bsd.h`; NetBSD and OpenBSD `sys/sys/disklabel.h`).

use super::Partition;
use crate::Error;
use crate::field::{le16, le32, narrow, u8_at};
use crate::window::Window;
use airlock_model::Extent;

const MAGIC: u32 = 0x8256_4557;
const SECTOR: u64 = 512;
/// Most partitions of a label.
const PARTITIONS_MAX: u16 = 22;
/// The partition that stands for the whole slice or disk.
const WHOLE: u32 = 2;

/// Reads the label in the second sector of a slice or a disk. Partition 0 is `a`; extents count in bytes of the volume.
///
/// Offsets count from the start of the disk, or of the slice; the entry of the whole tells which.
pub(crate) fn read(volume: &Window<'_>, start_of_volume: u64) -> Result<Option<Vec<Partition>>, Error> {
    let label = volume.bytes_at("a BSD disklabel", SECTOR, narrow(SECTOR))?;
    if le32(&label, 0) != MAGIC || le32(&label, 132) != MAGIC {
        return Ok(None);
    }
    let count = le16(&label, 138).min(PARTITIONS_MAX);
    let entry = |number: u32| {
        let at = narrow(u64::from(number).saturating_mul(16).saturating_add(148));
        let bytes = |at| u64::from(le32(&label, at)).saturating_mul(SECTOR);
        let kind = u8_at(&label, at.saturating_add(12));
        (Extent::new(bytes(at.saturating_add(4)), bytes(at)), kind)
    };
    let (whole, _) = entry(WHOLE);
    let base = if whole.length > 0 && whole.offset == start_of_volume { start_of_volume } else { 0 };
    let mut partitions = Vec::new();
    for number in (0..u32::from(count)).filter(|number| *number != WHOLE) {
        let (extent, kind) = entry(number);
        let inside = Extent::new(extent.offset.saturating_sub(base), extent.length);
        let inside = inside.intersect(&Extent::new(0, volume.bytes()));
        if let Some(extent) = inside.filter(|_| kind != 0 && extent.offset >= base) {
            partitions.push(Partition { number, extent });
        }
    }
    Ok((!partitions.is_empty()).then_some(partitions))
}
