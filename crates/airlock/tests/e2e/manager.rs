//! A manager as a service: its queue, and the evidence of what it moves.

use crate::support::{Bench, DirectorProcess, assert_identical, bytes_under, list};
use airlock_testkit::loopback::Service;
use airlock_testkit::{PlantedDiskBuilder, Tool};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_mins(3);
/// Bytes of noise: enough that a manager can be killed in the middle.
const NOISE_BYTES: usize = 160 << 20;
/// Bytes that have arrived in the middle.
const HIT_BYTES: u64 = 80 << 20;

/// A manager that runs as a child, and whoever asks it.
struct Site {
    service: Service,
    address: String,
    token: String,
}

impl Site {
    fn start(bench: &Bench, data: &Path, more: &[&dyn AsRef<std::ffi::OsStr>]) -> Self {
        let args: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--data", &data, &"--listen", &"127.0.0.1:0"];
        let mut service = bench.start("manager", &list(&[&args, more].concat()));
        let line =
            service.wait_for_line(LIMIT, |line| line.contains("airlock.manager/1")).expect("it listens");
        let hello: Value = serde_json::from_str(&line).expect("one JSON object");
        let token = std::fs::read_to_string(data.join("manager.token")).expect("the first token");
        Self {
            service,
            address: hello["address"].as_str().expect("an address").to_owned(),
            token: token.trim().to_owned(),
        }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        serde_json::from_slice(&self.fetch(method, path, body)).expect("JSON")
    }

