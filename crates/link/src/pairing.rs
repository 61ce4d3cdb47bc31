//! How a site comes by its first certificate: with a one-time code that the other site's people give it.
//!
//! The code says whom to believe: the SHA-256 of the director's certificate. So nobody between the two
//! sites learns the secret, and nobody else is taken for the director. The key is made here and stays here.

use crate::Error;
use crate::identity::{DIRECTOR_NAME, digest_of};
use crate::tls::provider;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// How long the director may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// A one-time code: which pairing it is, its secret, and the SHA-256 of the director's certificate.
/// As text it is `ID-SECRET-FINGERPRINT` in hexadecimal: 16, 32 and 32 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode {
    /// Which pairing.
    pub pairing: String,
    /// What is known to nobody else.
    pub secret: String,
    /// Whom to believe.
    pub fingerprint: String,
}

impl PairingCode {
    /// Reads a code.
    pub fn parse(text: &str) -> Result<Self, PairError> {
        let mut parts = text.trim().split('-').map(str::to_ascii_lowercase);
        let mut part = |digits: usize| {
            parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        match (part(32), part(64), part(64)) {
            (Some(pairing), Some(secret), Some(fingerprint)) if parts.next().is_none() => {
                Ok(Self { pairing, secret, fingerprint })
            }
            _ => Err(PairError::Code),
        }
    }

    /// Returns the text that is handed over. It is a secret.
    pub fn to_text(&self) -> String {
        format!("{}-{}-{}", self.pairing, self.secret, self.fingerprint)
    }
}

impl std::fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PairingCode({})", self.pairing)
    }
}

/// Why a site could not be paired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The code is no code.
    #[error("this is no pairing code; it has 162 characters")]
    Code,
    /// The director could not be reached, or is not the one that the code is for.
    #[error("cannot talk to the director that the code is for")]
    Link(#[from] Error),
    /// The key or the request could not be made.
    #[error("cannot make a key")]
    Make(#[from] rcgen::Error),
    /// The director does not take the code.
    #[error("the director does not take the code: {0:?}")]
    Refused(String),
    /// The director's answer is not what it should be.
    #[error("the answer of the director cannot be read")]
    Answer,
}

#[derive(Serialize)]
struct Ask<'a> {
    pairing: &'a str,
    secret: &'a str,
    request: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    certificate: String,
    authority: String,
}

#[derive(Deserialize)]
struct Refusal {
    title: String,
}

/// Takes exactly one certificate for the director's.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if digest_of(end_entity) == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Makes a key, has it certified by the director at `address` for the code, and returns the text of an
/// [`Identity`](crate::Identity).
pub fn pair_with(address: &str, code: &PairingCode) -> Result<String, PairError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![DIRECTOR_NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "Airlock manager");
    let request = params.serialize_request(&key)?.pem()?;
    let ask = Ask { pairing: &code.pairing, secret: &code.secret, request: &request };
    let body = serde_json::to_vec(&ask).expect("plain data");
    let (status, answer) = post(address, &code.fingerprint, &body)?;
    if status != 200 {
        let title = serde_json::from_slice(&answer).map(|refusal: Refusal| refusal.title);
        return Err(PairError::Refused(title.unwrap_or_else(|_| format!("status {status}"))));
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| PairError::Answer)?;
    let identity = format!("{}{}{}", key.serialize_pem(), answer.certificate, answer.authority);
    crate::Identity::parse(&identity).map_err(|_| PairError::Answer)?;
    Ok(identity)
}

fn post(address: &str, fingerprint: &str, body: &[u8]) -> Result<(u16, Vec<u8>), PairError> {
    let failed = |doing| move |source| PairError::Link(Error::Io { doing, source });
    let provider = provider();
    let pinned = Pinned { fingerprint: fingerprint.to_owned(), provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Error::from)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    let socket = TcpStream::connect(address).map_err(failed("connecting"))?;
    let timed = socket.set_read_timeout(Some(ANSWER_TIMEOUT));
    timed.and_then(|()| socket.set_write_timeout(Some(ANSWER_TIMEOUT))).map_err(failed("connecting"))?;
    let name = ServerName::try_from(DIRECTOR_NAME).expect("a constant DNS name");
    let connection = ClientConnection::new(Arc::new(config), name).map_err(Error::from)?;
    let mut stream = StreamOwned::new(connection, socket);
    let head = format!(
        "POST /api/v1/pair HTTP/1.1\r\nHost: {DIRECTOR_NAME}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    sent.and_then(|()| stream.flush()).map_err(failed("sending"))?;
    let mut bytes = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(failed("receiving")(error)),
    }
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    match (response.parse(&bytes), response.code) {
        (Ok(httparse::Status::Complete(length)), Some(status)) => Ok((status, bytes.split_off(length))),
        _ => Err(PairError::Answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        let code =
            PairingCode { pairing: "ab".repeat(16), secret: "01".repeat(32), fingerprint: "ff".repeat(32) };
        let text = code.to_text();
        assert_eq!(text.len(), 162);
        assert_eq!(PairingCode::parse(&format!(" {text}\n")).unwrap(), code);
        assert_eq!(PairingCode::parse(&text.to_uppercase()).unwrap(), code);
        assert!(!format!("{code:?}").contains("01"));
        for wrong in ["", "-", "a-b-c", &text[1..], &format!("{text}-"), &text.replace("01", "0g")] {
            assert!(PairingCode::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
