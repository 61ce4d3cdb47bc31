//! What could not be understood because a budget was used up.

use airlock_model::Extent;

/// Extents of the disk; those that touch or overlap are joined now and then, so that they take
/// no more room than there are parts of the disk.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    list: Vec<Extent>,
    /// How many there were when they were last joined.
    joined: usize,
}

/// So many more are kept before they are joined.
const SPARE: usize = 4096;

impl Limits {
    pub(crate) fn add(&mut self, extent: Extent) {
        if extent.length > 0 {
            self.list.push(extent);
        }
        if self.list.len() > self.joined.saturating_mul(2).saturating_add(SPARE) {
            self.join();
        }
    }

    pub(crate) fn extend(&mut self, extents: impl IntoIterator<Item = Extent>) {
        extents.into_iter().for_each(|extent| self.add(extent));
    }

    fn join(&mut self) {
        self.list.sort_unstable();
        self.list.dedup_by(|next, kept| {
            let joined = kept.end() >= next.offset;
            if joined {
                kept.length = kept.end().max(next.end()).saturating_sub(kept.offset);
            }
            joined
        });
        self.joined = self.list.len();
    }

    /// Returns all of them, sorted and apart.
    pub(crate) fn finish(mut self) -> Vec<Extent> {
        self.join();
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_joined() {
        let mut limits = Limits::default();
        limits.extend([Extent::new(50, 10), Extent::new(0, 10), Extent::new(10, 5), Extent::new(55, 1)]);
        for _ in 0..100_000 {
            limits.add(Extent::new(80, 5));
        }
        limits.add(Extent::new(90, 0));
        assert!(limits.list.len() <= SPARE * 2 + 8);
        assert_eq!(limits.finish(), [Extent::new(0, 15), Extent::new(50, 10), Extent::new(80, 5)]);
    }
}
