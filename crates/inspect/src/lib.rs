//! The streaming inspection engine: finds values in a stream of bytes, in one pass,
//! without ever keeping or showing them.
//!
//! ```text
//!  bytes ─▶ grams of 5 bytes ─▶ shapes ─▶ candidates ─▶ window ─▶ detector ─▶ Match
//!           8 buckets, no branch  literals   (position,    512 bytes   check digit,
//!                                 in windows  anchor)      each side   context words
//! ```
//!
//! Stage 1 looks for [`Anchor`]s, short shapes such as thirteen digits in a row, and
//! for up to some forty [`Literal`]s, in ASCII and UTF-16, with vector instructions
//! chosen at run time and a portable twin of each. Stage 2 asks the [`Detector`]s that
//! want an anchor or a literal, and shows them its surroundings as a [`Window`]:
//! characters, whatever the encoding. Who decodes containers may name literals of its
//! own and is told where they stand ([`Engine::with_signatures`]). Thousands of literals, such
//! as those of signatures, are a [`LiteralSet`]'s.
//!
//! **The law.** What is found is a function of the bytes of a stream. A detector sees
//! [`LOOKBACK_BYTES`] before a candidate, [`LOOKAHEAD_BYTES`] from it on, and the
//! header row of the stream; a candidate is looked at when all of that has come or the
//! stream has ended. So pieces may have any size, and any thread may scan any stream.
//! Blocks of armoured text are longer than a window; a state machine follows them. So are
//! documents; their parts are put together.
//!
//! ```
//! use airlock_inspect::{Anchor, Detector, Engine, EngineConfig, Hit, Normal, Value, Window};
//! use airlock_model::{Check, Confidence, Severity};
//!
//! /// Any sixteen digits.
//! #[derive(Debug)]
//! struct Sixteen;
//!
//! impl Detector for Sixteen {
//!     fn name(&self) -> &'static str { "sixteen" }
//!     fn check(&self) -> Check { Check::Financial }
//!     fn severity(&self) -> Severity { Severity::Low }
//!     fn anchors(&self) -> &[Anchor] { &[Anchor::LongRun] }
//!     fn verify(&self, _: Anchor, window: &Window<'_>) -> Option<Hit> {
//!         (window.run == 16).then(|| Hit::Value(Value {
//!             first: 0,
//!             length: 16,
//!             confidence: Confidence::MEDIUM,
//!             normal: Normal::of(window.after(0, 16)),
//!             display: "sixteen digits".to_owned(),
//!         }))
//!     }
//! }
//!
//! let engine = Engine::new(vec![Box::new(Sixteen)], EngineConfig { fingerprint_key: [0; 32] });
//! let mut scanner = engine.scanner();
//! let mut found = Vec::new();
//! scanner.feed(b"number 12345678", &mut found);
//! scanner.feed(b"90123456.", &mut found);
//! scanner.finish(&mut found);
//! assert_eq!((found[0].offset, found[0].length), (7, 16));
//! ```
//!
//! Deliberately absent: decoding. Archives, documents and pages of databases are
//! opened by whoever feeds the engine; each decoded layer is a stream of its own.
#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

mod anchor;
mod armor;
mod classes;
mod detector;
mod document;
mod engine;
mod fingerprint;
mod grams;
mod header;
mod literal;
mod literal_set;
mod scanner;
mod simd;
mod stage;
mod window;

pub use anchor::Anchor;
pub use detector::{Armor, Detector, Hit, NORMAL_BYTES_MAX, Normal, Part, Value};
pub use engine::{Engine, EngineConfig, Match, Signature};
pub use fingerprint::FingerprintBuilder;
pub use header::Header;
pub use literal::{LITERAL_BYTES_MAX, LITERAL_BYTES_MIN, Literal};
pub use literal_set::{LiteralScanner, LiteralSet, LiteralSetError, SET_LITERAL_BYTES_MIN, SET_LITERALS_MAX};
pub use scanner::Scanner;
pub use simd::instruction_set;
pub use window::{Encoding, HEAD_BYTES, LOOKAHEAD_BYTES, LOOKBACK_BYTES, Window};
