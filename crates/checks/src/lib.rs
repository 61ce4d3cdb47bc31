//! Checkers and the station that runs them over a block source
#![forbid(unsafe_code)]

pub mod detectors;
pub mod financial;
pub mod malware;
pub mod regulated;
pub mod secrets;
