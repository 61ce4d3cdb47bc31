//! Accepts connections, bounds them, and hands each request to where it belongs.

use crate::Problem;
use airlock_link::{TlsLink, peer_of};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};
use tower::ServiceExt as _;

/// Where the data plane is entered.
const STREAM_PATH: &str = "/api/v1/stream";
/// The protocol of the data plane.
const PROTOCOL: &str = "airlock/1";
/// Most bytes of the head of a request, and of what is read at once behind it.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// How often the front looks whether it is to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long requests may go on once the front is to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Threads for what blocks.
const BLOCKING_THREADS: usize = 16;

/// How a front behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// How it does TLS.
    pub tls: Arc<rustls::ServerConfig>,
    /// Most connections that are not of the data plane; one more is closed at once.
    pub connections_max: usize,
    /// Most connections of the data plane, each with a thread; one more is told to come later.
    pub streams_max: usize,
    /// How long the handshake may take, then the head of each request, and how long a connection
    /// may be idle between requests.
    pub patience: Duration,
}

/// Who sent a request; every request has it as an extension.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where from.
    pub address: SocketAddr,
    /// The SHA-256 of the certificate that the peer has shown, in hexadecimal.
    pub certificate: Option<String>,
}

/// What serves a connection of the data plane, on a thread of its own.
pub type Handoff = Arc<dyn Fn(TlsLink, Peer) + Send + Sync>;

/// Accepts connections for a site.
#[derive(Clone)]
pub struct Front {
    config: Config,
    router: Router,
    handoff: Handoff,
    connections: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Front {
    /// Sets up a front that answers with `router`, and gives the data plane to `handoff`.
    pub fn new(config: Config, router: Router, handoff: Handoff) -> Self {
        let connections = Arc::new(Semaphore::new(config.connections_max));
        let streams = Arc::new(Semaphore::new(config.streams_max));
        Self { config, router, handoff, connections, streams }
    }

    /// Serves until `stop` is set.
    pub fn serve(self, listener: TcpListener, stop: &AtomicBool) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("http")
            .enable_all()
            .build()?;
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            self.accept_all(&listener, stop).await;
            Ok(())
        });
        runtime.shutdown_timeout(STOP_TIMEOUT);
        served
    }

    async fn accept_all(self, listener: &tokio::net::TcpListener, stop: &AtomicBool) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config.tls));
        let front = Arc::new(self);
        while !stop.load(Ordering::Relaxed) {
            let Ok(accepted) = tokio::time::timeout(POLL_INTERVAL, listener.accept()).await else { continue };
            let Ok((socket, address)) = accepted else {
                // Out of descriptors, most likely: some will be free again.
                tokio::time::sleep(POLL_INTERVAL).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&front.connections).try_acquire_owned() else { continue };
            let (front, acceptor) = (Arc::clone(&front), acceptor.clone());
            tokio::spawn(async move { front.serve_one(socket, address, &acceptor, permit).await });
        }
    }

    async fn serve_one(
        self: Arc<Self>,
        socket: TcpStream,
        address: SocketAddr,
        acceptor: &TlsAcceptor,
        permit: OwnedSemaphorePermit,
    ) {
        let patience = self.config.patience;
        let Ok(Ok(stream)) = tokio::time::timeout(patience, acceptor.accept(socket)).await else { return };
        let peer = Peer { address, certificate: peer_of(stream.get_ref().1) };
        let service = service_fn(|request| {
            let (front, peer) = (Arc::clone(&self), peer.clone());
            async move { Ok::<_, Infallible>(front.answer(request, peer).await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = serving.await {
            tracing::debug!(peer = %address, %error, "connection ended early");
        }
        drop(permit);
    }

    async fn answer(&self, request: Request<hyper::body::Incoming>, peer: Peer) -> Response<Body> {
        if request.uri().path() == STREAM_PATH {
            return self.upgrade(request, peer).unwrap_or_else(IntoResponse::into_response);
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let Ok(response) = self.router.clone().oneshot(request).await;
        response
    }

    /// Switches to the protocol of the data plane.
    fn upgrade(
        &self,
        mut request: Request<hyper::body::Incoming>,
        peer: Peer,
    ) -> Result<Response<Body>, Problem> {
        let asked = request.headers().get(header::UPGRADE).map(HeaderValue::as_bytes);
        let right = asked.is_some_and(|asked| asked.eq_ignore_ascii_case(PROTOCOL.as_bytes()));
        if request.method() != Method::GET || !right {
            let title = "this is the data plane; upgrade to airlock/1 is required";
            return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", title));
        }
        if peer.certificate.is_none() {
            return Err(Problem::unauthenticated("the data plane needs a client certificate"));
        }
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            let title = "all connections of the data plane are in use";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", title);
            return Err(Problem { retry_after: Some(5), ..problem });
        };
        let handoff = Arc::clone(&self.handoff);
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrading.await else { return };
            let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() else { return };
            let (socket, connection) = parts.io.into_inner().into_inner();
            let ahead = parts.read_buf.to_vec();
            let link =
                socket.into_std().map_err(|source| airlock_link::Error::Io { doing: "upgrading", source });
            let link = link.and_then(|socket| TlsLink::accepted(socket, connection, ahead));
            match link {
                Ok(link) => {
                    std::thread::spawn(move || {
                        handoff(link, peer);
                        drop(permit);
                    });
                }
                Err(error) => tracing::warn!(peer = %peer.address, %error, "connection ended early"),
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    }
}
