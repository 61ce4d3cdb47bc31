//! What the blocks of a disk mean.
//!
//! [`survey`] reads partition tables and file systems once and divides the whole
//! address space of a disk into places: every byte belongs to exactly one
//! (invariant I2, [`airlock_model::invariant::places_tile`]).
//!
//! ```text
//! disk ─ partition tables ─┬─ PartitionTable, Gap            volume "disk"
//!                          ├─ p1: swap, LUKS, unknown         one place: Swap, Encrypted, Raw
//!                          └─ p2: ext4, xfs, btrfs, ntfs, …   Metadata, Free, and for every file
//!                                                             File and Slack, or a view
//! ```
//!
//! A disk is hostile: whatever it holds, the survey ends, uses bounded memory, and
//! its places tile the disk. Where two structures claim a byte, the first one has
//! it (partition tables before partitions, partitions by number, static metadata
//! before files, files by inode number), the other is told in an [`Oddity`], and a
//! file that lost bytes gets a view, so that it is inspected as its reader sees it.
//!
//! A file without a name, which a file system check would put into `lost+found`,
//! has the path `/lost+found/#` and its inode number.
//!
//! ```
//! use airlock_disk::{OpenOptions, open};
//! use airlock_model::PlaceKind;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = tempfile::NamedTempFile::new()?;
//! file.as_file().set_len(1 << 20)?;
//! let disk = open(file.path(), &OpenOptions::default())?;
//! let survey = airlock_guest::survey(&*disk.source)?;
//! let place = survey.map.get(0).ok_or("no place")?;
//! assert_eq!((place.kind, place.volume.content.as_str()), (PlaceKind::Raw, "unknown"));
//! # Ok(())
//! # }
//! ```
//!
//! A file system that was not unmounted has its latest files in its log. The log is
//! replayed in memory ([`Replay`]); where that is not possible, the volume is raw.
//!
//! Deliberately absent: volume managers and other file systems (their volumes are
//! raw and named).
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

mod assemble;
mod bits;
mod btrfs;
mod checksum;
mod codec;
mod detect;
mod exfat;
mod ext;
mod fat;
mod field;
mod fs;
mod iso9660;
mod limits;
mod lvm;
mod md;
mod ntfs;
mod overlay;
mod partition;
mod squashfs;
mod utf16;
mod volumes;
mod window;
mod xfs;

pub use codec::{UNPACKED_MAX, UnpackError, unpack};

use airlock_disk::BlockSource;
use airlock_model::{Extent, PlaceMap, Space};

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

/// What was done about the log of a file system that was not unmounted, or about what else
/// holds its latest changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The volume, such as `p1`.
    pub volume: String,
    /// Which log: `jbd2`, `xfs`, `btrfs`, `ntfs`; `hiberfil` for what a sleeping Windows has in memory.
    pub log: &'static str,
    /// Whether it was replayed. If not, files are listed and read without the latest changes.
    pub done: bool,
    /// Transactions that were replayed.
    pub transactions: u64,
    /// Blocks of the volume that read as the log has them.
    pub blocks: u64,
}

impl Replay {
    /// Says that a log was not replayed.
    pub(crate) fn not_done(log: &'static str) -> Self {
        Self { volume: String::new(), log, done: false, transactions: 0, blocks: 0 }
    }

    /// Says of which volume it is.
    pub(crate) fn of(self, volume: &str) -> Self {
        Self { volume: volume.to_owned(), ..self }
    }
}

/// What a survey found out.
#[derive(Debug)]
pub struct Survey {
    /// The places; views for files whose bytes lie inside metadata.
    pub map: PlaceMap,
    /// What was odd.
    pub oddities: Vec<Oddity>,
    /// Bytes that could not be understood because a budget was used up, sorted and apart; nobody's
    /// are in the map as raw places.
    pub limits: Vec<Extent>,
    /// Logs that were not empty. Those that were replayed were so in memory: files are listed and
    /// read as they would be after a mount, the disk itself stays as it is.
    pub replays: Vec<Replay>,
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

/// Divides one disk into places.
pub fn survey(disk: &dyn BlockSource) -> Result<Survey, Error> {
    survey_space(disk, &Space::of_disk(disk.size(), disk.format().name()))
}

/// Divides a bundle into places; `disk` has the bytes of its whole address space.
pub fn survey_space(disk: &dyn BlockSource, space: &Space) -> Result<Survey, Error> {
    let survey = volumes::survey(disk, space)?;
    debug_assert_eq!(airlock_model::invariant::places_tile(&survey.map), Ok(()), "I2");
    Ok(survey)
}
