//! Judging files of a disk of which not everything is there yet.
//!
//! A file's verdict depends on its own bytes and on nothing else, so it can be judged as soon as
//! these are there. What lies around files is inspected with its surroundings, and waits for the end.
//! What an [`Early`] gathers is what a station would have gathered at the end: the same worker
//! judges the same unit, and the report is put into the order of the disk anyway (invariant I5).

use super::planner::Unit;
use super::report::Collector;
use super::unit::Worker;
use super::{Outcome, Progress, Report, Sink, Station, StationError};
use airlock_disk::BlockSource;
use airlock_guest::Survey;
use airlock_model::{PlaceKind, Space};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Verdicts on some files of a disk.
#[derive(Debug)]
pub struct Early<'r> {
    space: &'r Space,
    survey: Survey,
    collector: Mutex<Collector<'r>>,
    done: Vec<AtomicBool>,
    bytes: AtomicU64,
}

impl Early<'_> {
    /// Returns the verdicts so far. What is not judged is in no class of their coverage.
    pub fn into_report(self) -> Report {
        self.collector.into_inner().expect("the collector does not panic").finish()
    }

    /// Returns the survey that the verdicts rely on.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }
}

impl<'r> Station<'r> {
    /// Begins to judge a disk while it arrives.
    pub fn begin(&self, space: &'r Space, survey: Survey) -> Early<'r> {
        Early {
            collector: Mutex::new(Collector::new(self.policy, self.site, space)),
            done: (0..survey.map.len()).map(|_| AtomicBool::new(false)).collect(),
            bytes: AtomicU64::new(0),
            space,
            survey,
        }
    }

    /// Judges files until `next` gives out no more, on the thread that calls; others may do the
    /// same. `next` gives out the position of a place, and whether its content is known to be
    /// spotless ([`Outcome::is_spotless`]): then it is not read. A verdict counts if `take` says so.
    /// A place that is no file, and one that is judged already, is passed over.
    pub fn judge_files(
        &self,
        disk: &dyn BlockSource,
        early: &Early<'_>,
        next: &mut dyn FnMut() -> Option<(usize, bool)>,
        take: &mut dyn FnMut(&Outcome<'_>) -> bool,
    ) -> Result<(), StationError> {
        let progress = Progress::default();
        let mut worker = Worker::new(self, early.space, disk, &early.survey, &progress);
        while let Some((index, spotless)) = next() {
            let (Some(place), Some(done)) = (early.survey.map.get(index), early.done.get(index)) else {
                continue;
            };
            if place.kind != PlaceKind::File || done.load(Ordering::Acquire) {
                continue;
            }
            let unit = Unit::File { place: index };
            let outcome =
                if spotless { worker.assume_spotless(&unit) } else { worker.inspect(&unit, false)? };
            if !take(&outcome) || done.swap(true, Ordering::AcqRel) {
                continue;
            }
            early.bytes.fetch_add(outcome.bytes(), Ordering::Relaxed);
            let summary = outcome.into_summary();
            early.collector.lock().expect("the collector does not panic").add(vec![summary], &progress);
        }
        Ok(())
    }

    /// Goes over the rest of the disk, now that it is there, with one thread for each sink.
    pub fn finish<S: Sink>(
        &self,
        disk: &dyn BlockSource,
        early: Early<'_>,
        sinks: &mut [S],
        progress: &Progress,
    ) -> Result<Report, StationError> {
        progress.total.fetch_add(early.survey.map.disk_bytes(), Ordering::Relaxed);
        progress.done.fetch_add(early.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        let begun = early.bytes.load(Ordering::Relaxed) > 0;
        let done = if begun { early.done.as_slice() } else { &[] };
        self.go(early.space, disk, &early.survey, done, &early.collector, sinks, progress)?;
        Ok(early.collector.into_inner().expect("the collector does not panic").finish())
    }
}
