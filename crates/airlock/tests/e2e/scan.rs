//! What `airlock scan` finds, and where it says that it lies.

use crate::support::{Bench, assert_all_reported, assert_coverage_sums, converted, text_of, u64_of};
use airlock_testkit::{Document, Encoding, Kind, PlantedDisk, PlantedDiskBuilder, Rng, Tree};
use serde_json::Value;
use std::path::Path;

fn scan(bench: &Bench, disk: &PlantedDisk, image: &Path, threads: &str) -> Value {
    let folder = image.parent().expect("a folder");
    let run = bench.airlock("scan").arg(image).args(["--no-memo", "--threads", threads]);
    let ran = run.arg("--allow-backing").arg(folder).expect(3);
    ran.assert_shows_no_value(bench, disk.planted());
    let json = ran.json();
    let size = u64_of(&json["bundle"]["disks"][0]["virtual_size"]);
    assert_coverage_sums(&json["coverage"], size);
    let places: u64 = json["places"].as_object().expect("places").values().map(u64_of).sum();
    assert_eq!(places, size, "{}", json["places"]);
    json
}

/// Everything in a result that must not depend on image format, threads or time.
fn verdict(json: &Value) -> [&Value; 6] {
    let root = &json["bundle"]["disks"][0]["root"];
    [root, &json["findings"], &json["coverage"], &json["places"], &json["result"], &json["findings_total"]]
}

fn check(shape: impl FnOnce(PlantedDiskBuilder) -> PlantedDiskBuilder, contents: &[&str]) {
    let bench = Bench::new();
    let disk = bench.planted(shape);
    let raw = scan(&bench, &disk, disk.image(), "1");
    assert_all_reported(&raw["findings"], &disk);
    let volumes = raw["bundle"]["disks"][0]["volumes"].as_array().expect("volumes");
    let found: Vec<&str> = volumes.iter().map(|volume| text_of(&volume["content"])).collect();
    for content in contents {
        assert!(found.contains(content), "{content} is not among {found:?}");
    }
    let again = scan(&bench, &disk, disk.image(), "4");
    assert!(verdict(&raw) == verdict(&again), "4 threads come to another verdict than 1");
    for (name, format, options) in [
        ("plain.qcow2", "qcow2", &[][..]),
        ("zlib.qcow2", "qcow2", &["-c", "-o", "compression_type=zlib"]),
        ("zstd.qcow2", "qcow2", &["-c", "-o", "compression_type=zstd,cluster_size=128k"]),
        ("parts.qcow2", "qcow2", &["-o", "extended_l2=on,cluster_size=16k"]),
        ("old.qcow2", "qcow2", &["-o", "compat=0.10"]),
        ("sparse.vmdk", "vmdk", &[]),
        ("stream.vmdk", "vmdk", &["-o", "subformat=streamOptimized"]),
        ("dynamic.vhd", "vpc", &["-o", "force_size=on"]),
        ("fixed.vhd", "vpc", &["-o", "subformat=fixed,force_size=on"]),
        ("dynamic.vhdx", "vhdx", &[]),
        ("fixed.vhdx", "vhdx", &["-o", "subformat=fixed"]),
        ("dynamic.vdi", "vdi", &[]),
        ("fixed.vdi", "vdi", &["-o", "static=on"]),
        // Images of several files, which need leave.
        ("flat.vmdk", "vmdk", &["-o", "subformat=monolithicFlat"]),
        ("flat-parts.vmdk", "vmdk", &["-o", "subformat=twoGbMaxExtentFlat"]),
        ("sparse-parts.vmdk", "vmdk", &["-o", "subformat=twoGbMaxExtentSparse"]),
    ] {
        let image = converted(disk.image(), bench.path(name), format, options);
        let other = scan(&bench, &disk, &image, "2");
        assert_eq!(other["bundle"]["disks"][0]["format"], if format == "vpc" { "vhd" } else { format });
        for (raw, other) in verdict(&raw).into_iter().zip(verdict(&other)) {
            assert!(raw == other, "{name} comes to {other}\nraw to {raw}");
        }
    }
    let ran = bench.airlock("scan").arg(disk.image()).args(["--format", "table"]).expect(3);
    ran.assert_shows_no_value(&bench, disk.planted());
    assert!(ran.out.contains("every byte is in one class"), "{}", ran.out);
}

/// All 200 values of a bare ext4 are reported in their places, from every image format alike.
#[test]
fn scan_finds_all_on_a_bare_file_system() {
    check(|builder| builder, &["ext4"]);
}

/// All 200 values of a disk with a GUID partition table are reported, from every image format alike.
#[test]
fn scan_finds_all_behind_gpt() {
    check(PlantedDiskBuilder::gpt, &["ext4"]);
}

/// All 200 values of a disk with an MBR are reported, from every image format alike.
#[test]
fn scan_finds_all_behind_mbr() {
    check(PlantedDiskBuilder::mbr, &["ext4"]);
}

