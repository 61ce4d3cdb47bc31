//! What people and scripts see while it works.

use crate::support::Bench;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::time::{Duration, Instant};

/// How soon a terminal shows something.
const FIRST_PAINT: Duration = Duration::from_millis(250);

/// Off a terminal, progress is JSON lines with figures, or nothing where that was asked for.
#[test]
fn progress_off_a_terminal_is_json_or_nothing() {
    let bench = Bench::new();
    let image = bench.clean_disk(4 << 20);
    for (verb, dest) in [("scan", None), ("transfer", Some(bench.path("dest")))] {
        let ran = bench.airlock(verb).arg(&image).args(&dest).expect(0);
        assert!(!ran.err.is_empty(), "{verb} shows no progress");
        for line in ran.err.lines() {
            let line: Value = serde_json::from_str(line).expect("a JSON line");
            assert_eq!(line["schema"], "airlock.progress/1");
            for name in ["phase", "done", "total", "bytes_per_second", "eta_seconds", "findings"] {
                assert!(line.get(name).is_some(), "no {name} in {line}");
            }
        }
        let ran = bench.airlock(verb).arg(&image).args(&dest).args(["--progress", "none"]).expect(0);
        assert_eq!(ran.err, "", "{verb}");
    }
}

/// Starts a scan with its standard error on a terminal; returns the time to the first paint, and all that was painted.
fn painted(bench: &Bench, image: &std::path::Path) -> (Duration, String) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&controller).and_then(|()| unlockpt(&controller)).expect("a terminal");
    let name = ptsname(&controller, Vec::new()).expect("its name").into_string().expect("UTF-8");
    let terminal = OpenOptions::new().read(true).write(true).open(name).expect("open the terminal");
    let started = Instant::now();
    let mut child = bench.spawn_on("scan", image, terminal);
    let mut controller = File::from(controller);
    let mut buffer = [0; 4096];
    let mut seen = Vec::new();
    let mut first = None;
    // Reading fails once the child, the only one that has the terminal open, has ended.
    while let Ok(read @ 1..) = controller.read(&mut buffer) {
        first.get_or_insert_with(|| started.elapsed());
        seen.extend_from_slice(&buffer[..read]);
    }
    assert_eq!(child.wait().expect("wait").code(), Some(0));
    (first.expect("something is shown"), String::from_utf8(seen).expect("UTF-8"))
}

/// On a terminal the first line is there within 250 ms, it moves, and it is wiped at the end.
#[test]
fn progress_on_a_terminal_is_there_at_once() {
    let bench = Bench::new();
    let image = bench.clean_disk(32 << 20);
    // Other tests may hold every core; the fastest of a few runs is the program's own.
    let runs: Vec<_> = (0..5).map(|_| painted(&bench, &image)).collect();
    let fastest = runs.iter().map(|(first, _)| *first).min().expect("runs");
    assert!(fastest < FIRST_PAINT, "{fastest:?}");
    for (_, seen) in runs {
        for word in ["scanning", "%", "/s", "ETA", "findings"] {
            assert!(seen.contains(word), "no {word:?} in {seen:?}");
        }
        assert!(seen.ends_with("\r\u{1b}[2K"), "{seen:?}");
        assert!(!seen.contains('{'), "{seen:?}");
    }
}
