//! What a site inspects with.

use crate::detectors::{builtin, rules_digest};
use crate::exact::ExactList;
use crate::fingerprints::Prints;
use crate::malware::{Bodies, HashList};
use crate::system::System;
use airlock_decode::SIGNATURES;
use airlock_inspect::{Detector, Engine, EngineConfig, Literal};
use airlock_model::Site;
use airlock_policy::Effective;
use std::sync::{Arc, OnceLock};

/// The detectors, hash lists and fingerprint key of a site. Shared by all its threads.
#[derive(Debug, Clone)]
pub struct Rules {
    config: EngineConfig,
    /// Built when it is first asked for: most sites ask for a part of it only.
    engine: Arc<OnceLock<Engine>>,
    hashes: Arc<HashList>,
    bodies: Arc<Bodies>,
    exact: Arc<Vec<ExactList>>,
    prints: Arc<Vec<Prints>>,
    system: Arc<System>,
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

/// Puts together what is found in one pass over the bytes: values, and where containers may begin.
fn engine(wanted: impl Fn(&dyn Detector) -> bool, config: &EngineConfig) -> Engine {
    let signatures = SIGNATURES.map(Literal::new);
    Engine::with_signatures(builtin(wanted), &signatures, config.clone())
}

impl Rules {
    /// Puts the built-in detectors together with hash lists.
    pub fn new(fingerprint_key: [u8; 32], hashes: HashList) -> Self {
        let config = EngineConfig { fingerprint_key };
        Self {
            engine: Arc::default(),
            config,
            hashes: Arc::new(hashes),
            bodies: Arc::default(),
            exact: Arc::default(),
            prints: Arc::default(),
            system: Arc::default(),
            books: Vec::new(),
        }
    }

    /// Returns the same rules with those detectors only that `policy` asks for at `site`: what no rule is
    /// about is not looked for.
    #[must_use]
    pub fn asked_for(&self, policy: &Effective, site: Site) -> Self {
        let wanted = |detector: &dyn Detector| {
            let classes = detector.classes().iter().map(|(name, _)| *name);
            let mut names = std::iter::once(detector.name()).chain(classes);
            names.any(|name| policy.asks_for(site, detector.check(), name))
        };
        if self.engine.get().is_some_and(|engine| engine.is_all(wanted)) {
            return self.clone();
        }
        Self { engine: Arc::new(engine(wanted, &self.config).into()), ..self.clone() }
    }

    /// Adds signatures over the bytes of objects.
    #[must_use]
    pub fn with_bodies(self, bodies: Bodies) -> Self {
        Self { bodies: Arc::new(bodies), ..self }
    }

    /// Adds lists of exact data.
    #[must_use]
    pub fn with_exact(self, mut exact: Vec<ExactList>) -> Self {
        exact.sort_by_key(ExactList::digest);
        exact.dedup_by_key(|list| list.digest());
        Self { exact: Arc::new(exact), ..self }
    }

    /// Adds fingerprints of documents.
    #[must_use]
    pub fn with_prints(self, mut prints: Vec<Prints>) -> Self {
        prints.sort_by_key(Prints::digest);
        prints.dedup_by_key(|set| set.digest());
        Self { prints: Arc::new(prints), ..self }
    }

    /// Adds what inventories are compared with.
    #[must_use]
    pub fn with_system(self, system: System) -> Self {
        Self { system: Arc::new(system), ..self }
    }

    /// Notes which rulebooks any of this came from.
    #[must_use]
    pub fn with_books(self, mut books: Vec<Book>) -> Self {
        books.sort();
        Self { books, ..self }
    }

    /// Returns the engine over the bytes.
    pub fn engine(&self) -> &Engine {
        self.engine.get_or_init(|| engine(|_| true, &self.config))
    }

    /// Returns the hash lists over whole files.
    pub fn hashes(&self) -> &HashList {
        &self.hashes
    }

    /// Returns the signatures over the bytes of objects.
    pub fn bodies(&self) -> &Bodies {
        &self.bodies
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

    /// Returns what identifies the rules for contents: the built-in ones, the hash lists and
    /// signatures, the lists of exact data, the fingerprints of documents, and what is opened to look inside.
    pub fn content_digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("airlock 2026-11 rules v1");
        hasher.update(&rules_digest());
        hasher.update(airlock_decode::VERSION.as_bytes());
        hasher.update(&self.hashes.digest());
        if !self.bodies.is_empty() {
            hasher.update(b"bodies");
            hasher.update(&self.bodies.digest());
        }
        for list in self.exact() {
            hasher.update(b"exact");
            hasher.update(&list.digest());
        }
        for set in self.prints() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_policy::{DEFAULT_YAML, Document};

    #[test]
    fn what_no_rule_asks_for_is_not_looked_for() {
        let rules = Rules::new([7; 32], HashList::default());
        let all = rules.engine().detectors().count();
        let asked = |yaml: &str, site| {
            let document = Document::parse(yaml).unwrap();
            let rules = rules.asked_for(&Effective::merge(&document, &document), site);
            rules.engine().detectors().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(asked(DEFAULT_YAML, Site::Source).len(), all);
        let (before, _) = DEFAULT_YAML.split_once("  - {check: financial").unwrap();
        let (_, after) = DEFAULT_YAML.split_once("\n\n# What could not").unwrap();
        let some = "  - {check: financial, detectors: [pan, iban], scope: file, action: hold}\n  \
                    - {check: secrets, where: [destination], detectors: [jwt], scope: file, action: warn}";
        let yaml = format!("{before}{some}\n\n# What could not{after}");
        assert_eq!(asked(&yaml, Site::Source), ["pan", "iban"]);
        assert_eq!(asked(&yaml, Site::Destination), ["pan", "iban", "jwt"]);
    }
}
