//! What a site inspects with.

use crate::detectors::{builtin, rules_digest};
use crate::exact::ExactList;
use crate::fingerprints::Prints;
use crate::malware::HashList;
use crate::system::System;
use airlock_inspect::{Engine, EngineConfig};

/// The detectors, hash lists and fingerprint key of a site. Shared by all its threads.
#[derive(Debug)]
pub struct Rules {
    engine: Engine,
    hashes: HashList,
    exact: Vec<ExactList>,
    prints: Vec<Prints>,
    system: System,
    books: Vec<Book>,
}

/// A rulebook that rules came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Book {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// What stands for all of it.
    pub digest: [u8; 32],
}

impl Rules {
    /// Puts the built-in detectors together with hash lists.
    pub fn new(fingerprint_key: [u8; 32], hashes: HashList) -> Self {
        let detectors = builtin(|_| true);
        Self {
            engine: Engine::new(detectors, EngineConfig { fingerprint_key }),
            hashes,
            exact: Vec::new(),
            prints: Vec::new(),
            system: System::default(),
            books: Vec::new(),
        }
    }

    /// Adds lists of exact data.
    #[must_use]
    pub fn with_exact(self, mut exact: Vec<ExactList>) -> Self {
        exact.sort_by_key(ExactList::digest);
        exact.dedup_by_key(|list| list.digest());
        Self { exact, ..self }
    }

    /// Adds fingerprints of documents.
    #[must_use]
    pub fn with_prints(self, mut prints: Vec<Prints>) -> Self {
        prints.sort_by_key(Prints::digest);
        prints.dedup_by_key(|set| set.digest());
        Self { prints, ..self }
    }

    /// Adds what inventories are compared with.
    #[must_use]
    pub fn with_system(self, system: System) -> Self {
        Self { system, ..self }
    }

    /// Notes which rulebooks any of this came from.
    #[must_use]
    pub fn with_books(self, mut books: Vec<Book>) -> Self {
        books.sort();
        Self { books, ..self }
    }

    /// Returns the engine over the bytes.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the hash lists over whole files.
    pub fn hashes(&self) -> &HashList {
        &self.hashes
    }

    /// Returns the lists of exact data.
    pub fn exact(&self) -> &[ExactList] {
        &self.exact
    }

    /// Returns the fingerprints of documents.
    pub fn prints(&self) -> &[Prints] {
        &self.prints
    }

    /// Returns what inventories are compared with.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Returns the rulebooks that any of this came from, sorted.
    pub fn books(&self) -> &[Book] {
        &self.books
    }

    /// Returns what identifies the rules for contents: the built-in ones, the hash lists, the lists
    /// of exact data, the fingerprints of documents, and what is opened to look inside.
    pub fn content_digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("airlock 2026-11 rules v1");
        hasher.update(&rules_digest());
        hasher.update(airlock_decode::VERSION.as_bytes());
        hasher.update(&self.hashes.digest());
        for list in &self.exact {
            hasher.update(b"exact");
            hasher.update(&list.digest());
        }
        for set in &self.prints {
            hasher.update(b"prints");
            hasher.update(&set.digest());
        }
        *hasher.finalize().as_bytes()
    }

    /// Returns what identifies everything that is judged with: the rules for contents, feeds and
    /// entitlements, and the rulebooks that any of them came from.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("airlock 2026-11 all rules v1");
        hasher.update(&self.content_digest());
        hasher.update(&self.system.digest());
        for book in &self.books {
            hasher.update(&(book.name.len() as u64).to_le_bytes());
            hasher.update(book.name.as_bytes());
            hasher.update(&book.version.to_le_bytes());
            hasher.update(&book.digest);
        }
        *hasher.finalize().as_bytes()
    }
}
