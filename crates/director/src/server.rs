//! Accepts managers over TCP.

use crate::{Director, Error};
use airlock_link::Acceptor;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Most connections at once; one more waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// How often the server looks whether it is to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A director that listens.
#[derive(Debug)]
pub struct Server {
    director: Arc<Director>,
    listener: TcpListener,
    acceptor: Acceptor,
    manager_identity: PathBuf,
}

impl Server {
    /// Binds to an address such as `127.0.0.1:7443`; port 0 takes a free one.
    pub fn bind(director: Arc<Director>, address: &str) -> Result<Self, Error> {
        let (identity, manager_identity) = director.identities()?;
        let listener = TcpListener::bind(address).map_err(Error::file("listen on", address.as_ref()))?;
        listener.set_nonblocking(true).map_err(Error::file("listen on", address.as_ref()))?;
        Ok(Self { director, listener, acceptor: Acceptor::new(&identity)?, manager_identity })
    }

    /// Returns where it listens.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(Error::file("read the address of", "the socket".as_ref()))
    }

    /// Returns the file that a manager needs to be let in.
    pub fn manager_identity(&self) -> &std::path::Path {
        &self.manager_identity
    }

    /// Serves managers, each connection on a thread of its own, until `stop` is set.
    pub fn run(&self, stop: &AtomicBool) {
        let connections = Arc::new(AtomicUsize::new(0));
        while !stop.load(Ordering::Relaxed) {
            if connections.load(Ordering::Acquire) >= CONNECTIONS_MAX {
                std::thread::park_timeout(POLL_INTERVAL);
                continue;
            }
            let Ok((socket, peer)) = self.listener.accept() else {
                std::thread::park_timeout(POLL_INTERVAL);
                continue;
            };
            let (director, acceptor) = (Arc::clone(&self.director), self.acceptor.clone());
            let connections = Arc::clone(&connections);
            connections.fetch_add(1, Ordering::AcqRel);
            std::thread::spawn(move || {
                let blocking =
                    socket.set_nonblocking(false).map_err(Error::file("use", "the socket".as_ref()));
                let served = blocking.and_then(|()| serve(&director, &acceptor, socket));
                if let Err(error) = served {
                    tracing::warn!(%peer, error = &error as &dyn std::error::Error, "connection ended early");
                }
                connections.fetch_sub(1, Ordering::AcqRel);
            });
        }
    }
}

fn serve(director: &Director, acceptor: &Acceptor, socket: std::net::TcpStream) -> Result<(), Error> {
    let (mut link, certificate) = acceptor.accept(socket)?;
    let tenant = director.ledger.tenant_of(&certificate)?;
    let tenant = tenant.ok_or_else(|| Error::Peer("its certificate was not issued here".into()))?;
    director.serve(&mut link, &tenant)
}
