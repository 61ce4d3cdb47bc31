//! Transfers into a directory: what is kept, what is not, and what never lies there in plain bytes.

use crate::support::{
    Bench, assert_all_reported, assert_coverage_sums, assert_identical, assert_no_marker, assert_no_residue,
    assert_rest_is_intact, cache, files_ending, text_of, u64_of,
};
use airlock_testkit::{
    Document, Encoding, Ext4Image, Ext4Options, Kind, PlantedDiskBuilder, PocketVm, debian_root,
};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Size of the Debian file system; the tests of the test kit build the same one.
const DEBIAN_BYTES: u64 = 1 << 30;

fn check_withheld(shape: impl FnOnce(PlantedDiskBuilder) -> PlantedDiskBuilder) {
    let bench = Bench::new();
    let disk = bench.planted(shape);
    let dest = bench.path("dest");
    let ran = bench
        .airlock("transfer")
        .args([disk.image(), &dest])
        .args(["--on-fail", "withhold", "--name", "vm", "--policy"])
        .arg(bench.strict_policy())
        .expect(3);
    ran.assert_shows_no_value(&bench, disk.planted());
    let json = ran.json();
    assert_eq!(json["transfer"]["state"], "active-withheld");
    assert_eq!(json["result"]["decision"], "withhold");
    assert_all_reported(&json["findings"], &disk);
    let size = fs::metadata(disk.image()).expect("image").len();
    assert_coverage_sums(&json["coverage"], size);
    assert_coverage_sums(&json["coverage_destination"], size);
    assert_eq!(json["stats"]["bytes_withheld"], json["coverage"]["held"]);
    assert_no_residue(&dest, disk.planted());
    assert_no_residue(&bench.home(), disk.planted());
    bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&dest).expect(0);

    let raw = bench.export("vm", &dest, "out.raw");
    let qcow2 = bench.export("vm", &dest, "out.qcow2");
    assert_identical(&raw, &qcow2);
    assert_no_residue(&raw, disk.planted());
    assert_rest_is_intact(&bench, &disk, &raw);
    // The export itself passes now.
    bench.airlock("scan").arg(&raw).arg("--policy").arg(bench.strict_policy()).expect(0);
    assert_no_residue(&dest, disk.planted());
}

/// Withholding keeps none of 200 values anywhere, and breaks nothing else in a partitioned disk.
#[test]
fn withhold_keeps_no_value_and_breaks_nothing() {
    check_withheld(PlantedDiskBuilder::gpt);
}

/// Withholding is exact on blocks of 1 KiB, too.
#[test]
fn withhold_is_exact_on_small_blocks() {
    check_withheld(|builder| builder.mbr().ext4(Ext4Options::new(64 << 20).block_bytes(1024)));
}

/// Terminating leaves no value, no segment and no key, and evidence that says so.
#[test]
fn terminate_keeps_nothing() {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let dest = bench.path("dest");
    let ran = bench.airlock("transfer").args([disk.image(), &dest]).expect(4);
    ran.assert_shows_no_value(&bench, disk.planted());
    let json = ran.json();
    assert_eq!(json["transfer"]["state"], "discarded");
    assert_eq!(json["result"]["decision"], "terminate");
    assert_nothing_kept(&dest);
    assert_no_residue(&dest, disk.planted());
    assert_no_residue(&bench.home(), disk.planted());
    bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&dest).expect(0);
    bench.airlock("export").args(["disk", "--to", "x.raw", "--vault"]).arg(&dest).expect(10);
    let vms = bench.airlock("list").arg("--vault").arg(&dest).expect(0).json();
    assert_eq!(vms["vms"], Value::Array(Vec::new()));
}

