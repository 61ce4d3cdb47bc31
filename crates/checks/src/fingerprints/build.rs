//! Makes fingerprints of documents.

use super::winnow::Winnow;
use super::{DOCUMENTS_MAX, Document, ENTRIES_MAX, ENTRY_BYTES, Head, MAGIC, PrintsError};
use airlock_decode::{Layer, Limits, Sink};

/// Documents that a fingerprint may be of; one that more of them have, such as of a letterhead, tells none.
const SHARED_MAX: usize = 16;
/// Fewest fingerprints of a document that can be told.
const PRINTS_MIN: usize = 4;
/// Longest name of a document.
const NAME_BYTES_MAX: usize = 1024;

/// Gathers fingerprints: 12 bytes in memory for some 17 letters and digits.
pub struct PrintsBuilder {
    key: u64,
    names: Vec<String>,
    entries: Vec<(u64, u32)>,
    /// Of texts that are nobody's, such as templates.
    common: Vec<u64>,
}

impl std::fmt::Debug for PrintsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrintsBuilder").field("documents", &self.names.len()).finish_non_exhaustive()
    }
}

impl PrintsBuilder {
    /// Begins a set under a key.
    pub fn new(key: [u8; 8]) -> Self {
        let key = u64::from_le_bytes(key);
        Self { key, names: Vec::new(), entries: Vec::new(), common: Vec::new() }
    }

    /// Adds a document: its bytes, and what is in it if it is a container such as those of offices. Returns
    /// whether it is long enough to be told.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub fn add(&mut self, name: &str, document: &[u8]) -> Result<bool, PrintsError> {
        let mut own = self.prints(document);
        own.sort_unstable();
        own.dedup();
        if own.len() < PRINTS_MIN {
            return Ok(false);
        }
        let full = self.names.len() >= DOCUMENTS_MAX || self.entries.len() + own.len() > ENTRIES_MAX;
        let number = u32::try_from(self.names.len()).ok().filter(|_| !full);
        let number =
            number.ok_or_else(|| PrintsError::Input("too many documents, or too long ones".into()))?;
        let end = name.char_indices().map(|(at, _)| at).take_while(|at| *at <= NAME_BYTES_MAX).last();
        let name = if name.len() <= NAME_BYTES_MAX { name } else { &name[..end.unwrap_or(0)] };
        self.names.push(name.to_owned());
        self.entries.extend(own.into_iter().map(|print| (print, number)));
        Ok(true)
    }

    /// Leaves out what a text has in common with documents: of templates and the like.
    pub fn leave_out(&mut self, document: &[u8]) {
        let prints = self.prints(document);
        self.common.extend(prints);
    }

    fn prints(&self, document: &[u8]) -> Vec<u64> {
        let mut layers = Layers { open: vec![Winnow::new(self.key)], key: self.key, prints: Vec::new() };
        layers.feed(0, document);
        let mut source = document;
        airlock_decode::open(&mut source, &Limits::for_file(document.len() as u64), &mut layers);
        layers.prints
    }

    /// Returns the set as it is stored.
    ///
    /// # Errors
    ///
    /// If no document was long enough.
    pub fn finish(mut self) -> Result<Vec<u8>, PrintsError> {
        self.common.sort_unstable();
        self.entries.sort_unstable();
        let mut counts = vec![0_u32; self.names.len()];
        let mut kept = Vec::with_capacity(self.entries.len());
        for group in self.entries.chunk_by(|a, b| a.0 == b.0) {
            let common = group.first().is_some_and(|(print, _)| self.common.binary_search(print).is_ok());
            if group.len() <= SHARED_MAX && !common {
                for (_, document) in group {
                    counts[*document as usize] += 1;
                }
                kept.extend(group);
            }
        }
        if kept.is_empty() {
            return Err(PrintsError::Input("no document is long enough to be told from others".into()));
        }
        let documents = self.names.into_iter().zip(counts);
        let head = Head {
            documents: documents.map(|(name, prints)| Document { name, prints }).collect(),
            entries: kept.len() as u64,
            key: hex::encode(self.key.to_le_bytes()),
        };
        let head = serde_json::to_vec(&head).expect("plain data");
        let length =
            u32::try_from(head.len()).ok().filter(|length| *length as usize <= super::HEADER_BYTES_MAX);
        let length =
            length.ok_or_else(|| PrintsError::Input("the names of the documents are too long".into()))?;
        let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + head.len() + kept.len() * ENTRY_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(length.to_le_bytes());
        bytes.extend(head);
        for (print, document) in kept {
            bytes.extend(print.to_le_bytes());
            bytes.extend(document.to_le_bytes());
        }
        Ok(bytes)
    }
}

/// Takes fingerprints of a document and of the layers in it, each for itself.
struct Layers {
    open: Vec<Winnow>,
    key: u64,
    prints: Vec<u64>,
}

impl Sink for Layers {
    fn open(&mut self, _: &Layer<'_>) {
        self.open.push(Winnow::new(self.key));
    }

    fn feed(&mut self, depth: usize, bytes: &[u8]) {
        let winnow = &mut self.open[depth];
        self.prints.extend(bytes.iter().filter_map(|byte| winnow.take(*byte)));
    }

    fn close(&mut self) {
        self.open.pop();
    }
}
