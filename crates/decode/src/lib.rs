//! Opens what lies inside of files: compression, archives, documents, encodings.
//!
//! ```text
//!  file ─▶ what does it begin with? ─▶ gzip ─▶ layer 1 ─▶ what does it begin with? ─▶ tar ─▶ …
//!             nothing known: nothing          │                                       │
//!             is done                         └─ its bytes go to the sink             └─ members
//! ```
//!
//! [`open`] walks down from the content of a file. Every layer that it decodes goes to a [`Sink`]
//! as a stream of its own, and is looked at in the same way: layers nest. Layers are pulled, so
//! one of any size passes through a buffer of 64 KiB; what must be read in any order is kept in
//! memory up to a limit.
//!
//! **The law.** What comes out is a function of the bytes of the file and the [`Limits`]. Budgets
//! are counted in bytes and layers, never in time. Whatever was not opened to its end is said: a
//! limit, an encrypted member, a container that is not understood or damaged.
//!
//! ```
//! use airlock_decode::{Layer, Limits, Sink, open};
//!
//! #[derive(Default)]
//! struct Print { text: Vec<u8> }
//!
//! impl Sink for Print {
//!     fn open(&mut self, layer: &Layer<'_>) { assert_eq!(layer.name, "gzip"); }
//!     fn feed(&mut self, _depth: usize, bytes: &[u8]) { self.text.extend_from_slice(bytes); }
//!     fn close(&mut self) {}
//! }
//!
//! // `printf 'hello' | gzip -n`
//! let mut file: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbH\xcd\xc9\xc9\x07\0\x86\xa6\x106\x05\0\0\0";
//! let mut print = Print::default();
//! let reasons = open(&mut file, &Limits::for_file(25), &mut print);
//! assert_eq!(print.text, b"hello");
//! assert!(reasons.is_empty());
//! ```
//!
//! Deliberately absent: detection of values, and any opinion on what a layer is worth.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

mod ar;
mod base64;
mod binhex;
mod cab;
mod carve;
mod closed;
mod compressed;
mod cpio;
mod dump;
mod ebcdic;
mod embedded;
mod escapes;
mod gzip;
mod hex;
mod layer;
mod limits;
mod lzw;
mod made;
mod mail;
mod ole;
mod pdf;
mod quoted;
mod rewrite;
mod rpm;
mod rtf;
mod runs;
mod sniff;
mod source;
mod sqlite;
mod stream;
mod tar;
mod utf32;
mod uuencode;
mod walk;
mod xml;
mod zip;

pub use carve::carve;
pub use embedded::SIGNATURES;
pub use layer::{Layer, Relation, Sink};
pub use limits::Limits;
pub use runs::Runs;
pub use sniff::HEAD_BYTES;
pub use source::ReadAt;

use airlock_model::Reason;
use std::collections::BTreeSet;

/// Changes whenever other layers are opened, or other limits are met.
pub const VERSION: &str = "airlock.decode/4";

/// Returns whether content that begins with `head`, its first [`HEAD_BYTES`] or all of it, can be
/// opened.
#[inline]
pub fn wants(head: &[u8]) -> bool {
    sniff::sniff(head, 0).is_some()
}

/// Opens everything in `source`, and returns why not all of it could be.
///
/// The bytes of `source` itself do not go to the sink.
pub fn open(source: &mut dyn ReadAt, limits: &Limits, sink: &mut dyn Sink) -> BTreeSet<Reason> {
    let walk = walk::Walk::new(limits, sink);
    walk.enter_file(source);
    walk.into_reasons()
}