/// Fails if a director's directory holds chunks, their keys, or a manifest.
pub(crate) fn assert_nothing_kept(dest: &Path) {
    for (folder, ending) in [("segments", "seg"), ("chamber", "key"), ("manifests", "manifest")] {
        let left = files_ending(&dest.join(folder), ending);
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A disk that passes arrives whole, and only ciphertext of it is in the director's directory.
#[test]
fn clean_disk_arrives_and_only_ciphertext_is_kept() {
    let bench = Bench::new();
    let image = bench.clean_disk(8 << 20);
    let dest = bench.path("dest");
    let json = bench.airlock("transfer").args([&image, &dest]).expect(0).json();
    assert_eq!(json["transfer"]["state"], "active");
    assert!(!files_ending(&dest.join("segments"), "seg").is_empty());
    assert!(files_ending(&dest.join("chamber"), "key").is_empty());
    assert_no_marker(&dest);
    let raw = bench.export("clean", &dest, "out.raw");
    assert_identical(&image, &raw);
    assert_identical(&image, &bench.export("clean", &dest, "out.qcow2"));
    let statement =
        bench.airlock("verify").arg(text_of(&json["evidence"])).expect(0).json()["statement"].clone();
    let record = &statement["predicate"]["disks"][0];
    assert_eq!(record["source_root"], record["kept_root"], "invariant I3");
    assert_eq!(record["holes"], Value::Array(Vec::new()));
    let scanned = bench.airlock("scan").arg(&raw).expect(0).json();
    assert_eq!(
        text_of(&scanned["bundle"]["disks"][0]["root"]).trim_start_matches("blake3:"),
        text_of(&record["kept_root"]).trim_start_matches("blake3:")
    );
    // The source and the vault stay as they are when only a plan is asked for.
    let plan =
        bench.airlock("transfer").args([&image, &bench.path("nowhere")]).arg("--plan").expect(0).json();
    assert_eq!(plan["schema"], "airlock.plan/1");
    assert!(!bench.path("nowhere").exists(), "a plan makes nothing");
}

/// A real Debian passes the default policy and arrives whole; a second transfer of it or
/// of a rebuilt image sends only what is not there.
#[test]
fn debian_arrives_and_is_sent_once() {
    let bench = Bench::new();
    let images = debian_root(&cache(), DEBIAN_BYTES).expect("debian");
    let dest = bench.path("dest");
    let send = |image: &Path, name: &str| {
        let json = bench.airlock("transfer").args([image, &dest]).args(["--name", name]).expect(0).json();
        assert_eq!(json["transfer"]["state"], "active");
        assert_coverage_sums(&json["coverage"], fs::metadata(image).expect("image").len());
        u64_of(&json["stats"]["bytes_sent"])
    };
    let first = send(&images.disk, "first");
    assert!(first > 100 << 20, "{first} bytes are too few for Debian");
    assert_identical(&images.disk, &bench.export("first", &dest, "first.qcow2"));
    let second = send(&images.disk, "second");
    assert!(second < first / 100, "the second transfer sent {second} of {first} bytes");

    let rebuilt = bench.path("rebuilt.img");
    let options = Ext4Options::new(DEBIAN_BYTES)
        .keep_attributes()
        .uuid("6b1d5e0a-0009-4c7e-9b5e-000000000009")
        .label("other");
    Ext4Image::build(&cache().join("debian/root"), &rebuilt, &options).expect("rebuild");
    let third = send(&rebuilt, "rebuilt");
    assert!(third * 10 < first * 4, "the rebuilt image sent {third} of {first} bytes");
    assert_identical(&rebuilt, &bench.export("rebuilt", &dest, "rebuilt.raw"));
}

/// A guest boots from what was exported, and reads every file as it was at the source.
#[test]
fn pocket_vm_boots_after_its_transfer() {
    let bench = Bench::new();
    let vm = PocketVm::build(&cache(), &bench.path("pocket"), 5, |_| Ok(())).expect("build");
    let dest = bench.path("dest");
    let json =
        bench.airlock("transfer").args([vm.image(), &dest]).args(["--name", "pocket"]).expect(0).json();
    assert_eq!(json["transfer"]["state"], "active");
    let export = bench.export("pocket", &dest, "out.qcow2");
    assert_identical(vm.image(), &export);
    let before = PocketVm::boot(vm.image(), "raw").expect("the source boots");
    let after = PocketVm::boot(&export, "qcow2").expect("the export boots");
    assert!(before.len() >= 6, "{before:?}");
    assert_eq!(before, after);
}

/// A guest whose file was withheld still boots, and reads that file as zeros.
#[test]
fn pocket_vm_boots_without_a_withheld_file() {
    let bench = Bench::new();
    let vm = PocketVm::build(&cache(), &bench.path("pocket"), 6, |tree| {
        tree.plant("/data/pay.csv", Document::Csv, &[Kind::Pan; 5], Encoding::Ascii).map(drop)
    })
    .expect("build");
    let dest = bench.path("dest");
    bench
        .airlock("transfer")
        .args([vm.image(), &dest])
        .args(["--name", "vm", "--on-fail", "withhold"])
        .expect(3);
    let export = bench.export("vm", &dest, "out.qcow2");
    let after = PocketVm::boot(&export, "qcow2").expect("the export boots");
    let content = |path: &str| vm.root().cat(path).expect("cat");
    assert_eq!(after.len(), 7, "{after:?}");
    for sum in after {
        assert_eq!(sum.size, content(&sum.path).len() as u64, "{}", sum.path);
        let expected =
            if sum.path == "/data/pay.csv" { vec![0; content(&sum.path).len()] } else { content(&sum.path) };
        assert_eq!(sum.sha256, sha256(&bench, &expected), "{}", sum.path);
    }
}

fn sha256(bench: &Bench, bytes: &[u8]) -> String {
    let path = bench.path("summed");
    fs::write(&path, bytes).expect("write");
    let said =
        airlock_testkit::Tool::new("sha256sum").expect("sha256sum").arg(&path).run().expect("sha256sum");
    said.split(' ').next().expect("a sum").to_owned()
}
