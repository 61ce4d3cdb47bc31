//! What a site inspects with.

use crate::detectors::{builtin, rules_digest};
use crate::malware::HashList;
use airlock_inspect::{Engine, EngineConfig};

/// The detectors, hash lists and fingerprint key of a site. Shared by all its threads.
#[derive(Debug)]
pub struct Rules {
    engine: Engine,
    hashes: HashList,
}

impl Rules {
    /// Puts the built-in detectors together with hash lists.
    pub fn new(fingerprint_key: [u8; 32], hashes: HashList) -> Self {
        let detectors = builtin(|_| true);
        Self { engine: Engine::new(detectors, EngineConfig { fingerprint_key }), hashes }
    }

    /// Returns the engine over the bytes.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the hash lists over whole files.
    pub fn hashes(&self) -> &HashList {
        &self.hashes
    }

    /// Returns what identifies the rules: the built-in ones, the hash lists, and what is
    /// opened to look inside.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("airlock 2026-11 rules v1");
        hasher.update(&rules_digest());
        hasher.update(airlock_decode::VERSION.as_bytes());
        hasher.update(&self.hashes.digest());
        *hasher.finalize().as_bytes()
    }
}
