//! What is installed, and what feeds and entitlements say of it.

use crate::support::{Bench, text_of};
use airlock_testkit::{Ext4Image, Ext4Options, Tool, Tree};
use serde_json::Value;
use std::fs;
use std::path::Path;

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

/// An index of Debian's archive counts only if a key of the keyring signed what names it; `gpg` makes the
/// keys, of both kinds, and the signatures.
#[test]
fn indexes_of_an_archive_are_checked_against_a_keyring() {
    let bench = Bench::new();
    let home = bench.path("gnupg");
    fs::create_dir_all(&home).expect("folder");
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("mode");
    let gpg = |args: &[&str], input: &str| {
        let tool = Tool::new("gpg").expect("gpg").arg("--homedir").arg(&home);
        tool.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args)
            .input(input)
            .run_bytes()
            .expect("gpg")
    };
    let keyring = |name: &str| {
        let path = bench.path(&format!("{name}.gpg"));
        fs::write(&path, gpg(&["--export", name], "")).expect("write");
        path
    };
    let packages = "Package: fine\nVersion: 3.0-1\n";
    let digest = Tool::new("sha256sum").expect("coreutils").input(packages).run().expect("hash");
    let digest = digest.split_whitespace().next().expect("a hash");
    let release = format!(
        "Origin: Debian\nCodename: bookworm-security\nValid-Until: Sat, 01 Jan 2050 00:00:00 UTC\n- note\nSHA256:\n {digest} {} main/binary-amd64/Packages\n",
        packages.len()
    );
    for (user, algorithm) in [("rsa@archive", "rsa2048"), ("edwards@archive", "ed25519")] {
        gpg(&["--quick-generate-key", user, algorithm, "sign", "never"], "");
        let folder = bench.path(user);
        fs::create_dir_all(&folder).expect("folder");
        let signed = gpg(&["--local-user", user, "--digest-algo", "SHA512", "--clearsign"], &release);
        fs::write(folder.join("InRelease"), &signed).expect("write");
        fs::write(folder.join("Packages"), packages).expect("write");
        let to = bench.path("signed.feeds");
        let import = |keyring: &Path, code| {
            let run = bench.airlock("rules").args(["import", "--to"]).arg(&to).arg("--keyring").arg(keyring);
            run.arg(&folder).expect(code)
        };
        let own = keyring(user);
        assert_eq!(import(&own, 0).json()["offers"], 1, "{user}");
        let other = if user == "rsa@archive" { continue } else { keyring("rsa@archive") };
        assert!(import(&other, 6).err.contains("not signed by a key"), "another key");

        // What is signed is the text: a letter of it, or of what it names, makes it void.
        let changed = String::from_utf8(signed).expect("text").replace("2050", "2051");
        fs::write(folder.join("InRelease"), changed).expect("write");
        assert!(import(&own, 6).err.contains("not signed by a key"), "another text");
        fs::write(folder.join("InRelease"), gpg(&["--local-user", user, "--clearsign"], &release))
            .expect("write");
        fs::write(folder.join("Packages"), packages.replace("3.0", "1.0")).expect("write");
        assert!(import(&own, 6).err.contains("named by no signed"), "another index");
        // Without a keyring both are taken as they are, and that is said.
        fs::rename(folder.join("Packages"), folder.join("bookworm.Packages")).expect("rename");
        let ran = bench.airlock("rules").args(["import", "--to"]).arg(&to).arg(&folder).expect(0);
        assert!(ran.err.contains("was not checked"), "{}", ran.err);
    }
}
