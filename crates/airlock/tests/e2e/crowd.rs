//! Many at once: of tenants that share a director that is killed, and of those who only take up room.

use crate::service::Provider;
use crate::support::{Bench, Ran, assert_identical, bytes_under, files_ending, skipped, u64_of};
use airlock_testkit::loopback::free_ports;
use airlock_testkit::{Ext4Image, Ext4Options, Tree};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TENANTS: usize = 8;
const VMS_OF_EACH: usize = 4;
/// Bytes of noise in each VM.
const NOISE_BYTES: usize = 10 << 20;
/// The director is killed whenever one more of these numbers of VMs is sealed.
const KILLED_AT: [usize; 3] = [4, 12, 20];
const LIMIT: Duration = Duration::from_mins(5);

fn image(bench: &Bench, number: usize) -> PathBuf {
    let mut tree = Tree::new(bench.path(&format!("tree-{number}")), number as u64 + 100).expect("tree");
    tree.noise("/noise.bin", NOISE_BYTES).expect("noise");
    tree.filler("/text.txt", 200_000).expect("filler");
    let image = bench.path(&format!("{number}.img"));
    Ext4Image::build(tree.root(), &image, &Ext4Options::new(24 << 20)).expect("image");
    image
}

/// Sends a VM until it is there, as somebody would who starts the command again.
fn send_until_sealed(bench: &Bench, image: &Path, url: &str, name: &str, identity: &Path) -> Ran {
    let started = Instant::now();
    loop {
        let run = bench.airlock("transfer").arg(image).arg(url).args(["--name", name, "--streams", "1"]);
        let ran = run.args(["--resume", "--no-memo", "--identity"]).arg(identity).end();
        match ran.code {
            Some(0) => return ran,
            Some(1 | 11) if started.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(100)),
            _ => panic!("{name} is not sealed: {}", ran.err),
        }
    }
}

/// 32 transfers of 8 tenants, and a director that is killed three times in the middle: all are sealed, and
/// nothing that was acknowledged is sent again.
#[test]
fn a_director_that_is_killed_loses_nothing_of_anybody() {
    let bench = Bench::new();
    let data = bench.path("data");
    let port = free_ports(1).expect("a port")[0];
    let address = format!("127.0.0.1:{port}");
    let start = || bench.director_at(&data, &address, None, &[]);
    let mut director = start();
    let provider = Provider::of(&director, &data);
    let mut identities = vec![director.identity.clone()];
    for number in 1..TENANTS {
        let made = provider.ask("POST", "/tenants", &json!({ "name": format!("tenant-{number}") }));
        let tenant = made["id"].as_str().unwrap_or_else(|| panic!("{made}"));
        identities.push(provider.pair_of(tenant, &bench, &format!("tenant-{number}.pem")));
    }
    let images: Vec<PathBuf> = (0..VMS_OF_EACH).map(|number| image(&bench, number)).collect();
    let sealed = AtomicUsize::new(0);
    let url = director.url.clone();
    let results: Vec<Value> = std::thread::scope(|scope| {
        let mut sending = Vec::new();
        for identity in &identities {
            for (number, image) in images.iter().enumerate() {
                let (bench, sealed, url) = (&bench, &sealed, &url);
                sending.push(scope.spawn(move || {
                    let ran = send_until_sealed(bench, image, url, &format!("vm-{number}"), identity);
                    sealed.fetch_add(1, Ordering::Relaxed);
                    ran.json()
                }));
            }
        }
        for count in KILLED_AT {
            let started = Instant::now();
            while sealed.load(Ordering::Relaxed) < count {
                assert!(started.elapsed() < LIMIT, "{} are sealed", sealed.load(Ordering::Relaxed));
                std::thread::sleep(Duration::from_millis(5));
            }
            director.service.kill().expect("killed");
            director = start();
        }
        sending.into_iter().map(|sending| sending.join().expect("sealed")).collect()
    });
    for json in &results {
        assert_eq!(json["transfer"]["state"], "active");
        let stats = &json["stats"];
        let (resumed, sent) = (u64_of(&stats["bytes_resumed"]), u64_of(&stats["bytes_sent"]));
        assert!(sent <= u64_of(&json["coverage"]["cleared"]) - resumed, "{stats}");
    }
    let vms = provider.ask("GET", "/vms?limit=200", &Value::Null);
    let vms = vms["items"].as_array().expect("a list");
    let names: BTreeSet<_> =
        vms.iter().map(|vm| (vm["tenant"].to_string(), vm["name"].to_string())).collect();
    assert_eq!(names.len(), TENANTS * VMS_OF_EACH, "{vms:?}");
    // Killed behind a seal and before it is told, a director is sent the VM once more, as another generation.
    assert!(vms.len() <= names.len() + 2 * KILLED_AT.len(), "{vms:?}");
    assert_eq!(files_ending(&data.join("chamber"), "key").len(), 0, "no transfer is left in the middle");
    director.stop();
    for (number, image) in images.iter().enumerate() {
        let vm = format!("vm-{number}");
        assert_identical(image, &bench.export(&vm, &data, &format!("{vm}.raw")));
    }
    let evidence = files_ending(&data.join("evidence"), "json");
    assert_eq!(evidence.len(), vms.len());
    for file in &evidence {
        bench.airlock("verify").arg(file).expect(0);
    }
    assert!(bytes_under(&data.join("segments")) < 2 * (TENANTS * VMS_OF_EACH * NOISE_BYTES) as u64);
}

/// A thousand that begin a request and never end it, ten thousand that say nothing, and an honest transfer.
#[test]
fn ten_thousand_idle_connections_stop_nobody() {
    const SLOW: usize = 1_000;
    const IDLE: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let wanted = (SLOW + IDLE + 1_000) as u64;
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if limit.current.is_some_and(|now| now < wanted) && setrlimit(Resource::Nofile, raised).is_err() {
        skipped(&format!("{wanted} open files are not allowed here"));
        return;
    }
    let bench = Bench::new();
    let image = bench.clean_disk(8 << 20);
    let data = bench.path("data");
    let director = bench.director(&data, &[]);
    let provider = Provider::of(&director, &data);
    let address = director.url.trim_start_matches("airlock://").trim_end_matches("/default").to_owned();
    let crowd: Vec<TcpStream> = (0..SLOW + IDLE)
        .map(|number| {
            let mut socket = TcpStream::connect(&address).expect("let in");
            if number < SLOW {
                // A record of TLS that announces more than it has.
                socket.write_all(b"\x16\x03\x01\x02\x00\x01").expect("sent");
            }
            socket
        })
        .collect();
    let run = bench.airlock("transfer").arg(&image).args([&director.url, "--name", "vm", "--identity"]);
    run.arg(&director.identity).expect(0);
    assert_eq!(provider.ask("GET", "/vms", &Value::Null)["items"][0]["name"], "vm");
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", director.service.id())).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 1 << 20, "the director has used {peak} KiB");
    drop(crowd);
    director.stop();
}
