//! Takes from a process everything that it does not need before it touches hostile bytes.
//!
//! ```text
//! limits ─▶ Landlock ─▶ the caller starts its threads ─▶ seccomp, for all of them ─▶ hostile bytes
//! ```
//!
//! A process that has entered can compute, allocate up to a limit, and read from and write to the
//! descriptors that it has. It cannot open a file or a socket, start a thread or a program, trace or
//! signal another process, map memory that can be executed, or leave a core dump. There are two walls for
//! what matters most, files and the network: Landlock denies them, and the filter of system calls does not
//! let the calls through in the first place.
//!
//! There is no way back, and nothing that a process in the jail does can widen it.
//!
//! Deliberately absent: namespaces and control groups, which need rights that a service should not have.
#![forbid(unsafe_code)]

mod calls;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Bytes of address space for each byte of memory: allocators reserve more than they use.
const ADDRESS_SPACE_FACTOR: u64 = 4;
/// Descriptors that may be open.
const DESCRIPTORS_MAX: u64 = 256;
/// Seconds between the signal that says that the time is over and the one that cannot be caught.
const CPU_GRACE_SECONDS: u64 = 5;

/// What a process in the jail may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory that it may write to (`RLIMIT_DATA`), its stacks included. An allocation beyond
    /// that fails, which ends the process by `SIGABRT`.
    pub memory_bytes: u64,
    /// Seconds of processor time, of all its threads together. Then it is ended by `SIGXCPU`.
    pub cpu_seconds: u64,
}

/// Why a process could not be jailed. It must not go on then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A limit was refused.
    #[error("cannot limit {what} of this process")]
    Limit {
        /// What was to be limited.
        what: &'static str,
        /// What the kernel says.
        #[source]
        source: std::io::Error,
    },
    /// The kernel has no Landlock, or it is not enabled.
    #[error("this kernel cannot take the file system from a process: it has no Landlock")]
    NoLandlock,
    /// Landlock is there and refuses.
    #[error("cannot take the file system from this process")]
    Landlock(#[from] RulesetError),
    /// The kernel has no filter of system calls, or not for this processor.
    #[error("cannot filter the system calls of this process")]
    Filter(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Jails this process for good.
///
/// Call it while there is one thread. `start` starts the others and waits until they run: what a thread does
/// to start is not let through afterwards. They inherit what was taken so far, and must touch nothing hostile
/// before this returns.
pub fn enter<T>(limits: Limits, start: impl FnOnce() -> T) -> Result<T, Error> {
    confine(limits)?;
    let started = start();
    calls::filter()?;
    Ok(started)
}

/// Sets the limits and takes the file system and the network from this thread and those that it starts. This
/// is the first half of [`enter`], apart for its tests.
pub fn confine(limits: Limits) -> Result<(), Error> {
    let failed = |what| move |error: rustix::io::Errno| Error::Limit { what, source: error.into() };
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("the dumps"))?;
    let address_space = limits.memory_bytes.saturating_mul(ADDRESS_SPACE_FACTOR);
    let of = |resource, soft, hard| setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) });
    let grace = limits.cpu_seconds.saturating_add(CPU_GRACE_SECONDS);
    of(Resource::Core, 0, 0).map_err(failed("the dumps"))?;
    of(Resource::Fsize, 0, 0).map_err(failed("the files"))?;
    of(Resource::Nofile, DESCRIPTORS_MAX, DESCRIPTORS_MAX).map_err(failed("the descriptors"))?;
    of(Resource::Cpu, limits.cpu_seconds, grace).map_err(failed("the processor time"))?;
    of(Resource::As, address_space, address_space).map_err(failed("the address space"))?;
    of(Resource::Data, limits.memory_bytes, limits.memory_bytes).map_err(failed("the memory"))?;
    landlock()
}

/// Denies every access that this kernel's Landlock knows of. It sets `no_new_privs`, too.
fn landlock() -> Result<(), Error> {
    // Files are what it must be able to deny; what newer kernels can deny beside them is taken along.
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .map_err(|_| Error::NoLandlock)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V7))?
        .handle_access(AccessNet::from_all(ABI::V7))?
        .scope(Scope::from_all(ABI::V7))?;
    let status = ruleset.create()?.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(Error::NoLandlock);
    }
    Ok(())
}
