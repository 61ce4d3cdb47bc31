//! How the two sites reach each other.
//!
//! A [`Link`] carries frames of `airlock-transfer` in both directions. There are two:
//! [`TlsLink`], one TLS 1.3 connection with certificates on both sides, entered by an
//! HTTP/1.1 `Upgrade`; and [`MemoryLink`], a pair of channels for a director that runs
//! in the manager's own process. Both block; a stream has a thread of its own.
//!
//! Deliberately absent: knowledge of what the messages mean, and name resolution of
//! trust: a director is known by the authority in the [`Identity`] file, not by its host name.
#![forbid(unsafe_code)]

mod fetch;
mod identity;
mod memory;
mod pace;
mod pairing;
mod tls;

pub use fetch::FetchError;
pub use identity::{Authority, Identity, IdentityError};
pub use memory::{MemoryLink, pair};
pub use pace::{Pace, Rate, RateError, Timetable, minute_of};
pub use pairing::{PairError, PairingCode, pair_with};
pub use tls::{Connector, TlsLink, Waker, peer_of, server_config};

use airlock_transfer::{FrameError, Message};

/// Why nothing could be sent or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer is gone, or does not answer in time.
    #[error("connection to the other site failed while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The peer sent a frame that is not one.
    #[error("the other site sent a bad frame")]
    Frame(#[from] FrameError),
    /// The peer did not switch to the transfer protocol.
    #[error("the other site did not switch to the transfer protocol: {0}")]
    Upgrade(String),
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The peer has said nothing for a long time. It may still go on.
    #[error("the other site has said nothing for two minutes")]
    Silent,
    /// The peer closed the connection in good order.
    #[error("the other site closed the connection")]
    Closed,
}

impl Error {
    /// Says whether it may be otherwise the next time: the other site was away or busy. One that this site
    /// does not believe, or that does not believe this site, stays so.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() != std::io::ErrorKind::InvalidData,
            Self::Closed | Self::Silent => true,
            Self::Upgrade(said) => said.contains(" 503 "),
            Self::Frame(_) | Self::Tls(_) => false,
        }
    }
}

/// Carries frames between the two sites.
pub trait Link: Send {
    /// Sends a message with a body, given in pieces. Where that fails because the peer has left, what it said last
    /// can still be received.
    fn send(&mut self, message: &Message, body: &[&[u8]]) -> Result<(), Error>;

    /// Waits for a message and puts its body in place of what is in `body`.
    fn receive(&mut self, body: &mut Vec<u8>) -> Result<Message, Error>;
}
