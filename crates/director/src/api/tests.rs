//! The interface as somebody sees it who has a token, and somebody who has another's ids.

use super::router;
use crate::ledger::{TransferRow, state};
use crate::{Config, Director, openapi};
use airlock_checks::Rules;
use airlock_checks::malware::HashList;
use airlock_console::Peer;
use airlock_policy::DEFAULT_YAML;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tower::ServiceExt as _;

/// The time, which these tests move on; each test that does has a process of its own.
static NOW: AtomicU64 = AtomicU64::new(1_000_000);

struct Site {
    _folder: tempfile::TempDir,
    director: Arc<Director>,
    router: Router,
    provider: String,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let director = Director::open(Config {
            directory: folder.path().join("data"),
            policy_yaml: DEFAULT_YAML.to_owned(),
            rules: Arc::new(Rules::new([3; 32], HashList::default())),
            threads: 1,
            clock: || NOW.load(Ordering::Relaxed),
            worker: None,
        });
        let director = Arc::new(director.unwrap());
        let file = director.first_provider_token().unwrap().unwrap();
        assert_eq!(director.first_provider_token().unwrap(), None);
        let provider = std::fs::read_to_string(file).unwrap().trim().to_owned();
        Self { router: router(&director, "ab".repeat(32)), _folder: folder, director, provider }
    }

    async fn ask(&self, token: &str, line: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        request = request.header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let peer = Peer { address: "192.0.2.1:1".parse().unwrap(), certificate: None };
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.extension(peer).body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn made(&self, line: &str, body: Value) -> Value {
        let (status, made) = self.ask(&self.provider, line, None, &body).await;
        assert_eq!(status, 201, "{line}: {made}");
        made
    }

    async fn tenant(&self, name: &str) -> String {
        text(&self.made("POST /tenants", json!({ "name": name })).await["id"])
    }

    async fn token(&self, tenant: &str, scope: &str, seconds: Option<u64>) -> (String, String) {
        let body = json!({ "tenant": tenant, "label": "test", "scopes": [scope], "seconds": seconds });
        let made = self.made("POST /credentials", body).await;
        (text(&made["credential"]["id"]), text(&made["token"]))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn nothing_of_another_tenant_is_found() {
    let site = Site::new();
    let (one, other) = (site.tenant("one").await, site.tenant("other").await);
    let (credential, own) = site.token(&one, "tenant:admin", None).await;
    let (_, stranger) = site.token(&other, "tenant:admin", None).await;
    let vdc = site.director.ledger.vdc_named(&one, "default").unwrap().unwrap().id;
    let id = [7; 16];
    let row = TransferRow {
        id,
        state: state::STAGING.into(),
        shape: String::new(),
        effective: String::new(),
        paused: false,
    };
    site.director.ledger.begin(&row, &one, "default", "vm", 5).unwrap();
    let transfer = hex::encode(id);
    let vm = "08".repeat(16);
    let insert = "insert into vm values (?1, 'default', 'kept', 1, ?2, 'active', 9)";
    site.director.ledger.lock().execute(insert, [&one, &vm]).unwrap();
    let yaml = json!({ "yaml": DEFAULT_YAML });
    let lines = [
        (format!("GET /tenants/{one}"), Value::Null, 200),
        (format!("GET /vdcs/{vdc}"), Value::Null, 200),
        (format!("GET /vdcs/{vdc}/policy"), Value::Null, 200),
        (format!("PUT /vdcs/{vdc}/policy"), yaml, 200),
        (format!("GET /credentials/{credential}"), Value::Null, 200),
        (format!("GET /transfers/{transfer}"), Value::Null, 200),
        (format!("POST /transfers/{transfer}/pause"), Value::Null, 200),
        (format!("POST /transfers/{transfer}/resume"), Value::Null, 200),
        (format!("POST /transfers/{transfer}/cancel"), Value::Null, 200),
        (format!("GET /vms/{vm}"), Value::Null, 200),
        ("POST /pairings".into(), json!({ "tenant": one, "label": "x" }), 201),
        ("POST /credentials".into(), json!({ "tenant": one, "label": "x", "scopes": ["tenant:read"] }), 201),
        (format!("POST /credentials/{credential}/revoke"), Value::Null, 200),
    ];
    for (line, body, right) in &lines {
        let unknown = line.replace(&one, &"0".repeat(32)).replace(&vdc, "no").replace(&credential, "no");
        let unknown = unknown.replace(&transfer, "no").replace(&vm, "no");
        let body_of_unknown = serde_json::from_str(&body.to_string().replace(&one, "no")).unwrap();
        let (status, of_other) = site.ask(&stranger, line, None, body).await;
        assert_eq!(status, 404, "{line}");
        let answer = site.ask(&stranger, &unknown, None, &body_of_unknown).await;
        assert_eq!((404, of_other), answer, "{line}");
        let (status, answer) = site.ask(&own, line, None, body).await;
        assert_eq!(status, *right, "{line}: {answer}");
    }
    for line in ["GET /tenants", "GET /vdcs", "GET /transfers", "GET /vms", "GET /credentials"] {
        let (status, page) = site.ask(&stranger, line, None, &Value::Null).await;
        assert!(status == 200 && !page.to_string().contains(&one), "{line}: {page}");
    }
    // It was the credential's own last deed.
    assert_eq!(site.ask(&own, "GET /tenants", None, &Value::Null).await.0, 401);
    let (_, evidence) =
        site.ask(&stranger, &format!("GET /transfers/{transfer}/evidence"), None, &Value::Null).await;
    assert_eq!(evidence["type"], "urn:airlock:problem:not-found");
}

/// Every operation of the description that takes an id gives no more away for another's than for none at all.
#[tokio::test]
async fn no_operation_tells_anothers_id_from_none() {
    let site = Site::new();
    let (one, other) = (site.tenant("one").await, site.tenant("other").await);
    let (credential, _) = site.token(&one, "tenant:admin", None).await;
    let (_, stranger) = site.token(&other, "tenant:admin", None).await;
    let vdc = site.director.ledger.vdc_named(&one, "default").unwrap().unwrap().id;
    let row = TransferRow {
        id: [7; 16],
        state: state::STAGING.into(),
        shape: String::new(),
        effective: String::new(),
        paused: false,
    };
    site.director.ledger.begin(&row, &one, "default", "vm", 5).unwrap();
    let (transfer, vm) = ("07".repeat(16), "08".repeat(16));
    let insert = "insert into vm values (?1, 'default', 'kept', 1, ?2, 'active', 9)";
    site.director.ledger.lock().execute(insert, [&one, &vm]).unwrap();
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let Some((kind, _)) = path.split_once("/{id}") else { continue };
        let id = match kind {
            "/tenants" => &one,
            "/vdcs" => &vdc,
            "/credentials" => &credential,
            "/transfers" => &transfer,
            "/vms" => &vm,
            _ => panic!("{path}: add what its id is of"),
        };
        for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let body = match path {
                "/vdcs/{id}/policy" if method == "put" => json!({ "yaml": DEFAULT_YAML }),
                "/vdcs/{id}/quota" => json!({}),
                _ => Value::Null,
            };
            let line = |id: &str| format!("{} {}", method.to_uppercase(), path.replace("{id}", id));
            let of_other = site.ask(&stranger, &line(id), None, &body).await;
            let of_none = site.ask(&stranger, &line(&"0".repeat(32)), None, &body).await;
            assert_eq!(of_other, of_none, "{method} {path}");
            // 403 is for what no tenant may do, whatever the id.
            assert!([403, 404].contains(&of_other.0), "{method} {path}: {of_other:?}");
            let provider =
                path == "/vdcs/{id}/quota" || (path, method.as_str()) == ("/vdcs/{id}/policy", "delete");
            assert_eq!(of_other.0 == 403, provider, "{method} {path}: {of_other:?}");
            asked += 1;
        }
    }
    assert!(asked >= 16, "{asked} operations take an id");
    assert_eq!(site.director.ledger.state_of(&[7; 16]).unwrap().as_deref(), Some(state::STAGING));
}

