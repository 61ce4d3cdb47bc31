//! The memo: what was inspected before and need not be inspected again.
//!
//! It is a file of fixed size that holds *tags* of contents in which nothing was found. A tag is
//! 16 bytes of a BLAKE3 hash under a key that the site keeps elsewhere, over the digest of the
//! rules and whatever else the verdict depends on. So it need not be trusted: who does not have
//! the key cannot write a tag of anything, under other rules no tag fits, and damage can only make
//! the site forget. It says nothing of a content to someone who does not have the key.
//!
//! ```text
//! header (512 bytes): magic, number of buckets, keyed hash of both, zeros
//! bucket (512 bytes): 31 tags, next slot (1 byte), keyed hash of bucket and position (15 bytes)
//! ```
//!
//! A tag belongs to the bucket that its first bytes say; in a full bucket the oldest gives way.
//! Several processes may use a memo at once: the worst that comes of it is a lost bucket.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: [u8; 16] = *b"airlock memo 1\r\n";
const BUCKET_BYTES: usize = 512;
const TAG_BYTES: usize = 16;
const SLOTS: usize = BUCKET_BYTES / TAG_BYTES - 1;
/// Tags that are gathered before they are written.
const FRESH_MAX: usize = 4096;
/// Bytes of a memo unless somebody wants otherwise: two million files, or as many MiB of large ones.
pub const MEMO_BYTES: u64 = 64 << 20;

/// Stands for one content under one set of rules. It can be told to nobody who lacks the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; TAG_BYTES]);

impl Tag {
    /// Returns the tag of what was fed to a hasher of [`Memo::names`].
    pub fn of(hasher: &blake3::Hasher) -> Self {
        let mut tag = [0; TAG_BYTES];
        hasher.finalize_xof().fill(&mut tag);
        Self(tag)
    }
}

/// How a memo was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// As it was left.
    Intact,
    /// There was none.
    New,
    /// It was cut short, damaged, or of another site; it is started anew.
    Replaced,
}

/// Most tags of one [`Draft`]: what a memo of the usual size has room for.
const DRAFT_MAX: usize = 4 << 20;

/// Tags that are remembered only if it turns out that they may be.
#[derive(Debug, Default)]
pub struct Draft(Mutex<Vec<Tag>>);

impl Draft {
    /// Notes a tag. What there is no room for is forgotten.
    pub fn note(&self, tag: Tag) {
        let mut tags = self.0.lock().expect("no holder of this lock panics");
        if tags.len() < DRAFT_MAX {
            tags.push(tag);
        }
    }

    /// Has everything remembered that was noted.
    pub fn commit(&self, memo: &Memo) {
        let tags = std::mem::take(&mut *self.0.lock().expect("no holder of this lock panics"));
        for tag in tags {
            memo.remember(tag);
        }
        memo.flush();
    }
}

/// A memo on disk. Threads share it.
#[derive(Debug)]
pub struct Memo {
    file: File,
    key: blake3::Hasher,
    buckets: u64,
    found: Found,
    fresh: Mutex<Vec<Tag>>,
    damaged: AtomicU64,
}

impl Memo {
    /// Opens the memo in a file, of about `bytes` bytes, under the site's `key`.
    pub fn open(path: &Path, key: &[u8; 32], bytes: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let buckets = (bytes / BUCKET_BYTES as u64).max(2) - 1;
        let key = blake3::Hasher::new_keyed(key);
        let length = (buckets + 1) * BUCKET_BYTES as u64;
        let header = header(&key, buckets);
        let mut there = [0; BUCKET_BYTES];
        let present = file.metadata()?.len();
        let found = match present {
            0 => Found::New,
            _ if present == length && file.read_exact_at(&mut there, 0).is_ok() && there == header => {
                Found::Intact
            }
            _ => Found::Replaced,
        };
        if found != Found::Intact {
            file.set_len(0)?;
            file.set_len(length)?;
            file.write_all_at(&header, 0)?;
        }
        Ok(Self { file, key, buckets, found, fresh: Mutex::default(), damaged: AtomicU64::new(0) })
    }

