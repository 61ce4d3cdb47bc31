//! Two network namespaces with a cable between them are two sites. Needs root, and says so where it is not allowed.

use crate::service::Provider;
use crate::support::{Bench, DirectorProcess, assert_identical, bytes_under, list, skipped, u64_of};
use airlock_testkit::Tool;
use airlock_testkit::loopback::Service;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The director's address.
const DIRECTOR: &str = "10.77.13.2:7443";
const LIMIT: Duration = Duration::from_mins(5);
/// How long the cable is pulled.
const CUT: Duration = Duration::from_secs(5);

/// Two namespaces and a pair of network devices, removed with this.
struct Cable {
    sites: [String; 2],
}

impl Cable {
    /// Lays a cable; none where that is not allowed.
    fn lay() -> Option<Self> {
        let own = std::process::id();
        let cable = Self { sites: ["source", "cloud"].map(|site| format!("airlock-{site}-{own}")) };
        let [source, cloud] = cable.sites.each_ref().map(String::as_str);
        if let Err(error) = ip(&["netns", "add", source]) {
            skipped(&format!("two sites need root and network namespaces: {error}"));
            return None;
        }
        let must = |args: &[&str]| ip(args).expect("ip (package iproute2)");
        must(&["netns", "add", cloud]);
        must(&[
            "-n", source, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", cloud,
        ]);
        for (site, address) in [(source, "10.77.13.1/30"), (cloud, "10.77.13.2/30")] {
            must(&["-n", site, "address", "add", address, "dev", "cable"]);
            must(&["-n", site, "link", "set", "cable", "up"]);
            must(&["-n", site, "link", "set", "lo", "up"]);
        }
        Some(cable)
    }

    fn source(&self) -> &str {
        &self.sites[0]
    }

    fn cloud(&self) -> &str {
        &self.sites[1]
    }

    /// Lets no more through than this, such as `1mbit`, in both directions.
    fn slow(&self, rate: &str) {
        for site in &self.sites {
            let shape = ["qdisc", "replace", "dev", "cable", "root", "tbf", "rate", rate];
            let tc = Tool::new("ip").expect("ip").args(["netns", "exec", site, "tc"]).args(shape);
            tc.args(["burst", "128kb", "latency", "200ms"]).run().expect("tc (package iproute2)");
        }
    }

    /// Sets what the cloud's end does with what arrives; the last rules are forgotten.
    fn filter(&self, rules: &str) {
        let rules = format!(
            "flush ruleset\ntable inet cable {{\nchain arriving {{\ntype filter hook input priority 0\n{rules}\n}}\n}}\n"
        );
        let nft = Tool::new("ip").expect("ip").args(["netns", "exec", self.cloud(), "nft", &rules]);
        nft.run().expect("nft (package nftables)");
    }

    /// Pulls the cable, or plugs it in.
    fn set(&self, state: &str) {
        ip(&["-n", self.cloud(), "link", "set", "cable", state]).expect("ip");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for site in &self.sites {
            // One that was never made is gone already.
            drop(ip(&["netns", "delete", site]));
        }
    }
}

fn ip(args: &[&str]) -> airlock_testkit::Result<String> {
    Tool::new("ip")?.args(args).run()
}

/// A director at the far end.
struct Far<'c> {
    bench: &'c Bench,
    cable: &'c Cable,
    data: PathBuf,
    director: DirectorProcess,
}

impl<'c> Far<'c> {
    fn start(bench: &'c Bench, cable: &'c Cable) -> Self {
        let data = bench.path("data");
        let director = bench.director_at(&data, DIRECTOR, Some(cable.cloud()), &[]);
        Self { bench, cable, data, director }
    }

    fn send(&self, image: &Path, flags: &[&str]) -> Service {
        let args: [&dyn AsRef<OsStr>; 6] =
            [&image, &self.director.url, &"--name", &"vm", &"--identity", &self.director.identity];
        let flags: Vec<&OsStr> = flags.iter().map(OsStr::new).collect();
        self.bench.start_transfer_in(self.cable.source(), &[list(&args), flags].concat())
    }

