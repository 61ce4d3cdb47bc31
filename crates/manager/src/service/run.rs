//! One transfer under way: a process of its own, `airlock transfer --managed`.
//!
//! What the guest may have made is opened in that process and not in the manager, which holds the queue and
//! the tokens: a transfer that crashes takes nothing with it. The manager gives orders through its standard
//! input, and its end cancels the transfer, so a manager that is killed leaves none behind.

use super::queue::{Ended, Job, State, Wanted};
use super::schedule::backoff;
use serde::Serialize;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// Most bytes of an outcome that are read.
const OUTCOME_BYTES_MAX: u64 = 16 << 20;
/// Longest line of standard error that is read.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// How long a transfer may take to end once it was told to.
const ENDING_MAX: Duration = Duration::from_mins(2);
const EXIT_WITHHELD: u8 = 3;
const EXIT_REFUSED: u8 = 4;
const EXIT_INCOMPLETE: u8 = 5;
const EXIT_BUSY: u8 = 11;

/// How far a transfer is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Progress {
    /// What it is doing.
    pub(crate) phase: String,
    /// Bytes done.
    pub(crate) done: u64,
    /// Bytes in all.
    pub(crate) total: u64,
    /// Findings so far.
    pub(crate) findings: u64,
}

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) job: Job,
    child: Child,
    /// Orders; closed to cancel it.
    orders: Option<ChildStdin>,
    outcome: Option<JoinHandle<Vec<u8>>>,
    progress: Arc<Mutex<Progress>>,
    /// The rate that it was told last.
    rate: u64,
    told_to_end: Option<Instant>,
}

/// Which of the three ways out was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody wants so.
    Wanted(Wanted),
    /// Its window has closed, or the manager ends.
    Later,
}

impl Run {
    pub(crate) fn start(job: Job, mut command: Command) -> std::io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().expect("it is a pipe");
        let outcome = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What cannot be read is no outcome, and so a failure.
            let _ = stdout.take(OUTCOME_BYTES_MAX).read_to_end(&mut bytes);
            bytes
        });
        let progress = Arc::new(Mutex::new(Progress::default()));
        let stderr = child.stderr.take().expect("it is a pipe");
        let (seen, id) = (Arc::clone(&progress), job.id.clone());
        std::thread::spawn(move || listen(BufReader::new(stderr), &seen, &id));
        let orders = child.stdin.take();
        Ok(Self { job, child, orders, outcome: Some(outcome), progress, rate: 0, told_to_end: None })
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says how many bytes per second it may send; 0 for no limit.
    pub(crate) fn limit(&mut self, rate: u64) {
        if rate == self.rate {
            return;
        }
        if let Some(orders) = &mut self.orders {
            // One that ends just now needs no order any more.
            let _ = writeln!(orders, "rate {rate}");
            self.rate = rate;
        }
    }

    /// Tells it to end; it can go on later from where it was.
    pub(crate) fn stop(&mut self) {
        self.orders = None;
        let since = *self.told_to_end.get_or_insert_with(Instant::now);
        if since.elapsed() > ENDING_MAX {
            tracing::warn!(transfer = self.job.id, "it does not end, and is killed");
            let _ = self.child.kill();
        }
    }

    /// Returns how it has ended, if it has: `stop` says whether that was asked for.
    pub(crate) fn ended(&mut self, stop: Option<Stop>, random: u64, now: u64) -> Option<Ended> {
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status,
            Ok(None) => return None,
            Err(error) => {
                tracing::error!(transfer = self.job.id, %error, "cannot wait for a transfer");
                return None;
            }
        };
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        let bytes = self.outcome.take().and_then(|reading| reading.join().ok()).unwrap_or_default();
        let said = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let stop = stop.filter(|_| self.told_to_end.is_some());
        Some(judge(&self.job, code, said, stop, random, now))
    }
}

