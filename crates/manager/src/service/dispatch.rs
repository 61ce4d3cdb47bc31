//! Decides which transfers run: one thread owns the running ones, and the database owns all others.

use super::queue::{Ended, Job, State, Wanted};
use super::run::{Run, Stop};
use super::{Manager, ServiceError as Error};
use airlock_console::token::new_id;
use airlock_link::Timetable;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often it is looked what has changed.
const TURN: Duration = Duration::from_millis(200);
/// Least that a transfer may send under a shared limit, in bytes per second.
const SHARE_MIN: u64 = 8 << 10;
/// How long running transfers may take to end with the manager.
const STOP_TURNS_MAX: u32 = 300;

fn random() -> u64 {
    new_id().get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0)
}

impl Manager {
    /// Runs transfers until `stop` is set; those under way are then interrupted, and go on the next time.
    pub(crate) fn dispatch(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.turn() {
                tracing::error!(error = &error as &dyn std::error::Error, "the queue does not move");
            }
            std::thread::park_timeout(TURN);
        }
        for _ in 0..STOP_TURNS_MAX {
            let mut runs = self.runs();
            for run in runs.values_mut() {
                run.stop();
            }
            if let Err(error) = self.reap(&mut runs, &HashMap::new()) {
                tracing::error!(error = &error as &dyn std::error::Error, "an end cannot be noted");
            }
            if runs.is_empty() {
                return;
            }
            drop(runs);
            std::thread::park_timeout(TURN);
        }
    }

    /// Does what is to be done at this moment.
    pub(super) fn turn(&self) -> Result<(), Error> {
        let now = (self.clock)();
        let jobs = self.store.unfinished()?;
        let mut runs = self.runs();
        let wanted: HashMap<&str, &Job> = jobs.iter().map(|job| (job.id.as_str(), job)).collect();
        for run in runs.values_mut() {
            let job = wanted.get(run.job.id.as_str());
            if job.is_some_and(|job| job.wanted != Wanted::Run || !job.schedule.allows(now)) {
                run.stop();
            }
        }
        self.reap(&mut runs, &wanted)?;
        let mut earlier = HashSet::new();
        for job in jobs.iter().filter(|job| job.state != State::Paused) {
            // Two of one VM to one destination would be in each other's way, and the later is to be the newer.
            let first = earlier.insert((&job.destination, &job.name));
            let waits = matches!(job.state, State::Queued | State::Waiting) && job.next_at <= now;
            if first && waits && job.schedule.allows(now) && self.has_room(job, &runs)? {
                self.start(job, &mut runs, now)?;
            }
        }
        self.share(&mut runs);
        Ok(())
    }

    /// Notes which transfers have ended.
    fn reap(&self, runs: &mut HashMap<String, Run>, jobs: &HashMap<&str, &Job>) -> Result<(), Error> {
        let now = (self.clock)();
        let mut gone = Vec::new();
        for (id, run) in runs.iter_mut() {
            let stop = match jobs.get(id.as_str()).map(|job| job.wanted) {
                Some(Wanted::Run) | None => Stop::Later,
                Some(wanted) => Stop::Wanted(wanted),
            };
            if let Some(end) = run.ended(Some(stop), random(), now) {
                self.store.ended(&run.job, &end, now)?;
                gone.push(id.clone());
            }
        }
        runs.retain(|id, _| !gone.contains(id));
        Ok(())
    }

    /// Says whether one more may run: of all, of its source, and of its wave.
    fn has_room(&self, job: &Job, runs: &HashMap<String, Run>) -> Result<bool, Error> {
        let count = |same: &dyn Fn(&Job) -> bool| runs.values().filter(|run| same(&run.job)).count();
        let within = |max: Option<u32>, count: usize| max.is_none_or(|max| count < max as usize);
        if runs.len() >= self.transfers_max {
            return Ok(false);
        }
        // A source that is gone fails when it is started.
        let source = self.store.source(&job.source).ok().and_then(|source| source.source.transfers_max);
        if !within(source, count(&|other| other.source == job.source)) {
            return Ok(false);
        }
        let Some(wave) = &job.wave else { return Ok(true) };
        let known = self.store.wave(wave)?;
        let running = count(&|other| other.wave.as_ref() == Some(wave));
        Ok(within(known.transfers_max, running) && (!known.in_order || self.store.all_before_kept(job)?))
    }

    fn start(&self, job: &Job, runs: &mut HashMap<String, Run>, now: u64) -> Result<(), Error> {
        let command = match self.command(job) {
            Ok(command) => command,
            Err(error) => {
                let why = Some(error.to_string());
                let state = State::Failed;
                let end = Ended { state, attempts: job.attempts, next_at: 0, code: None, why, outcome: None };
                return self.store.ended(job, &end, now);
            }
        };
        // First: one that runs and is not noted would be sent twice.
        self.store.started(job, now)?;
        match Run::start(job.clone(), command) {
            Ok(run) => {
                runs.insert(job.id.clone(), run);
                Ok(())
            }
            Err(error) => {
                let why = Some(format!("cannot start it: {error}"));
                let state = State::Failed;
                let end = Ended { state, attempts: job.attempts, next_at: 0, code: None, why, outcome: None };
                self.store.ended(job, &end, now)
            }
        }
    }

    /// Divides the limits of bandwidth evenly among those that run.
    fn share(&self, runs: &mut HashMap<String, Run>) {
        let all = self.bwlimit.as_ref().and_then(Timetable::now).map(airlock_link::Rate::get);
        let all = all.map(|rate| rate / runs.len().max(1) as u64);
        let names: HashSet<String> = runs.values().map(|run| run.job.source.clone()).collect();
        let mut of_source = HashMap::new();
        for name in names {
            let limit = self.store.source(&name).ok().and_then(|source| source.source.bwlimit);
            let rate = limit.and_then(|limit| limit.parse::<Timetable>().ok()).and_then(|table| table.now());
            let count = runs.values().filter(|run| run.job.source == name).count().max(1) as u64;
            of_source.insert(name, rate.map(|rate| rate.get() / count));
        }
        for run in runs.values_mut() {
            let own = of_source.get(&run.job.source).copied().flatten();
            let rate = [all, own].into_iter().flatten().min();
            run.limit(rate.map_or(0, |rate| rate.max(SHARE_MIN)));
        }
    }

    /// Takes up again what ran when the manager was killed: what has come to its end meanwhile is known by its
    /// evidence, all else goes on.
    pub(crate) fn recover(&self) -> Result<(), Error> {
        let now = (self.clock)();
        for job in self.store.unfinished()?.iter().filter(|job| job.state == State::Running) {
            let evidence = std::fs::read(self.evidence_path(&job.id)).ok();
            let statement = evidence.and_then(|bytes| airlock_evidence::verify(&bytes, [None, None]).ok());
            let kept = statement.map(|statement| statement.predicate.transfer.state);
            let state = match (kept.as_deref(), job.wanted) {
                (Some("active"), _) => State::Active,
                (Some("active-withheld"), _) => State::ActiveWithheld,
                (Some(_), _) => State::Rejected,
                (None, Wanted::Cancel) => State::Cancelled,
                (None, Wanted::Pause) => State::Paused,
                (None, Wanted::Run) => State::Queued,
            };
            let end =
                Ended { state, attempts: job.attempts, next_at: 0, code: None, why: None, outcome: None };
            self.store.ended(job, &end, now)?;
        }
        Ok(())
    }
}
