//! Checkers and the station that runs them over a block source
#![forbid(unsafe_code)]

pub mod detectors;
pub mod exact;
pub mod financial;
pub mod fingerprints;
mod health;
pub mod malware;
pub mod memo;
pub mod regulated;
mod rules;
mod search;
pub mod secrets;
mod station;
mod system;
mod tags;

pub use rules::{Book, Rules};
pub use station::{
    Early, FINDINGS_MAX, HeldExtent, MemberReport, Names, NoSink, Outcome, Progress, RETAINED_BYTES, Report,
    Sink, Station, StationError, UNIT_BYTES,
};
pub use system::{FeedsUsed, System, SystemReport};
