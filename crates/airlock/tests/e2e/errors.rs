//! Mistakes and hostile images: each ends with its exit code, and says what, where, why, and what to do.

use crate::support::{Bench, Ran, assert_coverage_sums, text_of, u64_of};
use airlock_testkit::{Ext4Image, Ext4Options, PartitionTable, PartitionedDisk, Rng, Tool, Tree};
use std::path::{Path, PathBuf};

fn small_disk(bench: &Bench) -> PathBuf {
    let mut tree = Tree::new(bench.path("small-tree"), 2).expect("tree");
    tree.filler("/etc/motd", 20_000).expect("filler");
    let image = bench.path("small.img");
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(8 << 20)).expect("image");
    image
}

/// What is said on standard error and in JSON is the same, and there is a hint where one helps.
#[track_caller]
fn assert_says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.err.contains(word), "no {word:?} in {:?}", ran.err);
    }
    assert!(ran.err.contains(text_of(&ran.json()["error"])), "{} {}", ran.err, ran.out);
}

/// Wrong paths and flags end with the codes for not found and usage.
#[test]
fn mistakes_have_their_codes() {
    let bench = Bench::new();
    let missing = bench.path("missing.img");
    let dest = bench.path("dest");
    assert_says(&bench.airlock("scan").arg(&missing).expect(10), &["missing.img"]);
    assert_says(&bench.airlock("transfer").args([&missing, &dest]).expect(10), &["missing.img"]);
    assert_says(&bench.airlock("verify").arg(&missing).expect(10), &["missing.img"]);
    let nothing = bench.airlock("export").args(["vm", "--to", "x.raw", "--vault"]).arg(&dest).expect(10);
    assert_says(&nothing, &["no vault", "hint:"]);
    for args in [&["scan", "--no-such-flag", "x"][..], &["scan"], &["no-such-verb"], &["transfer", "x"]] {
        let ran = bench.airlock(args[0]).args(&args[1..]).expect(2);
        assert!(ran.err.contains("Usage") && ran.out.is_empty(), "{}", ran.err);
    }
    let image = small_disk(&bench);
    assert_says(&bench.airlock("transfer").arg(&image).arg("airlock://nowhere").expect(2), &["HOST:PORT"]);
    let gone = bench.airlock("transfer").arg(&image).args(["airlock://127.0.0.1:9/default", "--identity"]);
    assert_says(&gone.arg(&missing).expect(10), &["missing.img"]);
    let folder = bench.airlock("transfer").arg(bench.path("small-tree")).arg(&dest).expect(2);
    assert_says(&folder, &["only disks can be moved", "airlock scan"]);
    assert!(!dest.exists(), "a mistake leaves nothing behind");
}

/// A policy that cannot be read is an error that names the file, the line and the word.
#[test]
fn broken_policy_names_its_line() {
    let bench = Bench::new();
    let image = small_disk(&bench);
    let broken = bench.policy("broken.yaml", &[("unsupported: warn", "unsupported: wran")]);
    let text = std::fs::read_to_string(&broken).expect("policy");
    let line = text.lines().position(|line| line.contains("wran")).expect("the line") + 1;
    for (verb, rest) in [("scan", None), ("transfer", Some(bench.path("dest")))] {
        let ran = bench.airlock(verb).arg(&image).args(rest).arg("--policy").arg(&broken).expect(1);
        assert_says(&ran, &["broken.yaml", "wran", &format!("line {line}"), "airlock policy init"]);
    }
    let ran = bench.airlock("policy").arg("check").arg(&broken).expect(1);
    assert_says(&ran, &["broken.yaml", "wran"]);
    let sound = bench.policy("sound.yaml", &[]);
    bench.airlock("policy").arg("check").arg(&sound).expect(0);
    bench.airlock("policy").arg("merge").args([&sound, &bench.lax_policy()]).expect(0);
}

fn overlay(base: &Path, to: PathBuf) -> PathBuf {
    let tool = Tool::new("qemu-img").expect("qemu-img");
    tool.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(base).arg(&to).run().expect("create");
    to
}

