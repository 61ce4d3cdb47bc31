//! Builds guests and images for tests, the demonstration and the benchmarks.
//!
//! Everything here is made by code and by distribution packages; the repository
//! holds no opaque images.
//!
//! ```text
//! Tree ──plants──▶ directory ──mke2fs -d──▶ Ext4Image ──debugfs──▶ deleted, straddling, slack
//!                                               └──sfdisk──▶ PartitionedDisk
//! PlantedDisk: all of these in one disk, with a list of every value and where it lies
//! debian_root, bench_disk: a real distribution on ext4        PocketVm: a guest that boots
//! residue::find: does any byte of these values remain under a directory?
//! ```
//!
//! Builds are deterministic: the same seed gives the same values, and the same
//! tree the same image, byte for byte.
//!
//! ```no_run
//! use airlock_testkit::{PlantedDisk, residue};
//! # fn main() -> Result<(), airlock_testkit::Error> {
//! let disk = PlantedDisk::builder("target/testkit/planted", 7).gpt().build()?;
//! // … transfer disk.image() somewhere …
//! let left = residue::find("target/vault", disk.planted())?;
//! assert!(left.is_empty(), "{left:?}");
//! # Ok(()) }
//! ```
//!
//! A tool that is not installed is an [`Error::MissingTool`] that names the Debian
//! package; nothing is skipped. Nothing here needs root, except [`debian_root`]
//! and [`bench_disk`], which run `debootstrap`.
//!
//! Deliberately absent: mounts, loop devices, KVM, and real personal data. Every
//! planted value is made up by [`values`].
#![forbid(unsafe_code)]

mod debian;
mod error;
mod ext4;
mod fragment;
pub mod hostile;
pub mod loopback;
mod packages;
mod partition;
mod planted_disk;
pub mod residue;
mod rng;
mod score;
mod text;
mod tool;
mod tree;
pub mod values;
mod vm;

pub use debian::{DebianImages, bench_disk, debian_root};
pub use error::{Error, Result};
pub use ext4::{BlockRun, Ext4Image, Ext4Options};
pub use fragment::Fragmented;
pub use partition::{PartitionTable, PartitionedDisk};
pub use planted_disk::{CleanFile, PlantedDisk, PlantedDiskBuilder};
pub use rng::Rng;
pub use score::score;
pub use text::{Document, filler};
pub use tool::{Tool, require};
pub use tree::{Encoding, Planted, Spot, Tree};
pub use values::{Kind, Secret};
pub use vm::{PocketVm, SumLine};
