//! The station's hands: a process in a jail that touches what has arrived.
//!
//! ```text
//! director                                        worker (no files, no network, no keys)
//! chamber ─ opens chunks ─▶ bytes ──── lane ────▶ survey, decoders, detectors, inventory
//! map, units, memo, policy, Cleared ◀─ answers ── what is where, and what was found
//! ```
//!
//! A transfer has a worker of its own, and every thread that inspects has a *lane* to it: a socket on which the
//! director gives one order after another and serves the bytes that the worker asks for meanwhile. So the worker
//! holds no key and sees one VM, and whoever takes it over from within a disk can lie about that disk and do
//! nothing else. What can be checked of its answers is checked: the map tiles the disk, findings lie in
//! the unit that they are about, every list has a limit.
//!
//! A worker that ends, is ended, is silent for too long or says what cannot be true is *lost*: nothing that it
//! said counts, and the transfer is discarded with that reason.

mod inside;
mod inventory;
mod lane;
mod lost;
mod map;
mod process;
mod wire;

pub use inside::{run, run_tampered};
pub use lost::Lost;
pub(crate) use process::{Task, Worker};

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of memory of a worker, beside those for each of its threads: the map of a disk with tens of
/// millions of runs, and the hash lists.
pub const MEMORY_BYTES: u64 = 2 << 30;
/// How long a worker may compute before it asks for more or answers. What one file may unpack to is bounded,
/// and takes a tenth of this on a busy machine.
pub const SILENCE: Duration = Duration::from_mins(5);

/// How workers are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// The program, which calls [`run`]. It must be the same version of the same program.
    pub program: PathBuf,
    /// What it is called with.
    pub arguments: Vec<OsString>,
    /// Bytes of memory that it may use, beside those for each of its threads.
    pub memory_bytes: u64,
    /// How long it may be silent.
    pub silence: Duration,
}

impl WorkerConfig {
    /// Returns a program with these arguments, and the usual limits.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments, memory_bytes: MEMORY_BYTES, silence: SILENCE }
    }
}
