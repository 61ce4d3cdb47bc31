//! What the blocks of a disk mean.
//!
//! [`survey`] reads partition tables and file systems once and divides the whole
//! address space of a disk into places: every byte belongs to exactly one
//! (invariant I2, [`airlock_model::invariant::places_tile`]).
#![forbid(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)]

use airlock_disk::BlockSource;
use airlock_model::{Extent, PlaceMap};

/// Something about a disk that is not as it should be, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddity {
    /// The volume, such as `p1`.
    pub volume: String,
    /// What is odd, for people: lower-case, no full stop, never guest content.
    pub what: String,
    /// Which bytes of the disk it concerns.
    pub extent: Extent,
}

/// What a survey found out.
#[derive(Debug)]
pub struct Survey {
    /// The places; views for files whose bytes lie inside metadata.
    pub map: PlaceMap,
    /// What was odd.
    pub oddities: Vec<Oddity>,
    /// Bytes that could not be understood because a budget was used up; they are in
    /// the map as raw places.
    pub limits: Vec<Extent>,
}

/// Why a disk could not be surveyed at all. Damage inside a disk is no error:
/// what is not understood becomes a raw place and an [`Oddity`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source failed.
    #[error("cannot read the disk while surveying {what}")]
    Source {
        /// What was being read.
        what: &'static str,
        /// Why.
        #[source]
        source: airlock_disk::Error,
    },
}

/// Divides `disk` into places.
pub fn survey(disk: &dyn BlockSource) -> Result<Survey, Error> {
    let _ = disk;
    unimplemented!()
}
