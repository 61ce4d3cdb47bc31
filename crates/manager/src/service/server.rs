//! Listens for requests, and runs the queue beside.

use super::{Manager, ServiceError as Error, api};
use airlock_console::{Config, Front, Handoff};
use airlock_link::{Identity, server_config};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Most connections at once.
const CONNECTIONS_MAX: usize = 512;
/// How long a peer may take for a handshake or the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// A manager that listens.
#[derive(Debug)]
pub struct Server {
    manager: Arc<Manager>,
    listener: TcpListener,
    identity: Identity,
}

impl Server {
    /// Binds to an address such as `127.0.0.1:7444`; port 0 takes a free one.
    pub fn bind(manager: Manager, address: &str) -> Result<Self, Error> {
        let identity = manager.identity()?;
        let listener = TcpListener::bind(address).map_err(Error::file("listen on", address.as_ref()))?;
        Ok(Self { manager: Arc::new(manager), listener, identity })
    }

    /// Returns where it listens.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(Error::file("read the address of", "the socket".as_ref()))
    }

    /// Serves requests and runs transfers until `stop` is set.
    pub fn run(&self, stop: &AtomicBool) -> Result<(), Error> {
        let failed = || Error::file("listen on", "the socket".as_ref());
        let config = Config {
            tls: server_config(&self.identity)?,
            connections_max: CONNECTIONS_MAX,
            streams_max: 0,
            patience: PATIENCE,
        };
        // There is no data plane here: with no room for streams, nothing is handed over.
        let handoff: Handoff = Arc::new(|_, _| {});
        let listener = self.listener.try_clone().map_err(failed())?;
        let router = api::router(&self.manager);
        std::thread::scope(|scope| {
            let dispatching = scope.spawn(|| self.manager.dispatch(stop));
            let served = Front::new(config, router, handoff).serve(listener, stop).map_err(failed());
            // A front that failed takes the queue with it.
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            if dispatching.join().is_err() {
                tracing::error!("the queue has ended in a panic");
            }
            served
        })
    }
}
