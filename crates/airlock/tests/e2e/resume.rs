//! A transfer that one side did not survive goes on where it was.

use crate::support::{
    Bench, assert_identical, assert_no_marker, bytes_under, files_ending, list, text_of, u64_of,
};
use airlock_testkit::loopback::Service;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of noise: enough that a transfer can be hit in its middle.
const NOISE_BYTES: usize = 400 << 20;
/// Bytes that a director has to have received before one side is killed. With two
/// streams, each has made some of it durable by then.
const HIT_BYTES: u64 = 160 << 20;
/// How long to wait for that.
const LIMIT: Duration = Duration::from_mins(5);

/// Waits until a director has received so much that some of it is durable.
fn wait_for_middle(dest: &Path, transfer: &Service) {
    let started = Instant::now();
    while bytes_under(&dest.join("segments")) < HIT_BYTES {
        assert!(started.elapsed() < LIMIT, "nothing arrives: {:?}", transfer.lines());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn assert_unfinished(dest: &Path) {
    assert_eq!(files_ending(&dest.join("evidence"), "json").len(), 0, "it had ended already");
    assert_eq!(files_ending(&dest.join("chamber"), "key").len(), 1);
    assert_no_marker(dest);
}

fn assert_resumed(json: &Value) {
    assert_eq!(json["transfer"]["state"], "active");
    let (resumed, sent) = (u64_of(&json["stats"]["bytes_resumed"]), u64_of(&json["stats"]["bytes_sent"]));
    let total = u64_of(&json["coverage"]["cleared"]);
    assert!(resumed > 0, "{}", json["stats"]);
    assert!(sent <= total - resumed, "{sent} sent of {total}, {resumed} were there");
}

/// A manager (and the director in it) killed in the middle resumes without sending again what is durable.
#[test]
fn killed_manager_resumes() {
    let bench = Bench::new();
    let image = bench.clean_disk(NOISE_BYTES);
    let dest = bench.path("dest");
    let args: [&dyn AsRef<std::ffi::OsStr>; 6] = [&image, &dest, &"--streams", &"2", &"--name", &"vm"];
    let mut child = bench.start_transfer(&list(&args));
    wait_for_middle(&dest, &child);
    child.kill().expect("kill");
    assert_unfinished(&dest);
    let json = bench.airlock("transfer").args(list(&args)).arg("--resume").expect(0).json();
    assert_resumed(&json);
    assert_no_marker(&dest);
    bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&dest).expect(0);
    assert_identical(&image, &bench.export("vm", &dest, "out.raw"));
}

/// A director killed in the middle and started again goes on with what it had.
#[test]
fn killed_director_resumes() {
    let bench = Bench::new();
    let image = bench.clean_disk(NOISE_BYTES);
    let data = bench.path("data");
    let mut director = bench.director(&data, &[]);
    let flags: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--streams", &"2", &"--name", &"vm"];
    let first: [&dyn AsRef<std::ffi::OsStr>; 4] = [&image, &director.url, &"--identity", &director.identity];
    let child = bench.start_transfer(&[list(&first), list(&flags)].concat());
    wait_for_middle(&data, &child);
    director.service.kill().expect("kill");
    let ended = child.wait(LIMIT).expect("the manager notices");
    assert_eq!(ended.code, Some(1), "{:?}", ended.lines);
    assert!(ended.lines.iter().any(|line| line.contains("--resume")), "{:?}", ended.lines);
    assert_unfinished(&data);

    let director = bench.director(&data, &[]);
    let run =
        bench.airlock("transfer").arg(&image).arg(&director.url).arg("--identity").arg(&director.identity);
    let json = run.args(list(&flags)).arg("--resume").expect(0).json();
    assert_resumed(&json);
    director.stop();
    assert_no_marker(&data);
    bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&data).expect(0);
    assert_identical(&image, &bench.export("vm", &data, "out.raw"));
}

/// An interrupt ends a transfer cleanly, with its own code and a hint, and it resumes.
#[test]
fn interrupted_transfer_resumes() {
    let bench = Bench::new();
    let image = bench.clean_disk(NOISE_BYTES);
    let dest = bench.path("dest");
    let args: [&dyn AsRef<std::ffi::OsStr>; 6] = [&image, &dest, &"--streams", &"2", &"--name", &"vm"];
    let child = bench.start_transfer(&list(&args));
    wait_for_middle(&dest, &child);
    child.terminate().expect("interrupt");
    let ended = child.wait(LIMIT).expect("it ends");
    assert_eq!(ended.code, Some(130), "{:?}", ended.lines);
    assert!(ended.lines.iter().any(|line| line.contains("--resume")), "{:?}", ended.lines);
    assert_unfinished(&dest);
    let json = bench.airlock("transfer").args(list(&args)).arg("--resume").expect(0).json();
    assert_resumed(&json);
    assert_identical(&image, &bench.export("vm", &dest, "out.raw"));
}

/// Without `--resume` a transfer begins anew, and what the unfinished one had brought is not kept.
#[test]
fn without_resume_it_begins_anew() {
    let bench = Bench::new();
    let image = bench.clean_disk(NOISE_BYTES);
    let dest = bench.path("dest");
    let args: [&dyn AsRef<std::ffi::OsStr>; 6] = [&image, &dest, &"--streams", &"2", &"--name", &"vm"];
    let mut child = bench.start_transfer(&list(&args));
    wait_for_middle(&dest, &child);
    child.kill().expect("kill");
    let json = bench.airlock("transfer").args(list(&args)).expect(0).json();
    assert_eq!(json["stats"]["bytes_resumed"], 0);
    let kept = bytes_under(&dest.join("segments"));
    let sent = u64_of(&json["stats"]["bytes_sent"]);
    assert!(kept < sent + (sent >> 4), "{kept} bytes are kept of {sent}");
    assert_eq!(files_ending(&dest.join("chamber"), "key").len(), 0);
    bench.airlock("verify").arg(text_of(&json["evidence"])).arg("--vault").arg(&dest).expect(0);
}