    /// Returns how it was found.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Returns how many buckets were found damaged so far.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Returns a hasher for tags under the rules of this digest and this version of the program.
    pub fn names(&self, rules: &[u8; 32]) -> blake3::Hasher {
        let mut hasher = self.key.clone();
        hasher.update(b"tag");
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.update(rules);
        hasher
    }

    /// Returns whether this tag is remembered.
    pub fn knows(&self, tag: Tag) -> bool {
        let bucket = self.read(self.bucket_of(tag));
        bucket[..SLOTS * TAG_BYTES].chunks_exact(TAG_BYTES).any(|slot| slot == tag.0)
    }

    /// Remembers a tag, soon.
    pub fn remember(&self, tag: Tag) {
        let full = {
            let mut fresh = self.fresh.lock().expect("no holder of this lock panics");
            fresh.push(tag);
            if fresh.len() < FRESH_MAX {
                return;
            }
            std::mem::take(&mut *fresh)
        };
        self.write(full);
    }

    /// Writes what is to be remembered. It is a hint, so what cannot be written is forgotten.
    pub fn flush(&self) {
        let fresh = std::mem::take(&mut *self.fresh.lock().expect("no holder of this lock panics"));
        self.write(fresh);
    }

    fn bucket_of(&self, tag: Tag) -> u64 {
        let (head, _) = tag.0.split_first_chunk().expect("a tag is longer");
        u64::from_le_bytes(*head) % self.buckets
    }

    /// Returns a bucket; an empty one in place of one that is damaged.
    fn read(&self, number: u64) -> [u8; BUCKET_BYTES] {
        let mut bucket = [0; BUCKET_BYTES];
        let offset = (number + 1) * BUCKET_BYTES as u64;
        let read = self.file.read_exact_at(&mut bucket, offset).is_ok();
        let empty = bucket.iter().all(|byte| *byte == 0);
        if read && (empty || bucket[BUCKET_BYTES - 15..] == self.seal(number, &bucket)) {
            return bucket;
        }
        self.damaged.fetch_add(1, Ordering::Relaxed);
        [0; BUCKET_BYTES]
    }

    fn seal(&self, number: u64, bucket: &[u8; BUCKET_BYTES]) -> [u8; 15] {
        let mut hasher = self.key.clone();
        hasher.update(b"bucket");
        hasher.update(&number.to_le_bytes());
        hasher.update(&bucket[..BUCKET_BYTES - 15]);
        let (seal, _) = hasher
            .finalize()
            .as_bytes()
            .split_first_chunk()
            .map(|(seal, rest)| (*seal, rest.len()))
            .expect("a hash is longer");
        seal
    }

    fn write(&self, mut tags: Vec<Tag>) {
        tags.sort_unstable_by_key(|tag| (self.bucket_of(*tag), *tag));
        tags.dedup();
        for group in tags.chunk_by(|a, b| self.bucket_of(*a) == self.bucket_of(*b)) {
            let Some(number) = group.first().map(|tag| self.bucket_of(*tag)) else { continue };
            let mut bucket = self.read(number);
            for tag in group {
                if bucket[..SLOTS * TAG_BYTES].chunks_exact(TAG_BYTES).any(|slot| slot == tag.0) {
                    continue;
                }
                let slot = usize::from(bucket[SLOTS * TAG_BYTES]) % SLOTS;
                bucket[slot * TAG_BYTES..(slot + 1) * TAG_BYTES].copy_from_slice(&tag.0);
                bucket[SLOTS * TAG_BYTES] = u8::try_from((slot + 1) % SLOTS).unwrap_or(0);
            }
            let seal = self.seal(number, &bucket);
            bucket[BUCKET_BYTES - 15..].copy_from_slice(&seal);
            if self.file.write_all_at(&bucket, (number + 1) * BUCKET_BYTES as u64).is_err() {
                return;
            }
        }
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        self.flush();
    }
}

