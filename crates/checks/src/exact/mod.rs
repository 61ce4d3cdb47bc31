//! Exact data: values of a customer's own, found again by keyed hashes of them.
//!
//! ```text
//! "airlock exact 1\n" │ length of the header, 4 bytes, little-endian │ header (JSON) │ entry │ entry │ …
//! entry (16 bytes, little-endian): SipHash-2-4 of the value (8), of its keyed BLAKE3 (4), row and column (4)
//! ```
//!
//! Entries are in order. A value is normalised to its letters, in upper case, and digits. No value stands in
//! the file. It has the key of the hashes in it, unless that is kept apart: who has both can try
//! values, as with any list of hashes of short values.

mod build;
mod scanner;
mod shape;

pub use build::ExactBuilder;
pub(crate) use scanner::ExactScanner;

use crate::tags::TagIndex;
use serde::{Deserialize, Serialize};
use shape::Shapes;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use zeroize::Zeroizing;

const MAGIC: &[u8; 16] = b"airlock exact 1\n";
/// Longest header.
const HEADER_BYTES_MAX: usize = 64 << 10;
const ENTRY_BYTES: usize = 16;
/// Most entries: the index counts them in 32 bits.
pub(crate) const ENTRIES_MAX: usize = 64 << 20;
/// Most columns, and bits of an entry that say which.
pub const COLUMNS_MAX: usize = 16;
const COLUMN_BITS: u32 = 4;
/// Rows of a value that are looked at: one that many rows have tells none of them.
const ROWS_MAX: usize = 64;

/// Why something is no list of exact data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExactError {
    /// It is not one, or was cut or changed.
    #[error("not a list of exact data: {0}")]
    Altered(&'static str),
    /// Its key is kept apart, and none or another one was given.
    #[error("the list {name:?} of exact data needs the key that it was made with")]
    Key {
        /// What the list is called.
        name: String,
    },
    /// What it was to be made of does not fit.
    #[error("no list of exact data can be made: {0}")]
    Input(String),
}

/// A column of the table that a list was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// Whether a value of it counts alone; else only near one of another column of its row.
    pub alone: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    name: String,
    columns: Vec<Column>,
    rows: u64,
    entries: u64,
    /// The key, in hexadecimal, unless it is kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Tells whether a key is the right one.
    key_check: String,
    shapes: Shapes,
}

/// The hash functions of a list.
struct Keys {
    sip: SipHasher24,
    blake: blake3::Hasher,
}

impl Keys {
    fn new(key: &[u8; 32]) -> Self {
        let mut derived = Zeroizing::new([0; 16]);
        let mut own = blake3::Hasher::new_derive_key("airlock 2026-11 exact data tags v1");
        own.update(key);
        own.finalize_xof().fill(&mut *derived);
        Self { sip: SipHasher24::new_with_key(&derived), blake: blake3::Hasher::new_keyed(key) }
    }

    /// Returns what a normalised value is looked up by.
    fn tag(&self, value: &[u8]) -> u64 {
        let mut sip = self.sip;
        sip.write(value);
        sip.finish()
    }

    /// Returns what tells a value from others with its tag.
    fn check(&self, value: &[u8]) -> u32 {
        let mut blake = self.blake.clone();
        blake.update(value);
        blake.finalize().as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }
}

fn key_check(key: &[u8; 32]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("airlock 2026-11 exact data key check v1");
    hasher.update(key);
    hex::encode(&hasher.finalize().as_bytes()[..8])
}

/// A list, ready to be looked up in; shared by threads.
pub struct ExactList {
    head: Head,
    key: Zeroizing<[u8; 32]>,
    keys: Keys,
    digest: [u8; 32],
    bytes: Vec<u8>,
    entries_at: usize,
    index: TagIndex,
}

impl std::fmt::Debug for ExactList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExactList").field("name", &self.head.name).finish_non_exhaustive()
    }
}

/// An entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    tag: u64,
    check: u32,
    /// Row, and column in the lowest bits.
    place: u32,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.tag.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.check.to_le_bytes());
        bytes[12..].copy_from_slice(&self.place.to_le_bytes());
        bytes
    }

    fn of(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let part = |at: usize| bytes[at..at + 4].first_chunk().map_or(0, |part| u32::from_le_bytes(*part));
        let tag = u64::from(part(4)) << 32 | u64::from(part(0));
        Self { tag, check: part(8), place: part(12) }
    }

    fn row(self) -> u32 {
        self.place >> COLUMN_BITS
    }

    fn column(self) -> usize {
        (self.place & ((1 << COLUMN_BITS) - 1)) as usize
    }
}

