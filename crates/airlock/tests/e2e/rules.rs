//! Rulebooks, and transfers that are decided by what is installed.

use crate::support::{Bench, text_of};
use airlock_testkit::{Ext4Image, Ext4Options, Tree};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// A file that a hash list knows.
const BAD: &str = "a file that somebody knows to be bad\n";

/// Builds a guest with a Python package, a product, and [`BAD`].
fn guest(bench: &Bench) -> PathBuf {
    let tree = Tree::new(bench.path("tree"), 5).expect("tree");
    let metadata = "Metadata-Version: 2.1\nName: shaky\nVersion: 1.0\n\n";
    tree.write("/usr/lib/python3/dist-packages/shaky-1.0.dist-info/METADATA", metadata.as_bytes())
        .expect("write");
    let tag = "<SoftwareIdentity name=\"Acme DB\" tagId=\"x\" version=\"1.0\"/>";
    tree.write("/usr/share/swidtag/acme.swidtag", tag.as_bytes()).expect("write");
    tree.write("/srv/bad.bin", BAD.as_bytes()).expect("write");
    let image = bench.path("guest.img");
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(16 << 20)).expect("image");
    image
}

/// Imports one advisory about `shaky` into a file.
fn feeds(bench: &Bench, exploited: bool) -> PathBuf {
    let folder = bench.path(if exploited { "feeds-exploited" } else { "feeds" });
    fs::create_dir_all(&folder).expect("folder");
    let osv = serde_json::json!({"id": "PYSEC-1", "aliases": ["CVE-2026-7"], "affected": [{
        "package": {"ecosystem": "PyPI", "name": "shaky"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}]}]});
    fs::write(folder.join("a.json"), osv.to_string()).expect("write");
    if exploited {
        let kev = r#"{"catalogVersion": "1", "vulnerabilities": [{"cveID": "CVE-2026-7"}]}"#;
        fs::write(folder.join("kev.json"), kev).expect("write");
    }
    let file = folder.with_extension("feeds");
    bench.airlock("rules").args(["import", "--to"]).arg(&file).arg(&folder).expect(0);
    file
}

fn build(bench: &Bench, version: &str, args: &[&OsStr]) -> PathBuf {
    let to = bench.path(&format!("acme-{version}.rulebook"));
    let run = bench.airlock("rules").args(["build", "--name", "acme", "--book-version", version]);
    run.args(args).arg("--to").arg(&to).expect(0);
    to
}

fn detectors(json: &Value) -> Vec<&str> {
    json["findings"].as_array().expect("findings").iter().map(|one| text_of(&one["detector"])).collect()
}

/// What a rulebook has is used by every run after its import, under a digest that evidence names; what is
/// altered, older, of another key or nobody's is refused and changes nothing.
#[test]
fn a_rulebook_is_used_from_its_import_on() {
    let bench = Bench::new();
    let image = guest(&bench);
    let scan = |code| {
        bench
            .airlock("scan")
            .arg(&image)
            .args(["--policy"])
            .arg(bench.path("policy.yaml"))
            .expect(code)
            .json()
    };
    bench.policy("policy.yaml", &[]);
    assert!(detectors(&scan(0)).is_empty());

    let list = bench.path("list.hsb");
    let tool = airlock_testkit::Tool::new("sha256sum").expect("coreutils").input(BAD).run().expect("hash");
    let hash = tool.split_whitespace().next().expect("a hash");
    fs::write(&list, format!("{hash}:{}:Test.Bad\n", BAD.len())).expect("write");
    let entitlements = bench.path("rights.yaml");
    fs::write(&entitlements, "entitlements: [{product: 'Acme *', metric: install, expires: 2020-01-01}]")
        .expect("write");
    let feeds = feeds(&bench, false);
    let args = ["--feeds".as_ref(), feeds.as_os_str(), "--hash-list".as_ref(), list.as_os_str()];
    let first = build(&bench, "1", &args);
    let second =
        build(&bench, "2", &[&args[..], &["--entitlements".as_ref(), entitlements.as_os_str()]].concat());
    let key = bench.airlock("key").expect(0).json();
    let key = text_of(&key["key"]).to_owned();

    let import = |file: &Path, key: Option<&str>, code: i32| {
        let mut run = bench.airlock("rules").arg("import").arg(file);
        if let Some(key) = key {
            run = run.args(["--key", key]);
        }
        run.expect(code)
    };
    assert!(import(&first, None, 6).err.contains("nobody is trusted"));
    assert!(import(&first, Some(&"ab".repeat(32)), 6).err.contains("not by the publisher"));
    bench.airlock("rules").arg("verify").arg(&first).args(["--key", &key]).expect(0);
    assert!(detectors(&scan(0)).is_empty(), "verifying imports nothing");
    import(&first, Some(&key), 0);
    assert_eq!(detectors(&scan(3)), ["hash:Test.Bad", "advisory"]);
    import(&second, None, 0);
    assert_eq!(detectors(&scan(3)), ["hash:Test.Bad", "advisory", "expired"]);
    assert!(import(&first, None, 6).err.contains("version 2 was here"));
    let mut bytes = fs::read(&second).expect("read");
    *bytes.last_mut().expect("bytes") ^= 1;
    let altered = bench.path("altered.rulebook");
    fs::write(&altered, bytes).expect("write");
    assert!(import(&altered, None, 6).err.contains("digest"));
    assert_eq!(detectors(&scan(3)), ["hash:Test.Bad", "advisory", "expired"]);

    let listed = bench.airlock("rules").arg("list").expect(0).json();
    let book = &listed["rulebooks"][0];
    assert_eq!(
        (text_of(&book["name"]), &book["version"], text_of(&book["publisher"])),
        ("acme", &Value::from(2), key.as_str())
    );

    // A rulebook that is damaged where it lies stops a run; it is not inspected with less in silence.
    let own = bench.home().join("rules/acme.rulebook");
    let bytes = fs::read(&own).expect("read");
    fs::write(&own, &bytes[..bytes.len() - 1]).expect("write");
    let ran = bench.airlock("scan").arg(&image).expect(1);
    assert!(ran.err.contains("cut") && ran.err.contains("rules remove acme"), "{}", ran.err);
    bench.airlock("rules").args(["remove", "acme"]).expect(0);
    bench.airlock("rules").args(["remove", "acme"]).expect(10);
    assert!(detectors(&scan(0)).is_empty());
}

