//! A link over TCP, TLS 1.3 and an HTTP/1.1 upgrade.

use crate::identity::{DIRECTOR_NAME, Identity, digest_of};
use crate::pace::PIECE_BYTES;
use crate::{Error, Link, Pace};
use airlock_transfer::{FrameError, Message, decode, decode_lengths, encode};
use rustix::net::sockopt;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::ServerName;
use std::fmt;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes read from the socket at once. rustls alone reads 4 KiB at a time.
const SOCKET_READ_BYTES: usize = 256 << 10;
/// Plain bytes that TLS may hold before they are written to the socket.
const TLS_BUFFER_BYTES: usize = 1 << 20;
/// How long the last word is waited for at a time.
const LINGER_PAUSE: Duration = Duration::from_millis(20);
/// Most bytes that are thrown away while the peer reads the last word.
const LINGER_BYTES_MAX: usize = 64 << 20;
/// Most bytes in the head of an HTTP request or response.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a peer may take to finish the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a peer may stay silent in the middle of a transfer. A director that judges says so.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(2);

/// When the kernel begins to ask whether an idle peer is still there: one whose connection was reset on the way
/// says at once that it is not.
const PROBE_IDLE: Duration = Duration::from_secs(8);
const PROBE_INTERVAL: Duration = Duration::from_secs(8);
/// So many unanswered questions mean that it is gone: more than a minute, as cables are pulled and plugged in.
const PROBES: u32 = 10;

const REQUEST: &str = "GET /api/v1/stream HTTP/1.1\r\nHost: director.airlock.internal\r\n\
    Connection: Upgrade\r\nUpgrade: airlock/1\r\n\r\n";
/// A socket that is read in large pieces.
struct Socket {
    reader: BufReader<TcpStream>,
    /// Whether the peer takes nothing any more. What it said last can still be read: so that TLS, which writes
    /// before it reads, gets there, what is written goes nowhere from then on.
    deaf: bool,
}

impl Socket {
    fn noted(&mut self, written: std::io::Result<usize>) -> std::io::Result<usize> {
        let ended = |error: &std::io::Error| {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
        };
        self.deaf |= written.as_ref().is_err_and(ended);
        written
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.deaf {
            return Ok(bytes.len());
        }
        let written = self.reader.get_mut().write(bytes);
        self.noted(written)
    }

    fn write_vectored(&mut self, pieces: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
        if self.deaf {
            return Ok(pieces.iter().map(|piece| piece.len()).sum());
        }
        let written = self.reader.get_mut().write_vectored(pieces);
        self.noted(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.reader.get_mut().flush()
    }
}

enum Stream {
    Client(Box<StreamOwned<ClientConnection, Socket>>),
    Server(Box<StreamOwned<ServerConnection, Socket>>),
}

/// One TLS connection to the other site.
pub struct TlsLink {
    stream: Stream,
    /// Plain bytes that were read with the head of the request, and how many of them are used.
    ahead: Vec<u8>,
    ahead_used: usize,
    /// Set by a [`Waker`]: nothing is received any more.
    woken: Arc<AtomicBool>,
    /// How fast it may send.
    pace: Option<Arc<Pace>>,
}

/// Ends the wait of a thread in [`Link::receive`], from another thread.
#[derive(Debug)]
pub struct Waker {
    socket: TcpStream,
    woken: Arc<AtomicBool>,
}

impl Waker {
    /// Wakes it: reading fails from now on; writing does not.
    pub fn wake(&self) {
        // First: what has arrived, or still arrives, can be read from a socket that is shut down.
        self.woken.store(true, Ordering::Release);
        // A socket that is gone wakes its reader by itself.
        let _ = self.socket.shutdown(Shutdown::Read);
    }
}

impl fmt::Debug for TlsLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsLink")
    }
}

impl TlsLink {
    fn new(stream: Stream, ahead: Vec<u8>) -> Self {
        Self { stream, ahead, ahead_used: 0, woken: Arc::default(), pace: None }
    }

