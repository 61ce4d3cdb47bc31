//! The cloud site: receives a VM, inspects it again, and keeps all that passes or nothing.
//!
//! ```text
//! frames ─▶ session ─▶ chamber (sealed chunks in segments, index under the transfer's key)
//!                         │ is a block source
//!                         ▼
//!                      station ─▶ judgement ─▶ seal: manifest + one transaction ─▶ vault
//!                                          └─▶ discard: key destroyed, bytes removed
//! ```
//!
//! A director owns one directory:
//!
//! | path | what |
//! |---|---|
//! | `provider.token` | the first token of the provider |
//! | `state.db` | the ledger (SQLite); `state.db.blake3` after a clean close |
//! | `site.key` | seed of the signing key |
//! | `tls/` | its authority and identities |
//! | `tenants/T.name.key`, `T.wrap.key` | what names a tenant's chunks, and what wraps their keys |
//! | `chamber/X.key` | the key of a transfer; destroyed by its discard and by its seal |
//! | `segments/X/N.seg` | sealed chunks that transfer X brought |
//! | `manifests/X.manifest` | what the VM that X brought consists of |
//! | `evidence/X.json` | the record of X |
//!
//! Chunks never move: sealing re-wraps their keys, discarding destroys them. Invariant:
//! plain bytes of a chunk are in memory only.
//!
//! Deliberately absent: any knowledge of the manager, and any trust in its word (invariant I4).
#![forbid(unsafe_code)]

mod admission;
mod api;
mod arriving;
mod chamber;
mod connections;
mod credential;
mod criteria;
mod desk;
mod direct;
mod early;
mod error;
mod inspector;
mod journal;
mod judging;
mod keys;
mod ledger;
mod manifest;
mod recent;
mod recheck;
mod schema;
mod scrub;
mod sealed_disk;
mod segment;
mod segment_writer;
mod server;
mod session;
mod source_report;
mod sums;
mod tenancy;
mod vault;
mod verdict;
pub mod worker;

pub use api::openapi;
pub use criteria::Renew;
pub use error::Error;
pub use ledger::VmRow;
pub use recheck::Rechecked;
pub use scrub::{Affected, Damage, Scrub, Scrubbed};
pub use server::Server;
pub use vault::{Check, VaultVm};
pub use worker::WorkerConfig;

use airlock_checks::Rules;
use airlock_checks::memo::{Found, MEMO_BYTES, Memo};
use airlock_evidence::SiteKey;
use airlock_link::{Authority, Identity};
use airlock_model::TenantKey;
use airlock_policy::Document;
use chamber::Chamber;
use connections::Connections;
use credential::{NewCredential, Scope};
use criteria::Criteria;
use keys::Key;
use ledger::{Ledger, state};
use segment::Segments;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The virtual data center and tenant of a director that nobody has set up otherwise.
pub const DEFAULT_VDC: &str = "default";

/// Tells the time, in seconds since 1970-01-01 UTC.
pub type Clock = fn() -> u64;

/// What a director needs to be told.
#[derive(Debug)]
pub struct Config {
    /// Its directory; made if it does not exist.
    pub directory: PathBuf,
    /// Its policy, as YAML.
    pub policy_yaml: String,
    /// What it inspects with.
    pub rules: Arc<Rules>,
    /// Threads that inspect what has arrived.
    pub threads: usize,
    /// The time.
    pub clock: Clock,
    /// How the workers are started that touch what has arrived; without, this process does so itself.
    pub worker: Option<WorkerConfig>,
}

/// A director over its directory.
#[derive(Debug)]
pub struct Director {
    directory: PathBuf,
    policy_yaml: String,
    criteria: Criteria,
    threads: usize,
    clock: Clock,
    worker: Option<WorkerConfig>,
    key: SiteKey,
    ledger: Ledger,
    segments: Arc<Segments>,
    live: Mutex<HashMap<[u8; 16], Arc<Chamber>>>,
    admission: Mutex<()>,
    connections: Connections,
    memos: Mutex<HashMap<String, Arc<Memo>>>,
    _lock: File,
}

