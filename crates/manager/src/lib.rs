//! The source site: opens what is to be moved, inspects it, and sends what is cleared.
//!
//! ```text
//! path ─▶ Source (disk image, folder or file) ─▶ survey ─▶ station ─┬─▶ report
//!                                                                   └─▶ streams ─▶ director
//! ```
//!
//! [`scan`] stops at the report. [`transfer`] gives each thread of the station a data
//! stream of its own, so bytes are read, hashed, inspected, judged and sent by one
//! thread and are never copied between threads.
//!
//! [`service`] is the site as a service: it knows what there is to move, and runs such transfers.
//!
//! Deliberately absent: any knowledge of how a director stores what it gets.
#![forbid(unsafe_code)]

mod conclusion;
pub mod service;
mod source;
mod stream;
mod transfer;

pub use source::{Source, SourceError, SourceOptions};
pub use transfer::{Connect, Offer, Outcome, Stage, TransferError, transfer};

use airlock_checks::memo::Memo;
use airlock_checks::{NoSink, Progress, Report, Rules, Station, StationError};
use airlock_model::Site;
use airlock_policy::Effective;

/// Inspects a source on `threads` threads and reports what a transfer would hold, and why. Nothing is sent.
/// What the memo knows is not inspected again.
pub fn scan(
    source: &Source,
    rules: &Rules,
    policy: &Effective,
    memo: Option<&Memo>,
    threads: usize,
    progress: &Progress,
) -> Result<Report, StationError> {
    let rules = rules.asked_for(policy, Site::Source);
    let mut station = Station::new(&rules, policy, Site::Source);
    if let Some(memo) = memo {
        station = station.with_memo(memo);
    }
    let mut sinks = vec![NoSink; threads.max(1)];
    station.run(source.space(), source.disk(), source.survey(), &mut sinks, progress)
}
