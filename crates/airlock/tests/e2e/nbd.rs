//! Disks that come and go over NBD, and through the standard input.

use crate::support::{Bench, assert_all_reported, assert_identical, list, text_of};
use airlock_testkit::PlantedDiskBuilder;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// A VM in a vault is served, and read by QEMU and by a second transfer, which needs none of its bytes again.
#[test]
fn a_vault_is_served_and_read_back() {
    let bench = Bench::new();
    let (disk, vault, socket) = (bench.clean_disk(8 << 20), bench.path("vault"), bench.path("vm.sock"));
    let first = bench.airlock("transfer").args([&disk, &vault]).args(["--name", "vm"]).expect(0).json();
    let args: [&dyn AsRef<std::ffi::OsStr>; 5] = [&"vm", &"--vault", &vault, &"--socket", &socket];
    let mut server = bench.start("serve-nbd", &list(&args));
    let line = server.wait_for_line(Duration::from_secs(20), |line| line.contains("airlock.serve-nbd/1"));
    let hello: Value = serde_json::from_str(&line.expect("it serves")).expect("JSON");
    let uri = text_of(&hello["exports"][0]);
    assert_eq!(uri, format!("nbd+unix:///disk0?socket={}", socket.display()));
    assert_identical(&disk, Path::new(uri));

    let other = bench.path("other");
    let again =
        bench.airlock("transfer").args([Path::new(uri), &other]).args(["--name", "vm"]).expect(0).json();
    let root = |json: &Value| json["transfer"]["id"].clone();
    assert_ne!(root(&first), root(&again));
    assert_eq!(first["coverage"], again["coverage"]);
    let missing = uri.replace("disk0", "disk7");
    let refused = bench.airlock("scan").arg(&missing).expect(10);
    assert!(refused.err.contains("no such export"), "{}", refused.err);
    server.terminate().expect("terminate");
    assert_eq!(server.wait(Duration::from_secs(20)).expect("it ends").code, Some(0));
    assert!(!socket.exists());
    assert_identical(&disk, &bench.export("vm", &other, "out.raw"));
}

/// What comes through the standard input is inspected like a file.
#[test]
fn standard_input_is_a_source() {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let by_path = bench.airlock("scan").arg(disk.image()).expect(3).json();
    let piped = bench.airlock("scan").args(["-", "--source-format", "raw"]).input(disk.image()).expect(3);
    piped.assert_shows_no_value(&bench, disk.planted());
    let piped = piped.json();
    assert_all_reported(&piped["findings"], &disk);
    assert_eq!(piped["coverage"], by_path["coverage"]);
    let wrong = bench.airlock("scan").args(["nbd://", "--source-format", "raw"]).expect(2);
    assert!(wrong.err.contains("nbd://HOST"), "{}", wrong.err);
}
