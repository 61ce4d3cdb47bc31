//! A director as a service: paired by a code, asked over its REST API, and not stopped by those who dawdle.

use crate::support::{Bench, DirectorProcess, assert_identical, bytes_under, list, within};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes of noise: enough that a transfer can be hit in its middle.
const NOISE_BYTES: usize = 200 << 20;
/// Bytes that have arrived in the middle.
const HIT_BYTES: u64 = 80 << 20;
const LIMIT: Duration = Duration::from_mins(5);

/// Whoever asks a director over HTTP with the provider's token.
pub(crate) struct Provider {
    address: String,
    token: String,
    namespace: Option<String>,
}

impl Provider {
    pub(crate) fn of(director: &DirectorProcess, data: &Path) -> Self {
        Self::within(None, director, data)
    }

    /// Asks from a network namespace.
    pub(crate) fn within(namespace: Option<&str>, director: &DirectorProcess, data: &Path) -> Self {
        let address = director.url.trim_start_matches("airlock://").trim_end_matches("/default").to_owned();
        let token = std::fs::read_to_string(data.join("provider.token")).expect("the first token");
        Self { address, token: token.trim().to_owned(), namespace: namespace.map(str::to_owned) }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--max-time", "60", "--request", method])
            .args(["--header", &format!("Authorization: Bearer {}", self.token)])
            .args(["--header", "Content-Type: application/json", "--data", &body.to_string()])
            .arg(format!("https://{}/api/v1{path}", self.address));
        let output = within(self.namespace.as_deref(), curl).output().expect("curl (package curl) runs");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn pair(&self, bench: &Bench, name: &str) -> PathBuf {
        self.pair_of("default", bench, name)
    }

    /// Fetches a certificate for a manager of a tenant.
    pub(crate) fn pair_of(&self, tenant: &str, bench: &Bench, name: &str) -> PathBuf {
        let made = self.ask("POST", "/pairings", &json!({ "tenant": tenant, "label": name }));
        let code = made["code"].as_str().unwrap_or_else(|| panic!("{made}"));
        let file = bench.path(name);
        let wrong = format!("{}{}", &code[..98], "0".repeat(64));
        let pair = |code: &str, to: &Path, status| {
            bench.airlock("pair").args([&self.address, code, "--to"]).arg(to).expect(status)
        };
        // Another director, then the right one; then the code is used up.
        pair(&wrong, &file, 1);
        pair(code, &file, 0);
        pair(code, &bench.path("again"), 12);
        file
    }
}

/// A certificate that was fetched with a code is good until it is revoked, in mid-transfer if need be; with
/// another one, the transfer goes on.
#[test]
fn a_revoked_certificate_ends_its_transfer_and_another_goes_on() {
    let bench = Bench::new();
    let image = bench.clean_disk(NOISE_BYTES);
    let data = bench.path("data");
    let director = bench.director(&data, &[]);
    let provider = Provider::of(&director, &data);
    let (one, other) = (provider.pair(&bench, "one.pem"), provider.pair(&bench, "other.pem"));
    let args: [&dyn AsRef<std::ffi::OsStr>; 8] =
        [&image, &director.url, &"--streams", &"2", &"--name", &"vm", &"--identity", &one];
    let child = bench.start_transfer(&list(&args));
    let started = Instant::now();
    while bytes_under(&data.join("segments")) < HIT_BYTES {
        assert!(started.elapsed() < LIMIT, "nothing arrives: {:?}", child.lines());
        std::thread::sleep(Duration::from_millis(5));
    }
    let listed = provider.ask("GET", "/credentials", &Value::Null);
    let found = listed["items"].as_array().expect("a list").iter().find(|one| one["label"] == "one.pem");
    let id = found.and_then(|one| one["id"].as_str()).unwrap_or_else(|| panic!("{listed}"));
    provider.ask("POST", &format!("/credentials/{id}/revoke"), &json!({}));
    let ended = child.wait(LIMIT).expect("it ends");
    assert_eq!(ended.code, Some(12), "{:?}", ended.lines);
    assert!(ended.lines.iter().any(|line| line.contains("was revoked")), "{:?}", ended.lines);

    let transfers = provider.ask("GET", "/transfers", &Value::Null);
    assert_eq!(transfers["items"][0]["state"], "interrupted", "{transfers}");
    bench.airlock("transfer").args(list(&args)).arg("--resume").expect(12);
    let again: [&dyn AsRef<std::ffi::OsStr>; 9] =
        [&image, &director.url, &"--streams", &"2", &"--name", &"vm", &"--identity", &other, &"--resume"];
    let json = bench.airlock("transfer").args(list(&again)).expect(0).json();
    assert!(json["stats"]["bytes_resumed"].as_u64() > Some(0), "{}", json["stats"]);
    let evidence = transfers["items"][0]["id"].as_str().expect("an id");
    let evidence = provider.ask("GET", &format!("/transfers/{evidence}/evidence"), &Value::Null);
    assert!(evidence["payload"].is_string(), "{evidence}");
    director.stop();
    assert_identical(&image, &bench.export("vm", &data, "out.raw"));
}

/// Connections that say nothing, or only the beginning of a request, take nothing from an honest one.
#[test]
fn an_honest_transfer_passes_those_who_dawdle() {
    let bench = Bench::new();
    let image = bench.clean_disk(0);
    let data = bench.path("data");
    let director = bench.director(&data, &[]);
    let provider = Provider::of(&director, &data);
    let dawdlers: Vec<_> = (0..300)
        .map(|number| {
            let mut socket = TcpStream::connect(&provider.address).expect("let in");
            // Half of them begin a handshake: a record of TLS that announces more than it has.
            if number % 2 == 0 {
                socket.write_all(b"\x16\x03\x01\x02\x00\x01").expect("sent");
            }
            socket
        })
        .collect();
    let run = bench.airlock("transfer").arg(&image).args([&director.url, "--name", "vm", "--identity"]);
    run.arg(&director.identity).expect(0);
    assert_eq!(provider.ask("GET", "/vms", &Value::Null)["items"][0]["name"], "vm");
    drop(dawdlers);
    director.stop();
}
