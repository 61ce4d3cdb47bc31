//! What is not inspected again, and what is all the same.

use crate::support::{Bench, text_of, u64_of};
use airlock_testkit::Rng;
use airlock_testkit::values::{Brand, pan};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn scan(bench: &Bench, folder: &Path, args: &[&str], code: i32) -> Value {
    bench.airlock("scan").arg(folder).args(args).expect(code).json()
}

fn memoised(json: &Value) -> u64 {
    u64_of(&json["stats"]["bytes_memoised"])
}

/// A result without what depends on time and memory.
fn verdict(json: &Value) -> Vec<&Value> {
    ["result", "bundle", "coverage", "places", "findings"].map(|key| &json[key]).to_vec()
}

/// A folder with files of one chunk, of several, and of none.
fn folder(bench: &Bench) -> std::path::PathBuf {
    let folder = bench.path("folder");
    fs::create_dir_all(folder.join("sub")).expect("folder");
    let mut rng = Rng::new(5);
    for (name, length) in [("small", 700), ("sub/chunk", 1 << 20), ("sub/long", 5_300_000), ("empty", 0)] {
        let mut bytes = vec![0; length];
        rng.fill(&mut bytes);
        fs::write(folder.join(name), bytes).expect("write");
    }
    fs::write(folder.join("text"), "nothing to see here\n".repeat(1000)).expect("write");
    folder
}

/// What was clean is answered from the memo, and the result is the same as without it.
#[test]
fn what_was_clean_is_not_inspected_again() {
    let bench = Bench::new();
    let folder = folder(&bench);
    let without = scan(&bench, &folder, &["--no-memo"], 0);
    assert!(!bench.home().join("memo").exists());
    let first = scan(&bench, &folder, &[], 0);
    let second = scan(&bench, &folder, &["--threads", "3"], 0);
    assert_eq!((memoised(&without), memoised(&first)), (0, 0));
    assert_eq!(memoised(&second), 700 + (1 << 20) + 5_300_000 + 20_000, "{}", second["stats"]);
    assert_eq!(verdict(&without), verdict(&first));
    assert_eq!(verdict(&without), verdict(&second));
    // Other rules, other verdicts.
    let list = bench.path("list");
    fs::write(&list, format!("{:064x}\n", 1)).expect("write");
    let other = scan(&bench, &folder, &["--hash-list", list.to_str().expect("UTF-8")], 0);
    assert_eq!(memoised(&other), 0);
}

/// A value that is written into a file behind its known beginning is found, at every depth of it,
/// and with an old memo as without one.
#[test]
fn what_has_changed_is_found() {
    let bench = Bench::new();
    let folder = folder(&bench);
    scan(&bench, &folder, &[], 0);
    let clean = fs::read(folder.join("sub/long")).expect("read");
    let value = pan(Brand::Visa, &mut Rng::new(9));
    for at in [100, (1 << 20) - 9, (3 << 20) + 5, clean.len() - 40] {
        let mut dirty = clean.clone();
        let text = format!(" card {value} \n");
        dirty[at..at + text.len()].copy_from_slice(text.as_bytes());
        fs::write(folder.join("sub/long"), &dirty).expect("write");
        let found = scan(&bench, &folder, &[], 3);
        let anew = scan(&bench, &folder, &["--no-memo"], 3);
        assert!(verdict(&found) == verdict(&anew), "at {at}");
        assert_eq!(found["findings"][0]["offset"], at as u64 + 6);
        assert_eq!(memoised(&found), 700 + (1 << 20) + 20_000);
    }
    // A known beginning that ends early is another file.
    fs::write(folder.join("sub/long"), &clean[..2 << 20]).expect("write");
    assert_eq!(memoised(&scan(&bench, &folder, &[], 0)), 700 + (1 << 20) + 20_000);
}

/// Damage makes the site forget; what says so is a note, and never another verdict.
#[test]
fn a_damaged_memo_is_not_believed() {
    let bench = Bench::new();
    let folder = folder(&bench);
    let first = scan(&bench, &folder, &[], 0);
    let path = bench.home().join("memo");
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).expect("the memo");
    let length = file.metadata().expect("metadata").len();
    file.set_len(length / 2).expect("cut");
    let ran = bench.airlock("scan").arg(&folder).expect(0);
    assert!(ran.err.contains("started anew"), "{}", ran.err);
    assert_eq!((memoised(&ran.json()), verdict(&ran.json())), (0, verdict(&first)));
    for at in (0..length).step_by(512).skip(1) {
        file.write_all_at(&[0xa5; 16], at).expect("write");
    }
    let spoiled = scan(&bench, &folder, &[], 0);
    assert_eq!((memoised(&spoiled), verdict(&spoiled)), (0, verdict(&first)));
    // Of another site, which has another key.
    fs::remove_file(bench.home().join("memo.key")).expect("remove");
    let ran = bench.airlock("scan").arg(&folder).expect(0);
    assert!(ran.err.contains("started anew"), "{}", ran.err);
    assert_eq!(text_of(&ran.json()["result"]["decision"]), text_of(&first["result"]["decision"]));
}
