//! A disk of 1 TiB costs what is in it.

use crate::support::{Bench, assert_coverage_sums, assert_no_residue, text_of, u64_of};
use airlock_testkit::{Document, Encoding, Kind, Tool, Tree};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const DISK_BYTES: u64 = 1 << 40;
/// Memory that one site may use.
const MEMORY_BYTES: u64 = 256 << 20;
/// How long one run may take.
const LIMIT: Duration = Duration::from_mins(2);

/// An ext4 of 1 TiB with a few files, in a file with holes.
fn large_disk(bench: &Bench, tree: &Tree) -> PathBuf {
    let image = bench.path("large.img");
    File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).expect("a file of 1 TiB with holes");
    Tool::new("mke2fs")
        .expect("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-N", "65536"])
        .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-d"])
        .arg(tree.root())
        .arg(&image)
        .run()
        .expect("mke2fs");
    image
}

/// Scanning and moving a disk of 1 TiB with little in it is quick, and takes no more memory than a small one.
#[test]
fn one_tebibyte_with_holes() {
    let bench = Bench::new();
    let mut tree = Tree::new(bench.path("tree"), 4).expect("tree");
    tree.noise("/srv/noise.bin", 12 << 20).expect("noise");
    tree.filler("/srv/text.txt", 3 << 20).expect("filler");
    let planted = tree.plant("/srv/pay.csv", Document::Csv, &[Kind::Pan; 4], Encoding::Ascii).expect("plant");
    let image = large_disk(&bench, &tree);
    let dest = bench.path("dest");

    let started = Instant::now();
    let json = bench.airlock("scan").arg(&image).expect(3).json();
    assert!(started.elapsed() < LIMIT, "the scan took {:?}", started.elapsed());
    assert_coverage_sums(&json["coverage"], DISK_BYTES);
    assert!(u64_of(&json["stats"]["peak_rss"]) < MEMORY_BYTES, "scan: {}", json["stats"]);

    let started = Instant::now();
    let director = bench.director(&dest, &[]);
    let ran = bench
        .airlock("transfer")
        .arg(&image)
        .args([director.url.as_str(), "--on-fail", "withhold", "--name", "large", "--identity"])
        .arg(&director.identity)
        .expect(3);
    assert!(started.elapsed() < LIMIT, "the transfer took {:?}", started.elapsed());
    let json = ran.json();
    assert_coverage_sums(&json["coverage"], DISK_BYTES);
    assert!(u64_of(&json["stats"]["peak_rss"]) < MEMORY_BYTES, "manager: {}", json["stats"]);
    let peak = peak_rss(director.service.id());
    assert!(peak < MEMORY_BYTES, "director: {peak}");
    director.stop();
    assert_no_residue(&dest, &planted);
    bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&dest).expect(0);
    let export = bench.export("large", &dest, "out.qcow2");
    let scanned = bench.airlock("scan").arg(&export).expect(0).json();
    assert_coverage_sums(&scanned["coverage"], DISK_BYTES);
}

/// Returns the most memory that a process had resident.
fn peak_rss(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}