#[tokio::test]
async fn a_credential_is_good_for_its_scope_and_its_time() {
    let site = Site::new();
    let tenant = site.tenant("one").await;
    let (_, reader) = site.token(&tenant, "tenant:read", Some(60)).await;
    let (id, admin) = site.token(&tenant, "tenant:admin", None).await;
    let get = async |token: &str, line: &str| site.ask(token, line, None, &Value::Null).await.0;
    assert_eq!(get(&reader, "GET /vms").await, 200);
    assert_eq!(get(&reader, "GET /credentials").await, 403);
    assert_eq!(get(&reader, "POST /transfers/x/cancel").await, 403);
    for token in ["", "airlock_", &"x".repeat(5000), &site.provider[1..]] {
        assert_eq!(get(token, "GET /vms").await, 401, "{token}");
    }
    let body = json!({ "name": "two" });
    assert_eq!(site.ask(&admin, "POST /tenants", None, &body).await.0, 403);
    let provider = json!({ "tenant": tenant, "label": "", "scopes": ["provider"] });
    assert_eq!(site.ask(&admin, "POST /credentials", None, &provider).await.0, 422);
    let (status, rotated) =
        site.ask(&admin, &format!("POST /credentials/{id}/rotate"), None, &Value::Null).await;
    assert_eq!((status, get(&admin, "GET /vms").await), (200, 401));
    assert_eq!(get(&text(&rotated["token"]), "GET /vms").await, 200);
    NOW.fetch_add(60, Ordering::Relaxed);
    let (status, problem) = site.ask(&reader, "GET /vms", None, &Value::Null).await;
    assert_eq!((status, &problem["title"]), (401, &json!("the credential has expired")));
}

