//! Block sources: disk images, read without trusting a byte of them.
//!
//! [`open`] turns the name of an image into a [`BlockSource`]: a disk that can be
//! read at any offset from several threads at once, and that tells where it is
//! known to be zeros. [`ImageWriter`] is the way back: a disk streamed into a new
//! raw or qcow2 image.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use airlock_disk::{ImageWriter, OpenOptions, QcowWriter, open};
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("disk.qcow2");
//! let mut image = QcowWriter::create(&path, 1 << 20)?;
//! image.write(4096, b"hello")?;
//! image.finish()?;
//!
//! let opened = open(&path, &OpenOptions::default())?;
//! let mut word = [0; 5];
//! opened.source.read_at(4096, &mut word)?;
//! assert_eq!(&word, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! An image is hostile: it is opened by this crate's own readers, every table is
//! checked against the file it is in, and no file that an image names is opened
//! unless the caller allows the directory it lies in ([`OpenOptions::allow_backing`]).
//!
//! | format | what is read | what is refused by name |
//! |---|---|---|
//! | raw | files and block devices | |
//! | qcow2 | versions 2 and 3, zlib, zstd, extended L2, backing chains, external data files | encrypted |
//! | VMDK | sparse, stream-optimized, flat, split, `vmfs`, COWD, seSparse, chains by CID | encrypted, raw device mappings, deltas without their parents |
//! | VHD | fixed, dynamic, differencing | |
//! | VHDX | fixed, dynamic, differencing, dirty logs (replayed in memory) | damaged logs |
//! | VDI | dynamic, fixed | differencing, undo |
//!
//! Each format is a `Layer`, a map from the disk to files, and one `Image` reads
//! layers with what is behind them. Tables are read a page at a time through a cache
//! of 4 MiB for each chain, so memory does not grow with the disk.
//! [`QcowExtras`] lists what a qcow2 image keeps besides the disk: snapshots and bitmaps.
//!
//! Deliberately absent: writing into an existing image, reading internal snapshots
//! as disks, and decryption.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

mod bits;
mod cache;
mod chain;
mod decompress;
mod field;
mod file;
mod layer;
mod open;
mod overlay;
mod part;
mod probe;
mod qcow2;
mod raw;
mod source;
mod table;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;
mod write;

pub use open::{OpenOptions, Opened, open, open_named, open_part};
pub use part::Part;
pub use probe::{Probe, probe, probe_bytes};
pub use qcow2::{Bitmap, BitmapState, QcowExtras, Snapshot, Writer as QcowWriter};
pub use raw::RawFile;
pub use source::{BlockSource, Error, Format, Span, SpanKind, check_range, read_extents};
pub use write::{ImageWriter, RawWriter};
