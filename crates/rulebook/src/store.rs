//! The rulebooks of a site, and whom it trusts for which name.

use crate::Error;
use crate::file::{Rulebook, claimed_name, temporary};
use crate::manifest::is_name;
use airlock_evidence::PublicKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Names for which somebody is trusted, at most.
const NAMES_MAX: usize = 1024;
/// Longest record of whom a site trusts.
const TRUST_BYTES_MAX: u64 = 1 << 20;

/// What a site knows of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// The publisher's key, in hexadecimal.
    pub key: String,
    /// The newest version that was ever imported.
    pub version: u64,
    /// BLAKE3 of its manifest, in hexadecimal.
    pub digest: String,
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    /// It is used from now on.
    New,
    /// It was here already.
    Same,
}

/// A rulebook that is here.
#[derive(Debug)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// What is known of that name.
    pub trusted: Trusted,
    /// The rulebook, or why it may not be used.
    pub book: Result<Rulebook, Error>,
}

/// A folder with rulebooks.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Takes a folder, which need not exist.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns for which names somebody is trusted, and who.
    pub fn trusted(&self) -> Result<BTreeMap<String, Trusted>, Error> {
        let path = self.folder.join("trusted.json");
        match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(Error::io("read", &path)(error)),
            Ok(found) if found.len() > TRUST_BYTES_MAX => {
                return Err(Error::Altered { path, why: "it is too long".into() });
            }
            Ok(_) => {}
        }
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let trusted: BTreeMap<String, Trusted> =
            serde_json::from_slice(&bytes).map_err(|error| altered(&path, &error.to_string()))?;
        if trusted.keys().any(|name| !is_name(name)) {
            return Err(altered(&path, "a name has other letters than names have"));
        }
        Ok(trusted)
    }

    /// Verifies a rulebook as [`Store::import`] would, and imports nothing.
    pub fn verify(&self, path: &Path, key: Option<&PublicKey>, now: u64) -> Result<Rulebook, Error> {
        self.admit(path, key, now).map(|(book, _)| book)
    }

    /// Takes a rulebook in. `key` is needed for a name that is new here.
    pub fn import(
        &self,
        path: &Path,
        key: Option<&PublicKey>,
        now: u64,
    ) -> Result<(Rulebook, Imported), Error> {
        let (book, key) = self.admit(path, key, now)?;
        let manifest = book.manifest().clone();
        let mut trusted = self.trusted()?;
        let target = self.path_of(&manifest.name);
        let digest = hex::encode(book.digest());
        let same = trusted.get(&manifest.name).is_some_and(|known| known.digest == digest);
        if same && target.is_file() {
            return Ok((book, Imported::Same));
        }
        if trusted.len() >= NAMES_MAX && !trusted.contains_key(&manifest.name) {
            return Err(Error::Manifest("there are too many rulebooks here".into()));
        }
        fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        let mut copy = temporary(&target)?;
        let mut from = File::open(path).map_err(Error::io("open", path))?;
        std::io::copy(&mut from, &mut copy).map_err(Error::io("write", &target))?;
        copy.as_file().sync_all().map_err(Error::io("write", &target))?;
        // The copy is what will be used, so the copy is what is verified.
        let book = Rulebook::open(copy.path(), &key)?;
        if hex::encode(book.digest()) != digest {
            return Err(altered(path, "it changed while it was read"));
        }
        // Noted first: after a crash in between, the same version can be imported again and no older one.
        trusted.insert(
            manifest.name.clone(),
            Trusted { key: key.to_string(), version: manifest.version, digest },
        );
        self.note(&trusted)?;
        copy.persist(&target).map_err(|error| Error::io("write", &target)(error.error))?;
        self.sync()?;
        Ok((book, Imported::New))
    }

    /// Removes a rulebook. Whose its name is, and its version, stay known. Returns whether it was there.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        if !is_name(name) {
            return Ok(false);
        }
        let path = self.path_of(name);
        match fs::remove_file(&path) {
            Ok(()) => self.sync().map(|()| true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", &path)(error)),
        }
    }

    /// Returns a value that changes whenever a rulebook comes or goes. It costs the reading of one small file.
    pub fn stamp(&self) -> Result<[u8; 32], Error> {
        let mut hasher = blake3::Hasher::new();
        for (name, trusted) in self.trusted()? {
            let here = self.path_of(&name).is_file();
            // Names have no line breaks.
            hasher.update(format!("{name}\n{}\n{here}\n", trusted.digest).as_bytes());
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Opens every rulebook that is here, by name, each with why it may not be used if so.
    pub fn open_all(&self, now: u64) -> Result<Vec<Installed>, Error> {
        let here = self.trusted()?.into_iter().filter(|(name, _)| self.path_of(name).is_file());
        let open = |(name, trusted): (String, Trusted)| {
            let path = self.path_of(&name);
            let opened = PublicKey::parse(&trusted.key)
                .ok_or_else(|| altered(&path, "its publisher's key is none"))
                .and_then(|key| Rulebook::open(&path, &key));
            let checked = opened.and_then(|book| {
                // A file that was put here past the import is not the one that was let in.
                if book.manifest().name != name || hex::encode(book.digest()) != trusted.digest {
                    return Err(altered(&path, "it is not the one that was imported"));
                }
                book.manifest().check_time(now)?;
                Ok(book)
            });
            Installed { name, trusted, book: checked }
        };
        Ok(here.map(open).collect())
    }

    /// Checks who signed a rulebook, and that it is neither old nor expired.
    fn admit(&self, path: &Path, key: Option<&PublicKey>, now: u64) -> Result<(Rulebook, PublicKey), Error> {
        let name = claimed_name(path)?;
        let trusted = self.trusted()?;
        let known = trusted.get(&name);
        let own = known.and_then(|known| PublicKey::parse(&known.key));
        let key = match (own, key) {
            (Some(own), Some(key)) if own != *key => {
                return Err(Error::OtherKey { name, trusted: own.to_string(), offered: key.to_string() });
            }
            (Some(key), _) => key,
            (None, Some(key)) => *key,
            (None, None) => return Err(Error::Untrusted { name }),
        };
        let book = Rulebook::open(path, &key)?;
        let manifest = book.manifest();
        if manifest.name != name {
            return Err(altered(path, "it changed while it was read"));
        }
        manifest.check_time(now)?;
        if let Some(known) = known {
            let version = manifest.version;
            if version < known.version {
                return Err(Error::Older { name, offered: version, known: known.version });
            }
            if version == known.version && hex::encode(book.digest()) != known.digest {
                return Err(Error::Reissued { name, version });
            }
        }
        Ok((book, key))
    }

    /// Returns where the rulebook of a name is, if it is here.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.rulebook"))
    }

    fn note(&self, trusted: &BTreeMap<String, Trusted>) -> Result<(), Error> {
        let path = self.folder.join("trusted.json");
        let mut file = temporary(&path)?;
        let text = serde_json::to_vec_pretty(trusted).expect("plain data");
        file.write_all(&text).and_then(|()| file.as_file().sync_all()).map_err(Error::io("write", &path))?;
        file.persist(&path).map_err(|error| Error::io("write", &path)(error.error))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), Error> {
        let folder = File::open(&self.folder).map_err(Error::io("open", &self.folder))?;
        folder.sync_all().map_err(Error::io("write", &self.folder))
    }
}

fn altered(path: &Path, why: &str) -> Error {
    Error::Altered { path: path.to_path_buf(), why: why.to_owned() }
}
