//! A VM that was kept at one site goes back to the other.

use crate::support::{Bench, assert_identical, bytes_under, list, text_of, u64_of};
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

fn root(json: &Value) -> String {
    let evidence = std::fs::read(text_of(&json["evidence"])).expect("evidence");
    let statement = airlock_evidence::verify(&evidence, [None, None]).expect("it is true");
    statement.predicate.disks[0].source_root.clone()
}

/// There and back again, under both policies each way: the root at the end is the root at the start. What the
/// policy of the way back forbids does not come back.
#[test]
fn a_vm_comes_back_as_it_went() {
    let bench = Bench::new();
    let image = bench.clean_disk(8 << 20);
    let (cloud, home) = (bench.path("cloud"), bench.path("home-director"));
    let out = bench.airlock("transfer").arg(&image).arg(&cloud).args(["--name", "web.1"]).expect(0).json();

    let director = bench.director(&home, &[]);
    let kept = format!("vault:{}/web.1", cloud.display());
    let back = bench.airlock("transfer").arg(&kept).arg(&director.url);
    let back = back.arg("--identity").arg(&director.identity).expect(0).json();
    assert_eq!(back["vm"], "web.1");
    assert_eq!(root(&out), root(&back));
    director.stop();
    assert_identical(&image, &bench.export("web.1", &home, "back.raw"));
    bench.airlock("verify").arg(text_of(&back["evidence"])).arg("--vault").arg(&home).expect(0);

    let missing = format!("vault:{}/other", cloud.display());
    bench.airlock("scan").arg(missing).expect(10);
    bench.airlock("scan").arg(format!("vault:{}/vm", bench.path("nowhere").display())).expect(10);
    bench.airlock("scan").arg(&kept).args(["--source-format", "raw"]).expect(2);
}

/// What was kept under a lax policy does not come back under a strict one.
#[test]
fn the_policy_of_the_way_back_counts() {
    let bench = Bench::new();
    let disk = bench.planted(airlock_testkit::PlantedDiskBuilder::gpt);
    let (cloud, home) = (bench.path("cloud"), bench.path("home-director"));
    let lax = bench.lax_policy();
    let out = bench.airlock("transfer").arg(disk.image()).arg(&cloud).args(["--name", "vm", "--policy"]);
    out.arg(&lax).arg("--dest-policy").arg(&lax).expect(0);
    let kept = format!("vault:{}/vm", cloud.display());
    let refused = bench.airlock("transfer").arg(&kept).arg(&home).arg("--policy").arg(&lax).expect(4);
    refused.assert_shows_no_value(&bench, disk.planted());
    assert_eq!(refused.json()["transfer"]["state"], "discarded");
}

/// Under a limit, a transfer takes at least its bytes' time; without, it does not.
#[test]
fn a_limit_of_bandwidth_is_kept() {
    let bench = Bench::new();
    let image = bench.clean_disk(24 << 20);
    let data = bench.path("data");
    let director = bench.director(&data, &[]);
    let send = |name: &str, limit: &str| {
        let args: [&dyn AsRef<std::ffi::OsStr>; 8] = [
            &image,
            &director.url,
            &"--name",
            &name,
            &"--identity",
            &director.identity,
            &"--bwlimit",
            &limit,
        ];
        let started = Instant::now();
        let json = bench.airlock("transfer").args(list(&args)).expect(0).json();
        (u64_of(&json["stats"]["bytes_sent"]), started.elapsed())
    };
    let (sent, elapsed) = send("slow", "4M");
    assert!(sent >= 24 << 20, "{sent}");
    let most = (4 << 20) * (u64::try_from(elapsed.as_millis()).expect("short") + 500) / 1000;
    assert!(sent <= most, "{sent} bytes in {elapsed:?}");
    bench.airlock("transfer").arg(&image).arg(&director.url).args(["--bwlimit", "fast"]).expect(2);
    assert!(bytes_under(Path::new(&data).join("segments").as_path()) > 0);
    director.stop();
}
