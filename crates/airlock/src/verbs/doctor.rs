//! `airlock doctor`: says what of this machine and this site would get in the way, before a transfer does.

use super::Context;
use crate::cli::{DoctorArgs, Format};
use crate::failure::{Code, Failure};
use crate::{output, site, stats};
use airlock_checks::{Rules, malware::HashList};
use airlock_director::{Config, Director};
use airlock_link::{Connector, Identity};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// Less free space than this is worth a word: what comes through a pipe is put there, and so are reports.
const TEMPORARY_BYTES: u64 = 1 << 30;
/// Less free space than this in a director's directory is worth a word.
const CHAMBER_BYTES: u64 = 10 << 30;
/// Fewer descriptors than this limit how many transfers a director can take.
const DESCRIPTORS: u64 = 4096;
/// A rulebook that ends within this many seconds is worth a word.
const SOON_SECONDS: u64 = 7 * 86_400;
/// 2026-01-01. An earlier clock would refuse certificates, rulebooks and feeds, or believe old ones.
const EARLIEST: u64 = 1_767_225_600;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, and could be better.
    Warn,
    /// Something will not work.
    Fail,
}

/// What came of one check: what, how it ended, what was seen, and what to do.
#[derive(Debug, Serialize)]
struct Answer {
    check: &'static str,
    state: State,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Answer {
    fn new(check: &'static str, state: State, text: impl Into<String>) -> Self {
        Self { check, state, text: text.into(), hint: None }
    }

    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, State::Ok, text)
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn failed(check: &'static str, failure: Failure) -> Self {
        Self { check, state: State::Fail, text: failure.text, hint: failure.hint }
    }
}

/// Runs the verb.
pub(crate) fn run(context: Context, args: &DoctorArgs) -> Result<Code, Failure> {
    let home = site::home()?;
    let mut checks = vec![folder("home", &home), keys(&home), policy(args.policy.as_deref())];
    checks.extend(rulebooks(args.data.as_deref().unwrap_or(&home)));
    checks.extend([clock(), processor(), jail(), temporary(), descriptors(), congestion()]);
    if let Some(data) = &args.data {
        checks.extend(data_folder(data));
    }
    if let (Some(address), Some(identity)) = (&args.director, &args.identity) {
        checks.push(director(address, identity));
    }
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    let code = if worst == State::Fail { Code::Error } else { Code::Clean };
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.doctor/1", "result": { "code": code as u8 }, "state": worst, "checks": checks,
        }))?,
        Format::Table => output::print(&as_text(&checks))?,
    }
    Ok(code)
}

