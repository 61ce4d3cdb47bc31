//! What a director judges by: fetched by the other site, changed in mid-transfer, and held against what is kept.

use crate::support::{Bench, bytes_under, list, text_of};
use airlock_testkit::{Ext4Image, Ext4Options, Tool, Tree};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_mins(5);
/// Bytes of noise: enough that the rules can change in the middle of a transfer.
const NOISE_BYTES: usize = 160 << 20;

/// Builds a guest with noise and a file of this text.
fn guest(bench: &Bench, noise_bytes: usize, text: &str) -> PathBuf {
    let mut tree = Tree::new(bench.path("tree"), 11).expect("tree");
    tree.write("/srv/a-bad.bin", text.as_bytes()).expect("write");
    tree.noise("/srv/noise.bin", noise_bytes).expect("write");
    let image = bench.path("guest.img");
    let bytes = 32 << 20;
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(bytes + noise_bytes as u64)).expect("image");
    image
}

/// Makes a rulebook that knows files of these texts to be bad.
fn book(bench: &Bench, version: &str, texts: &[&str], args: &[&OsStr]) -> PathBuf {
    let hashes = bench.path(&format!("list-{version}.hsb"));
    let line = |text: &&str| {
        let tool = Tool::new("sha256sum").expect("coreutils").input(*text).run().expect("a hash");
        let hash = tool.split_whitespace().next().expect("a hash").to_owned();
        format!("{hash}:{}:Test.Bad\n", text.len())
    };
    fs::write(&hashes, texts.iter().map(line).collect::<String>()).expect("write");
    let to = bench.path(&format!("acme-{version}.rulebook"));
    let run = bench.airlock("rules").args(["build", "--name", "acme", "--book-version", version]);
    run.arg("--hash-list").arg(hashes).args(args).arg("--to").arg(&to).expect(0);
    to
}

/// Takes a rulebook of this site into a director's.
fn import(bench: &Bench, book: &Path, data: &Path) {
    let key = bench.airlock("key").expect(0).json();
    let run = bench.airlock("rules").arg("import").arg(book).args(["--key", text_of(&key["key"])]);
    run.arg("--data").arg(data).expect(0);
}

fn detectors(json: &Value) -> Vec<&str> {
    json["findings"].as_array().expect("findings").iter().map(|one| text_of(&one["detector"])).collect()
}

/// A manager fetches the rulebooks and the policy of a director and inspects by them, and takes neither older
/// ones, nor those of another key, nor a policy that another site signed.
#[test]
fn a_site_fetches_what_the_other_judges_by() {
    let bench = Bench::new();
    let image = guest(&bench, 0, "bad 1");
    let (data, other) = (bench.path("data"), bench.path("other"));
    let policy =
        bench.policy("cloud.yaml", &[("name: default", "name: cloud"), ("limit: hold", "limit: terminate")]);
    let rights = bench.path("rights.yaml");
    fs::write(&rights, "entitlements: [{product: 'Acme *', metric: install, expires: 2020-01-01}]")
        .expect("write");
    let director = bench.director(&data, &["--policy".as_ref(), policy.as_os_str()]);
    let older = bench.director(&other, &[]);
    let fetch = |director: &crate::support::DirectorProcess, args: &[&str], code| {
        let run = bench.airlock("rules").args(["fetch", &director.url, "--identity"]);
        run.arg(&director.identity).args(args).expect(code)
    };
    assert_eq!(fetch(&director, &[], 0).json()["rulebooks"], serde_json::json!([]));

    let (first, second) = (book(&bench, "1", &["bad 0"], &[]), book(&bench, "2", &["bad 1"], &[]));
    import(&bench, &second, &data);
    import(&bench, &first, &other);
    let key = bench.airlock("key").expect(0).json();
    let key = text_of(&key["key"]).to_owned();
    let untrusted = fetch(&director, &[], 6);
    assert!(untrusted.err.contains("nobody is trusted") && untrusted.err.contains(&key), "{}", untrusted.err);
    assert!(fetch(&director, &["--key", &"ab".repeat(32)], 6).err.contains("not by the publisher"));
    let scan = |code| bench.airlock("scan").arg(&image).expect(code).json();
    assert!(detectors(&scan(0)).is_empty());
    assert_eq!(fetch(&director, &["--key", &key], 0).json()["rulebooks"][0]["new"], true);
    assert_eq!(detectors(&scan(3)), ["hash:Test.Bad"]);
    assert_eq!(fetch(&director, &[], 0).json()["rulebooks"][0]["new"], false);
    assert!(fetch(&older, &[], 6).err.contains("version 2 was here"));

    // What is somebody's own is not given to others.
    let third = book(&bench, "3", &["bad 1"], &["--entitlements".as_ref(), rights.as_os_str()]);
    import(&bench, &third, &data);
    assert_eq!(fetch(&director, &[], 0).json()["rulebooks"], serde_json::json!([]));

    let policy_of = |url: &str, args: &[&str], code| {
        let run = bench.airlock("policy").args(["fetch", url, "--identity"]).arg(&director.identity);
        run.args(args).expect(code)
    };
    let to = bench.path("fetched.yaml");
    let fetched = policy_of(&director.url, &["--to", to.to_str().expect("a name")], 0).json();
    assert_eq!(fs::read(&to).expect("policy"), fs::read(&policy).expect("policy"));
    let site = bench.airlock("key").env("AIRLOCK_HOME", &data).expect(0).json();
    assert_eq!(fetched["site_key"], site["key"]);
    policy_of(&director.url, &["--key", text_of(&site["key"])], 0);
    assert!(policy_of(&director.url, &["--key", &key], 6).err.contains("signs with the key"));
    policy_of(&director.url.replace("/default", "/elsewhere"), &[], 10);
    let foreign = bench.airlock("policy").args(["fetch", &director.url, "--identity"]).arg(&older.identity);
    foreign.expect(1);
    director.stop();
    older.stop();
}

