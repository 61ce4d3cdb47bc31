//! What the files are that are written once: their sums stand in the ledger from then on.
//!
//! A key that has lost a bit is still a key, and one that is missing would be made anew.
//! Either would go unnoticed until what the right one has sealed is needed. So a director notes each key
//! when it makes it, and goes on only with that one. The sum of 256 random bits says nothing of them.

use crate::keys::{self, Key};
use crate::ledger::Ledger;
use crate::{Director, Error};
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeMap;
use std::path::Path;

/// Returns the sum of a file: BLAKE3 under a context of its own, in hexadecimal.
pub(crate) fn sum(bytes: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("airlock 2026-11 sum of a file of a director");
    hasher.update(bytes);
    hasher.finalize().to_hex().to_string()
}

fn key_sum(key: &Key) -> String {
    let text = zeroize::Zeroizing::new(format!("{}\n", hex::encode(**key)));
    sum(text.as_bytes())
}

/// Returns a key of the director's: the one that was noted, or a new one if none ever was.
pub(crate) fn key(ledger: &Ledger, directory: &Path, name: &str) -> Result<Key, Error> {
    let path = directory.join(name);
    let damaged = |why| Error::damaged(format!("key file {}", path.display()), why);
    let noted = ledger.sum_of(name)?;
    match (keys::load(&path)?, noted) {
        (None, Some(_)) => Err(damaged("it is gone, and what it opens cannot be opened with another one")),
        (Some(key), Some(noted)) if key_sum(&key) != noted => {
            Err(damaged("it is not the key that was made here"))
        }
        (Some(key), Some(_)) => Ok(key),
        (_, None) => {
            let key = keys::load_or_create(&path)?;
            ledger.add_sum(name, &key_sum(&key))?;
            Ok(key)
        }
    }
}

impl Director {
    /// Notes what a file is, unless it is noted already.
    pub(crate) fn note_file(&self, name: &str) -> Result<(), Error> {
        if self.ledger.sum_of(name)?.is_some() {
            return Ok(());
        }
        let path = self.directory.join(name);
        let bytes = zeroize::Zeroizing::new(std::fs::read(&path).map_err(Error::file("read", &path))?);
        self.ledger.add_sum(name, &sum(&bytes))
    }
}

impl Ledger {
    /// Returns what was noted of a file.
    pub(crate) fn sum_of(&self, name: &str) -> Result<Option<String>, Error> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("select blake3 from sum where path = ?1")?;
        Ok(statement.query_row([name], |row| row.get(0)).optional()?)
    }

    /// Returns what was noted of all files, by their paths below the director's directory.
    pub(crate) fn sums(&self) -> Result<BTreeMap<String, String>, Error> {
        let connection = self.lock();
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version < 3 {
            return Ok(BTreeMap::new());
        }
        let mut statement = connection.prepare("select path, blake3 from sum")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes what a file is from now on.
    pub(crate) fn note_sum(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.add_sum(name, &sum(bytes))
    }

    fn add_sum(&self, name: &str, sum: &str) -> Result<(), Error> {
        self.lock().execute("insert or replace into sum values (?1, ?2)", params![name, sum])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_noted_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("state.db")).unwrap();
        let path = folder.path().join("a.key");
        let first = key(&ledger, folder.path(), "a.key").unwrap();
        assert_eq!(*key(&ledger, folder.path(), "a.key").unwrap(), *first);
        std::fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
        let error = key(&ledger, folder.path(), "a.key").unwrap_err().to_string();
        assert!(error.ends_with("it is not the key that was made here"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = key(&ledger, folder.path(), "a.key").unwrap_err().to_string();
        assert!(error.contains("it is gone"), "{error}");
        assert!(!path.exists());
    }
}
