//! The nouns of Airlock and the invariants over them.
//!
//! Everything that two crates must agree on is here, and nothing else: how a
//! run of a disk is named ([`Run`], [`Extent`]), what it is ([`PlaceKind`],
//! [`PlaceMap`]), what was found in it ([`Finding`]), what became of it
//! ([`Class`], [`Coverage`]), and how its bytes are identified
//! ([`ContentHash`], [`ChunkId`], [`DiskRoot`]).
//!
//! The crate does no I/O, reads no clock and has no configuration.
//! The invariants I2 and I3 of the design are predicates in [`invariant`], written
//! once and asserted by unit tests, end-to-end tests and the services themselves.
#![forbid(unsafe_code)]

mod chunk;
mod coverage;
mod escape;
mod extent;
pub mod field;
mod finding;
pub mod invariant;
mod machine;
mod packed;
mod place;
mod space;
mod verdict;

pub use chunk::{
    CHUNK_BYTES_MAX, ChunkId, ChunkRecord, ContentHash, DiskRoot, RootBuilder, SpaceRoots, TenantKey,
};
pub use coverage::{Class, Coverage, Reason};
pub use escape::Escaped;
pub use extent::{Extent, Run, joined, subtract};
pub use finding::{Check, Confidence, Finding, Fingerprint, Severity, Site, Trail};
pub use machine::{Bus, Controller, Drive, Firmware, Machine, Nic};
pub use packed::{Codec, Packed};
pub use place::{PackedFile, Place, PlaceKind, PlaceMap, PlaceMapBuilder, Volume};
pub use space::{DISKS_MAX, Member, MemberFile, MemberKind, Space, SpaceError};
pub use verdict::{Action, Decision};
