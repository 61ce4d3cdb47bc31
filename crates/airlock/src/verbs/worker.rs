//! `airlock worker`: the hands of a director.

use airlock_director::WorkerConfig;
use std::process::ExitCode;

/// Returns how a director starts this very program as its worker, whatever lies at its path by then.
pub(crate) fn config() -> WorkerConfig {
    WorkerConfig::new("/proc/self/exe".into(), vec!["worker".into()])
}

/// Runs the verb. It says nothing to people: its director finds out how it ends.
pub(crate) fn run() -> ExitCode {
    match airlock_director::worker::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
