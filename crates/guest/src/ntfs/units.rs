//! Units of compressed files.
//!
//! A compressed file is cut into units of 16 clusters. A unit with all of its clusters is
//! stored as it is, one with some of them is compressed, one with none is zeros.

use super::boot::Boot;
use super::runs::Mapping;
use crate::field::{quotient, remainder};
use airlock_model::{Codec, Packed};

/// Units that are stored as they are make pieces of at most so many bytes.
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// What a compressed file is cut into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    pub(crate) clusters: u64,
    pub(crate) bytes: u64,
}

impl Unit {
    /// Returns the unit of `1 << bits` clusters.
    pub(crate) fn new(boot: &Boot, bits: u8) -> Self {
        let clusters = 1_u64.checked_shl(u32::from(bits.min(16))).unwrap_or(1);
        Self { clusters, bytes: boot.to_bytes(clusters) }
    }

    /// Returns the number of the unit that a cluster is in, and its position there.
    pub(crate) fn split(&self, vcn: u64) -> (u64, u64) {
        (quotient(vcn, self.clusters), remainder(vcn, self.clusters))
    }
}

/// Returns what the clusters of a compressed file unpack to, which is spare from byte `limit` of
/// it on: units that have all their clusters are stored as they are, those that have some are
/// compressed.
pub(super) fn pieces(
    boot: &Boot,
    runs: &[Mapping],
    unit: Unit,
    limit: u64,
    room: usize,
) -> Option<Vec<Packed>> {
    let mut pieces: Vec<Packed> = Vec::new();
    let (mut current, mut count, mut stored) = (0_u64, 0_u64, 0_u64);
    let mut add = |number: u64, units: u64, clusters: u64, stored: u64| {
        let logical = number.saturating_mul(unit.bytes);
        let unpacked = units.saturating_mul(unit.bytes);
        let length = limit.saturating_sub(logical).min(unpacked);
        let is_stored = clusters == units.saturating_mul(unit.clusters);
        // What is behind the end of the file is unpacked as well.
        let spare = length == 0;
        let length = if spare { unpacked } else { length };
        if clusters > 0 {
            pieces.push(Packed {
                logical,
                length,
                stored: boot.to_bytes(stored),
                stored_bytes: boot.to_bytes(clusters),
                skip: 0,
                unpacked: if is_stored { length } else { unpacked },
                codec: if is_stored { Codec::Stored } else { Codec::Lznt1 },
                spare,
            });
        }
        pieces.len() <= room
    };
    'runs: for run in runs {
        let (mut vcn, end) = (run.vcn, run.end());
        while vcn < end {
            let (number, within) = unit.split(vcn);
            if number != current {
                if count > 0 && !add(current, 1, count, stored.saturating_sub(count)) {
                    break 'runs;
                }
                (current, count) = (number, 0);
            }
            let left = end.saturating_sub(vcn);
            let taken = if within == 0 && count == 0 && left >= unit.clusters {
                let most = quotient(PIECE_BYTES_MAX, unit.bytes).max(1);
                let units = quotient(left, unit.clusters).min(most);
                let clusters = units.saturating_mul(unit.clusters);
                if !add(number, units, clusters, stored) {
                    break 'runs;
                }
                current = number.saturating_add(units);
                clusters
            } else {
                let taken = unit.clusters.saturating_sub(within).min(left);
                count = count.saturating_add(taken);
                taken
            };
            stored = stored.saturating_add(taken);
            vcn = vcn.saturating_add(taken);
        }
    }
    if count > 0 {
        add(current, 1, count, stored.saturating_sub(count));
    }
    (pieces.len() <= room).then_some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runs: &[(u64, u64)], limit: u64, expected: &[(u64, u64, u64, u64, Codec)]) {
        let mut sector = [0; 512];
        sector[3..11].copy_from_slice(b"NTFS    ");
        sector[12..14].copy_from_slice(&[2, 8]);
        sector[46] = 1;
        sector[64] = 0xf6;
        let boot = Boot::parse(&sector, 1 << 40).expect("a boot sector");
        let runs: Vec<_> = runs.iter().map(|&(vcn, length)| Mapping { vcn, lcn: 7, length }).collect();
        let found = pieces(&boot, &runs, Unit::new(&boot, 4), limit, 100).expect("few pieces");
        let found: Vec<_> = found
            .iter()
            .map(|piece| {
                assert_eq!(piece.spare, piece.logical >= limit);
                (piece.logical, piece.length, piece.stored / 4096, piece.stored_bytes / 4096, piece.codec)
            })
            .collect();
        assert_eq!(found, expected);
        let room = expected.len().saturating_sub(1);
        let full = pieces(&boot, &runs, Unit::new(&boot, 4), limit, room);
        assert_eq!(full.is_none(), !expected.is_empty());
    }

    #[test]
    fn units_are_stored_or_compressed() {
        let unit = 65_536;
        check(&[], unit, &[]);
        check(&[(0, 5)], 100, &[(0, 100, 0, 5, Codec::Lznt1)]);
        let spare = [(0, 100, 0, 5, Codec::Lznt1), (unit, unit, 5, 16, Codec::Stored)];
        check(&[(0, 5), (16, 16)], 100, &spare);
        check(&[(0, 10), (10, 6)], unit, &[(0, unit, 0, 16, Codec::Stored)]);
        check(
            &[(0, 1), (16, 18), (48, 2), (51, 3)],
            unit * 4,
            &[
                (0, unit, 0, 1, Codec::Lznt1),
                (unit, unit, 1, 16, Codec::Stored),
                (unit * 2, unit, 17, 2, Codec::Lznt1),
                (unit * 3, unit, 19, 5, Codec::Lznt1),
            ],
        );
        check(
            &[(0, 16 * 18 + 3)],
            unit * 17 + 5,
            &[
                (0, unit * 16, 0, 256, Codec::Stored),
                (unit * 16, unit + 5, 256, 32, Codec::Stored),
                (unit * 18, unit, 288, 3, Codec::Lznt1),
            ],
        );
    }
}