impl ExactList {
    /// Reads a list. `key` is for one whose key is kept apart.
    ///
    /// # Errors
    ///
    /// If it is none, is not in order, or if the key is not the right one.
    pub fn from_bytes(bytes: Vec<u8>, key: Option<&[u8; 32]>) -> Result<Self, ExactError> {
        let altered = ExactError::Altered;
        let rest = bytes.strip_prefix(MAGIC).ok_or(altered("its first bytes are others"))?;
        let (length, rest) = rest.split_first_chunk().ok_or(altered("it is cut"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let head = rest.get(..length).filter(|head| head.len() <= HEADER_BYTES_MAX);
        let head: Head = serde_json::from_slice(head.ok_or(altered("its header is cut or too long"))?)
            .map_err(|_| altered("its header cannot be read"))?;
        let entries = rest.get(length..).unwrap_or_default();
        let (entries, []) = entries.as_chunks::<ENTRY_BYTES>() else {
            return Err(altered("its last entry is cut"));
        };
        if entries.len() as u64 != head.entries || entries.len() > ENTRIES_MAX {
            return Err(altered("it has not as many entries as it says"));
        }
        if head.columns.is_empty() || head.columns.len() > COLUMNS_MAX || !head.shapes.is_sound() {
            return Err(altered("its columns make no sense"));
        }
        let ordered = entries.windows(2).all(|pair| Entry::of(&pair[0]) <= Entry::of(&pair[1]));
        let known = entries.iter().all(|entry| Entry::of(entry).column() < head.columns.len());
        if !ordered || !known {
            return Err(altered("its entries are not in order"));
        }
        let wrong_key = || ExactError::Key { name: head.name.clone() };
        let mut own = Zeroizing::new([0; 32]);
        match (&head.key, key) {
            (Some(text), _) => {
                hex::decode_to_slice(text, &mut *own).map_err(|_| altered("its key cannot be read"))?;
            }
            (None, Some(key)) => own.copy_from_slice(key),
            (None, None) => return Err(wrong_key()),
        }
        if key_check(&own) != head.key_check {
            return Err(wrong_key());
        }
        let index = TagIndex::new(entries.len(), entries.iter().map(|entry| Entry::of(entry).tag));
        let (keys, digest) = (Keys::new(&own), *blake3::hash(&bytes).as_bytes());
        let entries_at = MAGIC.len() + 4 + length;
        Ok(Self { head, key: own, keys, digest, bytes, entries_at, index })
    }

    /// Returns what it is called.
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// Returns how many values it has.
    pub fn len(&self) -> u64 {
        self.head.entries
    }

    /// Returns whether it has none.
    pub fn is_empty(&self) -> bool {
        self.head.entries == 0
    }

    /// Returns how many rows the table had.
    pub fn rows(&self) -> u64 {
        self.head.rows
    }

    /// Returns the columns.
    pub fn columns(&self) -> &[Column] {
        &self.head.columns
    }

    /// Returns whether its key is kept apart.
    pub fn key_is_apart(&self) -> bool {
        self.head.key.is_none()
    }

    /// Returns the key that its values are hashed with.
    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Returns it as [`Self::from_bytes`] reads it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what identifies it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Returns where in the table a normalised value stands: pairs of row and column.
    fn places(&self, value: &[u8]) -> Vec<(u32, usize)> {
        let tag = self.keys.tag(value);
        let (entries, _) = self.bytes[self.entries_at..].as_chunks::<ENTRY_BYTES>();
        let entries = &entries[self.index.range(tag)];
        let first = entries.partition_point(|entry| Entry::of(entry).tag < tag);
        let same = entries[first..].iter().map(Entry::of).take_while(|entry| entry.tag == tag);
        let mut same = same.peekable();
        if same.peek().is_none() {
            return Vec::new();
        }
        let check = self.keys.check(value);
        same.filter(|entry| entry.check == check)
            .map(|entry| (entry.row(), entry.column()))
            .take(ROWS_MAX)
            .collect()
    }
}
