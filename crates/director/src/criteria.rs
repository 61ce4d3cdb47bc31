//! What this site inspects with, which may change while the director runs.
//!
//! Rulebooks are imported, removed and expire at any time. Their store is looked at when a transfer begins and
//! before it is sealed, which costs one small file; only when something has changed are the rules put together
//! anew. Rules that cannot be put together stop transfers: to go on without would be to inspect with less.

use crate::{Director, Error};
use airlock_checks::Rules;
use airlock_rulebook::{Installed, Kind, Store};
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Puts the rules of a site together anew.
pub trait Renew: Debug + Send + Sync {
    /// Returns the rules as they are now, or why they cannot be used.
    fn renew(&self) -> Result<Arc<Rules>, String>;
}

/// What this site inspects with.
#[derive(Debug)]
pub(crate) struct Criteria {
    books: Store,
    renewing: Option<Box<dyn Renew>>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    rules: Arc<Rules>,
    /// What the store of rulebooks was like; nothing if it was not looked at so far.
    stamp: Option<[u8; 32]>,
    /// When the first of the rulebooks expires.
    expires_at: Option<u64>,
}

/// A rulebook that others may fetch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct OfferedBook {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: u64,
    /// The digest of its manifest.
    pub(crate) digest: String,
    /// The key of its publisher.
    pub(crate) publisher: String,
    /// When it expires, in seconds since 1970-01-01 UTC.
    pub(crate) expires_at: u64,
}

impl Criteria {
    pub(crate) fn new(rules: Arc<Rules>, folder: PathBuf) -> Self {
        let known = Known { rules, stamp: None, expires_at: None };
        Self { books: Store::new(folder), renewing: None, known: Mutex::new(known) }
    }

    /// Returns the rules as they are at `now`.
    fn rules(&self, now: u64) -> Result<Arc<Rules>, Error> {
        let mut known = self.known.lock().expect("no holder of this lock panics");
        let Some(renewing) = &self.renewing else { return Ok(Arc::clone(&known.rules)) };
        let failed = |why: String| Error::Rules(why);
        let stamp = self.books.stamp().map_err(|error| failed(error.to_string()))?;
        let is_over = known.expires_at.is_some_and(|expires_at| expires_at <= now);
        if known.stamp == Some(stamp) && !is_over {
            return Ok(Arc::clone(&known.rules));
        }
        // Whatever fails, fails again for the next one who asks.
        known.stamp = None;
        let rules = renewing.renew().map_err(failed)?;
        let installed = self.books.open_all(now).map_err(|error| failed(error.to_string()))?;
        let ends = installed.iter().filter_map(|one| Some(one.book.as_ref().ok()?.manifest().expires_at));
        *known = Known { rules: Arc::clone(&rules), stamp: Some(stamp), expires_at: ends.min() };
        Ok(rules)
    }

    /// Returns the rulebooks that others may fetch: those with nothing in them that is somebody's own.
    pub(crate) fn offered(&self, now: u64) -> Result<Vec<OfferedBook>, Error> {
        let installed = self.books.open_all(now).map_err(|error| Error::Rules(error.to_string()))?;
        let offer = |Installed { name, trusted, book }: Installed| {
            let book = book.ok()?;
            let manifest = book.manifest();
            let is_public = |kind| matches!(kind, Kind::Feeds | Kind::Hashes | Kind::Signatures);
            manifest.members.iter().all(|member| is_public(member.kind)).then(|| OfferedBook {
                version: manifest.version,
                digest: format!("blake3:{}", hex::encode(book.digest())),
                publisher: trusted.key,
                expires_at: manifest.expires_at,
                name,
            })
        };
        Ok(installed.into_iter().filter_map(offer).collect())
    }

    /// Returns the file of a rulebook that others may fetch.
    pub(crate) fn offered_file(&self, name: &str, now: u64) -> Result<PathBuf, Error> {
        let offered = self.offered(now)?;
        let found = offered.iter().find(|book| book.name == name);
        let found = found.ok_or_else(|| Error::NotFound("such rulebook".into()))?;
        Ok(self.books.path_of(&found.name))
    }
}

impl Director {
    /// Has the rules put together anew whenever the rulebooks in the director's directory have changed.
    #[must_use]
    pub fn renewing(mut self, renewing: Box<dyn Renew>) -> Self {
        self.criteria.renewing = Some(renewing);
        self
    }

    /// Returns what this site inspects with now.
    pub(crate) fn rules(&self) -> Result<Arc<Rules>, Error> {
        self.criteria.rules((self.clock)())
    }
}
