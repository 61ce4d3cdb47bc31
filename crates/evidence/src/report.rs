//! What the source reports to the destination at the end, to go into the record.

use crate::statement::{Hole, Replayed};
use airlock_model::{Coverage, Decision, Finding, Site};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the source has to say about a transfer. The destination records it as the
/// source's word, and checks what of it can be checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceReport {
    /// What the source decided.
    pub decision: Decision,
    /// Digest of the rules that it inspected with.
    pub rules: String,
    /// The members of its bundle, in the order of the opening.
    pub disks: Vec<SourceDisk>,
    /// Logs that were not empty, and whether it replayed them in memory.
    pub replays: Vec<Replayed>,
    /// How many findings there were, by [`count_key`].
    pub counts: BTreeMap<String, u64>,
    /// The first of them, without fingerprints.
    pub findings: Vec<Finding>,
}

/// One disk, as the source read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceDisk {
    /// Root of all of it.
    pub root: String,
    /// Root of what was sent.
    pub kept_root: String,
    /// What became of every byte.
    pub coverage: Coverage,
    /// What was not sent, sorted, and why.
    pub holes: Vec<Hole>,
}

/// Returns the name under which a finding is counted, such as `source/hold`.
pub fn count_key(finding: &Finding) -> String {
    let site = match finding.site {
        Site::Source => "source",
        Site::Destination => "destination",
    };
    format!("{site}/{}", finding.action.name())
}

/// Counts findings by [`count_key`].
pub fn count_of<'f>(findings: impl Iterator<Item = &'f Finding>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        *counts.entry(count_key(finding)).or_default() += 1;
    }
    counts
}
