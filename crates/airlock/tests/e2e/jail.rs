//! The worker of a director: a process of its own, without rights, that changes nothing about a verdict.

use crate::support::{Bench, DirectorProcess, Run, assert_no_marker, assert_no_residue, text_of};
use airlock_testkit::{Ext4Image, Ext4Options, PlantedDiskBuilder, Tree};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn transfer(bench: &Bench, image: &Path, director: &DirectorProcess, name: &str) -> Run {
    bench
        .airlock("transfer")
        .arg(image)
        .args([&director.url, "--name", name, "--on-fail", "withhold", "--identity"])
        .arg(&director.identity)
}

/// Returns what is recorded, without what differs between any two transfers.
fn record(bench: &Bench, json: &Value) -> Value {
    let ran = bench.airlock("verify").arg(text_of(&json["evidence"])).expect(0);
    let mut predicate = ran.json()["statement"]["predicate"].clone();
    for (part, field) in [("transfer", "id"), ("transfer", "decided_at"), ("sites", "destination")] {
        predicate[part][field] = Value::Null;
    }
    for disk in predicate["disks"].as_array_mut().expect("disks") {
        disk["manifest"] = Value::Null;
    }
    predicate
}

/// A guest with packages, and feeds that know them.
fn guest(bench: &Bench) -> [std::path::PathBuf; 2] {
    let tree = Tree::new(bench.path("tree"), 3).expect("tree");
    let status = "Package: libxz5\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.4.1-0.2\n";
    for (path, text) in [
        ("/var/lib/dpkg/status", status),
        ("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"),
        ("/bin/abc", "abc"),
    ] {
        tree.write(path, text.as_bytes()).expect("write");
    }
    let image = bench.path("guest.img");
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(16 << 20)).expect("image");
    let sources = bench.path("feeds");
    fs::create_dir_all(&sources).expect("folder");
    let packages = "Package: libxz5\nVersion: 5.4.1-1\n";
    fs::write(sources.join("bookworm-security.Packages"), packages).expect("write");
    let feeds = bench.path("all.feeds");
    bench.airlock("rules").args(["import", "--to"]).arg(&feeds).arg(&sources).expect(0);
    [image, feeds]
}

#[test]
fn the_record_is_the_same_with_and_without_a_jail() {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let [guest, feeds] = guest(&bench);
    // Only the destination looks, and it has a list and feeds that the source does not have.
    let warn = "{check: secrets, confidence: 0.5, scope: file, action: warn}";
    let hold = warn.replace("warn", "hold");
    let sites = "scope: file, where: [destination],";
    let policy = bench.policy("destination.yaml", &[(warn, &hold), ("scope: file,", sites)]);
    let lax = bench.lax_policy();
    let list = bench.path("bad.hsb");
    fs::write(&list, "900150983cd24fb0d6963f7d28e17f72:3:Test.A\n").expect("write");
    let signatures = bench.path("bad.ndb");
    fs::write(&signatures, "Test.N:0:0:616263\n").expect("write");

    let run = |data: &str, more: &[&str]| {
        let data = bench.path(data);
        let mut args: Vec<&std::ffi::OsStr> = more.iter().map(AsRef::as_ref).collect();
        let own = [
            ("--policy", &policy),
            ("--hash-list", &list),
            ("--signatures", &signatures),
            ("--feeds", &feeds),
        ];
        for (flag, path) in own {
            args.extend([flag.as_ref(), path.as_os_str()]);
        }
        let director = bench.director(&data, &args);
        let send = |image: &Path, name: &str, code: i32| {
            transfer(&bench, image, &director, name).arg("--policy").arg(&lax).expect(code).json()
        };
        let records = [send(disk.image(), "planted", 3), send(&guest, "guest", 3), send(&guest, "again", 3)];
        director.stop();
        assert_no_residue(&data, disk.planted());
        assert_no_marker(&data);
        records.map(|json| record(&bench, &json))
    };
    let jailed = run("jailed", &[]);
    let here = run("here", &["--no-jail"]);
    for (one, other) in jailed.iter().zip(&here) {
        assert_eq!(one, other);
    }
    let counts = |record: &Value, key: &str| record["findings"]["counts"][key].as_u64().unwrap_or(0);
    assert!(counts(&jailed[0], "destination/hold") > 10, "{}", jailed[0]["findings"]["counts"]);
    let listed = jailed[1]["findings"]["listed"].to_string();
    assert!(listed.contains("hash:Test.A") && listed.contains("signature:Test.N"), "{listed}");
    assert!(listed.contains("bookworm-security has 5.4.1-1"), "{listed}");
}

/// Kills the worker of a director as soon as it is in the jail.
fn kill_worker(director: u32) {
    let parent = format!("\nPPid:\t{director}\n");
    let worker = (0..2000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(5));
        let mut processes = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
        processes.find(|process| {
            let status = fs::read_to_string(process.path().join("status")).unwrap_or_default();
            status.contains(&parent) && status.contains("\nSeccomp:\t2\n")
        })
    });
    let name = worker.expect("a worker").file_name();
    let number = name.to_str().and_then(|name| name.parse().ok()).expect("a number");
    kill_process(Pid::from_raw(number).expect("a process"), Signal::KILL).expect("it was there");
}

#[test]
fn a_killed_worker_refuses_its_transfer_and_no_other() {
    let bench = Bench::new();
    let data = bench.path("data");
    let director = bench.director(&data, &["--verbose".as_ref()]);
    let image = bench.clean_disk(96 << 20);
    let json = std::thread::scope(|scope| {
        let killing = scope.spawn(|| kill_worker(director.service.id()));
        let ran = transfer(&bench, &image, &director, "vm").expect(5);
        killing.join().expect("killed");
        ran.json()
    });
    assert_eq!(json["transfer"]["state"], "failed");
    let reason = text_of(&json["transfer"]["reason"]);
    assert_eq!(reason, "worker:signal: the worker was ended by signal 9");
    assert_eq!(json["result"]["decision"], "terminate");
    let again = transfer(&bench, &image, &director, "vm").expect(0).json();
    assert!(director.service.lines().join("\n").contains("worker:signal"));
    director.stop();
    for json in [&json, &again] {
        bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&data).expect(0);
    }
    let listed = bench.airlock("list").arg("--vault").arg(&data).expect(0).json();
    assert_eq!(listed["vms"].as_array().map(Vec::len), Some(1), "{listed}");
}
