//! What is signed.

use airlock_model::{Coverage, Decision, Extent, Finding, Site};
use airlock_policy::OnFail;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The `_type` of an in-toto Statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The predicate type of this record, version 1.
pub const PREDICATE_TYPE: &str = "urn:airlock:transfer:v1";

/// An in-toto Statement about one transfer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// One for each disk: what is kept, or what was refused.
    pub subject: Vec<Subject>,
    /// Always [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The record itself.
    pub predicate: Predicate,
}

/// A disk and its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// VM and disk, such as `erp/disk0`.
    pub name: String,
    /// `airlockDiskRootV1`: the root, in hexadecimal.
    pub digest: BTreeMap<String, String>,
}

/// The record of one transfer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicate {
    /// Which transfer.
    pub transfer: Transfer,
    /// Who took part.
    pub sites: Sites,
    /// Under which policies.
    pub policies: Policies,
    /// With which rules.
    pub rules: Rules,
    /// What the disks were, and what is missing of them.
    pub disks: Vec<Disk>,
    /// Logs that were not empty, and whether they were replayed in memory to know the files.
    pub replays: Vec<Replayed>,
    /// What was found, masked.
    pub findings: Findings,
}

/// Which transfer, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Its id, in hexadecimal.
    pub id: String,
    /// The VM, as the source calls it.
    pub vm: String,
    /// The virtual data center that it went to.
    pub vdc: String,
    /// `active`, `active-withheld`, `discarded`, `rejected` or `failed`.
    pub state: String,
    /// Why it failed, where that was no verdict on what it brought, such as `worker:signal` and a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What both policies together decided.
    pub decision: Decision,
    /// When the director decided, in seconds since 1970-01-01 UTC by its clock.
    pub decided_at: u64,
}

/// The public keys of both sites, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sites {
    /// The source's Ed25519 key.
    pub source: String,
    /// The destination's Ed25519 key.
    pub destination: String,
}

/// Digests of the policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    /// The source's document.
    pub source: String,
    /// The destination's document.
    pub destination: String,
    /// The effective policy that both computed.
    pub effective: String,
    /// What whoever ran the transfer asked for.
    pub on_fail: OnFail,
}

/// Digests of the rules that each site inspected with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The source's rules.
    pub source: String,
    /// The destination's rules.
    pub destination: String,
}

/// One disk of the bundle, or all of its other files together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its id, such as `disk0`; `files` for the other files.
    pub id: String,
    /// The image format at the source; `files` for the other files.
    pub format: String,
    /// Its virtual size in bytes.
    pub virtual_size: u64,
    /// Root of the whole disk as the source read it.
    pub source_root: String,
    /// Root of what is kept: equal to `source_root` unless there are holes.
    pub kept_root: String,
    /// BLAKE3 of the manifest in the vault; absent where nothing is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// What became of every byte at the source.
    pub source_coverage: Coverage,
    /// What became of every byte that arrived, at the destination.
    pub destination_coverage: Coverage,
    /// What is not kept, sorted by offset, and why.
    pub holes: Vec<Hole>,
    /// The name of the image in its bundle; absent for a disk alone and for files.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A log of a file system that was not unmounted. If it was replayed in memory, files were
/// listed and inspected as they would be after a mount; else without their latest changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replayed {
    /// Who read it.
    pub site: Site,
    /// The volume, such as `p1`.
    pub volume: String,
    /// Which log: `jbd2`, `xfs`, `btrfs`, `ntfs`; `hiberfil` for the memory of a Windows that sleeps.
    pub log: String,
    /// Whether it was replayed.
    pub done: bool,
    /// Transactions.
    pub transactions: u64,
    /// Blocks of the volume that the log has a newer copy of.
    pub blocks: u64,
}

/// A part of a disk that is not kept and reads as zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    /// Where.
    pub extent: Extent,
    /// Who held it.
    pub site: Site,
    /// Why: detectors, or the class that could not be inspected.
    pub reasons: Vec<String>,
    /// Escaped path of the file it belonged to, if a file owned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// How many there were, by site and action, such as `source/hold`.
    pub counts: BTreeMap<String, u64>,
    /// The first of them. Fingerprints are zeroed: masked digits and a fingerprint of one
    /// value never stand together in exported evidence (PCI DSS 3.5.1).
    pub listed: Vec<Finding>,
}
