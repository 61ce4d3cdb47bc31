//! The station: the same inspection at both sites.
//!
//! A [`Station`] goes over every place of a disk on several threads. Each piece of
//! work, a *unit*, is a whole file or at most [`UNIT_BYTES`] of another place. Its bytes
//! are read once, hashed, inspected and judged, and the [`Outcome`] goes to a [`Sink`]
//! that belongs to the thread. Which thread does which unit depends on the weather;
//! what comes out does not (invariant I5): the [`Report`] is in the order of the disk.
//!
//! Memory is bounded by the threads: each holds at most one unit of
//! [`RETAINED_BYTES`], its read window and the scanner's carry. A longer file is inspected
//! in a first pass and read again for sending; what has changed in between is not
//! sent (invariant I6).

mod early;
mod elsewhere;
mod file;
mod layers;
mod outcome;
mod packed;
mod planner;
mod reader;
mod recall;
mod report;
mod runs;
mod unit;

pub use early::Early;
pub use elsewhere::{Elsewhere, Examined, Examiner, PieceContent};
pub use outcome::Outcome;
pub use planner::Unit;
pub use recall::Names;
pub use report::{FINDINGS_MAX, HeldExtent, MemberReport, Report};

use crate::Rules;
use crate::memo::{Draft, Memo};
use crate::search::Search;
use airlock_disk::BlockSource;
use airlock_guest::Survey;
use airlock_model::{Site, Space};
use airlock_policy::{Changed, Effective};
use planner::Planner;
use recall::Recall;
use report::Collector;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use unit::Worker;

/// Bytes of a place without files that are inspected and judged at once.
pub const UNIT_BYTES: u64 = 4 << 20;
/// Longest file whose bytes are kept in memory until it is judged.
pub const RETAINED_BYTES: u64 = 16 << 20;