    /// Takes over a connection whose client was told that the protocols are switched. `ahead` are the
    /// plain bytes that were read behind its request.
    pub fn accepted(
        socket: TcpStream,
        mut connection: ServerConnection,
        ahead: Vec<u8>,
    ) -> Result<Self, Error> {
        socket.set_nonblocking(false).map_err(|source| Error::Io { doing: "connecting", source })?;
        let socket = prepare(socket)?;
        expect_transfer(&socket)?;
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        Ok(Self::new(Stream::Server(Box::new(StreamOwned::new(connection, socket))), ahead))
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Client(stream) => stream.sock.reader.get_ref(),
            Stream::Server(stream) => stream.sock.reader.get_ref(),
        }
    }

    fn is_deaf(&self) -> bool {
        match &self.stream {
            Stream::Client(stream) => stream.sock.deaf,
            Stream::Server(stream) => stream.sock.deaf,
        }
    }

    /// Returns what ends a wait for this link.
    pub fn waker(&self) -> Result<Waker, Error> {
        let socket = self.socket().try_clone();
        let socket = socket.map_err(|source| Error::Io { doing: "connecting", source })?;
        Ok(Waker { socket, woken: Arc::clone(&self.woken) })
    }

    /// Gives the peer time to read the last word: what it still sends is taken and thrown away, so that
    /// it is not stopped in the middle of a write.
    pub fn linger(&mut self, longest: Duration) {
        let mut socket = self.socket();
        let mut thrown_away = vec![0; SOCKET_READ_BYTES];
        let pauses = longest.as_millis() / LINGER_PAUSE.as_millis();
        if socket.set_read_timeout(Some(LINGER_PAUSE)).is_err() {
            return;
        }
        // Bytes first, then pauses: a peer that sends without end is not listened to without end.
        let (mut left, mut pauses) = (LINGER_BYTES_MAX, pauses);
        while left > 0 && pauses > 0 {
            match socket.read(&mut thrown_away) {
                Ok(0) => {
                    // After a wake-up this is all that reading says, gone or not.
                    std::thread::park_timeout(LINGER_PAUSE);
                    pauses -= 1;
                }
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if is_pause(&error) => pauses -= 1,
                Err(_) => return,
            }
        }
    }

    fn read_exact(&mut self, into: &mut [u8]) -> std::io::Result<()> {
        let ahead = self.ahead.get(self.ahead_used..).unwrap_or_default();
        let count = ahead.len().min(into.len());
        into[..count].copy_from_slice(&ahead[..count]);
        self.ahead_used += count;
        self.io().read_exact(&mut into[count..])
    }

    fn io(&mut self) -> &mut dyn ReadWrite {
        match &mut self.stream {
            Stream::Client(stream) => &mut **stream,
            Stream::Server(stream) => &mut **stream,
        }
    }

    fn write(&mut self, doing: &'static str, bytes: &[u8]) -> Result<(), Error> {
        self.io().write_all(bytes).map_err(|source| Error::Io { doing, source })
    }

    /// Writes the body of a frame: under a limit, in pieces that each wait for their time.
    fn write_paced(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(pace) = self.pace.clone() else { return self.write("sending", bytes) };
        for piece in bytes.chunks(PIECE_BYTES) {
            pace.wait_for(piece.len());
            self.write("sending", piece)?;
            if pace.rate().is_some() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.io().flush().map_err(|source| Error::Io { doing: "sending", source })
    }

    /// Reads the head of an HTTP message, byte by byte so that nothing behind it is taken.
    fn read_head(&mut self) -> Result<Vec<u8>, Error> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= HEAD_BYTES_MAX {
                return Err(Error::Upgrade("its HTTP head is too long".into()));
            }
            self.io().read_exact(&mut byte).map_err(|source| Error::Io { doing: "upgrading", source })?;
            head.extend_from_slice(&byte);
        }
        Ok(head)
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

impl Link for TlsLink {
    fn send(&mut self, message: &Message, body: &[&[u8]]) -> Result<(), Error> {
        if self.is_deaf() {
            return Err(Error::Closed);
        }
        let length = body.iter().map(|piece| piece.len()).sum();
        let frame = encode(message, length)?;
        self.write("sending", &frame)?;
        for piece in body {
            self.write_paced(piece)?;
        }
        self.flush()
    }

    fn receive(&mut self, body: &mut Vec<u8>) -> Result<Message, Error> {
        let received = self.receive_frame(body);
        if self.woken.load(Ordering::Acquire) { Err(Error::Closed) } else { received }
    }
}

impl TlsLink {
    fn receive_frame(&mut self, body: &mut Vec<u8>) -> Result<Message, Error> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::Closed,
            _ => Error::Io { doing: "receiving", source },
        };
        let mut lengths = [0; 8];
        let (first, rest) = lengths.split_at_mut(1);
        self.read_exact(first)
            .map_err(|error| if is_pause(&error) { Error::Silent } else { failed(error) })?;
        self.read_exact(rest).map_err(failed)?;
        let (header_bytes, body_bytes) = decode_lengths(lengths)?;
        let mut header = Vec::new();
        fill(self, &mut header, header_bytes).map_err(failed)?;
        fill(self, body, body_bytes).map_err(failed)?;
        Ok(decode(&header).map_err(|_| FrameError::Header)?)
    }
}