/// A file that an image names is opened only in the folder that was allowed.
#[test]
fn backing_file_needs_leave() {
    let bench = Bench::new();
    let base = small_disk(&bench);
    let image = overlay(&base, bench.path("overlay.qcow2"));
    let ran = bench.airlock("scan").arg(&image).expect(1);
    assert_says(&ran, &["overlay.qcow2", "small.img", "hint:", "--allow-backing"]);
    std::fs::create_dir(bench.path("elsewhere")).expect("mkdir");
    let elsewhere = bench.airlock("scan").arg(&image).arg("--allow-backing").arg(bench.path("elsewhere"));
    assert_says(&elsewhere.expect(1), &["small.img"]);
    let folder = base.parent().expect("parent");
    let through = bench.airlock("scan").arg(&image).arg("--allow-backing").arg(folder).expect(0).json();
    let plain = bench.airlock("scan").arg(&base).expect(0).json();
    assert_eq!(through["bundle"]["disks"][0]["root"], plain["bundle"]["disks"][0]["root"]);
    // Neither is a file of this machine that a hostile image names.
    let hostile = overlay(Path::new("/etc/passwd"), bench.path("hostile.qcow2"));
    let ran = bench.airlock("scan").arg(&hostile).arg("--allow-backing").arg(folder).expect(1);
    assert_says(&ran, &["/etc/passwd"]);
}

/// An encrypted volume is reported as such and never as clean: a scan says incomplete, a transfer keeps nothing.
#[test]
fn encrypted_volume_is_incomplete() {
    let bench = Bench::new();
    let mut luks = vec![0; 8 << 20];
    Rng::new(5).fill(&mut luks);
    luks[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x02");
    let volume = bench.path("luks.part");
    std::fs::write(&volume, &luks).expect("write");
    let contents = [small_disk(&bench), volume];
    let contents: Vec<&Path> = contents.iter().map(PathBuf::as_path).collect();
    let disk = PartitionedDisk::build(bench.path("disk.img"), PartitionTable::Gpt, &contents).expect("disk");
    let json = bench.airlock("scan").arg(&disk.path).expect(5).json();
    assert_coverage_sums(&json["coverage"], disk.size);
    assert_eq!(u64_of(&json["coverage"]["unscannable"]["encrypted"]), luks.len() as u64);
    let dest = bench.path("dest");
    let json = bench.airlock("transfer").args([&disk.path, &dest]).expect(5).json();
    assert_eq!(json["transfer"]["state"], "discarded");
    crate::transfer::assert_nothing_kept(&dest);
    // A policy may accept it.
    let accepts = bench.policy("accepts.yaml", &[("encrypted: terminate", "encrypted: warn")]);
    let run = bench.airlock("transfer").args([&disk.path, &dest]).arg("--policy").arg(&accepts);
    let json = run.arg("--dest-policy").arg(&accepts).expect(0).json();
    assert_eq!(u64_of(&json["coverage"]["unscannable"]["encrypted"]), luks.len() as u64);
    crate::support::assert_identical(&disk.path, &bench.export("disk", &dest, "out.raw"));
}

/// A directory belongs to one director at a time.
#[test]
fn second_director_is_busy() {
    let bench = Bench::new();
    let data = bench.path("data");
    let director = bench.director(&data, &[]);
    let second =
        bench.airlock("director").arg("--data").arg(&data).args(["--listen", "127.0.0.1:0"]).expect(11);
    assert_says(&second, &["data", "hint:"]);
    let image = small_disk(&bench);
    bench.airlock("transfer").args([&image, &data]).expect(11);
    director.stop();
    bench.airlock("transfer").args([&image, &data]).expect(0);
    // An export never overwrites.
    let ran =
        bench.airlock("export").arg("small").arg("--vault").arg(&data).arg("--to").arg(&image).expect(1);
    assert_says(&ran, &["exists", "hint:"]);
}

/// A destination whose disk is full is named, with what can be done, in place of a link that ended.
#[test]
fn a_full_destination_says_so() {
    let bench = Bench::new();
    let image = bench.clean_disk(32 << 20);
    let small = bench.path("small");
    std::fs::create_dir_all(&small).expect("folder");
    let run = |program: &str, args: &[&str]| {
        let done = std::process::Command::new(program).args(args).arg(&small).status().expect("it runs");
        assert!(done.success(), "{program} ends with {done}");
    };
    run("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs"]);
    let ran = bench.airlock("transfer").arg(&image).arg(small.join("dest")).end();
    run("umount", &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    for part in ["the destination failed", "No space left on device", "--resume"] {
        assert!(ran.err.contains(part), "no {part:?} in {}", ran.err);
    }
}

/// Runs that make the keys of a site at the same time all get the same ones.
#[test]
fn the_first_runs_of_a_site_may_be_many_at_once() {
    let bench = Bench::new();
    let keys: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..16).map(|_| scope.spawn(|| bench.airlock("key").expect(0).out)).collect();
        runs.into_iter().map(|run| run.join().expect("it runs")).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}