/// Why a station stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StationError {
    /// The source changed while it was read.
    #[error("the source changed while it was being read; take a snapshot of it, or stop the VM")]
    Changed(#[from] Changed),
    /// The source could not be read a second time.
    #[error("cannot read the source again for sending")]
    Source(#[from] airlock_disk::Error),
    /// Whoever takes the outcomes failed.
    #[error("cannot pass on what was inspected")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Whoever examines units elsewhere is gone or cannot be believed.
    #[error("what was to examine the disk elsewhere failed")]
    Elsewhere(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The user or the other site wants to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Takes what was judged, on the thread that judged it.
pub trait Sink: Send {
    /// Whether it wants the bytes of what is cleared; if not, they are not kept.
    fn wants_bytes(&self) -> bool;

    /// Takes one outcome.
    fn take(&mut self, outcome: &mut Outcome<'_>) -> Result<(), StationError>;

    /// Hears that it has been given all partition tables and metadata that it will be given.
    fn described(&mut self) -> Result<(), StationError> {
        Ok(())
    }
}

/// Wants nothing but the report.
#[derive(Debug, Clone, Copy)]
pub struct NoSink;

impl Sink for NoSink {
    fn wants_bytes(&self) -> bool {
        false
    }

    fn take(&mut self, _: &mut Outcome<'_>) -> Result<(), StationError> {
        Ok(())
    }
}

/// How far a station is. Read it from any thread; set `cancel` to stop it soon.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes that are done.
    pub done: AtomicU64,
    /// Bytes of the disk.
    pub total: AtomicU64,
    /// Findings so far, above `allow`.
    pub findings: AtomicU64,
    /// Bytes held so far.
    pub held: AtomicU64,
    /// Bytes read from the source so far.
    pub read: AtomicU64,
    /// Bytes that were not inspected because the memo knows them.
    pub memoised: AtomicU64,
    /// Set when nothing will be kept: what is done from then on is for the record.
    pub refused: AtomicBool,
    /// Set it to stop.
    pub cancel: AtomicBool,
}

/// Inspects disks for one site under one policy.
#[derive(Debug)]
pub struct Station<'r> {
    search: Search<'r>,
    policy: &'r Effective,
    site: Site,
    hashing: bool,
    recall: Option<Recall<'r>>,
    names: Option<&'r dyn Names>,
    elsewhere: Option<&'r dyn Elsewhere>,
}

impl<'r> Station<'r> {
    /// Sets up the station of `site`.
    pub fn new(rules: &'r Rules, policy: &'r Effective, site: Site) -> Self {
        let search = Search::new(rules, policy);
        Self { search, policy, site, hashing: true, recall: None, names: None, elsewhere: None }
    }

    /// Leaves the content unhashed, for a source that has proven its hashes: the report has
    /// no meaningful root, and nothing can be released.
    #[must_use]
    pub fn without_hashing(self) -> Self {
        Self { hashing: false, ..self }
    }

    /// Leaves out what the memo knows, and remembers there what is new and clean.
    #[must_use]
    pub fn with_memo(self, memo: &'r Memo) -> Self {
        Self { recall: Some(Recall::new(memo, self.search.rules(), self.policy)), ..self }
    }

    /// Leaves out what the memo knows, and notes in a draft what is new and clean.
    #[must_use]
    pub fn with_draft(self, memo: &'r Memo, draft: &'r Draft) -> Self {
        let recall = Recall::new(memo, self.search.rules(), self.policy).drafting(draft);
        Self { recall: Some(recall), ..self }
    }

    /// Has everything examined elsewhere that touches the bytes of a disk. What is judged, what is
    /// remembered and what is reported stays here.
    #[must_use]
    pub fn examining_elsewhere(self, elsewhere: &'r dyn Elsewhere) -> Self {
        Self { elsewhere: Some(elsewhere), ..self }
    }

    /// Returns the same station for a site that knows bytes by name: it reads only what the memo
    /// does not know.
    #[must_use]
    pub fn by_name<'s>(&'s self, names: &'s dyn Names) -> Station<'s> {
        Station { names: Some(names), search: self.search.clone(), recall: self.recall.clone(), ..*self }
    }

    /// Returns the hasher for tags of contents, where there is a memo.
    pub fn tags(&self) -> Option<&blake3::Hasher> {
        self.recall.as_ref().map(Recall::base)
    }

    /// Goes over a whole bundle with one thread for each sink.
    ///
    /// `disk` has the bytes of the address space; findings name the member of it.
    pub fn run<S: Sink>(
        &self,
        space: &Space,
        disk: &dyn BlockSource,
        survey: &Survey,
        sinks: &mut [S],
        progress: &Progress,
    ) -> Result<Report, StationError> {
        let collector = Mutex::new(Collector::new(self.policy, self.site, space));
        progress.total.fetch_add(survey.map.disk_bytes(), Ordering::Relaxed);
        self.go(space, disk, survey, &[], &collector, sinks, progress)?;
        Ok(collector.into_inner().expect("the collector does not panic").finish())
    }

    /// Goes over every place that is not `done`, with one thread for each sink.
    #[expect(clippy::too_many_arguments, reason = "what all threads of one inspection share")]
    fn go<S: Sink>(
        &self,
        space: &Space,
        disk: &dyn BlockSource,
        survey: &Survey,
        done: &[AtomicBool],
        collector: &Mutex<Collector<'_>>,
        sinks: &mut [S],
        progress: &Progress,
    ) -> Result<(), StationError> {
        let planner = Mutex::new(Planner::new(&survey.map, done));
        let failure = Mutex::new(None);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for sink in sinks.iter_mut() {
                let (planner, failure, stop) = (&planner, &failure, &stop);
                scope.spawn(move || {
                    let mut worker = Worker::new(self, space, disk, survey, progress);
                    let mut described = false;
                    while !stop.load(Ordering::Relaxed) {
                        let batch = planner.lock().expect("the planner does not panic").next_batch();
                        if batch.is_empty() {
                            break;
                        }
                        // Batches come in the order of the map, in which what describes the disk is first.
                        let tell = !described && !batch.iter().all(|unit| unit.describes(&survey.map));
                        described |= tell;
                        let ran = run_batch(&mut worker, batch, done.is_empty(), sink, collector, progress);
                        if let Err(error) = ran.and_then(|()| if tell { sink.described() } else { Ok(()) }) {
                            stop.store(true, Ordering::Relaxed);
                            failure.lock().expect("nobody panics with it").get_or_insert(error);
                        }
                    }
                });
            }
        });
        match failure.into_inner().expect("nobody panics with it") {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Does one batch. With `neighbours`, what lies between its units is of the batch, too, so that
/// reading it along is no waste.
fn run_batch<S: Sink>(
    worker: &mut Worker<'_>,
    batch: Vec<Unit>,
    neighbours: bool,
    sink: &mut S,
    collector: &Mutex<Collector<'_>>,
    progress: &Progress,
) -> Result<(), StationError> {
    let mut done = Vec::with_capacity(batch.len());
    if neighbours {
        worker.begin(&batch);
    }
    for unit in batch {
        if progress.cancel.load(Ordering::Relaxed) {
            return Err(StationError::Cancelled);
        }
        let mut outcome = worker.inspect(&unit, sink.wants_bytes())?;
        sink.take(&mut outcome)?;
        progress.done.fetch_add(outcome.bytes(), Ordering::Relaxed);
        done.push(outcome.into_summary());
    }
    collector.lock().expect("the collector does not panic").add(done, progress);
    Ok(())
}
