//! A link over TCP, TLS 1.3 and an HTTP/1.1 upgrade.

use crate::identity::{DIRECTOR_NAME, Identity, digest_of};
use crate::{Error, Link};
use airlock_transfer::{FrameError, Message, decode, decode_lengths, encode};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::ServerName;
use std::fmt;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Bytes read from the socket at once. rustls alone reads 4 KiB at a time.
const SOCKET_READ_BYTES: usize = 256 << 10;
/// Plain bytes that TLS may hold before they are written to the socket.
const TLS_BUFFER_BYTES: usize = 1 << 20;
/// Most bytes in the head of an HTTP request or response.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a peer may take to finish the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a peer may stay silent in the middle of a transfer. A director that judges says so.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(2);

const REQUEST: &str = "GET /api/v1/stream HTTP/1.1\r\nHost: director.airlock.internal\r\n\
    Connection: Upgrade\r\nUpgrade: airlock/1\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: airlock/1\r\n\r\n";
const UPGRADE_REQUIRED: &str = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: airlock/1\r\nConnection: close\r\n\
    Content-Type: application/problem+json\r\nContent-Length: 62\r\n\r\n\
    {\"title\":\"upgrade to airlock/1 is required\",\"status\":426}     ";

/// A socket that is read in large pieces.
struct Socket {
    reader: BufReader<TcpStream>,
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.reader.get_mut().write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
        self.reader.get_mut().write_vectored(pieces)
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
}

impl fmt::Debug for TlsLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsLink")
    }
}

impl TlsLink {
    fn io(&mut self) -> &mut dyn ReadWrite {
        match &mut self.stream {
            Stream::Client(stream) => &mut **stream,
            Stream::Server(stream) => &mut **stream,
        }
    }

    fn write(&mut self, doing: &'static str, bytes: &[u8]) -> Result<(), Error> {
        self.io().write_all(bytes).map_err(|source| Error::Io { doing, source })
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

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

impl Link for TlsLink {
    fn send(&mut self, message: &Message, body: &[&[u8]]) -> Result<(), Error> {
        let length = body.iter().map(|piece| piece.len()).sum();
        let frame = encode(message, length)?;
        self.write("sending", &frame)?;
        for piece in body {
            self.write("sending", piece)?;
        }
        self.flush()
    }

    fn receive(&mut self, body: &mut Vec<u8>) -> Result<Message, Error> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::Closed,
            _ => Error::Io { doing: "receiving", source },
        };
        let mut lengths = [0; 8];
        self.io().read_exact(&mut lengths).map_err(failed)?;
        let (header_bytes, body_bytes) = decode_lengths(lengths)?;
        let mut header = Vec::new();
        fill(self.io(), &mut header, header_bytes).map_err(failed)?;
        fill(self.io(), body, body_bytes).map_err(failed)?;
        Ok(decode(&header).map_err(|_| FrameError::Header)?)
    }
}

/// Reads exactly `length` bytes in place of what is in `into`; memory grows with what
/// arrives, not with what was announced.
fn fill(from: &mut dyn ReadWrite, into: &mut Vec<u8>, length: usize) -> std::io::Result<()> {
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
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

fn roots(identity: &Identity) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(identity.authority.clone())?;
    Ok(Arc::new(roots))
}

fn prepare(socket: TcpStream) -> Result<Socket, Error> {
    let set = || {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
        socket.set_write_timeout(Some(SILENCE_TIMEOUT))
    };
    set().map_err(|source| Error::Io { doing: "connecting", source })?;
    Ok(Socket { reader: BufReader::with_capacity(SOCKET_READ_BYTES, socket) })
}

fn expect_transfer(socket: &Socket) -> Result<(), Error> {
    let set = socket.reader.get_ref().set_read_timeout(Some(SILENCE_TIMEOUT));
    set.map_err(|source| Error::Io { doing: "connecting", source })
}

