//! A director as a process of its own, over mutual TLS on loopback.

use crate::support::{
    Bench, DirectorProcess, Run, assert_identical, assert_no_marker, assert_no_residue,
    assert_rest_is_intact, text_of, u64_of,
};
use airlock_testkit::{PlantedDiskBuilder, residue};
use std::path::Path;

fn transfer(bench: &Bench, image: &Path, director: &DirectorProcess, name: &str) -> Run {
    bench
        .airlock("transfer")
        .arg(image)
        .args([&director.url, "--name", name, "--identity"])
        .arg(&director.identity)
}

/// A clean disk, a refusal and a withholding transfer go through one director; nothing
/// that was held is in its directory or its log.
#[test]
fn remote_director_keeps_withholds_and_refuses() {
    let bench = Bench::new();
    let data = bench.path("data");
    let director = bench.director(&data, &["--verbose".as_ref()]);
    let disk = bench.planted(PlantedDiskBuilder::gpt);

    let clean = bench.clean_disk(8 << 20);
    let json = transfer(&bench, &clean, &director, "clean").expect(0).json();
    assert_eq!(json["transfer"]["state"], "active");
    assert!(u64_of(&json["stats"]["peak_rss"]) < 256 << 20, "{}", json["stats"]);

    let refused = transfer(&bench, disk.image(), &director, "planted").expect(4);
    refused.assert_shows_no_value(&bench, disk.planted());
    assert_eq!(refused.json()["transfer"]["state"], "discarded");
    assert_eq!(residue::files(data.join("chamber")).expect("list").len(), 0);

    let strict = bench.strict_policy();
    let withheld = transfer(&bench, disk.image(), &director, "planted")
        .args(["--on-fail", "withhold", "--policy"])
        .arg(&strict)
        .expect(3);
    withheld.assert_shows_no_value(&bench, disk.planted());
    let withheld = withheld.json();
    assert_eq!(withheld["transfer"]["state"], "active-withheld");

    let log = director.service.lines().join("\n");
    assert!(log.contains("sealed"), "{log}");
    let path = bench.path("log");
    std::fs::write(&path, log).expect("write");
    assert_no_residue(&path, disk.planted());
    director.stop();

    assert_no_residue(&data, disk.planted());
    assert_no_residue(&bench.home(), disk.planted());
    assert_no_marker(&data);
    for json in [&json, &refused.json(), &withheld] {
        bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&data).expect(0);
    }
    assert_identical(&clean, &bench.export("clean", &data, "clean.qcow2"));
    assert_rest_is_intact(&bench, &disk, &bench.export("planted", &data, "planted.raw"));
}

/// An identity that another director has issued opens nothing, and neither does none.
#[test]
fn wrong_identity_is_refused() {
    let bench = Bench::new();
    let (data, other) = (bench.path("data"), bench.path("other"));
    let director = bench.director(&data, &[]);
    let stranger = bench.director(&other, &[]).identity;
    let image = bench.clean_disk(1 << 20);
    let send = |identity: &Path| {
        bench.airlock("transfer").arg(&image).args([director.url.as_str(), "--identity"]).arg(identity)
    };
    let ran = send(&stranger).expect(1);
    assert!(ran.err.contains("certificate") && ran.err.contains("--identity"), "{}", ran.err);
    assert_eq!(ran.json()["schema"], "airlock.error/1");
    let garbage = bench.path("garbage.pem");
    std::fs::write(&garbage, "no key\n").expect("write");
    send(&garbage).expect(1);
    send(&bench.path("missing.pem")).expect(10);
    bench.airlock("transfer").arg(&image).arg(&director.url).expect(2);
    assert_eq!(residue::files(data.join("segments")).expect("list").len(), 0);
    send(&director.identity).expect(0);
    director.stop();
}
