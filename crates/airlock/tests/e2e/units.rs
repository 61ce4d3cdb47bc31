//! The systemd units: how much they leave exposed, and that a jailed worker starts under their filter.

use crate::support::{Bench, list};
use airlock_testkit::Tool;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXPOSURE_MAX: f64 = 2.0;
const LIMIT: Duration = Duration::from_mins(1);

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd").join(name)
}

#[test]
fn exposure_is_low() {
    for name in ["airlock-director.service", "airlock-manager.service"] {
        let tool = Tool::new("systemd-analyze").expect("systemd-analyze (package systemd)");
        let said =
            tool.args(["security", "--offline=true", "--no-pager"]).arg(unit(name)).run().expect("rated");
        let line = said.lines().find(|line| line.contains("Overall exposure level")).expect("a rating");
        let rating =
            line.split(": ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a number");
        assert!(rating.parse::<f64>().expect("a number") <= EXPOSURE_MAX, "{line}");
    }
}

/// Returns the system calls of a group of systemd, those of the groups in it included.
fn calls_of(group: &str, into: &mut BTreeSet<String>) {
    let Some(_) = group.strip_prefix('@') else {
        into.insert(group.to_owned());
        return;
    };
    let tool = Tool::new("systemd-analyze").expect("systemd-analyze (package systemd)");
    let said = tool.args(["syscall-filter", "--no-pager", group]).run().expect("the group is known");
    for line in said.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        calls_of(line, into);
    }
}

/// Returns what the lines `SystemCallFilter=` of a unit let through, in their order.
fn allowed(name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(unit(name)).expect("the unit");
    let mut allowed = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (taken, names) = line.strip_prefix('~').map_or((false, line), |names| (true, names));
        let mut calls = BTreeSet::new();
        names.split_whitespace().for_each(|name| calls_of(name, &mut calls));
        if taken {
            allowed.retain(|call| !calls.contains(call));
        } else {
            allowed.extend(calls);
        }
    }
    allowed
}

/// A director that has listened, and so has tried a jailed worker, and a transfer to it have made no system call that
/// the units keep from them.
#[test]
fn a_jailed_worker_starts_under_the_filter() {
    let bench = Bench::new();
    let (data, log) = (bench.path("data"), bench.path("calls"));
    let mut command = std::process::Command::new("strace");
    // -D: the child is the director, and strace watches from aside.
    command.args(["-D", "-f", "-qq", "-o"]).arg(&log).arg(env!("CARGO_BIN_EXE_airlock"));
    command.args(list(&[&"director", &"--data", &data, &"--listen", &"127.0.0.1:0", &"--format", &"json"]));
    command.env("AIRLOCK_HOME", bench.home());
    let mut service = airlock_testkit::loopback::Service::start("the director", command).expect("strace");
    let line = service.wait_for_line(LIMIT, |line| line.contains("airlock.director/1")).expect("it listens");
    let hello: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let url = format!("airlock://{}/default", hello["address"].as_str().expect("an address"));
    let identity = hello["identity"].as_str().expect("a path");
    let image = bench.clean_disk(1 << 20);
    bench.airlock("transfer").arg(&image).args([&url, "--identity", identity]).expect(0);
    service.terminate().expect("terminate");
    service.wait(LIMIT).expect("it ends");
    let text = std::fs::read_to_string(&log).expect("the calls");
    let mut made = BTreeSet::new();
    for line in text.lines() {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        let call = call.split('(').next().unwrap_or_default();
        if !call.is_empty() && call.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            made.insert(call.to_owned());
        }
    }
    // SQLite gives its files to the owner of the database, but only where it is root, as a service is not.
    made.remove("fchown");
    for needed in ["landlock_restrict_self", "seccomp"] {
        assert!(made.contains(needed), "no worker was jailed: {made:?}");
    }
    for name in ["airlock-director.service", "airlock-manager.service"] {
        let allowed = allowed(name);
        let kept: Vec<_> = made.iter().filter(|call| !allowed.contains(*call)).collect();
        assert!(kept.is_empty(), "{name} keeps {kept:?} from it");
    }
}
