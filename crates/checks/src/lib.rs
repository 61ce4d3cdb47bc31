//! Checkers and the station that runs them over a block source
#![forbid(unsafe_code)]

pub mod detectors;
pub mod financial;
mod health;
pub mod malware;
pub mod memo;
pub mod regulated;
mod rules;
pub mod secrets;
mod station;

pub use rules::Rules;
pub use station::{
    Early, FINDINGS_MAX, HeldExtent, MemberReport, Names, NoSink, Outcome, Progress, RETAINED_BYTES, Report,
    Sink, Station, StationError, UNIT_BYTES,
};
