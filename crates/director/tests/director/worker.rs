//! A worker changes nothing about what is decided, and whatever becomes of it, nothing passes because of it.

use crate::manager::{Manager, director};
use airlock_director::{Director, WorkerConfig};
use airlock_evidence::Predicate;
use airlock_model::{Decision, Site};
use airlock_policy::Chunk;
use airlock_testkit::PlantedDisk;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The worker for tests; it is built along with them.
fn worker(how: &str, once: &Path) -> WorkerConfig {
    let own = std::env::current_exe().expect("a test");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("a target folder");
    let arguments = vec![how.into(), once.into()];
    let config = WorkerConfig::new(folder.join("examples/worker"), arguments);
    WorkerConfig { memory_bytes: 192 << 20, silence: Duration::from_secs(10), ..config }
}

fn manager(folder: &Path, bytes: usize) -> Manager {
    let disk = PlantedDisk::builder(folder.join("disk"), 5).gpt().clean_bytes(bytes);
    Manager::of(disk.build().expect("a disk").image())
}

#[test]
fn findings_coverage_and_what_is_kept_are_the_same_with_a_worker() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = manager(folder.path(), 24 << 20);
    let in_order: Vec<&Chunk> = manager.chunks.iter().collect();
    let first = in_order.len() / 3;
    let late = in_order[first..].iter().chain(&in_order[..first]).copied().collect();
    let twice = in_order.iter().chain(&in_order[..first]).copied().collect();
    let orders: [(&str, Vec<&Chunk>); 3] = [("in-order", in_order.clone()), ("late", late), ("twice", twice)];
    let here = director(&folder.path().join("here"), &manager.rules, None);
    let expected = manager.send(&here, "vm", &in_order);
    assert!(!expected.0.is_empty() && expected.1.holes.iter().any(|hole| hole.site == Site::Destination));
    for (name, order) in orders {
        let worker = worker("serve", &folder.path().join("never"));
        let jailed = director(&folder.path().join(name), &manager.rules, Some(worker));
        jailed.try_worker().expect("this machine can jail a worker");
        let found = manager.send(&jailed, "vm", &order);
        assert_eq!(found.0, expected.0, "{name}");
        assert_eq!(found.1, expected.1, "{name}");
        // Once more: now it is remembered in which files nothing was found.
        assert_eq!(manager.send(&jailed, "other", &in_order), expected, "{name}, again");
    }
}

/// Nothing of a transfer that failed is anywhere, and its record says why.
fn check_failed(director: &Director, data: &Path, failed: &Predicate, reason: &str) {
    let transfer = &failed.transfer;
    assert_eq!((transfer.state.as_str(), transfer.decision), ("failed", Decision::Terminate));
    let found = transfer.reason.as_deref().unwrap_or_default();
    assert!(found.starts_with(reason), "{found:?} is not {reason:?}");
    assert!(director.vms().expect("a ledger").is_empty());
    let path = |folder: &str, ending: &str| data.join(folder).join(format!("{}{ending}", transfer.id));
    let segments = path("segments", "");
    assert!(!segments.exists() || std::fs::read_dir(segments).expect("a folder").next().is_none());
    assert!(!path("chamber", ".key").exists());
    assert!(!path("manifests", ".manifest").exists());
    assert!(path("evidence", ".json").exists());
}

/// A worker that is lost in one way takes its transfer with it, and neither the director nor the next one.
fn check(how: &str, reason: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = manager(folder.path(), 12 << 20);
    let order: Vec<&Chunk> = manager.chunks.iter().collect();
    let once = folder.path().join("once");
    std::fs::write(&once, b"").expect("a file");
    let data = folder.path().join("data");
    let director = director(&data, &manager.rules, Some(worker(how, &once)));
    let failed = manager.transfer(&director, "vm", &order, &|_| ());
    check_failed(&director, &data, &failed, reason);
    manager.send(&director, "vm", &order);
    assert_eq!(director.vms().expect("a ledger").len(), 1);
}

#[test]
fn a_worker_that_hangs() {
    check("hang", "worker:silent");
}

#[test]
fn a_worker_that_eats_memory() {
    check("eat", "worker:memory");
}

#[test]
fn a_worker_whose_stack_overflows() {
    check("overflow", "worker:signal");
}

#[test]
fn a_worker_that_panics() {
    check("panic", "worker:signal");
}

#[test]
fn a_worker_that_opens_a_socket() {
    check("open-socket", "worker:forbidden");
}

#[test]
fn a_worker_that_answers_noise() {
    check("noise", "worker:untrue");
    check("huge", "worker:untrue");
}

#[test]
fn a_worker_that_leaves_out_what_it_was_asked_for() {
    check("empty", "worker:untrue");
}

#[test]
fn a_worker_that_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = manager(folder.path(), 12 << 20);
    let order: Vec<&Chunk> = manager.chunks.iter().collect();
    let data = folder.path().join("data");
    let mark = folder.path().join("never");
    let director = director(&data, &manager.rules, Some(worker("serve", &mark)));
    let failed = manager.transfer(&director, "vm", &order, &|group| {
        if group == 1 {
            kill(&mark);
        }
    });
    check_failed(&director, &data, &failed, "worker:signal: the worker was ended by signal 9");
    manager.send(&director, "vm", &order);
}

/// Kills the process that was started with this argument, once it is in the jail.
fn kill(mark: &Path) {
    let mark = mark.to_str().expect("text");
    let read = |path: PathBuf, name: &str| std::fs::read(path.join(name)).unwrap_or_default();
    let called =
        |path: PathBuf| read(path, "cmdline").split(|byte| *byte == 0).any(|word| word == mark.as_bytes());
    let jailed = |path: PathBuf| String::from_utf8_lossy(&read(path, "status")).contains("\nSeccomp:\t2");
    let worker = (0..1000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        let mut processes = std::fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
        processes.find(|process| called(process.path()) && jailed(process.path()))
    });
    let name = worker.expect("a worker").file_name();
    let number = name.to_str().and_then(|name| name.parse().ok()).expect("a number");
    let worker = rustix::process::Pid::from_raw(number).expect("a process");
    rustix::process::kill_process(worker, rustix::process::Signal::KILL).expect("it was there");
}

#[test]
fn a_worker_that_leaves_at_once() {
    check("leave", "worker:ended");
}

#[test]
fn a_worker_that_does_not_start_is_told_before_anything_is_received() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = manager(folder.path(), 1 << 20);
    let once = folder.path().join("once");
    std::fs::write(&once, b"").expect("a file");
    let leaving = director(&folder.path().join("one"), &manager.rules, Some(worker("leave", &once)));
    assert_eq!(leaving.try_worker().expect_err("it left").to_string(), "the worker ended with code 0");
    let nowhere = WorkerConfig::new("/nonexistent/worker".into(), Vec::new());
    let without = director(&folder.path().join("two"), &manager.rules, Some(nowhere));
    assert!(without.try_worker().expect_err("no program").to_string().contains("could not be started"));
}