    /// Waits until so much has arrived.
    fn wait_for(&self, bytes: u64, transfer: &Service) {
        let started = Instant::now();
        while bytes_under(&self.data.join("segments")) < bytes {
            assert!(started.elapsed() < LIMIT, "nothing arrives: {:?}", transfer.lines());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[track_caller]
fn ends(transfer: Service, code: i32) -> Value {
    let ended = transfer.wait(LIMIT).expect("it ends");
    assert_eq!(ended.code, Some(code), "{:?}", ended.lines);
    let json = ended.lines.iter().rev().find_map(|line| {
        let value: Value = serde_json::from_str(line).ok()?;
        value["schema"].as_str()?.starts_with("airlock.transfer").then_some(value)
    });
    json.unwrap_or(Value::Null)
}

/// A transfer is paused, loses its cable for a while, loses its connections, and finishes with the same root.
#[test]
fn a_transfer_survives_a_pause_a_cut_and_a_reset() {
    let Some(cable) = Cable::lay() else { return };
    let bench = Bench::new();
    let image = bench.clean_disk(120 << 20);
    let far = Far::start(&bench, &cable);
    cable.slow("100mbit");
    let provider = Provider::within(Some(cable.source()), &far.director, &far.data);

    let transfer = far.send(&image, &["--streams", "2"]);
    far.wait_for(80 << 20, &transfer);
    let listed = provider.ask("GET", "/transfers", &Value::Null);
    let id = listed["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{listed}")).to_owned();
    let paused = provider.ask("POST", &format!("/transfers/{id}/pause"), &json!({}));
    assert_eq!(paused["state"], "paused", "{paused}");
    ends(transfer, 11);
    ends(far.send(&image, &["--resume"]), 11);
    provider.ask("POST", &format!("/transfers/{id}/resume"), &json!({}));

    // The cable is out for some seconds: nobody notices more than that.
    let before = bytes_under(&far.data.join("segments"));
    let transfer = far.send(&image, &["--streams", "2", "--resume"]);
    far.wait_for(before + (8 << 20), &transfer);
    cable.set("down");
    std::thread::sleep(CUT);
    cable.set("up");
    let after_cut = bytes_under(&far.data.join("segments"));
    far.wait_for(after_cut + (8 << 20), &transfer);
    // Somebody in between resets every connection.
    cable.filter("tcp dport 7443 reject with tcp reset");
    ends(transfer, 1);
    cable.filter("");

    let started = Instant::now();
    let json = loop {
        let again = far.send(&image, &["--streams", "2", "--resume"]).wait(LIMIT).expect("it ends");
        match again.code {
            Some(0) => break again.lines,
            // The director has not noticed so far that nobody is there.
            Some(11) if started.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(200)),
            _ => panic!("{:?}", again.lines),
        }
    };
    let json = json.iter().rev().find(|line| line.contains("airlock.transfer/")).expect("a result");
    let json: Value = serde_json::from_str(json).expect("JSON");
    assert!(u64_of(&json["stats"]["bytes_resumed"]) > 0, "{}", json["stats"]);
    let evidence = provider.ask("GET", &format!("/transfers/{id}/evidence"), &Value::Null);
    assert!(evidence["payload"].is_string(), "{evidence}");
    let file = json["evidence"].as_str().expect("a path");
    let record = bench.airlock("verify").arg(file).expect(0).json()["statement"]["predicate"].clone();
    assert_eq!(record["disks"][0]["source_root"], record["disks"][0]["kept_root"]);
    let Far { director, data, .. } = far;
    director.stop();
    assert_identical(&image, &bench.export("vm", &data, "out.raw"));
}

/// One packet of five is lost, and then the cable is as slow as a telephone's.
#[test]
fn a_bad_cable_only_takes_longer() {
    let Some(cable) = Cable::lay() else { return };
    let bench = Bench::new();
    let image = bench.clean_disk(1 << 20);
    let far = Far::start(&bench, &cable);
    cable.filter("meta l4proto tcp numgen random mod 100 < 20 drop");
    let json = ends(far.send(&image, &["--streams", "1"]), 0);
    assert_eq!(json["transfer"]["state"], "active");
    cable.filter("");
    cable.slow("1mbit");
    let other = bench.path("other.img");
    // Other bytes: what the vault has would not be sent again.
    let mut tree = airlock_testkit::Tree::new(bench.path("other-tree"), 12).expect("tree");
    tree.noise("/noise.bin", 1 << 20).expect("noise");
    airlock_testkit::Ext4Image::build(tree.root(), &other, &airlock_testkit::Ext4Options::new(8 << 20))
        .expect("image");
    let started = Instant::now();
    let json = ends(far.send(&other, &["--streams", "1"]), 0);
    assert_eq!(json["transfer"]["state"], "active");
    assert!(u64_of(&json["stats"]["bytes_sent"]) > 1 << 20);
    assert!(started.elapsed() > Duration::from_secs(6), "a megabyte takes eight seconds at 1 Mbit/s");
}
