//! Everything that has to hold, in the order in which a mistake is cheapest to see.

use crate::run::{cargo, installed, output, run as finish, watch};
use crate::{deny, fuzz, packages, tidy, validators};
use anyhow::{Result, bail};
use std::time::Instant;

/// How long each fuzz target runs: long enough for its seeds.
const FUZZ_SECONDS: u32 = 3;

/// Counts of what ran.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs all of it; fails at the first step that does.
fn run_all(steps: &mut Steps) -> Result<()> {
    steps.step("packages", || packages::ensure(packages::TEST))?;
    steps.step("validators", validators::ensure)?;
    steps.step("format", || finish(&mut cargo(&["fmt", "--all", "--check"])))?;
    steps.step("tidy", tidy::run)?;
    steps.step("deny", deny::run)?;
    steps.step("lints", || {
        finish(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
    })?;
    let mut count = Count::default();
    steps.step("tests", || {
        let lines = if nextest_installed() {
            watch(&mut cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]))?
        } else {
            println!("cargo-nextest is not installed; cargo test runs the same tests");
            watch(&mut cargo(&["test", "--workspace", "--locked", "--lib", "--bins", "--tests"]))?
        };
        count.add(&lines);
        Ok(())
    })?;
    if count.passed == 0 {
        bail!("no test ran");
    }
    steps.step("documentation tests", || {
        let lines = watch(&mut cargo(&["test", "--workspace", "--locked", "--doc"]))?;
        count.add(&lines);
        Ok(())
    })?;
    steps.step("fuzz targets", || fuzz::all(FUZZ_SECONDS, None))?;
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(())
}

/// Runs the task and prints how long each step took.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    let result = run_all(&mut steps);
    if result.is_err() {
        steps.print();
    }
    result
}

/// The steps that ran, with their times.
#[derive(Debug, Default)]
struct Steps(Vec<(String, f64)>);

impl Steps {
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("== {name}");
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        self.0.push((name.to_owned(), seconds));
        println!("== {name}: {} in {seconds:.1} s", if result.is_ok() { "ok" } else { "FAILED" });
        result
    }

    fn print(&self) {
        for (name, seconds) in &self.0 {
            eprintln!("  {name}: {seconds:.1} s");
        }
    }
}

fn nextest_installed() -> bool {
    installed("cargo-nextest") && output(&mut cargo(&["nextest", "--version"])).is_ok()
}

impl Count {
    /// Adds what the closing lines of test runners say.
    fn add(&mut self, lines: &[String]) {
        for line in lines {
            let line = line.trim();
            let counts = if let Some(rest) = line.strip_prefix("test result:") {
                rest
            } else if line.starts_with("Summary [") {
                line.split_once("run:").map_or("", |(_, rest)| rest)
            } else {
                continue;
            };
            for part in counts.split([',', ';', '.']) {
                let mut words = part.split_whitespace();
                if let (Some(number), Some(what)) = (words.next(), words.next()) {
                    let number = number.parse().unwrap_or(0);
                    match what {
                        "passed" => self.passed += number,
                        "failed" => self.failed += number,
                        _ => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let mut count = Count::default();
        count.add(&[
            "test result: ok. 20 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out".to_owned(),
            "     Summary [   3.1s] 7 tests run: 6 passed (1 slow), 1 failed, 0 skipped".to_owned(),
            "unrelated 9 passed".to_owned(),
        ]);
        assert_eq!(count, Count { passed: 26, failed: 1 });
    }
}
