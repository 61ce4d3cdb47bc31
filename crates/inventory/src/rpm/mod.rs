//! The databases of rpm: what they say is installed.
//!
//! Whatever the form of a database, it maps a number to a [`header`] with everything that is known of a package.
//! There are three: `Packages` of Berkeley DB, `rpmdb.sqlite`, and `Packages.db`, rpm's own "ndb".
//!
//! What is not seen: a write-ahead log beside `rpmdb.sqlite`, which is empty unless rpm was stopped in between.

mod bdb;
mod header;
mod ndb;
mod sqlite;

use crate::content::part;
use crate::readers::Found;
use airlock_decode::ReadAt;

/// Longest header of a package; those of kernels with all their modules have 3 MiB.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// Most packages of a database.
const PACKAGES_MAX: usize = 200_000;

/// Reads a database, of the form that its first bytes say.
pub(crate) fn database(_: &[u8], file: &mut dyn ReadAt) -> Option<Found> {
    let head = part(file, 0, 32)?;
    let mut headers = Headers::new(file);
    let complete = if head.starts_with(b"SQLite format 3\0") {
        sqlite::read(&mut headers)
    } else if head.starts_with(b"RpmP") {
        ndb::read(&mut headers)
    } else {
        bdb::read(&mut headers)
    };
    let mut found = headers.found;
    found.left_out += u64::from(complete.is_none());
    Some(found)
}

/// The headers of a database as they are found.
struct Headers<'f> {
    file: &'f mut dyn ReadAt,
    found: Found,
    /// Bytes that may still be read: records of a hostile database may all share the same pages.
    bytes_left: u64,
}

impl<'f> Headers<'f> {
    fn new(file: &'f mut dyn ReadAt) -> Self {
        let bytes_left = file.size().saturating_mul(3).saturating_add(1 << 20);
        Self { file, found: Found::default(), bytes_left }
    }

    /// Reads a part that lies wholly inside of the file, and counts it.
    fn part(&mut self, offset: u64, length: u64) -> Option<Vec<u8>> {
        self.bytes_left = self.bytes_left.checked_sub(length)?;
        let bytes = part(self.file, offset, length)?;
        (bytes.len() as u64 == length).then_some(bytes)
    }

    /// Takes the header whose record begins at `offset`. One that makes no sense is counted.
    fn add(&mut self, offset: u64, bytes: &[u8]) -> Option<()> {
        if self.found.packages.len() >= PACKAGES_MAX {
            return None;
        }
        self.found.read.add(bytes);
        match header::package(bytes) {
            Some(Some(package)) => self.found.packages.push((offset, package)),
            Some(None) => {}
            None => self.found.left_out += 1,
        }
        Some(())
    }

    /// Counts a header that cannot be read.
    fn skip(&mut self) {
        self.found.left_out += 1;
    }
}

#[cfg(test)]
mod tests;
