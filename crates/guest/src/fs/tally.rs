//! Counts what is odd about a file system, so that a million damaged inodes are one oddity.

use crate::partition::Oddities;
use crate::window::Window;
use airlock_model::Extent;
use std::collections::BTreeMap;

/// Counts by kind of oddity, with the extent that the first of each concerns.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: BTreeMap<&'static str, (u64, Extent)>,
}

impl Tally {
    /// Counts `count` more of `what`; `extent` is in bytes of the volume.
    pub(crate) fn count(&mut self, what: &'static str, count: u64, extent: Extent) {
        if count > 0 {
            let entry = self.counts.entry(what).or_insert((0, extent));
            entry.0 = entry.0.saturating_add(count);
        }
    }

    /// Returns whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Tells what was counted.
    pub(crate) fn tell(&self, label: &str, volume: &Window<'_>, oddities: &mut Oddities) {
        for (what, (count, extent)) in &self.counts {
            let place = volume.locate(*extent).next();
            let place = place.map_or_else(|| volume.extent(), |piece| piece.extent());
            oddities.add(label, format!("{what}: {count}"), place);
        }
    }
}
