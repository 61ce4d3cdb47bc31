//! A vault that has rotted: every byte that is not what it was is named, and who needs it.

use crate::support::{Bench, list, positions, with_flipped_byte};
use airlock_testkit::{Document, Encoding, Ext4Image, Ext4Options, Kind, Tree, residue};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A director's directory after a clean stop: two VMs that share most of their bytes, and one refusal.
struct Kept {
    bench: Bench,
    data: PathBuf,
}

fn image(bench: &Bench, name: &str, shape: impl FnOnce(&mut Tree)) -> PathBuf {
    let mut tree = Tree::new(bench.path(&format!("{name}-tree")), 5).expect("tree");
    tree.write("/srv/shared/a.txt", "shared between both\n".repeat(9000).as_bytes()).expect("write");
    tree.noise("/srv/shared/b.bin", 300 << 10).expect("noise");
    shape(&mut tree);
    let image = bench.path(&format!("{name}.img"));
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(8 << 20)).expect("image");
    image
}

fn keep() -> Kept {
    let bench = Bench::new();
    let data = bench.path("data");
    let director = bench.director(&data, &[]);
    let send = |image: &Path, code: i32| {
        let args: [&dyn AsRef<std::ffi::OsStr>; 4] =
            [&image, &director.url, &"--identity", &director.identity];
        bench.airlock("transfer").args(list(&args)).expect(code);
    };
    send(&image(&bench, "first", |_| ()), 0);
    send(&image(&bench, "second", |tree| drop(tree.noise("/srv/own.bin", 200 << 10).expect("noise"))), 0);
    let refused = |tree: &mut Tree| {
        tree.plant("/srv/cards.csv", Document::Csv, &[Kind::PanGrouped; 40], Encoding::Ascii).expect("plant");
    };
    send(&image(&bench, "third", refused), 4);
    director.stop();
    Kept { bench, data }
}

impl Kept {
    /// Scrubs. Returns the code and the result.
    fn scrub(&self) -> (i32, Value) {
        let ran = self.bench.airlock("scrub").arg("--data").arg(&self.data).end();
        (ran.code.expect("a code"), ran.json())
    }

    /// Fails unless a scrub names `file`. Returns what it says of it.
    fn assert_named(&self, what: &str, file: &str) -> Value {
        let (code, json) = self.scrub();
        assert_eq!(code, 6, "{what} of {file}: {json}");
        let Some(damage) = json["damage"].as_array() else {
            let said = json["error"].as_str().expect("an error");
            assert!(said.contains(file), "{what} of {file}: {said}");
            return Value::Null;
        };
        let found = damage.iter().find(|damage| damage["file"] == file);
        found.unwrap_or_else(|| panic!("{what} of {file}: {json}")).clone()
    }

    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.data).expect("below").display().to_string()
    }

    /// The files that matter.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = residue::files(&self.data).expect("list");
        files.retain(|path| {
            let name = self.name(path);
            // A cache, a lock, what the operator takes away, and the sum that `state.db` is held against.
            !name.starts_with("memo/")
                && !["lock", "provider.token", "tls/manager.pem", "state.db.blake3"].contains(&name.as_str())
        });
        files
    }

    fn sound(&self) {
        let (code, json) = self.scrub();
        assert_eq!(code, 0, "{json}");
        assert_eq!(
            (&json["vms"], &json["damage"], &json["left_out"]),
            (&2.into(), &Value::Array(vec![]), &Value::Array(vec![])),
            "{json}"
        );
    }
}

fn vms(damage: &Value) -> BTreeSet<&str> {
    damage["affected"].as_array().expect("VMs").iter().map(|vm| vm["vm"].as_str().expect("a name")).collect()
}

/// Places in each file where a byte is flipped.
fn places(name: &str) -> usize {
    match name.split('/').next().expect("a part") {
        "segments" => 60,
        "state.db" => 80,
        "manifests" | "evidence" => 25,
        _ => 9,
    }
}