    fn fetch(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let output = std::process::Command::new("curl")
            .args(["--silent", "--insecure", "--max-time", "60", "--request", method])
            .args(["--header", &format!("Authorization: Bearer {}", self.token)])
            .args(["--header", "Content-Type: application/json", "--data-binary", body])
            .arg(format!("https://{}/api/v1{path}", self.address))
            .output()
            .expect("curl (package curl) runs");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Makes the source `images` and the destination `cloud`.
    fn set_up(&self, images: &Path, director: &DirectorProcess) {
        let source = json!({ "name": "images", "kind": "folder", "location": images });
        let made = self.ask("POST", "/sources", &source.to_string());
        assert_eq!(made["problem"], Value::Null, "{made}");
        let cloud = json!({ "name": "cloud", "address": director.url, "identity": director.identity });
        let made = self.ask("POST", "/destinations", &cloud.to_string());
        assert!(made["id"].is_string(), "{made}");
    }

    fn queue(&self, vm: &str, on_fail: &str) -> String {
        let body = json!({ "source": "images", "vm": vm, "destination": "cloud", "on_fail": on_fail });
        let made = self.ask("POST", "/transfers", &body.to_string());
        made["transfer"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    fn until(&self, id: &str, state: &str) -> Value {
        let started = Instant::now();
        loop {
            let found = self.ask("GET", &format!("/transfers/{id}"), "");
            if found["transfer"]["state"] == state {
                return found;
            }
            assert!(started.elapsed() < LIMIT, "{found} is not {state}: {:?}", self.service.lines());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop(self) {
        self.service.terminate().expect("terminate");
        let ended = self.service.wait(LIMIT).expect("it ends");
        assert_eq!(ended.code, Some(0), "{:?}", ended.lines);
    }
}

fn folder(bench: &Bench) -> PathBuf {
    let images = bench.path("images");
    std::fs::create_dir_all(&images).expect("a folder");
    images
}

/// What evidence says, without what is of one transfer alone: its id and time, and the digests of what names it.
fn essence(evidence: &[u8]) -> Value {
    let statement = airlock_evidence::verify(evidence, [None, None]).expect("it is true");
    let mut predicate = serde_json::to_value(&statement.predicate).expect("plain data");
    for own in ["id", "decided_at"] {
        assert!(!predicate["transfer"][own].take().is_null(), "{own}");
    }
    for disk in predicate["disks"].as_array_mut().expect("disks") {
        assert!(disk["manifest"].take().is_string(), "a manifest");
    }
    predicate
}

/// A transfer alone and the same through a manager give the same evidence.
#[test]
fn alone_and_through_the_manager_the_evidence_is_the_same() {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let images = folder(&bench);
    std::fs::copy(disk.image(), images.join("erp.raw")).expect("copy");
    let (data, alone) = (bench.path("manager"), bench.path("alone"));
    let director = bench.director(&bench.path("data"), &[]);
    let site = Site::start(&bench, &data, &[]);
    site.set_up(&images, &director);
    let id = site.queue("erp", "withhold");
    let found = site.until(&id, "active-withheld");
    assert_eq!(found["transfer"]["outcome"]["result"]["code"], 3, "{found}");
    let through = site.fetch("GET", &format!("/transfers/{id}/evidence"), "");
    let refused = site.queue("erp", "terminate");
    site.until(&refused, "rejected");
    site.stop();

    let run = bench.airlock("transfer").arg(images.join("erp.raw")).args([&director.url, "--name", "erp"]);
    let run = run.args(["--on-fail", "withhold", "--identity"]).arg(&director.identity);
    run.arg("--evidence").arg(&alone).env("AIRLOCK_HOME", &data).expect(3);
    let alone = std::fs::read(&alone).expect("evidence");
    assert_eq!(essence(&through), essence(&alone));
    director.stop();
}

/// kill -9 of a manager leaves nothing lost: what ran goes on from where it was, what waited runs after.
#[test]
fn a_manager_that_is_killed_goes_on() {
    let bench = Bench::new();
    let images = folder(&bench);
    let image = bench.clean_disk(NOISE_BYTES);
    std::fs::rename(&image, images.join("web.raw")).expect("move");
    let (data, cloud) = (bench.path("manager"), bench.path("data"));
    let director = bench.director(&cloud, &[]);
    let site = Site::start(&bench, &data, &[&"--bwlimit", &"40M"]);
    site.set_up(&images, &director);
    let first = site.queue("web", "terminate");
    let second = site.queue("web", "terminate");
    let started = Instant::now();
    while bytes_under(&cloud.join("segments")) < HIT_BYTES {
        assert!(started.elapsed() < LIMIT, "nothing arrives: {:?}", site.service.lines());
        std::thread::sleep(Duration::from_millis(5));
    }
    Tool::new("kill").expect("kill").args(["-KILL", &site.service.id().to_string()]).run().expect("killed");
    drop(site);
    let site = Site::start(&bench, &data, &[]);
    let found = site.until(&first, "active");
    let resumed = found["transfer"]["outcome"]["stats"]["bytes_resumed"].as_u64();
    assert!(resumed > Some(0), "{found}");
    let found = site.until(&second, "active");
    assert_eq!(found["transfer"]["outcome"]["stats"]["bytes_sent"], 0, "{found}");
    site.stop();
    director.stop();
    assert_identical(&images.join("web.raw"), &bench.export("web", &cloud, "out.raw"));
}

/// A director that is not there yet is tried again until it is; a refusal is not.
#[test]
fn a_director_that_is_away_is_tried_again() {
    let bench = Bench::new();
    let images = folder(&bench);
    std::fs::rename(bench.clean_disk(0), images.join("web.raw")).expect("move");
    let cloud = bench.path("data");
    let director = bench.director(&cloud, &[]);
    let (url, identity) = (director.url.clone(), director.identity.clone());
    let address = url.trim_start_matches("airlock://").trim_end_matches("/default").to_owned();
    let site = Site::start(&bench, &bench.path("manager"), &[]);
    site.set_up(&images, &director);
    director.stop();
    let id = site.queue("web", "terminate");
    let waiting = site.until(&id, "waiting");
    assert!(waiting["transfer"]["attempts"].as_u64() > Some(0), "{waiting}");
    let args: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--data", &cloud, &"--listen", &address];
    let mut again = bench.start("director", &list(&args));
    again.wait_for_line(LIMIT, |line| line.contains("airlock.director/1")).expect("it is back");
    site.until(&id, "active");
    let events = site.ask("GET", "/openapi.json", "");
    assert_eq!(events["openapi"], "3.1.0");
    assert!(identity.exists());
    site.stop();
}