/// A folder is a source, too: paths are relative to it with a leading slash, offsets are those of the file.
#[test]
fn scan_reads_a_folder_and_a_file() {
    let bench = Bench::new();
    let mut tree = Tree::new(bench.path("folder"), 3).expect("tree");
    tree.filler("/doc/readme.txt", 30_000).expect("filler");
    tree.write("/empty", b"").expect("write");
    let mut planted = Vec::new();
    for (path, document, encoding) in [
        ("/pay/2019.csv", Document::Csv, Encoding::Ascii),
        ("/pay/wide.txt", Document::Notes, Encoding::Utf16Le),
        ("/top.html", Document::Html, Encoding::Ascii),
    ] {
        planted.extend(tree.plant(path, document, &Kind::SHORT, encoding).expect("plant"));
    }
    let is_there = |json: &Value, path: &str, value: &airlock_testkit::Planted| {
        json["findings"].as_array().expect("findings").iter().any(|finding| {
            finding["detector"] == value.detector
                && finding["path"] == path
                && finding["offset"] == value.offset
                && finding["length"] == value.length
                && finding["disk_offset"].is_null()
                && finding["deleted"] == false
        })
    };
    let ran = bench.airlock("scan").arg(tree.root()).expect(3);
    ran.assert_shows_no_value(&bench, &planted);
    let json = ran.json();
    for value in &planted {
        assert!(is_there(&json, &value.path, value), "{value:?}");
    }
    let files = json["bundle"]["files"].as_array().expect("files");
    assert_eq!(files.len(), 5, "{files:?}");
    let size: u64 = files.iter().map(|file| u64_of(&file["size"])).sum();
    assert_coverage_sums(&json["coverage"], size);

    let json = bench.airlock("scan").arg(tree.root().join("pay/2019.csv")).expect(3).json();
    for value in planted.iter().filter(|value| value.path == "/pay/2019.csv") {
        assert!(is_there(&json, "/2019.csv", value), "{value:?}");
    }
    bench.airlock("scan").arg(tree.root().join("doc/readme.txt")).expect(0);
    bench.airlock("scan").arg(tree.root().join("empty")).expect(0);
}

/// A flood of findings is a limit that is reported: the file is held, memory and lists stay bounded.
#[test]
fn a_flood_of_findings_is_a_limit() {
    let bench = Bench::new();
    let mut rng = Rng::new(7);
    let mut text = String::from("card number\n");
    for _ in 0..30_000 {
        text.push_str(&airlock_testkit::values::pan(airlock_testkit::values::Brand::Visa, &mut rng));
        text.push('\n');
    }
    let file = bench.path("flood.csv");
    std::fs::write(&file, &text).expect("write");
    let json = bench.airlock("scan").arg(&file).expect(3).json();
    assert_coverage_sums(&json["coverage"], text.len() as u64);
    assert_eq!(u64_of(&json["coverage"]["unscannable"]["limit"]), text.len() as u64);
    assert_eq!(json["findings"].as_array().expect("findings").len(), 20_000);
}

/// A policy may leave containers as they are; they count as unsupported then, never as clean, and a
/// memo of such a scan is no answer to one that opens them.
#[test]
fn containers_that_are_left_are_not_clean() {
    let bench = Bench::new();
    let folder = bench.path("folder");
    std::fs::create_dir_all(&folder).expect("folder");
    let value = airlock_testkit::values::pan(airlock_testkit::values::Brand::Visa, &mut Rng::new(3));
    std::fs::write(folder.join("cards.csv"), format!("name,card number\nRuth Roe,{value}\n")).expect("write");
    std::fs::write(folder.join("text"), "nothing\n".repeat(100)).expect("write");
    let packed = std::process::Command::new("gzip").arg(folder.join("cards.csv")).status().expect("gzip");
    assert!(packed.success());
    // Text that holds a container: what it spells is looked at, what that holds is left.
    let spelled = std::process::Command::new("base64").arg("-w0").arg(folder.join("cards.csv.gz")).output();
    let spelled = spelled.expect("base64").stdout;
    std::fs::write(folder.join("spelled"), &spelled).expect("write");
    let leave = bench.policy("leave.yaml", &[("containers: open", "containers: leave")]);
    let left = bench.airlock("scan").arg(&folder).arg("--policy").arg(&leave).expect(0).json();
    assert!(left["findings"].as_array().expect("findings").is_empty());
    let stored = std::fs::metadata(folder.join("cards.csv.gz")).expect("file").len();
    let unsupported = u64_of(&left["coverage"]["unscannable"]["unsupported"]);
    assert_eq!(unsupported, stored + spelled.len() as u64, "{}", left["coverage"]);
    let opened = bench.airlock("scan").arg(&folder).expect(3).json();
    let paths: Vec<_> =
        opened["findings"].as_array().expect("findings").iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, ["/cards.csv.gz", "/spelled"]);
    assert_eq!(u64_of(&opened["coverage"]["unscannable"]["unsupported"]), 0);
}
