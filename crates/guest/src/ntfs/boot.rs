//! The boot sector, and its copy behind the last cluster.

use crate::Error;
use crate::field::{has, le16, le64, quotient, u8_at};
use crate::window::Window;

const WHAT: &str = "the NTFS boot sector";
const SECTOR: usize = 512;

/// Largest cluster: Windows makes none that are larger.
const CLUSTER_BYTES_MAX: u64 = 2 << 20;

/// What a boot sector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) sector_bytes: u64,
    pub(crate) cluster_bytes: u64,
    /// Clusters that are on the volume.
    pub(crate) clusters: u64,
    /// Clusters that the boot sector claims.
    pub(crate) clusters_claimed: u64,
    sectors: u64,
    /// First cluster of the MFT, and of the copy of its first records.
    pub(crate) mft: u64,
    pub(crate) mirror: u64,
    pub(crate) record_bytes: u64,
}

impl Boot {
    /// Reads the boot sector, or its copy and says so.
    pub(crate) fn read(window: &Window<'_>) -> Result<Option<(Self, bool)>, Error> {
        let first = window.bytes_at(WHAT, 0, SECTOR)?;
        if let Some(boot) = Self::parse(&first, window.bytes()) {
            return Ok(Some((boot, false)));
        }
        Ok(Self::copy(window)?.map(|boot| (boot, true)))
    }

    /// Returns the copy, which is in the last sector of the volume.
    pub(crate) fn copy(window: &Window<'_>) -> Result<Option<Self>, Error> {
        let sectors = [512_u64, 1024, 2048, 4096];
        let places = sectors.iter().filter_map(|bytes| Some((bytes, window.bytes().checked_sub(*bytes)?)));
        for (sector_bytes, at) in places {
            let sector = window.bytes_at(WHAT, at, SECTOR)?;
            let found = Self::parse(&sector, window.bytes());
            let fits = |boot: &Self| {
                boot.sector_bytes == *sector_bytes && boot.sectors.saturating_mul(*sector_bytes) == at
            };
            if let Some(boot) = found.filter(fits) {
                return Ok(Some(boot));
            }
        }
        Ok(None)
    }

    /// Returns where the copy is.
    pub(crate) fn copy_at(&self) -> u64 {
        self.sectors.saturating_mul(self.sector_bytes)
    }

    pub(crate) fn parse(sector: &[u8], volume_bytes: u64) -> Option<Self> {
        let sector_bytes = u64::from(le16(sector, 11));
        let possible = sector_bytes.is_power_of_two() && (256..=4096).contains(&sector_bytes);
        if !has(sector, 3, b"NTFS    ") || !possible {
            return None;
        }
        // Clusters of more than 128 sectors are a negative exponent of two.
        let sectors = match u8_at(sector, 13) {
            count @ 0..=128 => u64::from(count),
            exponent => 1_u64.checked_shl(u32::from(exponent.wrapping_neg()))?,
        };
        let cluster_bytes = sector_bytes.checked_mul(sectors)?;
        let record_bytes = match u8_at(sector, 64) {
            count @ 0..=127 => cluster_bytes.checked_mul(u64::from(count))?,
            exponent => 1_u64.checked_shl(u32::from(exponent.wrapping_neg()))?,
        };
        let sectors_claimed = le64(sector, 40);
        let possible = cluster_bytes.is_power_of_two()
            && cluster_bytes <= CLUSTER_BYTES_MAX
            && record_bytes.is_power_of_two()
            && (512..=65_536).contains(&record_bytes);
        let clusters_claimed = quotient(sectors_claimed, sectors);
        let clusters = clusters_claimed.min(quotient(volume_bytes, cluster_bytes));
        let mft = le64(sector, 48);
        (possible && mft < clusters).then_some(Self {
            sector_bytes,
            cluster_bytes,
            clusters,
            clusters_claimed,
            sectors: sectors_claimed,
            mft,
            mirror: le64(sector, 56),
            record_bytes,
        })
    }

    /// Returns where a cluster begins, or the length of so many, in bytes.
    pub(crate) fn to_bytes(self, clusters: u64) -> u64 {
        clusters.saturating_mul(self.cluster_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cluster: u8, record: u8, expected: Option<(u64, u64)>) {
        let mut sector = [0; 512];
        sector[3..11].copy_from_slice(b"NTFS    ");
        sector[12] = 2;
        sector[13] = cluster;
        sector[40..48].copy_from_slice(&(1_u64 << 30).to_le_bytes());
        sector[48] = 4;
        sector[64] = record;
        let boot = Boot::parse(&sector, 1 << 39);
        assert_eq!(boot.map(|boot| (boot.cluster_bytes, boot.record_bytes)), expected);
    }

    #[test]
    fn sizes_are_counts_or_exponents() {
        check(8, 0xf6, Some((4096, 1024)));
        check(1, 2, Some((512, 1024)));
        check(128, 0xf4, Some((65_536, 4096)));
        check(0xf4, 0xf6, Some((2 << 20, 1024)));
        check(0xf3, 0xf6, None);
        check(0x81, 0xf6, None);
        check(3, 0xf6, None);
        check(0, 0xf6, None);
        check(8, 0, None);
        check(8, 0x80, None);
    }
}
