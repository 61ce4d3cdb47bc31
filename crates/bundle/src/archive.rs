//! OVA: an OVF package in a tar archive (DMTF DSP0243, section "OVF package").
//!
//! The archive is read where it lies: an entry is a part of the file.

use crate::Error;
use airlock_model::Extent;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most entries of an archive.
const ENTRIES_MAX: usize = 10_000;

/// A file in an archive.
#[derive(Debug, Clone)]
pub(crate) struct Archived {
    pub(crate) name: String,
    pub(crate) part: Extent,
}

/// Lists an archive.
pub(crate) fn list(path: &Path) -> Result<Vec<Archived>, Error> {
    let damaged = |what: &str| Error::damaged(path, what);
    let file = File::open(path).map_err(Error::io(path))?;
    let bytes = file.metadata().map_err(Error::io(path))?.len();
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut list: Vec<Archived> = Vec::new();
    let entries = archive.entries_with_seek().map_err(|_| damaged("it is no tar archive"))?;
    for entry in entries {
        let entry = entry.map_err(|error| damaged(&format!("its list of entries breaks off: {error}")))?;
        if list.len() >= ENTRIES_MAX {
            return Err(damaged(&format!("it has more than {ENTRIES_MAX} entries")));
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !matches!(kind, tar::EntryType::Regular | tar::EntryType::Continuous) {
            return Err(damaged("it has an entry that is no plain file"));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        let part = Extent::new(entry.raw_file_position(), entry.size());
        if part.offset.checked_add(part.length).is_none_or(|end| end > bytes) {
            return Err(damaged(&format!("its entry {name:?} is not all there")));
        }
        if list.iter().any(|other| other.name == name) {
            return Err(damaged(&format!("it has two entries {name:?}")));
        }
        list.push(Archived { name, part });
    }
    Ok(list)
}

/// Reads a small part of a file.
pub(crate) fn read_part(path: &Path, part: Extent, limit: u64) -> Result<Vec<u8>, Error> {
    if part.length > limit {
        return Err(Error::damaged(path, format!("a descriptor of more than {limit} bytes")));
    }
    let file = File::open(path).map_err(Error::io(path))?;
    let mut bytes = vec![0; usize::try_from(part.length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, part.offset).map_err(Error::io(path))?;
    Ok(bytes)
}

/// A line of a manifest: which file, and what its digest is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: String,
    algorithm: Algorithm,
    digest: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

/// Parses a manifest: lines of `SHA256(name)= digest`.
pub(crate) fn manifest(path: &Path, text: &str) -> Result<Vec<Line>, Error> {
    let line = |line: &str| -> Option<Line> {
        let (head, digest) = line.split_once('=')?;
        let (algorithm, name) = head.trim().strip_suffix(')')?.split_once('(')?;
        let algorithm = match algorithm.trim().to_ascii_uppercase().as_str() {
            "SHA1" => Algorithm::Sha1,
            "SHA256" => Algorithm::Sha256,
            "SHA512" => Algorithm::Sha512,
            _ => return None,
        };
        Some(Line { name: name.to_owned(), algorithm, digest: hex::decode(digest.trim()).ok()? })
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(ENTRIES_MAX);
    lines
        .map(|text| {
            line(text).ok_or_else(|| Error::damaged(path, "its manifest has a line that is no digest"))
        })
        .collect()
}

/// Tells whether a part of a file has the digest that a manifest says.
pub(crate) fn holds(path: &Path, part: Extent, line: &Line) -> Result<bool, Error> {
    let found = match line.algorithm {
        Algorithm::Sha1 => digest::<Sha1>(path, part)?,
        Algorithm::Sha256 => digest::<Sha256>(path, part)?,
        Algorithm::Sha512 => digest::<Sha512>(path, part)?,
    };
    Ok(found == line.digest)
}

fn digest<D: Digest>(path: &Path, part: Extent) -> Result<Vec<u8>, Error> {
    use std::io::Seek;
    let mut file = File::open(path).map_err(Error::io(path))?;
    file.seek(std::io::SeekFrom::Start(part.offset)).map_err(Error::io(path))?;
    let mut rest = file.take(part.length);
    let mut hasher = D::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = rest.read(&mut buffer).map_err(Error::io(path))?;
        if count == 0 {
            return Ok(hasher.finalize().to_vec());
        }
        hasher.update(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_of_every_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"xxabcyy").unwrap();
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let lines = manifest(&path, &format!("SHA1(a b.vmdk)= {sha1}\r\n\nSHA256(c)={sha256}\n")).unwrap();
        assert_eq!((lines[0].name.as_str(), lines[1].name.as_str()), ("a b.vmdk", "c"));
        for line in &lines {
            assert!(holds(&path, Extent::new(2, 3), line).unwrap());
            assert!(!holds(&path, Extent::new(2, 4), line).unwrap());
        }
        assert!(manifest(&path, "MD5(c)= 00").is_err());
    }
}
