//! Values that are hidden in files: each is found, or its file does not count as clean.

use crate::support::{Bench, u64_of};
use airlock_testkit::Tool;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Another seed hides other values: `AIRLOCK_EVASION_SEED`.
const SEED: &str = "1";

/// More than 200 ways to hide a card number. `found-*` must be found with at least the confidence at which the
/// built-in policy holds; `unclean-*` cannot be opened, and must not count as clean.
#[test]
fn nothing_hidden_passes_as_clean() {
    let bench = Bench::new();
    let folder = bench.path("hidden");
    fs::create_dir(&folder).expect("folder");
    let seed = std::env::var("AIRLOCK_EVASION_SEED").unwrap_or_else(|_| SEED.to_owned());
    let hide = Tool::new("python3").expect("python3").args(["-c", include_str!("hide.py")]);
    hide.arg(&folder).arg(&seed).run().expect("files");
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("list").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    assert!(files.len() >= 200, "{} files", files.len());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
                    let ran =
                        bench.airlock("scan").arg(file).args(["--source-format", "file", "--no-memo"]).end();
                    let json = ran.json();
                    let Some(findings) = json["findings"].as_array() else {
                        wrong.lock().expect("nobody panics").push(format!("{name}: {}", ran.err));
                        continue;
                    };
                    let sure = findings.iter().any(|finding| {
                        finding["detector"] == "pan" && finding["confidence"].as_f64() >= Some(0.8)
                    });
                    let unscannable = json["coverage"]["unscannable"].as_object().expect("classes");
                    let closed = unscannable.values().map(u64_of).sum::<u64>() > 0;
                    if !(sure || closed && name.starts_with("unclean-")) {
                        wrong.lock().expect("nobody panics").push(name);
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("nobody panics");
    wrong.sort();
    let (of, clean) = (files.len() as u64, wrong.len() as u64);
    airlock_testkit::score("hidden values found, or not clean", of - clean, of, &seed);
    assert!(wrong.is_empty(), "passed as clean, with seed {seed}: {wrong:#?}");
}