/// Says what becomes of a transfer whose process ended.
fn judge(job: &Job, code: Option<u8>, mut said: Value, stop: Option<Stop>, random: u64, now: u64) -> Ended {
    let why = said["error"].as_str().map(str::to_owned);
    let passing = code.is_none() || code == Some(EXIT_BUSY) || said["retry"].as_bool() == Some(true);
    if let Some(outcome) = said.as_object_mut() {
        // The evidence has them.
        outcome.remove("findings");
    }
    let outcome = (said["schema"] == "airlock.transfer/1").then_some(said);
    let end = |state| Ended {
        state,
        attempts: job.attempts,
        next_at: 0,
        code,
        why: why.clone(),
        outcome: outcome.clone(),
    };
    match code {
        Some(0) if outcome.is_some() => return end(State::Active),
        Some(EXIT_WITHHELD) => return end(State::ActiveWithheld),
        Some(EXIT_REFUSED | EXIT_INCOMPLETE) => return end(State::Rejected),
        _ => {}
    }
    match stop {
        Some(Stop::Wanted(Wanted::Cancel)) => return end(State::Cancelled),
        Some(Stop::Wanted(Wanted::Pause)) => return end(State::Paused),
        Some(Stop::Later | Stop::Wanted(Wanted::Run)) => return end(State::Queued),
        None => {}
    }
    let attempts = job.attempts.saturating_add(1);
    match backoff(attempts, random).filter(|_| passing) {
        Some(wait) => Ended { attempts, next_at: now.saturating_add(wait), ..end(State::Waiting) },
        None => Ended { attempts, ..end(State::Failed) },
    }
}

/// Follows what a transfer says of its progress.
fn listen(mut from: impl BufRead, progress: &Mutex<Progress>, id: &str) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let Ok(said) = serde_json::from_slice::<Value>(&line) else {
            tracing::info!(transfer = id, line = %String::from_utf8_lossy(&line).trim_end(), "it says");
            continue;
        };
        let number = |name: &str| said[name].as_u64().unwrap_or(0);
        let phase = said["phase"].as_str().unwrap_or_default().to_owned();
        let now =
            Progress { phase, done: number("done"), total: number("total"), findings: number("findings") };
        *progress.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::queue::OnFail;
    use crate::service::schedule::Schedule;
    use serde_json::json;

    fn job(attempts: u32) -> Job {
        Job {
            id: "1".into(),
            source: "s".into(),
            vm: "v".into(),
            name: "v".into(),
            destination: "d".into(),
            on_fail: OnFail::Terminate,
            schedule: Schedule::default(),
            wave: None,
            state: State::Running,
            attempts,
            next_at: 0,
            code: None,
            why: None,
            outcome: None,
            created_at: 0,
            ended_at: None,
            begun: true,
            wanted: Wanted::Run,
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let done = || json!({ "schema": "airlock.transfer/1", "findings": [1], "vm": "v" });
        let check = |attempts, code: Option<u8>, said: Value, expected: State| {
            assert_eq!(judge(&job(attempts), code, said, None, 0, 100).state, expected, "{code:?}");
        };
        check(0, Some(0), done(), State::Active);
        check(0, Some(0), Value::Null, State::Failed);
        check(0, Some(3), done(), State::ActiveWithheld);
        check(0, Some(4), done(), State::Rejected);
        check(0, Some(5), done(), State::Rejected);
        check(0, Some(1), json!({ "error": "x", "retry": false }), State::Failed);
        check(0, Some(1), json!({ "error": "x", "retry": true }), State::Waiting);
        check(0, Some(11), json!({ "error": "busy" }), State::Waiting);
        check(0, Some(12), json!({ "error": "revoked" }), State::Failed);
        check(0, None, Value::Null, State::Waiting);
        check(11, None, Value::Null, State::Failed);
        let waiting = judge(&job(3), Some(11), Value::Null, None, 0, 100);
        assert_eq!((waiting.attempts, waiting.next_at), (4, 108));
        let ended = judge(&job(0), Some(0), done(), None, 0, 100);
        assert_eq!(ended.outcome, Some(json!({ "schema": "airlock.transfer/1", "vm": "v" })));
    }

    #[test]
    fn what_was_told_to_stop_stops_as_it_was_told() {
        let stop = |stop| judge(&job(2), Some(130), json!({ "error": "cancelled" }), Some(stop), 0, 100);
        assert_eq!(stop(Stop::Wanted(Wanted::Cancel)).state, State::Cancelled);
        assert_eq!(stop(Stop::Wanted(Wanted::Pause)).state, State::Paused);
        assert_eq!((stop(Stop::Later).state, stop(Stop::Later).attempts), (State::Queued, 2));
        // One that was faster is what it became.
        let said = json!({ "schema": "airlock.transfer/1" });
        let faster = judge(&job(0), Some(0), said, Some(Stop::Wanted(Wanted::Cancel)), 0, 100);
        assert_eq!(faster.state, State::Active);
    }
}
