//! Reports in every format, in one run beside the result itself.

use crate::support::{Bench, assert_no_residue, text_of};
use airlock_testkit::{Ext4Image, Ext4Options, PlantedDiskBuilder, Tree};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const FORMATS: [&str; 9] = ["table", "json", "ndjson", "sarif", "cyclonedx", "oscal", "ocsf", "csv", "html"];

/// Names one file for each format, below a folder of its own.
fn outputs(folder: &Path) -> Vec<String> {
    fs::create_dir_all(folder).expect("folder");
    FORMATS.iter().map(|format| format!("--output={format}={}", folder.join(format).display())).collect()
}

/// Hands each report to the independent reader of its format.
fn assert_valid(folder: &Path) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let python = target.join("validators/bin/python");
    assert!(python.is_file(), "the validators of reports are missing: run `cargo xtask validators`");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../report/tests");
    for format in FORMATS.iter().filter(|format| !["table", "json"].contains(format)) {
        let ran = Command::new(&python)
            .arg(tests.join("validate.py"))
            .arg(format)
            .args([folder.join(format), tests.join("sarif-2.1.0.schema.json")])
            .output()
            .expect("python runs");
        assert!(ran.status.success(), "{format}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A scan and a transfer end as without reports; every report is valid, only its owner can read it, and
/// none holds one of 200 values.
#[test]
fn scan_and_transfer_write_every_format_in_one_run() {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let scanned = bench.path("scanned");
    let ran = bench.airlock("scan").arg(disk.image()).args(outputs(&scanned)).expect(3);
    let json: serde_json::Value = serde_json::from_str(&text(&scanned.join("json"))).expect("JSON");
    assert_eq!(json["findings"], ran.json()["findings"]);
    assert!(text(&scanned.join("table")).contains("every byte is in one class"));
    assert_valid(&scanned);
    assert_no_residue(&scanned, disk.planted());
    for format in FORMATS {
        let mode = fs::metadata(scanned.join(format)).expect("report").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{format}");
    }
    assert_eq!(fs::read_dir(&scanned).expect("folder").count(), FORMATS.len(), "nothing is left over");

    let moved = bench.path("moved");
    let ran = bench
        .airlock("transfer")
        .args([disk.image(), &bench.path("dest")])
        .args(["--on-fail", "withhold"])
        .args(outputs(&moved))
        .expect(3);
    assert_valid(&moved);
    assert_no_residue(&moved, disk.planted());
    let page = text(&moved.join("html"));
    assert!(
        page.contains("Moved, without what is held.")
            && page.contains(text_of(&ran.json()["transfer"]["id"]))
    );
}

/// Names of files that are no text, steer terminals and spreadsheets, or look like markup are safe in every
/// format, and SARIF names the very bytes.
#[test]
fn hostile_names_are_safe_in_every_format() {
    let bench = Bench::new();
    let tree = Tree::new(bench.path("tree"), 5).expect("tree");
    for name in
        [&b"<img src=x onerror=alert(1)>"[..], b"=HYPERLINK(1)", b"\xff\xfe\x1b[2J\r\n", b"a\"b'c,d;e|f"]
    {
        let path = tree.root().join(std::ffi::OsStr::from_bytes(name));
        fs::write(
            path,
            format!(
                "card: {}\r\n",
                airlock_testkit::values::pan(
                    airlock_testkit::values::Brand::Visa,
                    &mut airlock_testkit::Rng::new(9)
                )
            ),
        )
        .expect("write");
    }
    let image = bench.path("guest.img");
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(16 << 20)).expect("image");
    let reports = bench.path("reports");
    bench.airlock("scan").arg(&image).args(outputs(&reports)).expect(3);
    assert_valid(&reports);
    for format in FORMATS {
        let text = text(&reports.join(format));
        assert!(!text.contains('\u{1b}'), "{format}");
        assert!(format != "html" || !text.contains("<img"), "markup");
    }
    assert!(text(&reports.join("sarif")).contains("%FF%FE%1B%5B2J%0D%0A"), "the bytes of the name");
}

/// What cannot be written is told before the work, and an old report stays as it is.
#[test]
fn a_report_that_cannot_be_written_is_told_at_once() {
    let bench = Bench::new();
    let ran = bench.airlock("scan").arg("no-such-image").arg("--output=csv=no-such-folder/x").expect(10);
    assert!(ran.err.contains("no-such-folder"), "{}", ran.err);
    let same = bench.path("same").display().to_string();
    bench.airlock("scan").arg("x").args([format!("-ocsv={same}"), format!("-ohtml={same}")]).expect(2);
    let ran = bench.airlock("scan").args(["x", "--output=pdf=y"]).expect(2);
    assert!(ran.err.contains("no such format"), "{}", ran.err);
}
