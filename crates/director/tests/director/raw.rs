//! A data plane without rules: any bytes, in TLS.

use airlock_transfer::{Message, decode, decode_lengths};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// How long the director may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that has switched to the transfer protocol, or not.
pub(crate) struct Raw(StreamOwned<ClientConnection, TcpStream>);

impl Raw {
    /// Connects with the identity of a manager.
    pub(crate) fn connect(address: &str, identity: &str) -> Self {
        let pem = identity.as_bytes();
        let key = PrivateKeyDer::from_pem_slice(pem).expect("a key");
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).map(|one| one.expect("PEM")).collect();
        let [own, authority] = <[_; 2]>::try_from(chain).expect("two certificates");
        let mut roots = RootCertStore::empty();
        roots.add(authority).expect("an authority");
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("TLS 1.3")
                .with_root_certificates(roots)
                .with_client_auth_cert(vec![own], key)
                .expect("an identity");
        let name = ServerName::try_from("director.airlock.internal").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let socket = TcpStream::connect(address).expect("the director listens");
        socket.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a socket");
        Self(StreamOwned::new(connection, socket))
    }

    /// Connects, and asks for the data plane.
    pub(crate) fn upgraded(address: &str, identity: &str) -> Self {
        let mut raw = Self::connect(address, identity);
        raw.say(
            b"GET /api/v1/stream HTTP/1.1\r\nHost: director\r\nConnection: Upgrade\r\nUpgrade: airlock/1\r\n\r\n",
        );
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            raw.0.read_exact(&mut byte).expect("an answer");
            head.extend_from_slice(&byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        raw
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).and_then(|()| self.0.flush()).expect("the director listens");
    }

    /// Returns the next message; none at the end of the connection.
    pub(crate) fn hear(&mut self) -> Option<Message> {
        let mut lengths = [0; 8];
        self.0.read_exact(&mut lengths).ok()?;
        let (header, body) = decode_lengths(lengths).expect("the director's frames are right");
        let mut bytes = vec![0; header + body];
        self.0.read_exact(&mut bytes).ok()?;
        Some(decode(&bytes[..header]).expect("a message"))
    }
}
