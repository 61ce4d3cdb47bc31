//! What every reader of a file system comes to, and how it becomes places.
//!
//! A reader goes over the tables of a file system once and fills a [`FileSystem`]:
//! its files and directories as [`Node`]s, who claims which units as [`Claims`], files
//! whose bytes lie inside something else as [`Views`], and what is free as an
//! [`Allocation`]. [`emit`] settles the claims and divides the volume into places, in
//! the same way for every file system.
//!
//! A *unit* is what the reader's claims count in: the block of ext, XFS and btrfs, the
//! cluster of NTFS, the sector of FAT.

mod claims;
mod emit;
mod names;
mod spare;
mod tally;
mod views;

pub(crate) use claims::{Claim, Claims, Role, rests};
pub(crate) use emit::{emit, emit_views};
pub(crate) use names::{Names, Node, NodeKind};
pub(crate) use tally::Tally;
pub(crate) use views::{Packs, Reasons, Valid, Views};

use crate::window::Window;
use crate::{Error, Replay};
use std::fmt::Debug;
use std::ops::Range;

/// Why a volume with the magic number of a file system is not read as such.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For people.
    pub(crate) what: String,
    /// The name of what is there.
    pub(crate) content: &'static str,
    /// Which log would have to be replayed.
    pub(crate) log: Option<&'static str>,
    /// Whether a budget was used up.
    pub(crate) limited: bool,
}

impl Failure {
    /// Says that the volume is raw bytes for this reason.
    pub(crate) fn raw(content: &'static str, why: impl std::fmt::Display) -> Self {
        let what = format!("{why}; the volume is taken as raw bytes");
        Self { what, content, log: None, limited: false }
    }

    /// Says that this is because a log cannot be replayed.
    pub(crate) fn of_log(self, log: &'static str) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Says whether this is because a budget was used up.
    pub(crate) fn limited(self, limited: bool) -> Self {
        Self { limited, ..self }
    }
}

/// Reads a file system of at most so many runs; nothing is added anywhere where it fails.
pub(crate) type Reader = for<'d> fn(&Window<'d>, runs_max: usize) -> Result<FileSystem<'d>, Failure>;

/// A run of units of one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// First unit behind it.
    pub(crate) end: u64,
    pub(crate) free: bool,
}

/// Tells free units from others, in ascending order.
pub(crate) trait Allocation: Debug {
    /// Tells the state of `unit` and how far it goes, at most to `end`.
    ///
    /// What cannot be told is not free.
    fn stretch(&mut self, unit: u64, end: u64) -> Result<Stretch, Error>;
}

/// What a reader found on a volume.
#[derive(Debug)]
pub(crate) struct FileSystem<'d> {
    /// The volume, with the log of the file system over it.
    pub(crate) window: Window<'d>,
    /// The name of the file system, as `blkid` gives it.
    pub(crate) content: &'static str,
    /// Block or cluster of the file system in bytes, for verdicts.
    pub(crate) block_bytes: u64,
    /// What claims count in, in bytes.
    pub(crate) unit_bytes: u64,
    /// Units of the file system, which are on the volume; what is behind them is a gap.
    pub(crate) units: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Names,
    /// The node of the root directory.
    pub(crate) root: Option<u32>,
    /// Claims in order of precedence; those of a node are side by side.
    pub(crate) claims: Claims,
    /// Which claims are on the rests of clusters, by node: they come behind all others.
    pub(crate) rests: Range<usize>,
    pub(crate) views: Views,
    pub(crate) packs: Packs,
    pub(crate) valid: Valid,
    pub(crate) reasons: Reasons,
    pub(crate) allocation: Box<dyn Allocation + 'd>,
    /// Whether two files may have a block together, as after a `cp --reflink`.
    pub(crate) shares: bool,
    pub(crate) tally: Tally,
    /// Whether a budget was used up, so that there may be files that were not found.
    pub(crate) limited: bool,
    /// What was done about logs that were not empty.
    pub(crate) replays: Vec<Replay>,
}
