//! The demonstration.

use crate::support::Bench;
use std::time::{Duration, Instant};

/// How long the demonstration may take.
const LIMIT: Duration = Duration::from_mins(1);

fn check(bench: &Bench, args: &[&str], path: &str) {
    let started = Instant::now();
    let folder = bench.path("demo");
    let ran = bench.airlock("demo").arg("--dir").arg(&folder).args(args).env("PATH", path).expect(0);
    assert!(started.elapsed() < LIMIT, "it took {:?}", started.elapsed());
    for expected in ["discarded", "withheld", "orders.csv", "verified: both signatures", "exit code 6"] {
        assert!(ran.out.contains(expected), "no {expected:?} in:\n{}", ran.out);
    }
    // What it says to try next works as it is printed.
    let (_, next) = ran.out.split_once("Try next:").expect("commands to try");
    let commands: Vec<Vec<&str>> = next
        .lines()
        .filter_map(|line| line.trim().strip_prefix("airlock "))
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!(commands.len(), 3, "{next}");
    for words in commands {
        let code = if words[0] == "scan" { 3 } else { 0 };
        bench.airlock(words[0]).args(&words[1..]).expect(code);
    }
}

/// The demonstration shows the whole main job on an image that it makes with mke2fs.
#[test]
fn demo_with_mke2fs() {
    airlock_testkit::require("mke2fs").expect("mke2fs");
    check(&Bench::new(), &[], &std::env::var("PATH").expect("PATH"));
}

/// The demonstration needs no program but itself.
#[test]
fn demo_with_the_image_of_the_program() {
    check(&Bench::new(), &["--built-in-image"], "/nonexistent");
}
