//! The interface as somebody sees it who has the token, and somebody who has none.

use super::router;
use crate::service::{Launch, Manager, ServiceConfig, openapi};
use airlock_console::Peer;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tower::ServiceExt as _;

/// Runs a script in place of a transfer: `$0` is the script's name, its arguments are those of a transfer.
#[derive(Debug)]
struct Script(&'static str);

impl Launch for Script {
    fn transfer(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", self.0, "transfer"]);
        command
    }

    fn policy(&self) -> Result<String, String> {
        Ok("version: 1\n".into())
    }
}

const KEPT: &str = r#"echo '{"schema":"airlock.transfer/1","transfer":{"state":"active"}}'"#;
const UNTIL_TOLD: &str =
    r#"cat >/dev/null; echo '{"schema":"airlock.error/1","error":"cancelled"}'; exit 130"#;

struct Site {
    folder: tempfile::TempDir,
    manager: Arc<Manager>,
    router: Router,
    token: String,
}

fn config(folder: &Path, script: &'static str) -> ServiceConfig {
    ServiceConfig {
        directory: folder.join("data"),
        launch: Box::new(Script(script)),
        transfers_max: 2,
        bwlimit: None,
        virsh: "/bin/false".into(),
        clock: || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs(),
    }
}

impl Site {
    async fn new(script: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), script);
        Self::of(folder, config).await
    }

    async fn of(folder: tempfile::TempDir, config: ServiceConfig) -> Self {
        let manager = Arc::new(Manager::open(config).unwrap());
        let file = manager.first_token().unwrap().unwrap();
        assert_eq!(manager.first_token().unwrap(), None);
        let token = std::fs::read_to_string(file).unwrap().trim().to_owned();
        let site = Self { router: router(&manager), folder, manager, token };
        for name in ["a.raw", "b.raw", "c.raw"] {
            std::fs::write(site.folder.path().join(name), "x").unwrap();
        }
        let source = json!({ "name": "here", "kind": "folder", "location": site.folder.path() });
        site.made("POST /sources", source).await;
        site.made("POST /destinations", json!({ "name": "there", "address": "/nowhere" })).await;
        site
    }

    async fn ask(&self, token: &str, line: &str, key: Option<&str>, body: &str) -> (u16, Value) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        request = request.header("content-type", "application/json");
        request = request.header("authorization", format!("Bearer {token}"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let peer = Peer { address: "192.0.2.1:1".parse().unwrap(), certificate: None };
        let request = request.extension(peer).body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, found) = self.ask(&self.token, &format!("GET {path}"), None, "").await;
        assert_eq!(status, 200, "{path}: {found}");
        found
    }

    async fn made(&self, line: &str, body: Value) -> Value {
        let (status, made) = self.ask(&self.token, line, None, &body.to_string()).await;
        assert!(status == 201 || status == 200, "{line}: {status} {made}");
        made
    }

    async fn queue(&self, vm: &str) -> String {
        let body = json!({ "source": "here", "vm": vm, "destination": "there" });
        self.made("POST /transfers", body).await["transfer"]["id"].as_str().unwrap().to_owned()
    }

    /// Runs the queue until a transfer stands so.
    async fn until(&self, id: &str, state: &str) {
        let started = Instant::now();
        loop {
            self.manager.turn().unwrap();
            let found = self.get(&format!("/transfers/{id}")).await;
            if found["transfer"]["state"] == state {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{found} is not {state}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn only_the_token_opens() {
    let site = Site::new(KEPT).await;
    for path in ["/sources", "/vms", "/destinations", "/transfers", "/waves", "/policy", "/events"] {
        assert_eq!(site.ask("airlock_wrong", &format!("GET {path}"), None, "").await.0, 401, "{path}");
    }
    assert_eq!(site.ask("", "GET /openapi.json", None, "").await.0, 200);
    for path in
        ["/sources/x", "/vms/x", "/destinations/x", "/transfers/x", "/transfers/x/evidence", "/waves/x", "/x"]
    {
        let (status, problem) = site.ask(&site.token, &format!("GET {path}"), None, "").await;
        assert_eq!((status, &problem["type"]), (404, &json!("urn:airlock:problem:not-found")), "{path}");
    }
    let wrong =
        json!({ "source": "here", "vm": "a", "destination": "there", "schedule": { "windows": ["x"] } });
    assert_eq!(site.ask(&site.token, "POST /transfers", None, &wrong.to_string()).await.0, 422);
    assert_eq!(site.ask(&site.token, "POST /transfers", None, "{").await.0, 400);
}

#[tokio::test]
async fn a_transfer_is_queued_once_and_runs() {
    let site = Site::new(KEPT).await;
    let body = json!({ "source": "here", "vm": "a", "destination": "there" }).to_string();
    let (status, first) = site.ask(&site.token, "POST /transfers", Some("k"), &body).await;
    assert_eq!(status, 201);
    let (_, again) = site.ask(&site.token, "POST /transfers", Some("k"), &body).await;
    assert_eq!(first, again);
    assert_eq!(site.get("/transfers").await["items"].as_array().unwrap().len(), 1);
    site.until(first["transfer"]["id"].as_str().unwrap(), "active").await;
    let page = site.get("/vms?limit=2").await;
    assert_eq!((page["items"].as_array().unwrap().len(), page["next"].is_string()), (2, true));
}

#[tokio::test]
async fn pause_resume_and_cancel_reach_the_process() {
    let site = Site::new(UNTIL_TOLD).await;
    let id = site.queue("a").await;
    site.until(&id, "running").await;
    site.made(&format!("POST /transfers/{id}/pause"), json!({})).await;
    site.until(&id, "paused").await;
    site.made(&format!("POST /transfers/{id}/resume"), json!({})).await;
    site.until(&id, "running").await;
    site.made(&format!("POST /transfers/{id}/cancel"), json!({})).await;
    site.until(&id, "cancelled").await;
    let (status, _) = site.ask(&site.token, &format!("POST /transfers/{id}/resume"), None, "{}").await;
    assert_eq!(status, 409);
    // One that has not begun is cancelled at once.
    let id = site.queue("b").await;
    let cancelled = site.made(&format!("POST /transfers/{id}/cancel"), json!({})).await;
    assert_eq!(cancelled["transfer"]["state"], "cancelled");
}

#[tokio::test]
async fn no_more_run_than_may() {
    let site = Site::new(UNTIL_TOLD).await;
    let ids = [site.queue("a").await, site.queue("b").await, site.queue("c").await];
    site.until(&ids[1], "running").await;
    let state = site.get(&format!("/transfers/{}", ids[2])).await["transfer"]["state"].clone();
    assert_eq!(state, "queued");
    // A manager that ends interrupts what runs, and the next one goes on.
    site.manager.dispatch(&AtomicBool::new(true));
    assert_eq!(site.get(&format!("/transfers/{}", ids[0])).await["transfer"]["state"], "queued");
    assert!(site.manager.runs().is_empty());
}

/// Of two transfers of one VM the later keeps the newer generation, though the earlier is to be tried again.
#[tokio::test]
async fn none_overtakes_an_earlier_one_of_its_vm() {
    let site = Site::new("exit 11").await;
    let ids = [site.queue("a").await, site.queue("a").await];
    site.until(&ids[0], "waiting").await;
    site.manager.turn().unwrap();
    assert_eq!(site.get(&format!("/transfers/{}", ids[1])).await["transfer"]["state"], "queued");
    // One that is paused is waited for by nobody.
    site.made(&format!("POST /transfers/{}/pause", ids[0]), json!({})).await;
    site.until(&ids[1], "waiting").await;
}

#[tokio::test]
async fn a_wave_in_order_stops_at_what_is_not_kept() {
    let site = Site::new("exit 4").await;
    let yaml = "name: first\nin_order: true\nvms:\n- {source: here, vm: a, destination: there}\n\
        - {source: here, vm: b, destination: there, on_fail: withhold}\n";
    let (status, wave) = site.ask(&site.token, "POST /waves", None, yaml).await;
    assert_eq!(status, 201, "{wave}");
    let jobs = site.manager.store.unfinished().unwrap();
    site.until(&jobs[0].id, "rejected").await;
    site.manager.turn().unwrap();
    let wave = site.get(&format!("/waves/{}", wave["id"].as_str().unwrap())).await;
    assert_eq!([&wave["total"], &wave["failed"], &wave["running"]], [2, 1, 0]);
    assert_eq!(site.manager.store.job(&jobs[1].id).unwrap().state.as_str(), "queued");
    assert_eq!(site.ask(&site.token, "POST /waves", None, "name: x\nvms: []\n").await.0, 422);
    let unknown = "name: x\nvms: [{source: here, vm: z, destination: there}]";
    assert_eq!(site.ask(&site.token, "POST /waves", None, unknown).await.0, 404);
}

/// The limit of the manager and that of the source are divided among those that run, and the lower one counts.
#[tokio::test]
async fn a_limit_is_told_to_those_that_run() {
    const SAYS: &str =
        r#"read line; echo "{\"schema\":\"airlock.transfer/1\",\"told\":\"$line\"}"; cat >/dev/null"#;
    let folder = tempfile::tempdir().unwrap();
    let config = ServiceConfig { bwlimit: Some("1M".parse().unwrap()), ..config(folder.path(), SAYS) };
    let site = Site::of(folder, config).await;
    let ids = [site.queue("a").await, site.queue("b").await];
    site.manager.turn().unwrap();
    assert_eq!(site.manager.runs().len(), 2);
    for id in &ids {
        site.manager.runs().get_mut(id).unwrap().stop();
        site.until(id, "active").await;
        let told = site.manager.store.job(id).unwrap().outcome.unwrap()["told"].clone();
        assert_eq!(told, "rate 524288");
    }
}

#[tokio::test]
async fn before_its_time_a_transfer_waits() {
    let site = Site::new(KEPT).await;
    let body = json!({ "source": "here", "vm": "a", "destination": "there",
        "schedule": { "not_before": 4_000_000_000_u64 } });
    let id = site.made("POST /transfers", body).await["transfer"]["id"].as_str().unwrap().to_owned();
    site.manager.turn().unwrap();
    assert_eq!(site.get(&format!("/transfers/{id}")).await["transfer"]["state"], "queued");
    assert!(site.manager.runs().is_empty());
}

/// A manager that was killed finds what ran: what its evidence does not settle is queued again.
#[tokio::test]
async fn what_ran_when_the_manager_was_killed_is_queued_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.raw"), "x").unwrap();
    let manager = Manager::open(config(folder.path(), KEPT)).unwrap();
    let source = serde_json::from_value(json!({ "name": "s", "kind": "folder", "location": folder.path() }));
    let source = manager.store.add_source(&source.unwrap()).unwrap();
    manager.store.rescan(&source.id, Path::new("virsh"), folder.path(), 1).unwrap();
    let there = serde_json::from_value(json!({ "name": "d", "address": "/nowhere" })).unwrap();
    manager.store.add_destination(&there).unwrap();
    let new = serde_json::from_value(json!({ "source": "s", "vm": "a", "destination": "d" })).unwrap();
    let job = manager.store.add_transfer(&new, 1).unwrap();
    manager.store.started(&job, 2).unwrap();
    drop(manager);
    let manager = Manager::open(config(folder.path(), KEPT)).unwrap();
    let job = manager.store.job(&job.id).unwrap();
    assert_eq!((job.state.as_str(), job.begun), ("queued", true));
    let command = manager.command(&job).unwrap();
    assert!(command.get_args().any(|arg| arg == "--resume"));
    assert!(Manager::open(config(folder.path(), KEPT)).is_err(), "one at a time");
}

/// `AIRLOCK_WRITE_OPENAPI=1` writes the description instead of comparing it.
#[test]
fn the_description_that_is_checked_in_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/manager.openapi.json");
    let current = openapi();
    if std::env::var_os("AIRLOCK_WRITE_OPENAPI").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let same = std::fs::read_to_string(&path).unwrap_or_default() == current;
    assert!(same, "it is not what the types say; AIRLOCK_WRITE_OPENAPI=1 writes it anew");
    let document: Value = serde_json::from_str(&current).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}