/// Opens links to a director.
#[derive(Debug, Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    /// Uses this identity and trusts its authority.
    pub fn new(identity: &Identity) -> Result<Self, Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots(identity)?)
            .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())?;
        Ok(Self { config: Arc::new(config) })
    }

    /// Connects to `host:port`.
    pub fn connect(&self, address: &str) -> Result<TlsLink, Error> {
        let socket =
            TcpStream::connect(address).map_err(|source| Error::Io { doing: "connecting", source })?;
        let socket = prepare(socket)?;
        let name = ServerName::try_from(DIRECTOR_NAME).expect("a constant DNS name");
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        let mut link = TlsLink { stream: Stream::Client(Box::new(StreamOwned::new(connection, socket))) };
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
        Ok(link)
    }
}

/// Accepts links from managers.
#[derive(Debug, Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
}

impl Acceptor {
    /// Uses this identity and lets in whom its authority has certified.
    pub fn new(identity: &Identity) -> Result<Self, Error> {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(identity)?, provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())?;
        Ok(Self { config: Arc::new(config) })
    }

    /// Takes a connection through the handshake and the upgrade. Returns the link and
    /// the SHA-256 of the peer's certificate.
    pub fn accept(&self, socket: TcpStream) -> Result<(TlsLink, String), Error> {
        let socket = prepare(socket)?;
        let mut connection = ServerConnection::new(Arc::clone(&self.config))?;
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        let mut link = TlsLink { stream: Stream::Server(Box::new(StreamOwned::new(connection, socket))) };
        let head = link.read_head()?;
        if let Err(text) = check_request(&head) {
            link.write("upgrading", UPGRADE_REQUIRED.as_bytes())?;
            link.flush()?;
            return Err(Error::Upgrade(text));
        }
        link.write("upgrading", SWITCHING.as_bytes())?;
        link.flush()?;
        let Stream::Server(stream) = &link.stream else { return Err(Error::Closed) };
        expect_transfer(&stream.sock)?;
        let peer = stream.conn.peer_certificates().and_then(<[_]>::first).map(digest_of);
        peer.map(|digest| (link, digest)).ok_or_else(|| Error::Upgrade("it showed no certificate".into()))
    }
}

fn check_request(head: &[u8]) -> Result<(), String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err("its HTTP request is malformed".into()),
    }
    let asks = request.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("upgrade") && header.value.eq_ignore_ascii_case(b"airlock/1")
    });
    let right = request.method == Some("GET") && request.path == Some("/api/v1/stream") && asks;
    if right { Ok(()) } else { Err("its HTTP request asks for something else".into()) }
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

    type Accepting = std::thread::JoinHandle<Result<(TlsLink, String), Error>>;

    fn listen(director: &Identity) -> (String, Accepting) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let acceptor = Acceptor::new(director).unwrap();
        (address, std::thread::spawn(move || acceptor.accept(listener.accept().unwrap().0)))
    }

    #[test]
    fn frames_pass_both_ways_between_certified_peers() {
        let (_, director, manager) = identities();
        let (address, accepting) = listen(&director);
        let mut client = Connector::new(&manager).unwrap().connect(&address).unwrap();
        let (mut server, peer) = accepting.join().unwrap().unwrap();
        assert_eq!(peer, manager.certificate_digest());
        let big = vec![7_u8; 5 << 20];
        let sending = std::thread::spawn(move || {
            client.send(&Message::Data { group: 1 }, &[&big, b"end"]).unwrap();
            client
        });
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
        Connector::new(&manager).unwrap().connect(&address).unwrap();
        accepting.join().unwrap().unwrap();
    }

    #[test]
    fn other_requests_are_told_to_upgrade() {
        assert!(check_request(REQUEST.as_bytes()).is_ok());
        assert!(check_request(b"GET /api/v1/stream HTTP/1.1\r\n\r\n").is_err());
        assert!(check_request(b"POST /x HTTP/1.1\r\nUpgrade: airlock/1\r\n\r\n").is_err());
        assert!(check_request(b"\x16\x03\x01\r\n\r\n").is_err());
        let (head, body) = UPGRADE_REQUIRED.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
