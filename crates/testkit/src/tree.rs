//! A directory of files with values planted in them.

use crate::error::IoContext;
use crate::text::{Document, Mark, filler};
use crate::values::{Kind, Secret};
use crate::{Result, Rng};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How the characters of a document become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One byte per character.
    Ascii,
    /// Two bytes per character, low byte first.
    Utf16Le,
    /// Two bytes per character, high byte first.
    Utf16Be,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 3] = [Self::Ascii, Self::Utf16Le, Self::Utf16Be];

    /// Returns the bytes of `text`.
    pub fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Ascii => text.as_bytes().to_vec(),
            Self::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }

    /// Returns the number of bytes that an ASCII character takes.
    pub const fn unit_bytes(self) -> usize {
        match self {
            Self::Ascii => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
        }
    }

    /// Returns the byte order mark that documents begin with.
    pub(crate) const fn mark(self) -> &'static [u8] {
        match self {
            Self::Ascii => &[],
            Self::Utf16Le => &[0xff, 0xfe],
            Self::Utf16Be => &[0xfe, 0xff],
        }
    }
}

/// Where on a disk a value was planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spot {
    /// In the content of a file, within one extent.
    File,
    /// In the content of a file, over the border of two distant extents.
    Straddling,
    /// In the last block of a file, behind its end.
    Slack,
    /// In free space: the file was deleted.
    Deleted,
}

/// One planted value and where it must be found.
#[derive(Debug, Clone)]
pub struct Planted {
    /// The kind of value.
    pub kind: Kind,
    /// The detector that must find it.
    pub detector: &'static str,
    /// The value; `Debug` does not show it.
    pub value: Secret,
    /// The file it was written to, with a leading slash; for [`Spot::Deleted`] the file's former path.
    pub path: String,
    /// First byte, counted from the start of the file, also in [`Spot::Slack`].
    pub offset: u64,
    /// Bytes in its encoding.
    pub length: u64,
    /// First byte on the disk, where it is known.
    pub disk_offset: Option<u64>,
    /// Where on the disk it lies.
    pub spot: Spot,
    /// How it is written.
    pub encoding: Encoding,
}

impl Planted {
    pub(crate) fn new(mark: Mark, path: &str, encoding: Encoding, spot: Spot) -> Self {
        Self {
            kind: mark.kind,
            detector: mark.kind.detector(),
            value: mark.value,
            path: path.to_owned(),
            offset: mark.offset,
            length: mark.length,
            disk_offset: None,
            spot,
            encoding,
        }
    }

    /// Returns the bytes of the value as they lie on the disk.
    pub fn bytes(&self) -> Vec<u8> {
        self.encoding.encode(self.value.expose())
    }
}

/// Builds a directory of files from a seed.
///
/// ```
/// use airlock_testkit::{Document, Encoding, Kind, Tree};
/// # let dir = tempfile::tempdir().unwrap();
/// # let dir = dir.path().join("tree");
/// let mut tree = Tree::new(&dir, 42)?;
/// tree.filler("/usr/share/doc/readme", 20_000)?;
/// let planted = tree.plant("/srv/pay.csv", Document::Csv, &[Kind::Pan; 5], Encoding::Ascii)?;
/// assert_eq!(planted.len(), 5);
/// # Ok::<(), airlock_testkit::Error>(())
/// ```
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    rng: Rng,
    planted: Vec<Planted>,
}

impl Tree {
    /// Starts an empty directory; what was there before is removed.
    pub fn new(root: impl Into<PathBuf>, seed: u64) -> Result<Self> {
        let root = root.into();
        if root.exists() {
            fs::remove_dir_all(&root).on("remove", &root)?;
        }
        fs::create_dir_all(&root).on("create", &root)?;
        Ok(Self { root, rng: Rng::new(seed), planted: Vec::new() })
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns everything that was planted so far.
    pub fn planted(&self) -> &[Planted] {
        &self.planted
    }

    /// Returns the generator, so that a caller can draw from the same sequence.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Writes a file; `path` has a leading slash, and missing folders are made.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<PathBuf> {
        let full = self.root.join(path.trim_start_matches('/'));
        if let Some(folder) = full.parent() {
            fs::create_dir_all(folder).on("create", folder)?;
        }
        fs::write(&full, bytes).on("write", &full)?;
        fs::set_permissions(&full, fs::Permissions::from_mode(0o644)).on("chmod", &full)?;
        Ok(full)
    }

    /// Writes a text of `bytes` bytes in which nothing is to be found.
    pub fn filler(&mut self, path: &str, bytes: usize) -> Result<PathBuf> {
        let text = filler(bytes, &mut self.rng);
        self.write(path, text.as_bytes())
    }

    /// Writes a file of random bytes.
    pub fn noise(&mut self, path: &str, bytes: usize) -> Result<PathBuf> {
        let mut noise = vec![0; bytes];
        self.rng.fill(&mut noise);
        self.write(path, &noise)
    }

    /// Writes a document that holds one value of each of `kinds`, and returns them in that order.
    pub fn plant(
        &mut self,
        path: &str,
        document: Document,
        kinds: &[Kind],
        encoding: Encoding,
    ) -> Result<Vec<Planted>> {
        let page = document.render(kinds, encoding, &mut self.rng);
        self.write(path, &page.bytes)?;
        let planted: Vec<Planted> =
            page.marks.into_iter().map(|mark| Planted::new(mark, path, encoding, Spot::File)).collect();
        self.planted.extend(planted.iter().cloned());
        Ok(planted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_writes_the_same_bytes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let build = |name: &str, seed| {
            let mut tree = Tree::new(dir.path().join(name), seed).expect("tree");
            tree.plant("/a/b.csv", Document::Csv, &Kind::SHORT, Encoding::Utf16Be).expect("plant");
            tree.filler("/a/c", 777).expect("filler");
            let read = |path: &str| fs::read(tree.root().join(path)).expect("read");
            (read("a/b.csv"), read("a/c"))
        };
        assert_eq!(build("one", 5), build("two", 5));
        assert_ne!(build("three", 5), build("four", 6));
    }
}