/// A rulebook that comes while a transfer runs decides on all of it, what was judged before included.
#[test]
fn rules_that_change_in_mid_transfer_judge_all_of_it() {
    let bench = Bench::new();
    let image = guest(&bench, NOISE_BYTES, "bad 1");
    let data = bench.path("data");
    let director = bench.director(&data, &[]);
    let book = book(&bench, "1", &["bad 1"], &[]);
    let args: [&dyn AsRef<OsStr>; 10] = [
        &image,
        &director.url,
        &"--streams",
        &"1",
        &"--name",
        &"vm",
        &"--on-fail",
        &"withhold",
        &"--identity",
        &director.identity,
    ];
    let child = bench.start_transfer(&list(&args));
    let started = Instant::now();
    while bytes_under(&data.join("segments")) < NOISE_BYTES as u64 / 4 {
        assert!(started.elapsed() < LIMIT, "nothing arrives: {:?}", child.lines());
        std::thread::sleep(Duration::from_millis(5));
    }
    import(&bench, &book, &data);
    let ended = child.wait(LIMIT).expect("it ends");
    assert_eq!(ended.code, Some(3), "{:?}", ended.lines);
    director.stop();
    let export = bench.export("vm", &data, "out.raw");
    let out = Tool::new("debugfs").expect("e2fsprogs").args(["-R", "cat /srv/a-bad.bin"]).arg(&export);
    assert_eq!(out.run().expect("debugfs").trim_matches('\0'), "", "the bad file reads as zeros");
}

/// New rules are held against what is kept: what they would refuse is named, most of it is answered from
/// memory, and nothing is changed.
#[test]
fn what_is_kept_is_judged_by_new_rules() {
    let bench = Bench::new();
    let image = guest(&bench, 8 << 20, "bad 1");
    let vault = bench.path("vault");
    let moved = bench.airlock("transfer").arg(&image).arg(&vault).args(["--name", "vm"]).expect(0).json();
    let recheck = |code| {
        let run = bench.airlock("director").args(["recheck", "--data"]).arg(&vault);
        run.expect(code).json()
    };
    let before = recheck(0);
    assert_eq!((&before["vms"][0]["vm"], &before["vms"][0]["decision"]), (&"vm".into(), &"allow".into()));
    assert!(before["stats"]["bytes_memoised"].as_u64() >= Some(8 << 20), "{before}");
    assert!(before["stats"]["bytes_read"].as_u64() < Some(4 << 20), "{before}");

    import(&bench, &book(&bench, "1", &["bad 1"], &[]), &vault);
    let after = recheck(3);
    assert_eq!(detectors(&after["vms"][0]), ["hash:Test.Bad"]);
    assert_eq!(after["vms"][0]["findings"][0]["path"], "/srv/a-bad.bin");
    assert!(after["vms"][0]["bytes_held"].as_u64() > Some(0), "{after}");
    let verify = bench.airlock("verify").arg(text_of(&moved["evidence"])).arg("--vault").arg(&vault);
    verify.expect(0);
    bench.airlock("director").args(["recheck", "--data"]).arg(bench.path("nowhere")).expect(10);
}