impl Director {
    /// Opens a directory, makes what is missing, and finishes what a crash left half done.
    pub fn open(config: Config) -> Result<Self, Error> {
        let directory = config.directory;
        for folder in ["tenants", "chamber", "segments", "manifests", "evidence", "memo", "tls"] {
            let path = directory.join(folder);
            std::fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        }
        let lock = lock(&directory)?;
        Document::parse(&config.policy_yaml)
            .map_err(|error| Error::damaged("the policy", error.to_string()))?;
        let ledger = Ledger::open(&directory.join("state.db"))?;
        let director = Self {
            key: SiteKey::from_seed(&sums::key(&ledger, &directory, "site.key")?),
            ledger,
            segments: Arc::new(Segments::new(directory.join("segments"))),
            live: Mutex::default(),
            admission: Mutex::default(),
            connections: Connections::default(),
            memos: Mutex::default(),
            policy_yaml: config.policy_yaml,
            criteria: Criteria::new(config.rules, directory.join("rules")),
            threads: config.threads.max(1),
            clock: config.clock,
            worker: config.worker,
            directory,
            _lock: lock,
        };
        director.recover()?;
        // Whoever runs the director has made it for the fingerprints in findings.
        if director.directory.join("fingerprint.key").exists() {
            director.note_file("fingerprint.key")?;
        }
        Ok(director)
    }

    /// Finishes seals and discards that a crash interrupted, and removes what belongs to nothing.
    fn recover(&self) -> Result<(), Error> {
        for transfer in self.ledger.in_state(state::DISCARDING)? {
            self.discard(&transfer)?;
        }
        for tenant in self.ledger.deleting()? {
            self.sweep(&tenant)?;
        }
        self.ledger.forget_unanswered()?;
        let mut known = HashMap::new();
        for (transfer, state) in self.ledger.transfers()? {
            if state.starts_with("active") {
                keys::destroy(&self.transfer_key_path(&transfer))?;
            }
            known.insert(hex::encode(transfer), state);
        }
        let goes_on = |id: &str| known.get(id).is_some_and(|state| state::is_unfinished(state));
        for name in names_in(&self.directory.join("chamber"))? {
            // A transfer that was never noted has a key already, and nothing under it.
            if name.strip_suffix(".key").is_some_and(|id| !goes_on(id)) {
                keys::destroy(&self.directory.join("chamber").join(&name))?;
            }
        }
        for name in names_in(&self.directory.join("segments"))? {
            if !known.contains_key(&name) {
                tracing::warn!(transfer = name, "removing segments that belong to no transfer");
                self.segments.remove_all(&ledger::parse_id(&name)?)?;
            }
        }
        Ok(())
    }

    fn transfer_key_path(&self, transfer: &[u8; 16]) -> PathBuf {
        self.directory.join("chamber").join(format!("{}.key", hex::encode(transfer)))
    }

    fn manifest_path(&self, transfer: &[u8; 16]) -> PathBuf {
        self.directory.join("manifests").join(format!("{}.manifest", hex::encode(transfer)))
    }

    fn evidence_path(&self, transfer: &[u8; 16]) -> PathBuf {
        self.directory.join("evidence").join(format!("{}.json", hex::encode(transfer)))
    }

    fn tenant_key(&self, tenant: &str) -> Result<TenantKey, Error> {
        let name = format!("tenants/{tenant}.name.key");
        Ok(TenantKey(*sums::key(&self.ledger, &self.directory, &name)?))
    }

    fn wrapping_key(&self, tenant: &str) -> Result<Key, Error> {
        sums::key(&self.ledger, &self.directory, &format!("tenants/{tenant}.wrap.key"))
    }

    /// Returns what is remembered of a tenant's content. It is of no use without the tenant's key.
    fn memo(&self, tenant: &str) -> Result<Arc<Memo>, Error> {
        let mut memos = self.memos.lock().expect("no holder of this lock panics");
        if let Some(memo) = memos.get(tenant) {
            return Ok(Arc::clone(memo));
        }
        let key = blake3::derive_key("airlock 2026-11 memo of a tenant", &self.tenant_key(tenant)?.0);
        let path = self.directory.join("memo").join(format!("{tenant}.memo"));
        let memo = Memo::open(&path, &key, MEMO_BYTES).map_err(Error::file("open", &path))?;
        if memo.found() == Found::Replaced {
            tracing::warn!(tenant, "the memo was damaged or of other keys; it is started anew");
        }
        let memo = Arc::new(memo);
        memos.insert(tenant.to_owned(), Arc::clone(&memo));
        Ok(memo)
    }

    /// Destroys everything that a transfer has brought: first its key, then the bytes.
    pub(crate) fn discard(&self, transfer: &[u8; 16]) -> Result<(), Error> {
        self.discard_as(transfer, state::DISCARDED)
    }

