//! The invariants, as predicates.
//!
//! Each returns `Ok` or a sentence that says what does not hold. They are asserted
//! by unit tests, by end-to-end tests and by both sites before a transfer is sealed.

use crate::{Coverage, PlaceMap, Run};

/// I2: the classes sum to the size.
pub fn coverage_sums(coverage: &Coverage) -> Result<(), String> {
    let sum = coverage.sum();
    if sum == coverage.total {
        return Ok(());
    }
    Err(format!("coverage classes sum to {sum} bytes of {}", coverage.total))
}

/// I2: every byte of the disk belongs to exactly one place, views aside.
pub fn places_tile(map: &PlaceMap) -> Result<(), String> {
    let mut extents: Vec<_> = map
        .iter()
        .filter(|place| !place.view)
        .flat_map(|place| place.runs.iter().map(Run::extent).collect::<Vec<_>>())
        .filter(|extent| extent.length > 0)
        .collect();
    extents.sort_unstable();
    let mut at = 0;
    for extent in extents {
        if extent.offset > at {
            return Err(format!("bytes {at} to {} belong to no place", extent.offset));
        }
        if extent.offset < at {
            return Err(format!("bytes {} to {at} belong to two places", extent.offset));
        }
        at = extent.end();
    }
    if at == map.disk_bytes() {
        return Ok(());
    }
    Err(format!("places cover {at} bytes of a disk of {}", map.disk_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Extent, PlaceKind, PlaceMapBuilder, Reason, Volume};

    fn map_of(runs: &[(u64, u64)]) -> PlaceMap {
        let mut map = PlaceMapBuilder::new(100);
        let volume = map.volume(Volume {
            label: "whole".into(),
            content: "unknown".into(),
            extent: Extent::new(0, 100),
            block_bytes: 4096,
        });
        for &(disk, length) in runs {
            map.place(volume, PlaceKind::Raw, b"", length, &[Run { logical: 0, disk, length }]);
        }
        map.finish()
    }

    #[test]
    fn places_must_tile_the_disk() {
        assert!(places_tile(&map_of(&[(0, 40), (40, 60)])).is_ok());
        assert!(places_tile(&map_of(&[(0, 40), (50, 50)])).unwrap_err().contains("no place"));
        assert!(places_tile(&map_of(&[(0, 40), (30, 70)])).unwrap_err().contains("two places"));
        assert!(places_tile(&map_of(&[(0, 40)])).unwrap_err().contains("of a disk of 100"));
    }

    #[test]
    fn coverage_must_sum_to_the_total() {
        let mut coverage = Coverage { total: 10, ..Coverage::default() };
        coverage.add(Class::Cleared, 6);
        coverage.add(Class::Unscannable(Reason::Limit), 3);
        assert!(coverage_sums(&coverage).is_err());
        coverage.add(Class::Hole, 1);
        assert_eq!(coverage_sums(&coverage), Ok(()));
    }
}
