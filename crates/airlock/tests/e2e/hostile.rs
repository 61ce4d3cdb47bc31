//! Hundreds of images, bundles and archives that mean harm. Each is refused, or found out, or harmless; within 10 s
//! and 256 MiB, without a panic, and without a file or socket that it named.

use crate::support::{Bench, skipped};
use airlock_testkit::hostile::{self, Case, Expected};
use airlock_testkit::{Kind, Rng, Tool, require};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SECONDS: Duration = Duration::from_secs(10);
/// Private memory that can be written: heap, stacks, buffers.
const MEMORY_BYTES: u64 = 256 << 20;
/// Every so many cases, the system calls are looked at, too.
const TRACED: usize = 5;

/// What became of a case.
struct Ended {
    code: Option<i32>,
    took: Duration,
    out: String,
    err: String,
}

fn scan(bench: &Bench, main: &Path, format: &str, trace: Option<&Path>) -> Ended {
    let inner = bench.command("scan");
    let mut command = Command::new(require("prlimit").expect("prlimit"));
    command.arg(format!("--data={MEMORY_BYTES}"));
    if let Some(log) = trace {
        command
            .arg(require("strace").expect("strace"))
            .args(["-f", "-qq", "-e", "trace=%file,%network", "-o"])
            .arg(log);
    }
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env("AIRLOCK_FORMAT", format)
        .args(["--no-memo", "--threads", "2", "--progress", "none"])
        .arg(main);
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let took = started.elapsed();
    Ended { code: output.status.code(), took, out: text(&output.stdout), err: text(&output.stderr) }
}

/// Says what is wrong with how a case ended.
fn wrong(case: &Case, ended: &Ended, secrets: &[String]) -> Option<String> {
    let said = format!("{}{}", ended.out, ended.err);
    let fits = match case.expected {
        Expected::Refused => ended.code == Some(1),
        Expected::NotClean => matches!(ended.code, Some(1 | 3 | 4 | 5)),
        Expected::Ends => matches!(ended.code, Some(0 | 1 | 3 | 4 | 5)),
    };
    let control = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    let why = match () {
        () if said.contains("panicked") => "a panic",
        () if !fits => "another code than expected",
        () if ended.took > SECONDS => "too long",
        () if said.chars().any(control) => "a control character is printed",
        () if secrets.iter().any(|secret| said.contains(secret.as_str())) => "what is outside is shown",
        () => return None,
    };
    let head: String = said.chars().take(600).collect();
    Some(format!("{}: {why}: {:?} after {:?}\n{}", case.name, ended.code, ended.took, head.escape_debug()))
}

/// A file outside of every case, with card numbers in it: whoever opens it finds them.
fn secret(folder: &Path) -> Vec<String> {
    let mut rng = Rng::new(99);
    let cards: Vec<String> = (0..20).map(|_| Kind::Pan.make(&mut rng).expose().to_owned()).collect();
    let mut bytes = cards.join("\n").into_bytes();
    bytes.resize(1 << 20, 0);
    fs::write(folder.join("secret.img"), bytes).expect("write");
    cards
}

fn check(cases: &[Case], line: &str) {
    let bench = Bench::new();
    let folder = bench.path("cases");
    fs::create_dir(&folder).expect("a folder");
    let secrets = secret(&folder);
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let own = folder.join("case");
        let main = case.write(&own).expect("written");
        let log = bench.path("calls");
        let traced = case.target.is_some() && number % TRACED == 0;
        let format = if number % 2 == 0 { "table" } else { "json" };
        let ended = scan(&bench, &main, format, traced.then_some(log.as_path()));
        failures.extend(wrong(case, &ended, &secrets));
        if traced {
            failures.extend(opened(case, &log, &own));
        }
        fs::remove_dir_all(&own).expect("removed");
    }
    let (of, failed) = (cases.len(), failures.len());
    assert!(failures.is_empty(), "{failed} of {of}:\n{}", failures.join("\n\n"));
    airlock_testkit::score(line, of as u64, of as u64, "");
}

/// Says which of the calls of a case opened what it names, or any socket.
fn opened(case: &Case, log: &Path, own: &Path) -> Option<String> {
    let target = case.target.as_deref().expect("a target");
    let calls = fs::read_to_string(log).expect("the log");
    let paths: Vec<PathBuf> = vec![own.join(target), PathBuf::from(target)];
    let named = |call: &str| {
        paths.iter().any(|path| call.contains(&format!("\"{}\"", path.display())))
            || call.contains("secret.img")
    };
    let succeeded = |call: &str| call.contains("open") && named(call) && !call.contains(" = -1 ");
    let connected = |call: &str| call.contains("connect(") || call.contains("AF_INET");
    let found = calls.lines().find(|call| succeeded(call) || connected(call))?;
    Some(format!("{}: {found}", case.name))
}

#[test]
fn nothing_that_is_named_is_opened() {
    check(&hostile::references(), "hostile references refused");
}

#[test]
fn images_with_absurd_tables_end() {
    check(&hostile::images(), "hostile images survived");
}

#[test]
fn volumes_with_absurd_tables_end() {
    check(&hostile::volumes(), "hostile volumes survived");
}

#[test]
fn archives_that_grow_or_lie_are_not_clean() {
    check(&hostile::archives(), "hostile archives found out");
}

#[test]
fn names_command_no_terminal() {
    check(&hostile::names(), "hostile names escaped");
}

#[test]
fn there_are_at_least_five_hundred() {
    let all =
        [hostile::references(), hostile::images(), hostile::volumes(), hostile::archives(), hostile::names()];
    let names: std::collections::BTreeSet<String> =
        all.iter().flatten().map(|case| case.name.clone()).collect();
    assert_eq!(names.len(), all.iter().map(Vec::len).sum::<usize>(), "each has a name of its own");
    assert!(names.len() >= 500, "only {}", names.len());
    if Tool::new("prlimit").is_err() {
        skipped("prlimit (package util-linux) limits the memory of each case");
    }
}
