//! Why a worker is lost.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

// Numbers of signals (signal(7)); these are the same on all processors that Linux runs on but two.
const SIGABRT: i32 = 6;
const SIGXCPU: i32 = 24;
const SIGSYS: i32 = 31;

/// Why a worker is lost, and with it the transfer that it was for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// It could not be started.
    #[error("the worker could not be started: {0}")]
    NotStarted(String),
    /// It could not be put into the jail.
    #[error("the worker could not be jailed: {0}")]
    NotJailed(String),
    /// A signal has ended it.
    #[error("the worker was ended by signal {0}")]
    Signal(i32),
    /// It has ended by itself.
    #[error("the worker ended with code {0}")]
    Code(i32),
    /// It needed more memory than it may have.
    #[error("the worker needed more memory than it may have")]
    Memory,
    /// It needed more processor time than it may have.
    #[error("the worker needed more processor time than it may have")]
    Time,
    /// It tried what is not allowed in the jail.
    #[error("the worker tried to do what it may not")]
    Forbidden,
    /// It did not answer in time, and was ended.
    #[error("the worker did not answer in time")]
    Silent,
    /// What it said cannot be true, and it was ended.
    #[error("the worker cannot be believed: {0}")]
    Untrue(&'static str),
}

impl Lost {
    /// Returns what evidence and logs call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotStarted(_) => "worker:not-started",
            Self::NotJailed(_) => "worker:not-jailed",
            Self::Signal(_) => "worker:signal",
            Self::Code(_) => "worker:ended",
            Self::Memory => "worker:memory",
            Self::Time => "worker:time",
            Self::Forbidden => "worker:forbidden",
            Self::Silent => "worker:silent",
            Self::Untrue(_) => "worker:untrue",
        }
    }

    /// Says what the end of a process tells, and the first of what it said on its standard error, which is
    /// looked at and never passed on: it may hold anything.
    pub(super) fn of(status: ExitStatus, said: &[u8]) -> Self {
        // What the standard library says before it aborts.
        let allocation = b"memory allocation of ";
        match (status.signal(), status.code()) {
            (Some(SIGXCPU), _) => Self::Time,
            (Some(SIGSYS), _) => Self::Forbidden,
            (Some(SIGABRT), _) if said.windows(allocation.len()).any(|some| some == allocation) => {
                Self::Memory
            }
            (Some(signal), _) => Self::Signal(signal),
            (None, code) => Self::Code(code.unwrap_or(-1)),
        }
    }
}
