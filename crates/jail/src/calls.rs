//! The system calls that are left.

use crate::Error;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;

/// Calls that are let through whatever their arguments. Each of them works on what the process has.
const ALLOWED: &[libc::c_long] = &[
    // Descriptors that are open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_shutdown,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads that run.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // What hash tables, timers and panics ask for.
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
];

/// Calls that fail as if there were no file, because libraries that look for one go on without it.
const NO_SUCH_FILE: &[libc::c_long] = &[libc::SYS_openat, libc::SYS_readlinkat];

/// Filters the calls of all threads of this process: one that is not let through ends it by `SIGSYS`.
pub(crate) fn filter() -> Result<(), Error> {
    let architecture =
        TargetArch::try_from(std::env::consts::ARCH).map_err(|error| Error::Filter(error.into()))?;
    // The strictest answer of all filters counts.
    let errors = compile(
        NO_SUCH_FILE.iter().map(|call| (*call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOENT.unsigned_abs()),
        architecture,
    );
    let allowed = compile(rules()?, SeccompAction::KillProcess, SeccompAction::Allow, architecture);
    for program in [errors?, allowed?] {
        seccompiler::apply_filter_all_threads(&program).map_err(|error| Error::Filter(error.into()))?;
    }
    Ok(())
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    mismatch: SeccompAction,
    matched: SeccompAction,
    architecture: TargetArch,
) -> Result<BpfProgram, Error> {
    SeccompFilter::new(rules, mismatch, matched, architecture)
        .and_then(BpfProgram::try_from)
        .map_err(|error| Error::Filter(error.into()))
}

/// Returns what is let through, or is left to the other filter.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(NO_SUCH_FILE).map(|call| (*call, Vec::new())).collect();
    let only = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(|error| Error::Filter(error.into()))
    };
    // Memory that can be executed cannot be had.
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![only(2, SeccompCmpOp::MaskedEq(executable), 0)?]);
    }
    // The standard library asks whether a descriptor is open before it closes it.
    let asking = u64::from(libc::F_GETFD.unsigned_abs());
    rules.insert(libc::SYS_fcntl, vec![only(1, SeccompCmpOp::Eq, asking)?]);
    // A process may end itself by a signal, and nobody else.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![only(0, SeccompCmpOp::Eq, own)?]);
    Ok(rules)
}