fn as_text(checks: &[Answer]) -> String {
    let mut text = String::new();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        text.push_str(&format!("{state:<5} {:<12} {}\n", check.check, check.text));
        if let Some(hint) = &check.hint {
            text.push_str(&format!("      {:<12} next: {hint}\n", ""));
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let (ok, warn, fail) = (count(State::Ok), count(State::Warn), count(State::Fail));
    text.push_str(&format!("{ok} ok, {warn} to know about, {fail} in the way\n"));
    text
}

/// Says whether a folder can be written to. One that is not there is made on first use: its nearest parent
/// counts.
fn folder(check: &'static str, path: &Path) -> Answer {
    let there = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    match tempfile::NamedTempFile::new_in(there).and_then(|mut file| file.write_all(b"airlock")) {
        Ok(()) if there == path => Answer::ok(check, format!("{} can be written to", path.display())),
        Ok(()) => Answer::ok(check, format!("{} is made on first use", path.display())),
        Err(error) => {
            Answer::new(check, State::Fail, format!("{} cannot be written to: {error}", there.display()))
                .hint("set AIRLOCK_HOME to a folder of this user")
        }
    }
}

/// Says whether anybody else can read the keys of this site.
fn keys(home: &Path) -> Answer {
    let mut found = 0;
    for name in ["site.key", "fingerprint.key", "memo.key"] {
        let path = home.join(name);
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.permissions().mode(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Answer::failed("keys", Failure::io("look at", &path, &error)),
        };
        if mode & 0o077 != 0 {
            let text = format!("{} can be read by others (mode {:03o})", path.display(), mode & 0o777);
            return Answer::new("keys", State::Fail, text).hint(format!("chmod 600 {}", path.display()));
        }
        if let Err(failure) = site::read_key(&path) {
            return Answer::failed("keys", failure);
        }
        found += 1;
    }
    match found {
        0 => Answer::ok("keys", "none yet; they are made on first use"),
        found => Answer::ok("keys", format!("{found}, readable by their owner alone")),
    }
}

fn policy(path: Option<&Path>) -> Answer {
    match site::policy(path) {
        Ok((document, _)) => {
            let text = format!("{:?}, {} rules, {}", document.name, document.rules.len(), document.digest());
            Answer::ok("policy", text)
        }
        Err(failure) => Answer::failed("policy", failure),
    }
}

/// Says of each rulebook whether it can be used, and for how long.
fn rulebooks(home: &Path) -> Vec<Answer> {
    let now = stats::now();
    let installed = match site::store(home).open_all(now) {
        Ok(installed) => installed,
        Err(error) => return vec![Answer::failed("rulebooks", Failure::of(Code::Error, &error))],
    };
    if installed.is_empty() {
        let text = "none: vulnerabilities and licences are not judged";
        return vec![
            Answer::new("rulebooks", State::Warn, text).hint("airlock rules import RULEBOOK --key PUBLISHER"),
        ];
    }
    let one = |book: airlock_rulebook::Installed| match book.book {
        Ok(open) => {
            let manifest = open.manifest();
            let left = manifest.expires_at.saturating_sub(now);
            let text =
                format!("{:?} version {}, good for {} days", book.name, manifest.version, left / 86_400);
            let state = if left < SOON_SECONDS { State::Warn } else { State::Ok };
            Answer::new("rulebooks", state, text)
        }
        Err(error) => Answer::failed("rulebooks", Failure::of(Code::Error, &error))
            .hint(format!("import a newer version, or: airlock rules remove {}", book.name)),
    };
    installed.into_iter().map(one).collect()
}

fn clock() -> Answer {
    if stats::now() < EARLIEST {
        return Answer::new("clock", State::Fail, "it says a time before 2026")
            .hint("set it; certificates, rulebooks and feeds have dates");
    }
    Answer::ok("clock", "plausible")
}

fn processor() -> Answer {
    let set = airlock_checks::instruction_set();
    let text = format!("{} of them, {set}", stats::processors());
    if set == "portable" {
        return Answer::new("processor", State::Warn, text)
            .hint("inspection is slow without vector instructions");
    }
    Answer::ok("processor", text)
}

/// Jails a worker of a director that exists for this alone.
fn jail() -> Answer {
    let tried = || -> Result<(), Failure> {
        let directory = tempfile::tempdir()
            .map_err(|error| Failure::new(Code::Error, format!("no temporary folder: {error}")))?;
        let config = Config {
            directory: directory.path().to_owned(),
            policy_yaml: airlock_policy::DEFAULT_YAML.to_owned(),
            rules: Arc::new(Rules::new(*site::new_key()?, HashList::default())),
            threads: 1,
            clock: stats::now,
            worker: Some(super::worker::config()),
        };
        Ok(Director::open(config)?.try_worker()?)
    };
    match tried() {
        Ok(()) => Answer::ok("jail", "a worker without rights can be started (Landlock, seccomp)"),
        Err(failure) => Answer::new("jail", State::Fail, failure.text)
            .hint("a director needs a kernel with Landlock and seccomp; `transfer` to another site does not"),
    }
}

/// Returns how many bytes are free below a folder.
fn free(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn space(check: &'static str, path: &Path, enough: u64) -> Answer {
    let Some(bytes) = free(path) else {
        return Answer::new(check, State::Fail, format!("{} cannot be looked at", path.display()));
    };
    let text = format!("{} free in {}", output::bytes(bytes), path.display());
    Answer::new(check, if bytes < enough { State::Warn } else { State::Ok }, text)
}

fn temporary() -> Answer {
    let path = std::env::temp_dir();
    match folder("temporary", &path) {
        Answer { state: State::Ok, .. } => space("temporary", &path, TEMPORARY_BYTES),
        failed => failed.hint("set TMPDIR to a folder of this user"),
    }
}

fn descriptors() -> Answer {
    let Some(current) = getrlimit(Resource::Nofile).current else {
        return Answer::ok("descriptors", "no limit");
    };
    let text = format!("at most {current} open files");
    if current < DESCRIPTORS {
        return Answer::new("descriptors", State::Warn, text)
            .hint("ulimit -n 65536, or LimitNOFILE= in the unit of a director with many managers");
    }
    Answer::ok("descriptors", text)
}

fn congestion() -> Answer {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let available = fs::read_to_string(path).unwrap_or_default();
    if available.split_whitespace().any(|name| name == "bbr") {
        return Answer::ok("network", "BBR is there for links with loss");
    }
    let text = format!("no BBR (there is {}); links with loss are slower", available.trim());
    Answer::new("network", State::Warn, text).hint("modprobe tcp_bbr")
}

fn data_folder(data: &Path) -> Vec<Answer> {
    if !data.is_dir() {
        return vec![folder("data", data)];
    }
    let mut checks = vec![folder("data", data), space("data", data, CHAMBER_BYTES)];
    match fs::metadata(data) {
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            let text = format!("{} can be entered by others", data.display());
            checks.push(Answer::new("data", State::Warn, text).hint(format!("chmod 700 {}", data.display())));
        }
        Ok(_) => {}
        Err(error) => checks.push(Answer::failed("data", Failure::io("look at", data, &error))),
    }
    checks
}

/// Connects to a director as a transfer would, and goes away again.
fn director(address: &str, identity: &Path) -> Answer {
    let tried = || -> Result<(), Failure> {
        let pem =
            fs::read_to_string(identity).map_err(|error| Failure::io("read identity", identity, &error))?;
        let identity = Identity::parse(&pem).map_err(|error| Failure::of(Code::Error, &error))?;
        let connector = Connector::new(&identity).map_err(|error| Failure::of(Code::Error, &error))?;
        connector.connect(address).map(drop).map_err(|error| Failure::of(Code::Error, &error))
    };
    match tried() {
        Ok(()) => Answer::ok("director", format!("{address} answers, and takes this identity")),
        Err(failure) => Answer::failed("director", failure).hint(
            "check the address, that the director runs, and that the identity is of it and not revoked",
        ),
    }
}