/// A transfer is decided by what is installed, at the source before a byte is sent, and at the destination
/// by its own feeds; evidence counts it.
#[test]
fn both_sites_decide_by_what_is_installed() {
    let bench = Bench::new();
    let image = guest(&bench);
    let (known, exploited) = (feeds(&bench, false), feeds(&bench, true));
    let transfer = |dest: &OsStr, args: &[&OsStr]| {
        let run = bench.airlock("transfer").arg(&image).arg(dest).args(["--on-fail", "withhold"]);
        run.args(args)
    };
    let vault = bench.path("vault");
    let feeds = |path: &Path| ["--feeds".into(), path.as_os_str().to_owned()];

    // The source refuses, and sends nothing.
    let args = feeds(&exploited);
    let ran = transfer(vault.as_os_str(), &[&args[0], &args[1]]).expect(4).json();
    assert_eq!(
        (text_of(&ran["transfer"]["state"]), &ran["stats"]["bytes_sent"]),
        ("discarded", &Value::from(0))
    );
    bench.airlock("verify").arg(text_of(&ran["evidence"])).arg("--vault").arg(&vault).expect(0);

    // Both warn, and the VM is moved.
    let args = feeds(&known);
    let ran = transfer(vault.as_os_str(), &[&args[0], &args[1]]).expect(0).json();
    assert_eq!(detectors(&ran), ["advisory", "advisory"]);
    let evidence = bench.airlock("verify").arg(text_of(&ran["evidence"])).expect(0).json();
    let counts = &evidence["statement"]["predicate"]["findings"]["counts"];
    assert_eq!((&counts["source/warn"], &counts["destination/warn"]), (&Value::from(1), &Value::from(1)));

    // The source knows nothing; the director has feeds of its own, and refuses.
    let args = feeds(&exploited);
    let director = bench.director(&bench.path("data"), &[&args[0], &args[1]]);
    let ran = transfer(director.url.as_ref(), &["--identity".as_ref(), director.identity.as_os_str()])
        .expect(4)
        .json();
    assert_eq!(text_of(&ran["transfer"]["state"]), "discarded");
    assert_eq!(detectors(&ran), ["exploited"]);
    assert_eq!(text_of(&ran["findings"][0]["site"]), "destination");
    director.stop();
}

/// A director counts installations over all VMs of a tenant, each VM once, however often it comes.
#[test]
fn rights_are_counted_over_the_vms_of_a_tenant() {
    let bench = Bench::new();
    let image = guest(&bench);
    let rights = bench.path("rights.yaml");
    fs::write(&rights, "entitlements: [{product: 'Acme *', metric: install, quantity: 1}]").expect("write");
    let data = bench.path("data");
    let director = bench.director(&data, &["--entitlements".as_ref(), rights.as_os_str()]);
    let found = |name: &str| {
        let run = bench.airlock("transfer").arg(&image).args([&director.url, "--name", name, "--identity"]);
        let json = run.arg(&director.identity).expect(0).json();
        detectors(&json).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(found("one").is_empty());
    assert!(found("one").is_empty(), "the same VM again");
    assert_eq!(found("two"), ["over_deployed"]);
    director.stop();
}
