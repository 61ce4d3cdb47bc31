//! What a process in the jail can and cannot do, each tried by a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const SIGABRT: i32 = 6;
const SIGXCPU: i32 = 24;
const SIGSYS: i32 = 31;

/// The program that tries; it is built along with the tests.
fn probe() -> PathBuf {
    let own = std::env::current_exe().expect("a test");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("a target folder");
    folder.join("examples/probe")
}

#[derive(Debug, PartialEq)]
enum End {
    Said(String),
    Signal(i32),
    Code(i32),
}

fn attempt(walls: &str, what: &str) -> End {
    let output = Command::new(probe())
        .args([walls, what])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("cargo builds examples with tests");
    match (output.status.signal(), output.status.code()) {
        (Some(signal), _) => End::Signal(signal),
        (None, Some(0)) => End::Said(String::from_utf8(output.stdout).expect("text")),
        (None, code) => End::Code(code.unwrap_or(-1)),
    }
}

fn check(walls: &str, attempts: &[&str], expected: &End) {
    for what in attempts {
        assert_eq!(attempt(walls, what), *expected, "{what} behind {walls}");
    }
}

fn said(text: &str) -> End {
    End::Said(text.to_owned())
}

/// Without the jail all of it works, so that the failures below mean something.
#[test]
fn the_attempts_succeed_outside() {
    let attempts = [
        "nothing",
        "work",
        "read-file",
        "list-folder",
        "write-file",
        "memory-file",
        "listen",
        "datagram",
        "unix-socket",
        "program",
        "thread",
        "signal",
        "memory",
    ];
    check("none", &attempts, &said("done"));
    check("none", &["connect"], &said("ConnectionRefused"));
    check("none", &["remove-file"], &said("NotFound"));
}

#[test]
fn what_a_worker_does_works_inside() {
    check("all", &["nothing", "work"], &said("done"));
    assert_eq!(attempt("all", "panic"), End::Code(101));
}

#[test]
fn no_file_opens_inside() {
    check("all", &["read-file", "list-folder", "write-file"], &said("NotFound"));
}

#[test]
fn whatever_else_is_not_needed_ends_the_process() {
    let attempts = [
        "remove-file",
        "memory-file",
        "connect",
        "listen",
        "datagram",
        "unix-socket",
        "program",
        "thread",
        "trace",
        "signal",
        "raise-limit",
    ];
    check("all", &attempts, &End::Signal(SIGSYS));
}

/// The second wall stands alone, too.
#[test]
fn landlock_alone_denies_files() {
    check("landlock", &["nothing", "work"], &said("done"));
    check("landlock", &["read-file", "list-folder", "write-file"], &said("PermissionDenied"));
}

#[test]
fn memory_and_time_have_an_end() {
    assert_eq!(attempt("all", "memory"), End::Signal(SIGABRT));
    assert_eq!(attempt("all", "time"), End::Signal(SIGXCPU));
}
