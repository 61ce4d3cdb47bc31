//! Divides places into units of work, lazily and in reading order.

use super::UNIT_BYTES;
use airlock_model::{PlaceKind, PlaceMap};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of units that a thread takes at once.
const BATCH_BYTES: u64 = 1 << 20;
/// Units that a thread takes at once.
const BATCH_UNITS: usize = 64;

/// A piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// A whole file.
    File {
        /// Its place.
        place: usize,
    },
    /// Part of another place.
    Part {
        /// The place.
        place: usize,
        /// First byte, counted over the runs of the place.
        logical: u64,
        /// Number of bytes.
        length: u64,
    },
}

impl Unit {
    /// Returns whether it is of what says what the disk means.
    pub(super) fn describes(&self, map: &PlaceMap) -> bool {
        let (Self::File { place } | Self::Part { place, .. }) = self;
        let kind = map.get(*place).map(|place| place.kind);
        matches!(kind, Some(PlaceKind::PartitionTable | PlaceKind::Metadata))
    }
}

/// Gives out units.
#[derive(Debug)]
pub(super) struct Planner<'m> {
    map: &'m PlaceMap,
    /// Places that need no more work, by their position.
    done: &'m [AtomicBool],
    place: usize,
    /// Bytes of the current place, and of them those that are given out.
    bytes: Option<u64>,
    logical: u64,
}

impl<'m> Planner<'m> {
    pub(super) fn new(map: &'m PlaceMap, done: &'m [AtomicBool]) -> Self {
        Self { map, done, place: 0, bytes: None, logical: 0 }
    }

    /// Returns the next units, together about [`BATCH_BYTES`]; none when all are given out.
    pub(super) fn next_batch(&mut self) -> Vec<Unit> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES && batch.len() < BATCH_UNITS {
            let Some((unit, length)) = self.next() else { break };
            batch.push(unit);
            bytes += length;
        }
        batch
    }

    fn next(&mut self) -> Option<(Unit, u64)> {
        while self.done.get(self.place).is_some_and(|done| done.load(Ordering::Relaxed)) {
            self.place += 1;
        }
        let place = self.map.get(self.place)?;
        let bytes = *self.bytes.get_or_insert_with(|| place.runs.iter().map(|run| run.length).sum());
        let logical = self.logical;
        let length = if place.kind == PlaceKind::File { bytes } else { UNIT_BYTES.min(bytes - logical) };
        self.logical += length;
        if self.logical >= bytes {
            self.place += 1;
            self.bytes = None;
            self.logical = 0;
        }
        let unit = match place.kind {
            PlaceKind::File => Unit::File { place: place.index },
            _ => Unit::Part { place: place.index, logical, length },
        };
        Some((unit, length))
    }
}
