//! One transfer, as machines that take events and return actions.
//!
//! ```text
//!  control stream                      each of N data streams
//!  manager          director           manager           director
//!  Hello  ───────▶                     Attach ───────▶
//!         ◀─────── Welcome                    ◀─────── Attached
//!    (both computed the same           Offer(g) ──────▶            which chunks, and where they lie
//!     effective policy, or stop)              ◀─────── Need(g)     those that this tenant has not proven
//!                                      Data(g) ───────▶
//!                                             ◀─────── Durable(g)  survives a crash: may be forgotten
//!  Finish ───────▶                     Close  ───────▶
//!         ◀─────── Propose                    ◀─────── Closed
//!  Countersign ──▶
//!         ◀─────── Sealed
//! ```
//!
//! [`Sender`] and [`Receiver`] are the two ends of one data stream. They do no I/O and
//! read no clock, so a simulator can drive them through any order of events. What
//! goes over a wire is a [`Message`] with a body; [`encode`] and [`decode`] bound both.
//! A [`Group`] is built from [`Cleared`](airlock_policy::Cleared) chunks and from nothing else (invariant I7).
//!
//! Resuming needs no cursor: chunks are named by content, so after a crash the sender
//! offers again and the receiver answers that it has what it acknowledged.
//!
//! Deliberately absent: sockets, TLS, threads, storage.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

mod message;
mod receiver;
mod sender;

pub use message::{
    BODY_BYTES_MAX, Bits, ENTRIES_MAX, Entry, FrameError, GROUP_BYTES, HEADER_BYTES_MAX, Hello, Message,
    Refusal, RefusalKind, VERSION, Welcome, decode, decode_lengths, encode,
};
pub use receiver::{Arrived, ProtocolError, Receiver, ReceiverAction};
pub use sender::{Group, Sender, SenderAction, SenderStats};
