//! What gets in the way is found before a transfer finds it.

use crate::support::{Bench, text_of};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Returns how a check ended, and what it says.
fn state(result: &serde_json::Value, check: &str) -> (String, String) {
    let checks = result["checks"].as_array().expect("checks");
    let found = checks.iter().find(|one| one["check"] == check);
    let found = found.unwrap_or_else(|| panic!("there is no check {check}: {result}"));
    (text_of(&found["state"]).to_owned(), text_of(&found["text"]).to_owned())
}

#[test]
fn doctor_finds_what_is_in_the_way() {
    let bench = Bench::new();
    let well = bench.airlock("doctor").args(["--format", "json"]).expect(0).json();
    assert_eq!(state(&well, "jail").0, "ok");
    assert_eq!(state(&well, "keys").0, "ok");

    bench.airlock("key").expect(0);
    let key = bench.home().join("site.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("mode");
    let policy = bench.path("broken.yaml");
    fs::write(&policy, "policy: airlock/1\n").expect("policy");
    let identity = bench.path("no-identity.pem");
    fs::write(&identity, "nothing").expect("identity");
    let ill = bench
        .airlock("doctor")
        .args(["--policy".as_ref(), policy.as_os_str(), "--identity".as_ref(), identity.as_os_str()])
        .args(["--director", "127.0.0.1:1", "--format", "json"])
        .expect(1)
        .json();
    assert_eq!(ill["state"], "fail");
    for check in ["keys", "policy", "director"] {
        assert_eq!(state(&ill, check).0, "fail", "{check}");
    }
    assert!(state(&ill, "keys").1.contains("site.key can be read by others"));
}

#[test]
fn doctor_asks_a_director() {
    let bench = Bench::new();
    let data = bench.path("cloud");
    let director = bench.director(&data, &[]);
    let identity = director.identity.clone();
    let address = director.url.replace("airlock://", "").replace("/default", "");
    let ask = || {
        bench
            .airlock("doctor")
            .args(["--director".as_ref(), address.as_ref(), "--identity".as_ref(), identity.as_os_str()])
            .args(["--data".as_ref(), data.as_os_str()])
            .args(["--format", "json"])
    };
    assert_eq!(state(&ask().expect(0).json(), "director").0, "ok");
    director.stop();
    assert_eq!(state(&ask().expect(1).json(), "director").0, "fail");
}
