//! Signed records of a transfer, and their verification without either site.
//!
//! A transfer ends, one way or the other, with one [`Statement`]: an in-toto
//! Statement v1 that says under which policies and rules both sites judged, what the
//! content was, what is missing and why. Both sites sign the same bytes in a DSSE
//! [`Envelope`] with Ed25519.
//!
//! Sources: in-toto attestation framework, Statement v1; DSSE v1.0.2, section
//! "Protocol" (pre-authentication encoding); RFC 8032 (Ed25519, strict verification).
//!
//! Deliberately absent: reading files and clocks, and checking a vault against the
//! statement, which is the vault's own business.
#![forbid(unsafe_code)]

mod criteria;
mod dsse;
mod report;
mod statement;

pub use criteria::SignedPolicy;
pub use dsse::{
    Envelope, Failure, PublicKey, Signature, SiteKey, contradictions, decode_payload, seal, unseal, verify,
};
pub use report::{SourceDisk, SourceReport, count_key, count_of};
pub use statement::{
    Disk, Findings, Hole, PREDICATE_TYPE, Policies, Predicate, Replayed, Rules, STATEMENT_TYPE, Sites,
    Statement, Subject, Transfer,
};
