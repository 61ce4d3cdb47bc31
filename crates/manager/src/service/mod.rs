//! The source site as a service: what there is to move, what is being moved, and when.
//!
//! ```text
//! sources ─▶ VMs ─┐
//! destinations ───┼─▶ transfers ─▶ dispatch ─▶ `airlock transfer --managed`, a process for each
//! waves ──────────┘       ▲                        │ progress, outcome, evidence
//!                    REST API ◀────────────────────┘
//! ```
//!
//! A manager owns one directory:
//!
//! | path | what |
//! |---|---|
//! | `manager.token` | the first token |
//! | `state.db` | sources, destinations, transfers, waves, events (SQLite) |
//! | `tls/` | its authority and its identity |
//! | `evidence/X.json` | the record of transfer X |
//! | `libvirt/S/VM.xml` | what libvirt says of the VMs of source S |
//! | anything else | what `airlock transfer` keeps for this site: its keys, its memo |

mod api;
mod dispatch;
mod error;
mod inventory;
mod queue;
mod run;
mod schedule;
mod server;
mod store;

pub use api::openapi;
pub use error::ServiceError;
pub use server::Server;

use airlock_console::token::{digest_of, new_token, write_secret};
use airlock_link::{Authority, Identity, Timetable};
use inventory::SourceKind;
use queue::Job;
use run::Run;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use store::Store;

/// Starts transfers as this site means them.
pub trait Launch: std::fmt::Debug + Send + Sync {
    /// Returns `airlock transfer` with the policy and the rules of this site; what is moved, and where, is added.
    fn transfer(&self) -> Command;

    /// Returns the policy of this site, as YAML, or why there is none.
    fn policy(&self) -> Result<String, String>;
}

/// What a manager needs to be told.
#[derive(Debug)]
pub struct ServiceConfig {
    /// Its directory; made if it does not exist.
    pub directory: PathBuf,
    /// How transfers are started.
    pub launch: Box<dyn Launch>,
    /// Most transfers at once.
    pub transfers_max: usize,
    /// Most bytes per second of all transfers together.
    pub bwlimit: Option<Timetable>,
    /// The program that tells of libvirt.
    pub virsh: PathBuf,
    /// The time, in seconds since 1970-01-01 UTC.
    pub clock: fn() -> u64,
}

/// A manager over its directory.
#[derive(Debug)]
pub struct Manager {
    directory: PathBuf,
    store: Store,
    launch: Box<dyn Launch>,
    transfers_max: usize,
    bwlimit: Option<Timetable>,
    virsh: PathBuf,
    clock: fn() -> u64,
    runs: Mutex<HashMap<String, Run>>,
    _lock: File,
}

impl Manager {
    /// Opens a directory, makes what is missing, and takes up what was under way.
    pub fn open(config: ServiceConfig) -> Result<Self, ServiceError> {
        let directory = config.directory;
        for folder in ["evidence", "libvirt", "tls"] {
            let path = directory.join(folder);
            std::fs::create_dir_all(&path).map_err(ServiceError::file("create", &path))?;
        }
        let path = directory.join("lock");
        let lock = File::create(&path).map_err(ServiceError::file("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(ServiceError::InUse(directory)),
            Err(std::fs::TryLockError::Error(source)) => {
                return Err(ServiceError::file("lock", &path)(source));
            }
        }
        let manager = Self {
            store: Store::open(&directory.join("state.db"))?,
            launch: config.launch,
            transfers_max: config.transfers_max.max(1),
            bwlimit: config.bwlimit,
            virsh: config.virsh,
            clock: config.clock,
            runs: Mutex::default(),
            directory,
            _lock: lock,
        };
        manager.recover()?;
        Ok(manager)
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, Run>> {
        self.runs.lock().expect("no holder of this lock panics")
    }

    fn evidence_path(&self, id: &str) -> PathBuf {
        self.directory.join("evidence").join(format!("{id}.json"))
    }

    /// Writes the first token to `manager.token` in the directory, unless there is one.
    pub fn first_token(&self) -> Result<Option<PathBuf>, ServiceError> {
        if self.store.has_token()? {
            return Ok(None);
        }
        let path = self.directory.join("manager.token");
        if path.exists() {
            // Written before the database knew of it.
            std::fs::remove_file(&path).map_err(ServiceError::file("remove", &path))?;
        }
        let token = new_token();
        write_secret(&path, &format!("{}\n", *token)).map_err(ServiceError::file("write", &path))?;
        self.store.add_token(&digest_of(&token), "made at the first start", (self.clock)())?;
        Ok(Some(path))
    }

    /// Returns its identity for TLS, making it on first use, and the file of the authority that clients trust.
    fn identity(&self) -> Result<Identity, ServiceError> {
        let tls = self.directory.join("tls");
        let own = tls.join("manager.pem");
        if !own.exists() {
            let (authority, keep) = Authority::create()?;
            let path = tls.join("authority.pem");
            if path.exists() {
                // Of a start that was interrupted here.
                std::fs::remove_file(&path).map_err(ServiceError::file("remove", &path))?;
            }
            write_secret(&path, &keep).map_err(ServiceError::file("write", &path))?;
            let issued = authority.issue_director()?;
            write_secret(&own, &issued).map_err(ServiceError::file("write", &own))?;
        }
        let pem = std::fs::read_to_string(&own).map_err(ServiceError::file("read", &own))?;
        Ok(Identity::parse(&pem)?)
    }

    /// Puts together how a transfer is run.
    fn command(&self, job: &Job) -> Result<Command, ServiceError> {
        let vm = self.store.vm(&job.source, &job.vm)?;
        let source = self.store.source(&job.source)?.source;
        let destination = self.store.destination(&job.destination)?.destination;
        let mut command = self.launch.transfer();
        command.arg(&vm.path).arg(&destination.address);
        command.args(["--managed", "--name", &job.name, "--on-fail", job.on_fail.as_str()]);
        command.arg("--evidence").arg(self.evidence_path(&job.id));
        if let Some(identity) = &destination.identity {
            command.arg("--identity").arg(Path::new(identity));
        }
        if source.kind == SourceKind::Libvirt
            && let Some(images) = &source.images
        {
            command.arg("--allow-backing").arg(images);
        }
        if job.begun {
            command.arg("--resume");
        }
        Ok(command)
    }
}
