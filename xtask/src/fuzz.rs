//! Runs the fuzz targets for a while each, with libFuzzer on the installed stable toolchain.
//!
//! The readers are safe Rust, so coverage is all that is asked of the compiler: the flags are
//! those that `cargo fuzz` passes, without a sanitizer. Seeds are inputs that real tools made;
//! they are part of the repository, what a run finds is not.

use crate::run::{command, root, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

const TARGET: &str = "x86_64-unknown-linux-gnu";

const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// Longest that one input may take, in seconds, and most memory, in MiB: the limits of the survey
/// of a hostile image.
const TIMEOUT_SECONDS: u32 = 10;
const MEMORY_MIB: u32 = 512;

/// Runs `fuzz [--seconds N] [--only NAME]`.
pub(crate) fn fuzz(words: &[&str]) -> Result<()> {
    let (mut seconds, mut only) = (20_u32, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match *word {
            "--seconds" => seconds = value.parse().context("--seconds takes a number")?,
            "--minutes" => seconds = value.parse::<u32>().context("--minutes takes a number")? * 60,
            "--only" => only = Some(*value),
            _ => bail!("fuzz does not know {word}"),
        }
    }
    all(seconds, only)
}

/// Builds the targets and runs each for so long.
pub(crate) fn all(seconds: u32, only: Option<&str>) -> Result<()> {
    let folder = root().join("fuzz");
    let names = targets(&folder)?;
    if let Some(only) = only.filter(|only| !names.iter().any(|name| name == only)) {
        bail!("there is no target {only}; there are {}", names.join(", "));
    }
    let build = root().join("target/fuzz");
    let mut cargo = command("cargo", &["build", "--release", "--locked", "--target", TARGET]);
    cargo.current_dir(&folder).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &build);
    run(&mut cargo)?;
    for name in names.iter().filter(|name| only.is_none_or(|only| only == *name)) {
        let (corpus, artifacts) = (build.join("corpus").join(name), build.join("artifacts").join(name));
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        println!("-- {name}");
        let binary = build.join(TARGET).join("release").join(name);
        let mut fuzzer = command(&binary.to_string_lossy(), &[]);
        fuzzer.arg(format!("-max_total_time={seconds}"));
        fuzzer.arg(format!("-timeout={TIMEOUT_SECONDS}")).arg(format!("-rss_limit_mb={MEMORY_MIB}"));
        fuzzer.args(["-max_len=1048576", "-len_control=20", "-verbosity=0", "-print_final_stats=1"]);
        fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
        fuzzer.arg(&corpus);
        let seeds = folder.join("seeds").join(name);
        if seeds.is_dir() {
            fuzzer.arg(&seeds);
        }
        run(&mut fuzzer).with_context(|| {
            format!("{name} found something: the input is in {}; keep it as a test", artifacts.display())
        })?;
    }
    Ok(())
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let files = fs::read_dir(folder.join("fuzz_targets"))?;
    let paths: Vec<PathBuf> = files.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<String> = paths.iter().filter_map(stem).collect();
    names.sort();
    Ok(names)
}
