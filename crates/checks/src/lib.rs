//! Checkers and the station that runs them over a block source
#![forbid(unsafe_code)]

pub mod detectors;
pub mod exact;
pub mod financial;
pub mod fingerprints;
mod health;
mod lists;
pub mod malware;
pub mod memo;
pub mod regulated;
mod rules;
mod search;
pub mod secrets;
mod station;
mod system;
mod tags;

pub use airlock_inspect::instruction_set;
pub use lists::Lists;
pub use rules::{Book, Rules};
pub use station::{
    Early, Elsewhere, Examined, Examiner, FINDINGS_MAX, HeldExtent, MemberReport, Names, NoSink, Outcome,
    PieceContent, Progress, RETAINED_BYTES, Report, Sink, Station, StationError, UNIT_BYTES, Unit,
};
pub use system::{FeedsUsed, System, SystemReport};
