//! What is installed, and what feeds and entitlements say of it.

use crate::support::{Bench, text_of};
use airlock_testkit::{Ext4Image, Ext4Options, Tree};
use serde_json::Value;
use std::fs;

const STATUS: &str = "Package: libxz5\nStatus: install ok installed\nSource: xz-utils\nArchitecture: amd64\nVersion: 5.4.1-0.2\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1.0\n\nPackage: fine\nStatus: install ok installed\nVersion: 2.0-1\n";
const RELEASE: &str = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian 12\"\n";
const PACKAGES: &str =
    "Package: libxz5\nVersion: 5.4.1-1\n\nPackage: fine\nVersion: 2.0-1\n\nPackage: gone\nVersion: 9.0\n";
const METADATA: &str = "Metadata-Version: 2.1\nName: Home_Assistant\nVersion: 2023.1.0b5\n\nText\n";

fn osv(id: &str, ecosystem: &str, name: &str, fixed: &str) -> String {
    serde_json::json!({"id": id, "aliases": [format!("CVE-{id}")], "affected": [{
        "package": {"ecosystem": ecosystem, "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]}]})
    .to_string()
}

/// Packages on an ext4 are listed with evidence, and judged by source package and each ecosystem's order.
#[test]
fn installed_packages_are_judged_by_feeds() {
    let bench = Bench::new();
    let tree = Tree::new(bench.path("tree"), 3).expect("tree");
    for (path, text) in [
        ("/var/lib/dpkg/status", STATUS),
        ("/etc/os-release", RELEASE),
        ("/usr/lib/python3/dist-packages/ha-2023.dist-info/METADATA", METADATA),
    ] {
        tree.write(path, text.as_bytes()).expect("write");
    }
    let image = bench.path("guest.img");
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(16 << 20)).expect("image");

    let feeds = bench.path("feeds");
    fs::create_dir_all(&feeds).expect("folder");
    fs::write(feeds.join("a.json"), osv("A", "Debian:12", "xz-utils", "5.4.1-1")).expect("write");
    fs::write(feeds.join("b.json"), osv("B", "PyPI", "home-assistant", "2023.9.0")).expect("write");
    fs::write(feeds.join("c.json"), osv("C", "PyPI", "home-assistant", "2022.1")).expect("write");
    fs::write(feeds.join("bookworm-security.Packages"), PACKAGES).expect("write");
    let kev = r#"{"catalogVersion": "1", "vulnerabilities": [{"cveID": "CVE-A"}]}"#;
    fs::write(feeds.join("kev.json"), kev).expect("write");
    fs::write(feeds.join("notes.txt"), "no feed").expect("write");

    let file = bench.path("all.feeds");
    let ran = bench.airlock("rules").args(["import", "--to"]).arg(&file).arg(&feeds).expect(0).json();
    assert_eq!((&ran["files"], &ran["passed_over"]), (&Value::from(5), &Value::from(1)), "{ran}");

    let json = bench.airlock("scan").arg(&image).arg("--feeds").arg(&file).expect(4).json();
    let packages = json["inventory"]["packages"].as_array().expect("packages");
    let names: Vec<&str> = packages.iter().map(|one| text_of(&one["name"])).collect();
    assert_eq!(names, ["fine", "libxz5", "home-assistant"]);
    assert_eq!(packages[1]["evidence_path"], "/var/lib/dpkg/status");
    let digest = format!("blake3:{}", blake3_of(STATUS));
    assert_eq!(text_of(&packages[1]["evidence_digest"]), digest);
    let shown: Vec<&str> =
        json["findings"].as_array().expect("findings").iter().map(|one| text_of(&one["display"])).collect();
    assert_eq!(
        shown,
        [
            "libxz5 5.4.1-0.2: bookworm-security has 5.4.1-1",
            "libxz5 5.4.1-0.2: A, fixed in 5.4.1-1, known to be exploited",
            "home-assistant 2023.1.0b5: B, fixed in 2023.9.0",
        ]
    );
    // What is known to be exploited refuses the VM, by the default policy.
    assert_eq!(json["result"]["decision"], "terminate");
    let detectors: Vec<&str> =
        json["findings"].as_array().expect("findings").iter().map(|one| text_of(&one["detector"])).collect();
    assert_eq!(detectors, ["unpatched", "exploited", "advisory"]);

    // A flipped byte is not believed.
    let mut bytes = fs::read(&file).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).expect("write");
    let ran = bench.airlock("scan").arg(&image).arg("--feeds").arg(&file).expect(1);
    assert!(ran.err.contains("damaged"), "{}", ran.err);
}

fn blake3_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_string()
}

/// Products are held against entitlements; what there is no right for is told, a tool that makes
/// others run without theirs above all.
#[test]
fn products_are_held_against_entitlements() {
    let bench = Bench::new();
    let tree = Tree::new(bench.path("tree"), 4).expect("tree");
    for (path, name) in
        [("acme", "Acme DB 12"), ("free", "Free Tool"), ("old", "Old Suite"), ("kms", "KMS-Pico 9")]
    {
        let tag = format!("<SoftwareIdentity name=\"{name}\" tagId=\"x\" version=\"1.0\"/>");
        tree.write(&format!("/usr/share/swidtag/{path}.swidtag"), tag.as_bytes()).expect("write");
    }
    let entitlements = bench.path("entitlements.yaml");
    let text = "entitlements:\n  - {product: free tool, metric: free}\n  - {product: Old*, metric: install, expires: 2020-01-01}\n";
    fs::write(&entitlements, text).expect("write");
    let scan = || {
        let mut run = bench.airlock("scan").arg(tree.root()).arg("--entitlements").arg(&entitlements);
        run = run.arg("--no-memo");
        run
    };
    let json = scan().expect(0).json();
    let licences = json["licences"].as_array().expect("licences");
    let verdicts: Vec<_> =
        licences.iter().map(|one| (text_of(&one["name"]), text_of(&one["verdict"]))).collect();
    let expected = [
        ("Acme DB 12", "no_entitlement"),
        ("Free Tool", "ok"),
        ("KMS-Pico 9", "activator"),
        ("Old Suite", "expired"),
    ];
    assert_eq!(verdicts, expected);
    assert_eq!(json["findings"].as_array().expect("findings").len(), 3);
    fs::write(&entitlements, "entitlements: [{product: x, metric: barrels}]").expect("write");
    scan().expect(1);
}
