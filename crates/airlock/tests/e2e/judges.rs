//! Both stations judge, each for itself.

use crate::support::{Bench, assert_no_residue, assert_rest_is_intact, text_of};
use crate::transfer::assert_nothing_kept;
use airlock_testkit::{PlantedDisk, PlantedDiskBuilder};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The built-in policy, but everything planted is held, and only the destination looks.
fn destination_only(bench: &Bench) -> PathBuf {
    let warn = "{check: secrets, confidence: 0.5, scope: file, action: warn}";
    let hold = "{check: secrets, confidence: 0.5, scope: file, action: hold}";
    bench.policy("destination.yaml", &[(warn, hold), ("scope: file,", "scope: file, where: [destination],")])
}

fn transfer(
    bench: &Bench,
    disk: &PlantedDisk,
    policies: [&Path; 2],
    on_fail: &str,
    code: i32,
) -> (PathBuf, Value) {
    let dest = bench.path("dest");
    let [source, destination] = policies;
    let ran = bench
        .airlock("transfer")
        .args([disk.image(), &dest])
        .args(["--name", "vm", "--on-fail", on_fail, "--policy"])
        .arg(source)
        .arg("--dest-policy")
        .arg(destination)
        .expect(code);
    ran.assert_shows_no_value(bench, disk.planted());
    assert_no_residue(&dest, disk.planted());
    assert_no_residue(&bench.home(), disk.planted());
    (dest, ran.json())
}

fn statement(bench: &Bench, json: &Value, dest: &Path) -> Value {
    let evidence = text_of(&json["evidence"]);
    bench.airlock("verify").arg(evidence).arg("--vault").arg(dest).expect(0).json()["statement"].clone()
}

fn hole_sites(statement: &Value) -> Vec<&str> {
    let holes = statement["predicate"]["disks"][0]["holes"].as_array().expect("holes");
    let mut sites: Vec<&str> = holes.iter().map(|hole| text_of(&hole["site"])).collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

/// The stricter policy of the destination applies at the source, too: what it forbids never leaves.
#[test]
fn stricter_destination_policy_applies_at_the_source() {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let (lax, strict) = (bench.lax_policy(), bench.strict_policy());
    let (dest, json) = transfer(&bench, &disk, [&lax, &strict], "withhold", 3);
    let record = statement(&bench, &json, &dest);
    assert_eq!(hole_sites(&record), ["source"]);
    let policies = &record["predicate"]["policies"];
    assert_ne!(policies["source"], policies["destination"]);
    let counts = record["predicate"]["findings"]["counts"].as_object().expect("counts");
    assert!(counts.contains_key("source/hold") && !counts.contains_key("destination/hold"), "{counts:?}");
    let export = bench.export("vm", &dest, "out.raw");
    assert_rest_is_intact(&bench, &disk, &export);
}

/// A lax destination does not weaken a strict source.
#[test]
fn lax_destination_does_not_weaken_the_source() {
    let bench = Bench::new();
    let disk = bench.planted(|builder| builder);
    let (lax, strict) = (bench.lax_policy(), bench.strict_policy());
    let (dest, _) = transfer(&bench, &disk, [&strict, &lax], "terminate", 4);
    assert_nothing_kept(&dest);
}

/// What only the destination looks for is sent, found there, and discarded with everything else.
#[test]
fn destination_finds_and_terminates() {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let (lax, own) = (bench.lax_policy(), destination_only(&bench));
    let (dest, json) = transfer(&bench, &disk, [&lax, &own], "terminate", 4);
    assert_eq!(json["transfer"]["state"], "discarded");
    assert_ne!(json["stats"]["bytes_sent"], 0, "the source has nothing to object");
    assert_nothing_kept(&dest);
    let record = statement(&bench, &json, &dest);
    let counts = record["predicate"]["findings"]["counts"].as_object().expect("counts");
    assert!(counts.contains_key("destination/hold") && !counts.contains_key("source/hold"), "{counts:?}");
}

/// What only the destination looks for is sent, found there, and cut out there.
#[test]
fn destination_finds_and_withholds() {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let (lax, own) = (bench.lax_policy(), destination_only(&bench));
    let (dest, json) = transfer(&bench, &disk, [&lax, &own], "withhold", 3);
    assert_eq!(json["transfer"]["state"], "active-withheld");
    let record = statement(&bench, &json, &dest);
    assert_eq!(hole_sites(&record), ["destination"]);
    let raw = bench.export("vm", &dest, "out.raw");
    assert_no_residue(&raw, disk.planted());
    assert_rest_is_intact(&bench, &disk, &raw);
}