#[tokio::test]
async fn a_repeated_request_is_done_once() {
    let site = Site::new();
    let make = async |key, name: &str| {
        site.ask(&site.provider, "POST /tenants", Some(key), &json!({ "name": name })).await
    };
    let first = make("k1", "one").await;
    assert_eq!(first.0, 201);
    assert_eq!(make("k1", "one").await, first);
    let (status, problem) = make("k1", "two").await;
    assert_eq!((status, &problem["type"]), (422, &json!("urn:airlock:problem:idempotency-key")));
    assert_eq!(make("k2", "one").await.0, 409);
    let tenant = text(&first.1["id"]);
    let body = json!({ "tenant": tenant, "label": "t", "scopes": ["tenant:read"] });
    let (_, made) = site.ask(&site.provider, "POST /credentials", Some("k3"), &body).await;
    let again = site.ask(&site.provider, "POST /credentials", Some("k3"), &body).await;
    assert_eq!(again, (201, made.clone()));
    // What is kept for that does not hold the token, nor does anything else.
    let token = text(&made["token"]);
    for name in ["state.db", "state.db-wal"] {
        let bytes = std::fs::read(site.director.directory.join(name)).unwrap_or_default();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{name}");
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let site = Site::new();
    for name in ["a", "b", "c", "d"] {
        site.tenant(name).await;
    }
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let line = format!("GET /tenants?limit=2&cursor={cursor}");
        let (_, page) = site.ask(&site.provider, &line, None, &Value::Null).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|tenant| text(&tenant["name"])));
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c", "d", "default"]);
    for line in ["GET /tenants?limit=0", "GET /tenants?limit=x"] {
        assert_eq!(site.ask(&site.provider, line, None, &Value::Null).await.0, 400);
    }
}

#[tokio::test]
async fn who_asks_without_end_is_told_to_wait() {
    let site = Site::new();
    let mut refused = 0;
    for _ in 0..200 {
        let (status, _) = site.ask("airlock_guess", "GET /vms", None, &Value::Null).await;
        refused += usize::from(status == 429);
    }
    assert!(refused > 50, "{refused}");
    assert_eq!(site.ask(&site.provider, "GET /vms", None, &Value::Null).await.0, 200);
}

#[tokio::test]
async fn a_tenant_may_only_put_a_policy_that_is_as_strict() {
    let site = Site::new();
    let tenant = site.tenant("one").await;
    let (_, admin) = site.token(&tenant, "tenant:admin", None).await;
    let vdc = site.director.ledger.vdc_named(&tenant, "default").unwrap().unwrap().id;
    let line = format!("PUT /vdcs/{vdc}/policy");
    let put = async |token: &str, yaml: &str| site.ask(token, &line, None, &json!({ "yaml": yaml })).await.0;
    let warn = "{check: secrets, confidence: 0.5, scope: file, action: warn}";
    assert!(DEFAULT_YAML.contains(warn));
    let strict = DEFAULT_YAML.replace(warn, &warn.replace("warn", "hold"));
    let weak = DEFAULT_YAML.replace(warn, &warn.replace("warn", "allow"));
    assert_eq!(put(&admin, &strict).await, 200);
    assert_eq!(put(&admin, &weak).await, 422);
    assert_eq!(put(&site.provider, &weak).await, 200);
    assert_eq!(put(&site.provider, "nonsense").await, 422);
}

/// `AIRLOCK_WRITE_OPENAPI=1` writes the description instead of comparing it.
#[test]
fn the_description_that_is_checked_in_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/director.openapi.json");
    let current = openapi();
    if std::env::var_os("AIRLOCK_WRITE_OPENAPI").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let same = std::fs::read_to_string(&path).unwrap_or_default() == current;
    assert!(same, "it is not what the types say; AIRLOCK_WRITE_OPENAPI=1 writes it anew");
    let document: Value = serde_json::from_str(&current).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}
