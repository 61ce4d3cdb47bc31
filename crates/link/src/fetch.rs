//! Asking a director over HTTP, as a manager: one request on a connection of its own.

use crate::Error;
use crate::identity::DIRECTOR_NAME;
use crate::tls::Connector;
use rustls::StreamOwned;
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long the director may be silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest problem that is read.
const PROBLEM_BYTES_MAX: u64 = 64 << 10;
/// Bytes that are handed on at once.
const PIECE_BYTES: usize = 64 << 10;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The director could not be reached.
    #[error(transparent)]
    Link(#[from] Error),
    /// It does not give this.
    #[error("the director refuses: {title:?}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        title: String,
    },
    /// What it answers is not what it should be.
    #[error("the answer of the director cannot be read: {0}")]
    Answer(&'static str),
    /// What came could not be written.
    #[error("cannot write what the director sent")]
    Write(#[source] std::io::Error),
}

#[derive(Deserialize)]
struct Problem {
    title: String,
}

impl Connector {
    /// Fetches what is at `path` of the director at `address`, at most `bytes_max` of it, and writes it.
    pub fn fetch(
        &self,
        address: &str,
        path: &str,
        bytes_max: u64,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        let failed = |doing| move |source| FetchError::Link(Error::Io { doing, source });
        let socket = TcpStream::connect(address).map_err(failed("connecting"))?;
        let timed = socket.set_read_timeout(Some(ANSWER_TIMEOUT));
        timed.and_then(|()| socket.set_write_timeout(Some(ANSWER_TIMEOUT))).map_err(failed("connecting"))?;
        let mut stream = StreamOwned::new(self.connection()?, socket);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {DIRECTOR_NAME}\r\nConnection: close\r\n\r\n");
        let sent = stream.write_all(request.as_bytes()).and_then(|()| stream.flush());
        sent.map_err(failed("sending"))?;
        let (status, length, ahead) = head(&mut stream)?;
        if status != 200 {
            let mut body = ahead;
            // What is missing of it only makes the message shorter.
            let _ = stream.take(PROBLEM_BYTES_MAX).read_to_end(&mut body);
            let problem = serde_json::from_slice(&body).map(|problem: Problem| problem.title);
            let title = problem.unwrap_or_else(|_| format!("status {status}"));
            return Err(FetchError::Refused { status, title });
        }
        if length > bytes_max {
            return Err(FetchError::Answer("it is too long"));
        }
        let ahead = ahead.get(..ahead.len().min(usize::try_from(length).unwrap_or(usize::MAX)));
        let ahead = ahead.unwrap_or_default();
        into.write_all(ahead).map_err(FetchError::Write)?;
        let mut left = length - ahead.len() as u64;
        let mut piece = vec![0; PIECE_BYTES];
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = match stream.read(&mut piece[..most]) {
                Ok(0) => return Err(FetchError::Answer("it is cut")),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(FetchError::Answer("it is cut"));
                }
                Err(error) => return Err(failed("receiving")(error)),
            };
            into.write_all(&piece[..count]).map_err(FetchError::Write)?;
            left -= count as u64;
        }
        Ok(())
    }
}

/// Reads the head of an answer. Returns the status, the length of the body, and what of it was read, too.
fn head(stream: &mut impl Read) -> Result<(u16, u64, Vec<u8>), FetchError> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        match (response.parse(&bytes), response.code) {
            (Ok(httparse::Status::Complete(end)), Some(status)) => {
                let length =
                    response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
                let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
                // An answer whose end cannot be told from a cut is not taken.
                let length = length.ok_or(FetchError::Answer("it does not say how long it is"))?;
                return Ok((status, length, bytes.split_off(end)));
            }
            (Ok(_), _) => {}
            (Err(_), _) => return Err(FetchError::Answer("it is no HTTP")),
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(FetchError::Answer("its head is too long"));
        }
        match stream.read(&mut piece) {
            Ok(0) => return Err(FetchError::Answer("it is cut")),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(source) => return Err(Error::Io { doing: "receiving", source }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_refused() {
        let read = |text: &str| head(&mut text.as_bytes());
        let (status, length, ahead) = read("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nabc").unwrap();
        assert_eq!((status, length, ahead.as_slice()), (200, 7, b"abc".as_slice()));
        for wrong in ["", "HTTP/1.1 200 OK\r\n\r\nabc", "HTTP/1.1 200 OK\r\ncontent-len", "SSH-2.0-x\r\n\r\n"]
        {
            assert!(matches!(read(wrong), Err(FetchError::Answer(_))), "{wrong:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES_MAX * 2));
        assert!(matches!(read(&long), Err(FetchError::Answer("its head is too long"))));
    }
}
