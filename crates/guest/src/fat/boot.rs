//! The boot sector.

use super::table::{Shape, Width};
use crate::Error;
use crate::field::{has, le16, le32, quotient, u8_at};
use crate::window::Window;

const WHAT: &str = "the FAT boot sector";

/// Where FAT32 keeps a copy of the boot sector; nobody puts it elsewhere.
const COPY_AT: u64 = 6 * 512;

/// What a boot sector says; sectors count from the start of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) sector_bytes: u64,
    /// Sectors of a cluster.
    pub(crate) cluster_sectors: u64,
    pub(crate) width: Width,
    first_fat: u64,
    fats: u64,
    fat_sectors: u64,
    /// Which FAT counts.
    active: u64,
    /// Sectors of the root directory, where it is no chain.
    root: (u64, u64),
    /// First cluster of the root directory, where it is one.
    pub(crate) root_cluster: u32,
    /// First sector of cluster 2.
    pub(crate) data: u64,
    pub(crate) clusters: u64,
    /// Clusters that are on the volume.
    pub(crate) clusters_here: u64,
    media: u8,
    /// Whether the boot sector says that the volume was not unmounted.
    pub(crate) dirty: bool,
}

impl Boot {
    /// Reads the boot sector, or its copy and says so.
    pub(crate) fn read(window: &Window<'_>) -> Result<Option<(Self, bool)>, Error> {
        let first = window.bytes_at(WHAT, 0, 512)?;
        if let Some(boot) = Self::parse(&first, window.bytes()) {
            return Ok(Some((boot, false)));
        }
        Ok(Self::copy(window)?.map(|boot| (boot, true)))
    }

    /// Returns the copy that FAT32 has.
    pub(crate) fn copy(window: &Window<'_>) -> Result<Option<Self>, Error> {
        let sector = window.bytes_at(WHAT, COPY_AT, 512)?;
        let named = has(&sector, 82, b"FAT32   ") && has(&sector, 510, b"\x55\xaa");
        Ok(Self::parse(&sector, window.bytes()).filter(|_| named))
    }

    pub(crate) fn parse(sector: &[u8], volume_bytes: u64) -> Option<Self> {
        let word = |at: usize| u64::from(le16(sector, at));
        let (sector_bytes, cluster_sectors) = (word(11), u64::from(u8_at(sector, 13)));
        let (first_fat, fats) = (word(14), u64::from(u8_at(sector, 16)));
        let small = word(22);
        let fat_sectors = if small == 0 { u64::from(le32(sector, 36)) } else { small };
        let total = if word(19) == 0 { u64::from(le32(sector, 32)) } else { word(19) };
        let possible = sector_bytes.is_power_of_two()
            && (512..=4096).contains(&sector_bytes)
            && cluster_sectors.is_power_of_two()
            && first_fat > 0
            && (1..=4).contains(&fats)
            && fat_sectors > 0
            && total > 0;
        if !possible {
            return None;
        }
        let root_at = first_fat.saturating_add(fats.saturating_mul(fat_sectors));
        let root_sectors = word(17).saturating_mul(32).div_ceil(sector_bytes);
        let data = root_at.saturating_add(root_sectors);
        let claimed = quotient(total.saturating_sub(data), cluster_sectors);
        let width = match (small, claimed) {
            (0, _) => Width::ThirtyTwo,
            (_, 0..=4084) => Width::Twelve,
            _ => Width::Sixteen,
        };
        let entries = width.entries(fat_sectors.saturating_mul(sector_bytes));
        let clusters = claimed.min(entries.saturating_sub(2)).min(width.clusters_max());
        let sectors_here = quotient(volume_bytes, sector_bytes);
        let clusters_here = clusters.min(quotient(sectors_here.saturating_sub(data), cluster_sectors));
        let wide = width == Width::ThirtyTwo;
        let flags = if wide { le16(sector, 40) } else { 0 };
        let active = if flags & 0x80 == 0 { 0 } else { u64::from(flags & 15) };
        let (root_cluster, state) = if wide { (le32(sector, 44), 65) } else { (0, 37) };
        let possible = clusters > 0 && data < sectors_here && (wide || root_sectors > 0);
        possible.then_some(Self {
            sector_bytes,
            cluster_sectors,
            width,
            first_fat,
            fats,
            fat_sectors,
            active: if active < fats { active } else { 0 },
            root: (root_at, root_sectors),
            root_cluster,
            data,
            clusters,
            clusters_here,
            media: u8_at(sector, 21),
            dirty: u8_at(sector, state) & 1 != 0,
        })
    }

    /// Returns whether the volume has a FAT, too: a boot sector without its name could be anything.
    pub(crate) fn is_sure(&self, sector: &[u8], window: &Window<'_>) -> bool {
        let jump = matches!(u8_at(sector, 0), 0xeb | 0xe9);
        let entry = window.bytes_at(WHAT, self.first_fat.saturating_mul(self.sector_bytes), 3);
        let media = self.media >= 0xf0 && entry.is_ok_and(|entry| entry == [self.media, 0xff, 0xff]);
        jump && media && has(sector, 510, b"\x55\xaa")
    }

    /// Returns one of the FATs; the one that counts is first.
    pub(crate) fn table(&self, copy: u64) -> Option<Shape> {
        let number = match copy {
            0 => self.active,
            _ if copy <= self.active => copy.saturating_sub(1),
            _ => copy,
        };
        let first = self.first_fat.saturating_add(number.saturating_mul(self.fat_sectors));
        (number < self.fats).then(|| Shape {
            at: first.saturating_mul(self.sector_bytes),
            width: self.width,
            clusters: self.clusters_here,
        })
    }

    /// Returns first sector and number of sectors of a root directory that is no chain.
    pub(crate) fn fixed_root(&self) -> (u64, u64) {
        self.root
    }

    /// Returns the first sector of a cluster.
    pub(crate) fn sector(&self, cluster: u32) -> u64 {
        let relative = u64::from(cluster).saturating_sub(2);
        self.data.saturating_add(relative.saturating_mul(self.cluster_sectors))
    }

    pub(crate) fn to_bytes(self, sectors: u64) -> u64 {
        sectors.saturating_mul(self.sector_bytes)
    }
}
