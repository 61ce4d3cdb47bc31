//! One file for each verb.

mod assess;
pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod director;
pub(crate) mod doctor;
mod edm;
mod explain;
pub(crate) mod export;
mod fetch;
mod fingerprints;
pub(crate) mod generate;
pub(crate) mod key;
pub(crate) mod list;
pub(crate) mod manager;
pub(crate) mod pair;
pub(crate) mod policy;
mod recheck;
pub(crate) mod report;
pub(crate) mod rules;
pub(crate) mod scan;
pub(crate) mod scrub;
pub(crate) mod serve_nbd;
mod summary;
pub(crate) mod transfer;
pub(crate) mod verify;
pub(crate) mod worker;

use crate::cli::{Format, ProgressStyle};

/// What every verb needs to know about how it was called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// How results are written.
    pub(crate) format: Format,
    /// How progress is shown.
    pub(crate) progress: ProgressStyle,
}
