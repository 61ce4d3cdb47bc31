//! Scans a file once with every detector and prints what was found, by detector and
//! level of confidence.
//!
//! `cargo run --release -p airlock-checks --example scan_once -- FILE...`
#![expect(clippy::print_stdout, reason = "the output of the example")]

use airlock_checks::detectors::builtin;
use airlock_checks::detectors::rule::Level;
use airlock_inspect::{Engine, EngineConfig};
use std::collections::BTreeMap;
use std::io::{self, Read};

fn main() -> io::Result<()> {
    let engine = Engine::new(builtin(|_| true), EngineConfig { fingerprint_key: [0; 32] });
    let mut scanner = engine.scanner();
    let mut piece = vec![0; 1 << 20];
    for path in std::env::args().skip(1) {
        let mut file = std::fs::File::open(&path)?;
        let mut found = Vec::new();
        loop {
            let length = file.read(&mut piece)?;
            if length == 0 {
                break;
            }
            scanner.feed(piece.get(..length).unwrap_or_default(), &mut found);
        }
        scanner.finish(&mut found);
        let mut counts: BTreeMap<(&str, Level), usize> = BTreeMap::new();
        for one in &found {
            *counts.entry((&*one.detector, Level::of(one.confidence))).or_default() += 1;
        }
        for ((detector, level), count) in counts {
            println!("{path}: {count} {detector} {level:?}");
        }
    }
    Ok(())
}
