//! Listens: for managers on the data plane, and for requests.

use crate::connections::Cut;
use crate::{Director, Error, api};
use airlock_console::{Config, Front, Handoff};
use airlock_link::{Identity, server_config};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Most connections of the data plane at once.
const STREAMS_MAX: usize = 256;
/// Most other connections at once. An idle one takes some 50 KiB and is closed after [`PATIENCE`].
const CONNECTIONS_MAX: usize = 16 << 10;
/// File descriptors that are kept for files.
const FILES_KEPT: u64 = 1024;
/// How long a peer may take for a handshake or the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long connections of the data plane may take to end once the server stops.
const STOP_POLLS_MAX: u32 = 100;
const STOP_POLL: Duration = Duration::from_millis(20);

/// A director that listens.
#[derive(Debug)]
pub struct Server {
    director: Arc<Director>,
    listener: TcpListener,
    identity: Identity,
    manager_identity: PathBuf,
}

impl Server {
    /// Binds to an address such as `127.0.0.1:7443`; port 0 takes a free one.
    pub fn bind(director: Arc<Director>, address: &str) -> Result<Self, Error> {
        let (identity, manager_identity) = director.identities()?;
        let listener = TcpListener::bind(address).map_err(Error::file("listen on", address.as_ref()))?;
        Ok(Self { director, listener, identity, manager_identity })
    }

    /// Returns where it listens.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(Error::file("read the address of", "the socket".as_ref()))
    }

    /// Returns the file that a manager needs to be let in.
    pub fn manager_identity(&self) -> &std::path::Path {
        &self.manager_identity
    }

    /// Serves managers and requests until `stop` is set.
    pub fn run(&self, stop: &AtomicBool) -> Result<(), Error> {
        let failed = || Error::file("listen on", "the socket".as_ref());
        let config = Config {
            tls: server_config(&self.identity)?,
            connections_max: connections_max(),
            streams_max: STREAMS_MAX,
            patience: PATIENCE,
        };
        let serving = Arc::clone(&self.director);
        let handoff: Handoff = Arc::new(move |mut link, peer| {
            let certificate = peer.certificate.unwrap_or_default();
            if let Err(failed) = serving.serve_certified(&mut link, &certificate) {
                let error = &failed as &dyn std::error::Error;
                if matches!(failed, Error::File { .. } | Error::Database(_)) {
                    tracing::error!(peer = %peer.address, error, "this site's storage failed");
                } else {
                    tracing::warn!(peer = %peer.address, error, "connection ended early");
                }
            }
        });
        let router = api::router(&self.director, self.identity.certificate_digest());
        let listener = self.listener.try_clone().map_err(failed())?;
        let served = Front::new(config, router, handoff).serve(listener, stop).map_err(failed());
        self.director.connections.cut_all(Cut::Stopping);
        // What is in work still holds the director; a clean end closes its ledger.
        for _ in 0..STOP_POLLS_MAX {
            if self.director.connections.is_empty() || !stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::park_timeout(STOP_POLL);
        }
        served
    }
}

/// Raises the limit of file descriptors as far as it goes, and returns how many connections that allows.
fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = CONNECTIONS_MAX as u64 + STREAMS_MAX as u64 + FILES_KEPT;
    let most = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let most = limit.current.map_or(most, |current| current.max(most));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }).is_err() {
        tracing::warn!("cannot raise the limit of open files");
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    let left = allowed.saturating_sub(FILES_KEPT + STREAMS_MAX as u64).max(allowed / 2);
    usize::try_from(left).unwrap_or(CONNECTIONS_MAX).min(CONNECTIONS_MAX)
}
