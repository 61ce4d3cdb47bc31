//! Which class every byte ended in.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why bytes could not be inspected for what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Encrypted: only ciphertext was seen.
    Encrypted,
    /// The source could not be read there.
    Unreadable,
    /// A budget of bytes, steps, depth or time was used up.
    Limit,
    /// The file system is not understood; its bytes were inspected as raw bytes.
    Unsupported,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Encrypted, Self::Unreadable, Self::Limit, Self::Unsupported];

    /// Returns the name that reports and policies use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::Unreadable => "unreadable",
            Self::Limit => "limit",
            Self::Unsupported => "unsupported",
        }
    }
}

/// The class of a byte. Every byte of a bundle is in exactly one (invariant I2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Inspected and passed.
    Cleared,
    /// Failed a check; it is not kept.
    Held,
    /// Reads as zeros and was never data, or is data of zeros only.
    Hole,
    /// Passed earlier under the same rules and policy, answered from the memo.
    Known,
    /// Left out because policy says so (free space under `drop`).
    Dropped,
    /// Not inspected for what it is.
    Unscannable(Reason),
}

/// How many bytes ended in each class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Size of everything that was looked at, in bytes.
    pub total: u64,
    /// Bytes in [`Class::Cleared`].
    pub cleared: u64,
    /// Bytes in [`Class::Held`].
    pub held: u64,
    /// Bytes in [`Class::Hole`].
    pub hole: u64,
    /// Bytes in [`Class::Known`].
    pub known: u64,
    /// Bytes in [`Class::Dropped`].
    pub dropped: u64,
    /// Bytes in [`Class::Unscannable`], by reason.
    pub unscannable: BTreeMap<Reason, u64>,
}

impl Coverage {
    /// Counts `bytes` more in `class`; `total` is the caller's to set from the size of the source.
    pub fn add(&mut self, class: Class, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let slot = match class {
            Class::Cleared => &mut self.cleared,
            Class::Held => &mut self.held,
            Class::Hole => &mut self.hole,
            Class::Known => &mut self.known,
            Class::Dropped => &mut self.dropped,
            Class::Unscannable(reason) => self.unscannable.entry(reason).or_default(),
        };
        *slot += bytes;
    }

    /// Adds the figures of another disk or bundle file.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.add(Class::Cleared, other.cleared);
        self.add(Class::Held, other.held);
        self.add(Class::Hole, other.hole);
        self.add(Class::Known, other.known);
        self.add(Class::Dropped, other.dropped);
        for (&reason, &bytes) in &other.unscannable {
            self.add(Class::Unscannable(reason), bytes);
        }
    }

    /// Returns the sum of all classes in bytes.
    pub fn sum(&self) -> u64 {
        let classes = [self.cleared, self.held, self.hole, self.known, self.dropped];
        // A peer may say anything: a sum that wraps could be any size that it wants.
        classes.iter().chain(self.unscannable.values()).fold(0, |sum, class| sum.saturating_add(*class))
    }
}