/// Reads exactly `length` bytes in place of what is in `into`; memory grows with what
/// arrives, not with what was announced.
fn fill(from: &mut TlsLink, into: &mut Vec<u8>, length: usize) -> std::io::Result<()> {
    into.truncate(length);
    let mut at = 0;
    while at < length {
        let end = length.min(at + TLS_BUFFER_BYTES);
        if into.len() < end {
            into.resize(end, 0);
        }
        from.read_exact(&mut into[at..end])?;
        at = end;
    }
    Ok(())
}

/// Prefers AES-128-GCM, the fastest of the three suites of TLS 1.3 on machines with AES instructions.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

pub(crate) fn roots(identity: &Identity) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(identity.authority.clone())?;
    Ok(Arc::new(roots))
}

fn prepare(socket: TcpStream) -> Result<Socket, Error> {
    let set = || {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
        socket.set_write_timeout(Some(SILENCE_TIMEOUT))?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, PROBE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, PROBE_INTERVAL)?;
        Ok::<(), std::io::Error>(sockopt::set_tcp_keepcnt(&socket, PROBES)?)
    };
    set().map_err(|source| Error::Io { doing: "connecting", source })?;
    Ok(Socket { reader: BufReader::with_capacity(SOCKET_READ_BYTES, socket), deaf: false })
}

fn expect_transfer(socket: &Socket) -> Result<(), Error> {
    let set = socket.reader.get_ref().set_read_timeout(Some(SILENCE_TIMEOUT));
    set.map_err(|source| Error::Io { doing: "connecting", source })
}

/// Opens links to a director.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    pace: Option<Arc<Pace>>,
}

impl Connector {
    /// Uses this identity and trusts its authority.
    pub fn new(identity: &Identity) -> Result<Self, Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots(identity)?)
            .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())?;
        Ok(Self { config: Arc::new(config), pace: None })
    }

    /// Keeps what all its links send to a pace.
    #[must_use]
    pub fn paced(self, pace: Arc<Pace>) -> Self {
        Self { pace: Some(pace), ..self }
    }

    pub(crate) fn connection(&self) -> Result<ClientConnection, Error> {
        let name = ServerName::try_from(DIRECTOR_NAME).expect("a constant DNS name");
        Ok(ClientConnection::new(Arc::clone(&self.config), name)?)
    }

    /// Connects to `host:port`.
    pub fn connect(&self, address: &str) -> Result<TlsLink, Error> {
        let socket =
            TcpStream::connect(address).map_err(|source| Error::Io { doing: "connecting", source })?;
        // A loss now and then does not make BBR slow down, as it does CUBIC: on 50 ms with 0.1 % loss one fills the
        // link, the other a twentieth of it. A kernel without it goes on with what it has.
        let _ = sockopt::set_tcp_congestion(&socket, "bbr");
        let socket = prepare(socket)?;
        let mut connection = self.connection()?;
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        let mut link =
            TlsLink::new(Stream::Client(Box::new(StreamOwned::new(connection, socket))), Vec::new());
        link.write("upgrading", REQUEST.as_bytes())?;
        link.flush()?;
        let head = link.read_head()?;
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let status = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            return Err(Error::Upgrade(format!("{status:?}")));
        }
        if let Stream::Client(stream) = &link.stream {
            expect_transfer(&stream.sock)?;
        }
        link.pace.clone_from(&self.pace);
        Ok(link)
    }
}

