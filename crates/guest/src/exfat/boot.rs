//! The boot region and its copy.

use crate::Error;
use crate::fat::table::{Shape, Width};
use crate::field::{has, le16, le32, le64, quotient, u8_at, word};
use crate::window::Window;

const WHAT: &str = "the exFAT boot sector";

/// Sectors of a boot region; the last one is full of the checksum of the others.
const REGION_SECTORS: u64 = 12;

/// What a boot sector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) sector_bytes: u64,
    pub(crate) cluster_sectors: u64,
    fat: u64,
    fat_sectors: u64,
    /// First sector of cluster 2.
    pub(crate) heap: u64,
    /// Clusters of the volume, and those that are on it.
    pub(crate) clusters: u64,
    pub(crate) clusters_here: u64,
    pub(crate) root: u32,
    /// Whether the second FAT and the second bitmap count.
    pub(crate) second: bool,
    pub(crate) dirty: bool,
    /// Whether the checksum of the region is right.
    pub(crate) is_sum_right: bool,
}

impl Boot {
    /// Reads the boot region, or its copy and says so.
    pub(crate) fn read(window: &Window<'_>) -> Result<Option<(Self, bool)>, Error> {
        if let Some(boot) = Self::read_at(window, 0)? {
            return Ok(Some((boot, false)));
        }
        Ok(Self::copy(window)?.map(|boot| (boot, true)))
    }

    /// Returns what the copy says, if there is one.
    pub(crate) fn copy(window: &Window<'_>) -> Result<Option<Self>, Error> {
        for bits in 9..=12_u32 {
            let sector_bytes = 1_u64.checked_shl(bits).unwrap_or(512);
            let at = sector_bytes.saturating_mul(REGION_SECTORS);
            let found = Self::read_at(window, at)?;
            if let Some(boot) = found.filter(|boot| boot.sector_bytes == sector_bytes && boot.is_sum_right) {
                return Ok(Some(boot));
            }
        }
        Ok(None)
    }

    fn read_at(window: &Window<'_>, at: u64) -> Result<Option<Self>, Error> {
        let sector = window.bytes_at(WHAT, at, 512)?;
        let Some(mut boot) = Self::parse(&sector, window.bytes()) else {
            return Ok(None);
        };
        let covered = boot.sector_bytes.saturating_mul(REGION_SECTORS.saturating_sub(1));
        let region = window.bytes_at(WHAT, at, crate::field::narrow(covered))?;
        let sum = window.bytes_at(WHAT, at.saturating_add(covered), 4)?;
        boot.is_sum_right = checksum(&region) == le32(&sum, 0);
        Ok(Some(boot))
    }

    fn parse(sector: &[u8], volume_bytes: u64) -> Option<Self> {
        let (sector_bits, cluster_bits) = (u8_at(sector, 108), u8_at(sector, 109));
        let possible = has(sector, 3, b"EXFAT   ")
            && (9..=12).contains(&sector_bits)
            && sector_bits.saturating_add(cluster_bits) <= 25;
        if !possible {
            return None;
        }
        let sector_bytes = 1_u64.checked_shl(u32::from(sector_bits))?;
        let cluster_sectors = 1_u64.checked_shl(u32::from(cluster_bits))?;
        let number = |at: usize| u64::from(le32(sector, at));
        let (fat, fat_sectors, heap) = (number(80), number(84), number(88));
        let entries = Width::Whole.entries(fat_sectors.saturating_mul(sector_bytes));
        let total = le64(sector, 72);
        let room = quotient(total.saturating_sub(heap), cluster_sectors);
        let clusters = number(92).min(entries.saturating_sub(2)).min(room).min(Width::Whole.clusters_max());
        let sectors_here = quotient(volume_bytes, sector_bytes);
        let here = quotient(sectors_here.saturating_sub(heap), cluster_sectors);
        let flags = le16(sector, 106);
        let possible = clusters > 0 && here > 0 && fat > 0 && heap >= fat.saturating_add(fat_sectors);
        possible.then_some(Self {
            sector_bytes,
            cluster_sectors,
            fat,
            fat_sectors,
            heap,
            clusters,
            clusters_here: clusters.min(here),
            root: le32(sector, 96),
            second: flags & 1 != 0 && u8_at(sector, 110) == 2,
            dirty: flags & 2 != 0,
            is_sum_right: false,
        })
    }

    /// Returns the FAT that counts.
    pub(crate) fn table(&self) -> Shape {
        let skipped = if self.second { self.fat_sectors } else { 0 };
        Shape {
            at: self.to_bytes(self.fat.saturating_add(skipped)),
            width: Width::Whole,
            clusters: self.clusters_here,
        }
    }

    /// Returns the first sector of a cluster.
    pub(crate) fn sector(&self, cluster: u32) -> u64 {
        let relative = u64::from(cluster).saturating_sub(2);
        self.heap.saturating_add(relative.saturating_mul(self.cluster_sectors))
    }

    /// Returns the part of a run of clusters that is on the volume.
    pub(crate) fn clip(&self, cluster: u32, length: u64) -> Option<(u32, u32)> {
        let end = self.clusters_here.saturating_add(2);
        let inside = end.saturating_sub(u64::from(cluster)).min(length);
        (cluster >= 2 && inside > 0).then(|| (cluster, word(inside)))
    }

    pub(crate) fn to_bytes(self, sectors: u64) -> u64 {
        sectors.saturating_mul(self.sector_bytes)
    }

    pub(crate) fn cluster_bytes(&self) -> u64 {
        self.to_bytes(self.cluster_sectors)
    }
}

/// Returns the checksum of a boot region, without the flags and how full it is.
fn checksum(region: &[u8]) -> u32 {
    let counts = |at: &usize| !matches!(at, 106 | 107 | 112);
    let bytes = region.iter().enumerate().filter(|(at, _)| counts(at));
    bytes.fold(0, |sum: u32, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)))
}
