//! A director that listens, with two tenants, and what lies in its directory.

use airlock_director::{Config, DEFAULT_VDC, Director, Server};
use airlock_link::{Identity, PairingCode, pair_with};
use airlock_policy::DEFAULT_YAML;
use airlock_testkit::{Planted, residue};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a transfer may take to come to its end once the manager is gone.
const END_POLLS_MAX: u32 = 500;
const END_POLL: Duration = Duration::from_millis(20);

/// The built-in policy, but secrets are held, too: every planted value is, by whoever looks.
pub(crate) fn strict() -> String {
    let warn = "{check: secrets, confidence: 0.5, scope: file, action: warn}";
    assert!(DEFAULT_YAML.contains(warn));
    DEFAULT_YAML.replace(warn, &warn.replace("warn", "hold"))
}

/// A policy that forbids nothing.
pub(crate) fn lax() -> String {
    let (head, rest) = DEFAULT_YAML.split_once("\nrules:\n").expect("rules");
    let (_, tail) = rest.split_once("\n\n").expect("the end of the rules");
    let lines = tail.replace(": hold ", ": allow ").replace(": terminate ", ": allow ");
    let lines = lines.replace("metadata: allow", "metadata: hold");
    format!("{head}\nrules: []\n\n{lines}")
}

/// A director on a port of 127.0.0.1.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) director: Arc<Director>,
    pub(crate) address: String,
    /// The PEM text of a manager of the first tenant, and of one of another.
    pub(crate) identities: [String; 2],
    token: String,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl Site {
    pub(crate) fn new(rules: &Arc<airlock_checks::Rules>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let director = Director::open(Config {
            directory: folder.path().join("data"),
            policy_yaml: strict(),
            rules: Arc::clone(rules),
            threads: 2,
            clock: || 1_800_000_000,
            worker: None,
        });
        let director = Arc::new(director.expect("a director"));
        let file = director.first_provider_token().expect("written").expect("the first");
        let token = std::fs::read_to_string(file).expect("a token").trim().to_owned();
        let server = Server::bind(Arc::clone(&director), "127.0.0.1:0").expect("a free port");
        let address = server.address().expect("an address").to_string();
        let own = std::fs::read_to_string(server.manager_identity()).expect("an identity");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serving = std::thread::spawn(move || server.run(&stopped).expect("it serves"));
        let mut site = Self {
            folder,
            director,
            address,
            identities: [own, String::new()],
            token,
            stop,
            serving: Some(serving),
        };
        let other = site.ask("POST", "/tenants", &json!({ "name": "other" }));
        let made = site.ask("POST", "/pairings", &json!({ "tenant": other["id"], "label": "its manager" }));
        let code = PairingCode::parse(made["code"].as_str().expect("a code")).expect("a code");
        site.identities[1] = pair_with(&site.address, &code).expect("paired");
        site
    }

    pub(crate) fn identity(&self, tenant: usize) -> Identity {
        Identity::parse(&self.identities[tenant]).expect("an identity")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Asks as the provider.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let output = Command::new("curl")
            .args(["--silent", "--insecure", "--max-time", "60", "--request", method])
            .args(["--header", &format!("Authorization: Bearer {}", self.token)])
            .args(["--header", "Content-Type: application/json", "--data", &body.to_string()])
            .arg(format!("https://{}/api/v1{path}", self.address))
            .output()
            .expect("curl (package curl) runs");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    pub(crate) fn state(&self, transfer: &[u8; 16]) -> String {
        let found = self.ask("GET", &format!("/transfers/{}", hex::encode(transfer)), &Value::Null);
        found["state"].as_str().unwrap_or_else(|| panic!("{found}")).to_owned()
    }

    /// Waits until a transfer is in this state.
    #[track_caller]
    pub(crate) fn wait_for(&self, transfer: &[u8; 16], wanted: &str) {
        for _ in 0..END_POLLS_MAX {
            if self.state(transfer) == wanted {
                return;
            }
            std::thread::park_timeout(END_POLL);
        }
        panic!("it is {} and not {wanted}", self.state(transfer));
    }

    /// Fails if any byte that a transfer has brought can still be read, or lies there at all.
    pub(crate) fn assert_nothing_of(&self, transfer: &[u8; 16]) {
        let id = hex::encode(transfer);
        for file in residue::files(self.data()).expect("a directory") {
            let path = file.to_string_lossy();
            let names = path.contains(&id) && !path.ends_with(&format!("evidence/{id}.json"));
            assert!(!names, "{path} is left");
        }
    }

    /// Fails if any value stands in the director's directory, its database and logs included, or in a VM.
    pub(crate) fn assert_no_value(&self, planted: &[Planted]) {
        let hits = residue::find(self.data(), planted).expect("search");
        assert!(hits.is_empty(), "{} values are kept, the first at {:?}", hits.len(), hits.first());
        let vms = self.ask("GET", "/vms?limit=200", &Value::Null);
        let vms = vms["items"].as_array().expect("a list");
        for vm in vms.iter().filter(|vm| vm["tenant"] == DEFAULT_VDC) {
            let name = vm["name"].as_str().expect("a name");
            let source = self.director.open_vm(name, None).expect("a VM").source;
            let mut bytes = vec![0; usize::try_from(source.size()).expect("small")];
            source.read_at(0, &mut bytes).expect("readable");
            let path = self.folder.path().join("exported");
            std::fs::write(&path, bytes).expect("written");
            let hits = residue::find(&path, planted).expect("search");
            assert!(hits.is_empty(), "{name} has {} values, the first at {:?}", hits.len(), hits.first());
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(serving) = self.serving.take() {
            // What went wrong in it has been seen by whoever asked.
            drop(serving.join());
        }
    }
}