/// Returns how a director does TLS: 1.3 alone, with this identity. A client needs no certificate, as it
/// may have a token; one that it shows must be of the same authority.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(identity)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Returns the SHA-256 of the certificate that a client has shown, in hexadecimal.
pub fn peer_of(connection: &ServerConnection) -> Option<String> {
    connection.peer_certificates().and_then(<[_]>::first).map(digest_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;
    use std::net::TcpListener;

    fn identities() -> (Authority, Identity, Identity) {
        let (authority, _) = Authority::create().unwrap();
        let director = Identity::parse(&authority.issue_director().unwrap()).unwrap();
        let manager = Identity::parse(&authority.issue_manager("test").unwrap()).unwrap();
        (authority, director, manager)
    }

    type Accepting = std::thread::JoinHandle<std::io::Result<(TlsLink, Option<String>)>>;

    /// Does what a front does, in one thread.
    fn accept(config: Arc<ServerConfig>, socket: TcpStream) -> std::io::Result<(TlsLink, Option<String>)> {
        let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        let mut head = vec![0; REQUEST.len()];
        stream.read_exact(&mut head)?;
        assert_eq!(head, REQUEST.as_bytes());
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
        stream.flush()?;
        // The lengths of the first frame have been read ahead.
        let mut ahead = vec![0; 5];
        stream.read_exact(&mut ahead)?;
        let peer = peer_of(&stream.conn);
        let (connection, socket) = (stream.conn, stream.sock);
        Ok((TlsLink::accepted(socket, connection, ahead).map_err(std::io::Error::other)?, peer))
    }

    fn listen(director: &Identity) -> (String, Accepting) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = server_config(director).unwrap();
        (address, std::thread::spawn(move || accept(config, listener.accept().unwrap().0)))
    }

    #[test]
    fn frames_pass_both_ways_between_certified_peers() {
        let (_, director, manager) = identities();
        let (address, accepting) = listen(&director);
        let mut client = Connector::new(&manager).unwrap().connect(&address).unwrap();
        let big = vec![7_u8; 5 << 20];
        let sending = std::thread::spawn(move || {
            client.send(&Message::Data { group: 1 }, &[&big, b"end"]).unwrap();
            client
        });
        let (mut server, peer) = accepting.join().unwrap().unwrap();
        assert_eq!(peer, Some(manager.certificate_digest()));
        let mut body = Vec::new();
        assert_eq!(server.receive(&mut body).unwrap(), Message::Data { group: 1 });
        assert_eq!((body.len(), &body[5 << 20..]), ((5 << 20) + 3, &b"end"[..]));
        let mut client = sending.join().unwrap();
        server.send(&Message::Durable { group: 1 }, &[]).unwrap();
        assert_eq!(client.receive(&mut body).unwrap(), Message::Durable { group: 1 });
        assert!(body.is_empty());
    }

    #[test]
    fn a_peer_of_another_authority_is_not_let_in() {
        let (_, director, _) = identities();
        let (_, _, stranger) = identities();
        let (address, accepting) = listen(&director);
        assert!(Connector::new(&stranger).unwrap().connect(&address).is_err());
        assert!(accepting.join().unwrap().is_err());
    }

    #[test]
    fn a_manager_cannot_pose_as_a_director() {
        let (_, _, manager) = identities();
        let (address, accepting) = listen(&manager);
        assert!(Connector::new(&manager).unwrap().connect(&address).is_err());
        assert!(accepting.join().unwrap().is_err());
    }

    #[test]
    fn an_authority_can_be_kept() {
        let (authority, keep) = Authority::create().unwrap();
        let again = Authority::parse(&keep).unwrap();
        let director = Identity::parse(&authority.issue_director().unwrap()).unwrap();
        let manager = Identity::parse(&again.issue_manager("later").unwrap()).unwrap();
        let (address, accepting) = listen(&director);
        let mut client = Connector::new(&manager).unwrap().connect(&address).unwrap();
        client.send(&Message::Close, &[]).unwrap();
        accepting.join().unwrap().unwrap();
    }

    #[test]
    fn a_waiting_receiver_is_woken_and_can_say_a_last_word() {
        let (_, director, manager) = identities();
        let (address, accepting) = listen(&director);
        let mut client = Connector::new(&manager).unwrap().connect(&address).unwrap();
        client.send(&Message::Close, &[]).unwrap();
        let (mut server, _) = accepting.join().unwrap().unwrap();
        let mut body = Vec::new();
        assert_eq!(server.receive(&mut body).unwrap(), Message::Close);
        let waker = server.waker().unwrap();
        let waiting = std::thread::spawn(move || {
            assert!(matches!(server.receive(&mut Vec::new()), Err(Error::Closed)));
            server.send(&Message::Closed, &[]).unwrap();
            server.linger(Duration::from_millis(100));
        });
        std::thread::park_timeout(Duration::from_millis(50));
        waker.wake();
        // It goes on sending for a while, and still hears why it is to end.
        client.send(&Message::Data { group: 2 }, &[&vec![0; 100_000]]).unwrap();
        assert_eq!(client.receive(&mut body).unwrap(), Message::Closed);
        waiting.join().unwrap();
    }
}