    /// Destroys everything that a transfer has brought, which ends in `state`.
    pub(crate) fn discard_as(&self, transfer: &[u8; 16], state: &str) -> Result<(), Error> {
        self.ledger.set_state(transfer, state::DISCARDING)?;
        keys::destroy(&self.transfer_key_path(transfer))?;
        self.segments.remove_all(transfer)?;
        let manifest = self.manifest_path(transfer);
        if manifest.exists() {
            std::fs::remove_file(&manifest).map_err(Error::file("remove", &manifest))?;
        }
        self.ledger.forget(transfer, state)
    }

    /// Returns the VMs of the default tenant.
    pub fn vms(&self) -> Result<Vec<VmRow>, Error> {
        self.ledger.vms(DEFAULT_VDC)
    }

    /// Returns the director's own identity for TLS and an identity for a manager, making both on first use.
    /// The manager's is a file that the operator hands over.
    pub fn identities(&self) -> Result<(Identity, PathBuf), Error> {
        let tls = self.directory.join("tls");
        let authority = self.authority()?;
        let own = tls.join("director.pem");
        if !own.exists() {
            write_private(&own, &authority.issue_director()?)?;
        }
        self.note_file("tls/director.pem")?;
        let manager = tls.join("manager.pem");
        if !manager.exists() {
            write_private(&manager, &authority.issue_manager(DEFAULT_VDC)?)?;
        }
        let issued = Identity::parse(&read(&manager)?)?;
        let label = "issued at the first start";
        let scopes = &[Scope::Transfer];
        let new = NewCredential { tenant: Some(DEFAULT_VDC), label, scopes, expires_at: None };
        self.ledger.add_certificate(&issued.certificate_digest(), &new, (self.clock)())?;
        Ok((Identity::parse(&read(&own)?)?, manager))
    }

    /// Returns the director's own authority, making it on first use.
    fn authority(&self) -> Result<Authority, Error> {
        let path = self.directory.join("tls").join("authority.pem");
        if !path.exists() {
            let (_, keep) = Authority::create()?;
            write_private(&path, &keep)?;
        }
        self.note_file("tls/authority.pem")?;
        Ok(Authority::parse(&read(&path)?)?)
    }

    /// Writes the first token of the provider to `provider.token` in the directory, unless the provider
    /// has or had one.
    pub fn first_provider_token(&self) -> Result<Option<PathBuf>, Error> {
        if self.ledger.has_provider()? {
            return Ok(None);
        }
        let path = self.directory.join("provider.token");
        if path.exists() {
            // Written before the ledger knew of it.
            std::fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
        write_token(&self.ledger, &path, "made at the first start", None, (self.clock)())?;
        Ok(Some(path))
    }
}

/// Lists the names in a folder of the director's.
fn names_in(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file("list", folder))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.map_err(Error::file("list", folder))?.file_name();
        Ok(name.to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Writes a new token of the provider to a new file that only its owner can read. The director of the
/// directory must not run. With `seconds`, the token is good for so long.
pub fn write_provider_token(
    directory: &Path,
    path: &Path,
    label: &str,
    seconds: Option<u64>,
    now: u64,
) -> Result<(), Error> {
    let database = directory.join("state.db");
    if !database.exists() {
        return Err(Error::NotFound(format!("director in {}", directory.display())));
    }
    let _lock = lock(directory)?;
    write_token(&Ledger::open(&database)?, path, label, seconds, now)
}

fn write_token(
    ledger: &Ledger,
    path: &Path,
    label: &str,
    seconds: Option<u64>,
    now: u64,
) -> Result<(), Error> {
    let expires_at = seconds.map(|seconds| now.saturating_add(seconds));
    let new = NewCredential { tenant: None, label, scopes: &[Scope::Provider], expires_at };
    let mut file = keys::create_private(path)?;
    let (_, token) = ledger.add_token(&new, now)?;
    let written = writeln!(file, "{}", *token).and_then(|()| file.sync_all());
    written.map_err(Error::file("write", path))
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(Error::file("read", path))
}

fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let mut file = keys::create_private(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::file("write", path))
}

/// Takes the directory for this process alone, until it is dropped or the process ends.
fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join("lock");
    let file = File::create(&path).map_err(Error::file("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(directory.to_path_buf())),
        Err(std::fs::TryLockError::Error(source)) => Err(Error::file("lock", &path)(source)),
    }
}
