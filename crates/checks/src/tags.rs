//! Finds where in a sorted list of millions of tags one may be, without touching the list for most.

use std::ops::Range;

/// Where tags of 64 bits stand in a sorted list. They must be spread evenly, as hashes are.
#[derive(Debug)]
pub(crate) struct TagIndex {
    /// Where the tags begin that have these highest bits; one more than there are.
    starts: Vec<u32>,
    shift: u32,
    /// A bit for each lowest bits of a tag: at most one in sixteen is set.
    filter: Vec<u64>,
}

impl TagIndex {
    /// Reads the tags of a list of `count`, fewer than 2^32.
    pub(crate) fn new(count: usize, tags: impl Iterator<Item = u64>) -> Self {
        // Eight of a list on average share their highest bits.
        let buckets = (count / 8).next_power_of_two().max(2);
        let shift = 64 - buckets.trailing_zeros();
        let mut index = Self {
            starts: vec![0; buckets + 1],
            shift,
            filter: vec![0; (count / 4).next_power_of_two().max(16)],
        };
        for tag in tags {
            index.starts[to_index(tag >> shift) + 1] += 1;
            let (word, bit) = index.bit(tag);
            index.filter[word] |= bit;
        }
        let mut sum = 0;
        for start in &mut index.starts {
            sum += *start;
            *start = sum;
        }
        index
    }

    /// Returns the part of the list in which a tag is, if it is in it.
    pub(crate) fn range(&self, tag: u64) -> Range<usize> {
        let (word, bit) = self.bit(tag);
        if self.filter[word] & bit == 0 {
            return 0..0;
        }
        let bucket = to_index(tag >> self.shift);
        self.starts[bucket] as usize..self.starts[bucket + 1] as usize
    }

    fn bit(&self, tag: u64) -> (usize, u64) {
        let place = to_index(tag & (self.filter.len() as u64 * 64 - 1));
        (place / 64, 1 << (place % 64))
    }
}

fn to_index(bits: u64) -> usize {
    usize::try_from(bits).expect("fewer bits than a place in memory has")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_tag_is_in_its_range(tags in prop::collection::btree_set(any::<u64>(), 0..600), other: u64) {
            let tags: Vec<u64> = tags.into_iter().collect();
            let index = TagIndex::new(tags.len(), tags.iter().copied());
            for (place, tag) in tags.iter().enumerate() {
                prop_assert!(index.range(*tag).contains(&place));
            }
            prop_assert!(tags.contains(&other) || !tags[index.range(other)].contains(&other));
        }
    }
}
