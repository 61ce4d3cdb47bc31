//! Lists the files of a folder.

use std::path::{Path, PathBuf};

/// Most files of a folder.
const FILES_MAX: usize = 50_000_000;
/// Most folders inside each other.
const DEPTH_MAX: usize = 4096;

/// What a folder holds.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Regular files: path below the folder, and size in bytes; sorted.
    pub(crate) files: Vec<(PathBuf, u64)>,
    /// What was left out, for people.
    pub(crate) notes: Vec<String>,
}

/// Lists a folder. Symbolic links are not followed, and special files are not read; both are noted.
pub(crate) fn list(root: &Path) -> Result<Listing, std::io::Error> {
    let mut listing = Listing::default();
    let (mut links, mut special) = (0_u64, 0_u64);
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let name = folder.join(entry.file_name());
            let metadata = entry.metadata()?;
            if metadata.is_symlink() {
                links += 1;
            } else if metadata.is_dir() {
                if depth >= DEPTH_MAX {
                    return Err(std::io::Error::other(format!("{DEPTH_MAX} folders inside each other")));
                }
                folders.push((name, depth + 1));
            } else if metadata.is_file() {
                if listing.files.len() >= FILES_MAX {
                    return Err(std::io::Error::other(format!("more than {FILES_MAX} files")));
                }
                listing.files.push((name, metadata.len()));
            } else {
                special += 1;
            }
        }
    }
    listing.files.sort();
    for (count, what) in [(links, "symbolic links, not followed"), (special, "special files, not read")] {
        if count > 0 {
            listing.notes.push(format!("{count} {what}"));
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_noted_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("a"), b"first").unwrap();
        std::fs::write(folder.path().join("b/last"), b"second").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let listing = list(folder.path()).unwrap();
        assert_eq!(listing.files, [("a".into(), 5), ("b/last".into(), 6)]);
        assert_eq!(listing.notes, ["1 symbolic links, not followed"]);
    }
}
