//! The streaming inspection engine.
#![warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)]

mod anchor;
mod armor;
mod classes;
mod detector;
mod engine;
mod fingerprint;
mod header;
mod simd;
mod stage;
mod window;

pub use anchor::Anchor;
pub use detector::{Armor, Detector, Hit, NORMAL_BYTES_MAX, Normal, Value};
pub use engine::{Engine, EngineConfig, Match, Scanner};
pub use fingerprint::FingerprintBuilder;
pub use header::Header;
pub use window::{Encoding, HEAD_BYTES, LOOKAHEAD_BYTES, LOOKBACK_BYTES, Window};