#[test]
fn every_flipped_byte_is_named() {
    let kept = keep();
    kept.sound();
    let (mut flipped, mut shared) = (0, false);
    for path in kept.files() {
        let name = kept.name(&path);
        for position in positions(&path, places(&name)) {
            flipped += 1;
            with_flipped_byte(&path, position, || {
                let damage = kept.assert_named(&format!("byte {position}"), &name);
                if name.starts_with("segments/") {
                    let affected = &damage["affected"][0];
                    assert!(!affected["extents"].as_array().expect("extents").is_empty(), "{damage}");
                    shared |= vms(&damage).len() == 2;
                }
            });
        }
    }
    assert!(flipped >= 300, "only {flipped} places");
    assert!(shared, "no damage in what both VMs need");
    kept.sound();
    airlock_testkit::score("bit rot found by scrub", flipped, flipped, "");
}

#[test]
fn what_is_cut_longer_gone_or_swapped_is_named() {
    let kept = keep();
    for path in kept.files() {
        let name = kept.name(&path);
        let before = fs::read(&path).expect("read");
        let changes: [(&str, Vec<u8>); 4] = [
            ("a byte less", before[..before.len() - 1].to_vec()),
            ("the half", before[..before.len() / 2].to_vec()),
            ("nothing", Vec::new()),
            ("a byte more", [&before[..], b"\0"].concat()),
        ];
        for (what, bytes) in changes {
            fs::write(&path, bytes).expect("write");
            kept.assert_named(what, &name);
        }
        fs::remove_file(&path).expect("remove");
        kept.assert_named("removal", &name);
        fs::write(&path, before).expect("as it was");
    }
    for ending in ["seg", "manifest", "json"] {
        let files = crate::support::files_ending(&kept.data, ending);
        let [one, two] = &files[..2] else { panic!("two files of {ending}") };
        let read = |path: &Path| fs::read(path).expect("read");
        let (first, second) = (read(one), read(two));
        fs::write(one, &second).and_then(|()| fs::write(two, &first)).expect("swap");
        for path in [one, two] {
            kept.assert_named("swap", &kept.name(path));
        }
        fs::write(one, first).and_then(|()| fs::write(two, second)).expect("swap back");
    }
    kept.sound();
}

/// Beside a director that runs, what does not move is checked, and what is left out is said.
#[test]
fn a_director_may_run_meanwhile() {
    let kept = keep();
    let director = kept.bench.director(&kept.data, &[]);
    let (code, json) = kept.scrub();
    assert_eq!((code, json["left_out"].as_array().map(Vec::len)), (0, Some(2)), "{json}");
    for path in kept.files() {
        let name = kept.name(&path);
        if !name.starts_with("state.db") {
            with_flipped_byte(&path, 7, || drop(kept.assert_named("byte 7", &name)));
        }
    }
    director.stop();
    kept.sound();
}

/// A director does not go on with a key that is not the one that it made: what it seals could not be opened.
#[test]
fn a_rotten_key_stops_the_director() {
    let kept = keep();
    let key = kept.data.join("site.key");
    let before = fs::read(&key).expect("read");
    for bytes in [None, Some(format!("{}\n", "ab".repeat(32)))] {
        fs::remove_file(&key).expect("remove");
        if let Some(bytes) = bytes {
            fs::write(&key, bytes).expect("write");
        }
        let ran = kept.bench.airlock("list").arg("--vault").arg(&kept.data).expect(1);
        assert!(ran.err.contains("site.key"), "{}", ran.err);
        fs::write(&key, &before).expect("as it was");
    }
    kept.bench.airlock("list").arg("--vault").arg(&kept.data).expect(0);
}

#[test]
fn there_is_a_vault_or_not() {
    let bench = Bench::new();
    bench.airlock("scrub").arg("--data").arg(bench.path("nothing")).expect(10);
}
