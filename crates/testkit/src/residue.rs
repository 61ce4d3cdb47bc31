//! Looks for what must not be there: any byte form of planted values under a directory.
//!
//! Every file is read as raw bytes, so databases, write-ahead logs, journals,
//! temporary files and text logs are all covered.

use crate::error::IoContext;
use crate::{Encoding, Error, Kind, Planted, Result};
use aho_corasick::AhoCorasick;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Separators are left out of a value only if this many characters remain;
/// shorter ones would be found by chance.
const NORMALISED_MIN: usize = 9;
/// Lines of a key that are shorter than this would be found by chance.
const KEY_LINE_MIN: usize = 32;

/// A value that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The file.
    pub file: PathBuf,
    /// First byte within the file.
    pub offset: u64,
    /// Position of the value in the list that was searched for.
    pub value: usize,
}

/// Searches a file, or every file under a directory, for planted values.
///
/// Each value is looked for as it was written, without its separators, and in
/// ASCII and both forms of UTF-16; a private key is looked for line by line.
pub fn find(place: impl AsRef<Path>, planted: &[Planted]) -> Result<Vec<Hit>> {
    let mut needles = BTreeMap::new();
    for (index, value) in planted.iter().enumerate() {
        for form in forms(value) {
            // Without its last byte, a zero, the low-byte-first form lies in both forms of UTF-16.
            let mut wide = Encoding::Utf16Le.encode(&form);
            wide.pop();
            needles.entry(wide).or_insert(index);
            needles.entry(form.into_bytes()).or_insert(index);
        }
    }
    search(place.as_ref(), &needles)
}

/// Searches a file, or every file under a directory, for byte strings.
pub fn find_bytes<B: AsRef<[u8]>>(place: impl AsRef<Path>, needles: &[B]) -> Result<Vec<Hit>> {
    let needles = needles.iter().enumerate().map(|(index, bytes)| (bytes.as_ref().to_vec(), index)).collect();
    search(place.as_ref(), &needles)
}

fn forms(planted: &Planted) -> Vec<String> {
    let value = planted.value.expose();
    if planted.kind == Kind::PrivateKey {
        return value
            .lines()
            .filter(|line| line.len() >= KEY_LINE_MIN && !line.starts_with("-----"))
            .map(str::to_owned)
            .collect();
    }
    let normalised = planted.value.normalised();
    let mut forms = vec![value.to_owned()];
    if normalised.len() >= NORMALISED_MIN && normalised != value {
        forms.push(normalised);
    }
    forms
}

fn search(place: &Path, needles: &BTreeMap<Vec<u8>, usize>) -> Result<Vec<Hit>> {
    if needles.is_empty() || needles.keys().any(Vec::is_empty) {
        return Err(Error::Layout("there is nothing to look for".to_owned()));
    }
    let values: Vec<usize> = needles.values().copied().collect();
    let engine = AhoCorasick::new(needles.keys())
        .map_err(|error| Error::Layout(format!("cannot search for so many values: {error}")))?;
    let mut hits = Vec::new();
    for file in files(place)? {
        let reader = File::open(&file).on("open", &file)?;
        for found in engine.stream_find_iter(reader) {
            let found = found.on("read", &file)?;
            hits.push(Hit {
                file: file.clone(),
                offset: found.start() as u64,
                value: values[found.pattern().as_usize()],
            });
        }
    }
    Ok(hits)
}

/// Returns every regular file at or below `place`, in order, following no link.
pub fn files(place: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![place.as_ref().to_owned()];
    while let Some(path) = open.pop() {
        let kind = fs::symlink_metadata(&path).on("inspect", &path)?.file_type();
        if kind.is_dir() {
            for entry in fs::read_dir(&path).on("list", &path)? {
                open.push(entry.on("list", &path)?.path());
            }
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Document, Tree};

    #[test]
    fn every_form_is_found_across_reads() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut tree = Tree::new(dir.path().join("tree"), 1).expect("tree");
        let planted = tree
            .plant("/a.csv", Document::Csv, &[Kind::PanGrouped, Kind::Iban], Encoding::Utf16Le)
            .expect("plant");
        let hits = find(tree.root(), &planted).expect("find");
        assert_eq!(
            hits.iter().map(|hit| (hit.offset, hit.value)).collect::<Vec<_>>(),
            [(planted[0].offset, 0), (planted[1].offset, 1)]
        );

        // The value without separators, at every place around the size of a read.
        let vault = dir.path().join("vault");
        fs::create_dir_all(vault.join("deep")).expect("mkdir");
        let normalised = planted[0].value.normalised();
        for start in [65_520, 65_530, 65_536, 8_190] {
            let mut bytes = vec![0xa5; 200_000];
            bytes[start..start + normalised.len()].copy_from_slice(normalised.as_bytes());
            fs::write(vault.join("deep/state.db-wal"), &bytes).expect("write");
            let hits = find(&vault, &planted).expect("find");
            assert_eq!(hits.len(), 1, "at {start}");
            assert_eq!(hits[0].offset, start as u64);
        }
    }

    #[test]
    fn a_line_of_a_key_is_residue() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut tree = Tree::new(dir.path().join("tree"), 2).expect("tree");
        let planted = tree.plant("/k", Document::Bare, &[Kind::PrivateKey], Encoding::Ascii).expect("plant");
        let line = planted[0].value.expose().lines().nth(5).expect("a body").to_owned();
        fs::write(dir.path().join("log"), format!("oops {line}")).expect("write");
        assert_eq!(find(dir.path().join("log"), &planted).expect("find").len(), 1);
    }

    #[test]
    fn nothing_to_look_for_is_an_error() {
        assert!(find(".", &[]).is_err());
    }
}
