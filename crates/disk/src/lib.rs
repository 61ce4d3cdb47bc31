//! Block sources: disk images, read without trusting a byte of them.
#![warn(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)]

mod source;

pub use source::{BlockSource, Error, Format, Span, SpanKind};
