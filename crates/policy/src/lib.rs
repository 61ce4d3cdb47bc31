//! Documents in, findings in, verdict out.
//!
//! A site writes a [`Document`]. The two documents of a transfer are merged into one
//! [`Effective`] policy, which is at least as strict as either in every respect.
//! It judges what was found in one [`Object`] and gives a [`Judgement`], and only a
//! judgement turns a [`Chunk`] into a [`Cleared`] one (invariant I7):
//!
//! ```compile_fail
//! // A forged clearance does not build: the field is private.
//! let forged = airlock_policy::Cleared(vec![0_u8]);
//! ```
//!
//! ```
//! use airlock_model::{Extent, Site};
//! use airlock_policy::{Chunk, Document, Effective, Object};
//! let policy = Effective::merge(&Document::default(), &Document::default());
//! let chunk = Chunk::new(vec![Extent::new(0, 5)], b"hello".to_vec());
//! let mut judgement = policy.judge(Site::Source, &Object::raw(4096), &mut []);
//! judgement.inspected(chunk.record());
//! let cleared = judgement.release(chunk).expect("the bytes that were judged");
//! assert_eq!(cleared[0].get().bytes().unwrap(), b"hello");
//! ```
//!
//! Deliberately absent: reading files, and any knowledge of how findings are made.
#![forbid(unsafe_code)]

mod cleared;
mod document;
mod effective;
mod judge;
mod pattern;

pub use cleared::{Changed, Chunk, Clearance, Cleared};
pub use document::{
    Containers, DEFAULT_YAML, Document, Error, FreeSpace, OnFail, Release, Rule, Scope, Unscannable,
};
pub use effective::{Effective, PolicyDigest};
pub use judge::{Judgement, Object, Tally};
pub use pattern::{Context, Expression, PATTERN_BYTES_MAX, Pattern, PatternText};
