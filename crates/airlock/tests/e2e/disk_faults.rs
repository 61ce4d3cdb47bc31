//! Disks that are full, broken, read-only or slow, below real services.
//!
//! After each: whoever asked is told what, where, why and what to do next; what was acknowledged before is there; nothing held can
//! be read; and once the fault is gone, the transfer finishes.

use crate::bed::{Bed, Fault, RECOVERY, complete, finish};
use crate::support::{Ran, skipped};
use airlock_testkit::Tool;
use airlock_testkit::loopback::Ended;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A mount that goes with this.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a file system in memory. Nothing, and said so, where this is not allowed.
    fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mount = Tool::new("mount").expect("mount");
        match mount.args(["-t", "tmpfs", "-o", options, "airlock-test"]).arg(at).run() {
            Ok(_) => Some(Self(at.to_path_buf())),
            Err(error) => {
                skipped(&format!("a small file system needs root: {error}"));
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let mount = Tool::new("mount").expect("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(&self.0).run().expect("remounted");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Tool::new("umount").expect("umount").arg("-l").arg(&self.0).run());
    }
}

/// Fails unless an end is clean: no panic, no signal, and an error that says why and what to do.
fn assert_refused(what: &str, code: Option<i32>, said: &str, why: &str) {
    assert!(matches!(code, Some(1 | 11)), "{what}: {code:?} {said}");
    // The fault may have hit one of the two ways in which it is said.
    let says = |name: &str| said.contains(&format!("{name}: ")) || said.contains(&format!("\"{name}\":\""));
    assert!(says("error") && says("hint"), "{what}: {said}");
    assert!(said.contains(why), "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
}

fn said(ended: &Ended) -> String {
    ended.lines.join("\n")
}

/// A disk with a little room more or less each time: chamber, vault and database run full in turn.
#[test]
fn a_full_disk_refuses_and_once_there_is_room_it_finishes() {
    let bed = Bed::new();
    let at = bed.bench.path("small");
    let Some(disk) = Mounted::tmpfs(&at, "size=64m") else { return };
    let (mut full, mut started) = (0, 0);
    for room_kib in [0, 8, 40, 72, 100, 140, 200, 400, 700, 800, 900, 1000, 1100, 1200, 1400] {
        let what = format!("{room_kib} KiB of room");
        disk.remount("size=64m");
        let data = at.join("data");
        if data.exists() {
            fs::remove_dir_all(&data).expect("removed");
        }
        crate::bed::copy(bed.template(), &data);
        disk.remount(&format!("size={}k", used_kib(&at) + room_kib));
        if let Some(director) = bed.director_if(&data) {
            started += 1;
            let ran = bed.transfer(&director, &[]);
            if ran.code != Some(3) {
                full += 1;
                assert_refused(&what, ran.code, &ran.err, "");
            }
            // It may not be able to close its ledger cleanly.
            director.service.terminate().expect("terminate");
            let ended = director.service.wait(RECOVERY).expect("it ends");
            assert!(!said(&ended).contains("panicked"), "{what}: {:?}", ended.lines);
        }
        disk.remount("size=64m");
        bed.assert_nothing_lost(&what, &data);
        let director = bed.director(&data);
        finish(&what, |more| bed.transfer(&director, more));
        director.stop();
        bed.assert_sound(&what, &data);
    }
    assert!(started >= 8 && full >= 5, "{started} started, {full} of them ran full");
    airlock_testkit::score("full disks survived", 15, 15, "");
}

fn used_kib(at: &Path) -> u64 {
    let said = Tool::new("df").expect("df").args(["-k", "--output=used"]).arg(at).run().expect("df");
    said.lines().last().expect("a line").trim().parse().expect("a number")
}

/// Each call that touches the director's files fails, once or from then on.
fn broken(what: &'static str, reason: &str, calls: &[&str], name: &str) {
    let bed = Bed::new();
    let counts = bed.calls_on_data();
    let (mut points, mut refused) = (0_u64, 0);
    for call in calls {
        let Some(numbers) = counts.get(*call).filter(|numbers| !numbers.is_empty()) else { continue };
        // The first, the last, and some between them; on a disk that stays broken, too.
        let last = numbers.len() - 1;
        let picked = [0, last / 3, last * 2 / 3, last].map(|index| numbers[index]);
        for (index, number) in picked.into_iter().enumerate() {
            // What is said goes through `write`, too.
            let once = index % 2 == 0 || *call == "write";
            let when = if once { number.to_string() } else { format!("{number}+") };
            let fault = Fault { call: (*call).to_owned(), when, what };
            let said = format!("{what} for {call} {}", fault.when);
            let data = bed.data("data");
            let ended = bed.transfer_under(&data.display().to_string(), None, &fault);
            points += 1;
            if ended.code != Some(3) {
                refused += 1;
                let lines = ended.lines.join("\n");
                // What cannot be loaded was not this program's to say.
                if !lines.contains("error while loading shared libraries") {
                    assert_refused(&said, ended.code, &lines, reason);
                }
            }
            bed.assert_nothing_lost(&said, &data);
            finish(&said, |more| bed.transfer_into(&data, more));
            bed.assert_sound(&said, &data);
        }
    }
    assert!(refused * 3 >= points, "only {refused} of {points} faults were noticed at all");
    airlock_testkit::score(name, points, points, "");
}

#[test]
fn a_broken_disk_refuses_and_once_it_is_mended_it_finishes() {
    let calls = [
        "openat",
        "read",
        "pread64",
        "write",
        "pwrite64",
        "fsync",
        "fdatasync",
        "rename",
        "unlink",
        "mkdir",
        "ftruncate",
    ];
    broken("error=EIO", "", &calls, "broken disks survived");
}

#[test]
fn a_disk_that_becomes_read_only_refuses_and_once_it_is_not_it_finishes() {
    broken(
        "error=EROFS",
        "",
        &["openat", "write", "pwrite64", "rename", "unlink", "mkdir"],
        "read-only disks survived",
    );
}

/// A director that runs on after a sync has failed: the transfer starts again from what the ledger says, and no
/// segment that was not synced is believed.
#[test]
fn a_sync_that_failed_is_not_believed() {
    let bed = Bed::new();
    let (mut failed, mut segments) = (0, 0);
    // Each group is synced on a thread of its own.
    for (call, number) in [("fdatasync", 1), ("fsync", 1), ("fsync", 2), ("fsync", 3), ("fsync", 12)] {
        let what = format!("{call} {number}");
        let data = bed.data("data");
        let fault = Fault { call: call.into(), when: number.to_string(), what: "error=EIO" };
        let Some(director) = bed.director_under(&data, &fault) else { continue };
        let ran = bed.transfer(&director, &[]);
        if ran.code != Some(3) {
            failed += 1;
            assert_refused(&what, ran.code, &ran.err, "");
        }
        mend(director.service.id());
        finish(&what, |more| bed.transfer(&director, more));
        director.stop();
        bed.assert_sound(&what, &data);
        let calls = complete(&bed.log());
        for path in injected(&calls).iter().filter(|path| path.contains("/segments/")) {
            segments += 1;
            assert!(!Path::new(path).is_file(), "{what}: {path} is kept");
        }
    }
    assert!(failed >= 2 && segments >= 1, "{failed} transfers failed, {segments} of them in a segment");
}

/// Returns the files that calls in a log were made to fail on. A call may be split over two lines of its thread.
fn injected(calls: &str) -> Vec<String> {
    let mut of_thread: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for line in calls.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        if let Some((path, _)) = rest.split_once("</").and_then(|(_, path)| path.split_once('>')) {
            of_thread.insert(thread, path);
        }
        if line.contains("(INJECTED)") {
            found.extend(of_thread.get(thread).map(|path| format!("/{path}")));
        }
    }
    found
}

/// Takes the fault away from a process that goes on.
fn mend(process: u32) {
    let tracer = || {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        line.expect("a tracer").trim().to_owned()
    };
    let found = tracer();
    assert_ne!(found, "0", "nobody traces it");
    Tool::new("kill").expect("kill").args(["-TERM", &found]).run().expect("it is told");
    let started = Instant::now();
    while tracer() != "0" {
        assert!(started.elapsed() < RECOVERY, "it is still traced");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A director on a read-only disk does not start, and says why.
#[test]
fn a_read_only_disk_is_named() {
    let bed = Bed::new();
    let at = bed.bench.path("read-only");
    let Some(disk) = Mounted::tmpfs(&at, "size=64m") else { return };
    let data = at.join("data");
    crate::bed::copy(bed.template(), &data);
    disk.remount("ro");
    let ran: Ran = bed.transfer_into(&data, &[]);
    assert_refused("read-only", ran.code, &ran.err, "ead-only");
    bed.assert_nothing_lost("read-only", &data);
    disk.remount("rw");
    finish("read-only", |more| bed.transfer_into(&data, more));
    bed.assert_sound("read-only", &data);
}

/// A disk that takes 20 ms for each sync only takes longer.
#[test]
fn a_slow_disk_only_takes_longer() {
    let bed = Bed::new();
    for call in ["fsync", "fdatasync", "pwrite64"] {
        let data = bed.data("data");
        let fault = Fault { call: call.into(), when: "1+".into(), what: "delay_enter=20000" };
        let ended = bed.transfer_under(&data.display().to_string(), None, &fault);
        assert_eq!(ended.code, Some(3), "{call}: {:?}", ended.lines);
        bed.assert_sound(call, &data);
    }
}