fn header(key: &blake3::Hasher, buckets: u64) -> [u8; BUCKET_BYTES] {
    let mut hasher = key.clone();
    hasher.update(b"header");
    hasher.update(&buckets.to_le_bytes());
    let mut header = [0; BUCKET_BYTES];
    header[..16].copy_from_slice(&MAGIC);
    header[16..24].copy_from_slice(&buckets.to_le_bytes());
    header[24..56].copy_from_slice(hasher.finalize().as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const RULES: [u8; 32] = [1; 32];

    fn tag(memo: &Memo, rules: &[u8; 32], text: &str) -> Tag {
        let mut hasher = memo.names(rules);
        hasher.update(text.as_bytes());
        Tag::of(&hasher)
    }

    fn filled(path: &Path, bytes: u64, count: usize) -> Vec<Tag> {
        let memo = Memo::open(path, &KEY, bytes).unwrap();
        let tags: Vec<Tag> = (0..count).map(|number| tag(&memo, &RULES, &number.to_string())).collect();
        for &tag in &tags {
            memo.remember(tag);
        }
        tags
    }

    fn known(memo: &Memo, tags: &[Tag]) -> usize {
        tags.iter().filter(|tag| memo.knows(**tag)).count()
    }

    #[test]
    fn what_was_remembered_is_known_under_the_same_key_and_rules_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/memo");
        let tags = filled(&path, 1 << 20, 5000);
        let memo = Memo::open(&path, &KEY, 1 << 20).unwrap();
        assert_eq!(memo.found(), Found::Intact);
        assert_eq!(known(&memo, &tags), 5000);
        assert!(!memo.knows(tag(&memo, &RULES, "never")));
        assert!(!memo.knows(tag(&memo, &[2; 32], "0")));
        let other = Memo::open(&folder.path().join("b"), &[8; 32], 1 << 20).unwrap();
        assert_eq!(other.found(), Found::New);
        assert_ne!(tag(&other, &RULES, "0"), tags[0]);
    }

    #[test]
    fn the_size_is_bounded_and_the_newest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memo");
        let tags = filled(&path, 8 << 10, 5000);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 8 << 10);
        let memo = Memo::open(&path, &KEY, 8 << 10).unwrap();
        assert_eq!(known(&memo, &tags), 15 * SLOTS);
        memo.remember(tags[0]);
        memo.flush();
        assert!(memo.knows(tags[0]));
    }

    #[test]
    fn a_memo_that_is_cut_foreign_or_of_another_size_is_started_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memo");
        let check = |spoil: &dyn Fn(), key: &[u8; 32]| {
            let tags = filled(&path, 1 << 20, 100);
            spoil();
            let memo = Memo::open(&path, key, 1 << 20).unwrap();
            assert_eq!(memo.found(), Found::Replaced);
            assert_eq!(known(&memo, &tags), 0);
        };
        let edit = |at: u64| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[0xff], at).unwrap();
        };
        let cut = |length: u64| OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        check(&|| cut((1 << 20) - 1), &KEY);
        check(&|| cut(100), &KEY);
        check(&|| edit(3), &KEY);
        check(&|| edit(30), &KEY);
        check(&|| (), &[9; 32]);
    }

    #[test]
    fn a_tag_that_was_written_by_somebody_else_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("memo");
        let tags = filled(&path, 1 << 16, 500);
        let mut bytes = std::fs::read(&path).unwrap();
        let target = {
            let memo = Memo::open(&path, &KEY, 1 << 16).unwrap();
            tag(&memo, &RULES, "not clean")
        };
        // Even someone who knew the tag could not place it, or move a bucket.
        for bucket in bytes[BUCKET_BYTES..].chunks_exact_mut(BUCKET_BYTES) {
            bucket[..TAG_BYTES].copy_from_slice(&target.0);
        }
        std::fs::write(&path, &bytes).unwrap();
        let memo = Memo::open(&path, &KEY, 1 << 16).unwrap();
        assert!(!memo.knows(target));
        assert_eq!(known(&memo, &tags), 0);
        assert!(memo.damaged() > 0);
        // It goes on with empty buckets.
        memo.remember(tags[0]);
        memo.flush();
        assert!(memo.knows(tags[0]));
    }
}
