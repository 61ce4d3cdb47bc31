//! Checkers and the station that runs them over a block source
#![forbid(unsafe_code)]

pub mod detectors;
pub mod financial;
mod health;
pub mod malware;
pub mod memo;
pub mod regulated;
mod rules;
mod search;
pub mod secrets;
mod station;
mod system;

pub use rules::{Book, Rules};
pub use station::{
    Early, Elsewhere, Examined, Examiner, FINDINGS_MAX, HeldExtent, MemberReport, Names, NoSink, Outcome,
    PieceContent, Progress, RETAINED_BYTES, Report, Sink, Station, StationError, UNIT_BYTES, Unit,
};
pub use system::{FeedsUsed, System, SystemReport};
