//! Documents of a customer's own, found again when parts of them are copied.
//!
//! A text is normalised to its letters, in lower case, and digits. Of each window of hashes of a few such
//! characters the least is kept (winnowing: Schleimer, Wilkerson and Aiken, *Winnowing: local algorithms
//! for document fingerprinting*, 2003): whatever has [`GUARANTEED`] characters in a row with a document has a
//! fingerprint with it, and nothing that has fewer than [`GRAM`] does, but by chance.
//!
//! ```text
//! "airlock prints 1\n" │ length of the header, 4 bytes, little-endian │ header (JSON) │ entry │ entry │ …
//! entry (12 bytes, little-endian): fingerprint (8), document (4)
//! ```
//!
//! The hashes are keyed, and the key is in the file: it tells whether a passage of 32 characters that
//! somebody has is in a document, and nothing else.

mod build;
mod scanner;
mod winnow;

pub use build::PrintsBuilder;
pub(crate) use scanner::PrintsScanner;
pub use winnow::{GRAM, GUARANTEED};

use crate::tags::TagIndex;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 17] = b"airlock prints 1\n";
/// Longest header: documents are named in it.
const HEADER_BYTES_MAX: usize = 64 << 20;
const ENTRY_BYTES: usize = 12;
/// Most fingerprints.
const ENTRIES_MAX: usize = 64 << 20;
/// Most documents.
pub const DOCUMENTS_MAX: usize = 1 << 20;

/// Why something is no set of fingerprints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrintsError {
    /// It is not one, or was cut or changed.
    #[error("not a set of fingerprints of documents: {0}")]
    Altered(&'static str),
    /// What it was to be made of does not fit.
    #[error("no fingerprints can be made: {0}")]
    Input(String),
}

/// A document that fingerprints were made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    /// How many different fingerprints it has, without those that too many documents have.
    prints: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    documents: Vec<Document>,
    entries: u64,
    /// The key, in hexadecimal.
    key: String,
}

/// Fingerprints of documents, ready to be looked up; shared by threads.
pub struct Prints {
    documents: Vec<Document>,
    key: u64,
    digest: [u8; 32],
    bytes: Vec<u8>,
    entries_at: usize,
    index: TagIndex,
}

impl std::fmt::Debug for Prints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prints").field("documents", &self.documents.len()).finish_non_exhaustive()
    }
}

/// Returns the fingerprint and the document of an entry.
fn entry(bytes: &[u8; ENTRY_BYTES]) -> (u64, u32) {
    let (print, document) = bytes.split_at(8);
    let print = print.first_chunk().map_or(0, |part| u64::from_le_bytes(*part));
    (print, document.first_chunk().map_or(0, |part| u32::from_le_bytes(*part)))
}

impl Prints {
    /// Reads a set.
    ///
    /// # Errors
    ///
    /// If it is none, or not in order.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, PrintsError> {
        let altered = PrintsError::Altered;
        let rest = bytes.strip_prefix(MAGIC).ok_or(altered("its first bytes are others"))?;
        let (length, rest) = rest.split_first_chunk().ok_or(altered("it is cut"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let head = rest.get(..length).filter(|head| head.len() <= HEADER_BYTES_MAX);
        let head: Head = serde_json::from_slice(head.ok_or(altered("its header is cut or too long"))?)
            .map_err(|_| altered("its header cannot be read"))?;
        let (entries, []) = rest.get(length..).unwrap_or_default().as_chunks::<ENTRY_BYTES>() else {
            return Err(altered("its last entry is cut"));
        };
        if entries.len() as u64 != head.entries || entries.len() > ENTRIES_MAX {
            return Err(altered("it has not as many entries as it says"));
        }
        let known = |document: u32| (document as usize) < head.documents.len().min(DOCUMENTS_MAX);
        let ordered = entries.windows(2).all(|pair| entry(&pair[0]) < entry(&pair[1]));
        if !ordered || !entries.iter().all(|one| known(entry(one).1)) {
            return Err(altered("its entries are not in order"));
        }
        let mut key = [0; 8];
        hex::decode_to_slice(&head.key, &mut key).map_err(|_| altered("its key cannot be read"))?;
        let digest = *blake3::hash(&bytes).as_bytes();
        let index = TagIndex::new(entries.len(), entries.iter().map(|one| entry(one).0));
        let entries_at = MAGIC.len() + 4 + length;
        let key = u64::from_le_bytes(key);
        Ok(Self { documents: head.documents, key, digest, bytes, entries_at, index })
    }

    /// Returns how many documents it has fingerprints of.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// Returns it as [`Self::from_bytes`] reads it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what identifies it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Returns the documents that have a fingerprint.
    fn having(&self, print: u64) -> impl Iterator<Item = u32> {
        let (entries, _) = self.bytes[self.entries_at..].as_chunks::<ENTRY_BYTES>();
        let entries = entries[self.index.range(print)].iter().map(entry);
        entries.filter(move |(own, _)| *own == print).map(|(_, document)| document)
    }
}
