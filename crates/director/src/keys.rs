//! Keys, where they are kept, and how they are destroyed.

use crate::Error;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes that AES-256-GCM adds to what it seals.
pub(crate) const TAG_BYTES: usize = 16;

/// A key that is wiped when it is dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// Returns a new random key.
pub(crate) fn random() -> Key {
    let mut key = Zeroizing::new([0; 32]);
    fill(&mut *key);
    key
}

/// Fills `bytes` with random ones.
pub(crate) fn fill(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the operating system gives random bytes");
}

/// Seals `bytes` in place under a key that seals nothing else, and returns the tag.
pub(crate) fn seal_once(key: &[u8; 32], name: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let tag = cipher(key).seal_in_place_separate_tag(nonce, Aad::from(name), bytes);
    let tag = tag.expect("a chunk is far below the limit of the cipher");
    tag.as_ref().try_into().expect("16 bytes")
}

/// Opens what [`seal_once`] made; the tag stands behind the bytes. Returns the plain bytes.
pub(crate) fn open_once<'b>(key: &[u8; 32], name: &[u8], sealed: &'b mut [u8]) -> Option<&'b mut [u8]> {
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    cipher(key).open_in_place(nonce, Aad::from(name), sealed).ok()
}

/// Seals `bytes` under a key that seals other things, too: random nonce, sealed bytes, tag.
pub(crate) fn wrap(key: &[u8; 32], name: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    fill(&mut nonce);
    let mut wrapped = nonce.to_vec();
    wrapped.extend_from_slice(bytes);
    let sealed = &mut wrapped[NONCE_LEN..];
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(key).seal_in_place_separate_tag(nonce, Aad::from(name), sealed);
    wrapped.extend_from_slice(tag.expect("far below the limit of the cipher").as_ref());
    wrapped
}

/// Opens what [`wrap`] made.
pub(crate) fn unwrap(key: &[u8; 32], name: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_LEN>()?;
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = cipher(key).open_in_place(nonce, Aad::from(name), &mut sealed).ok()?.len();
    sealed.truncate(length);
    Some(sealed)
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"))
}

/// Reads a key file, or makes one that only its owner can read.
pub(crate) fn load_or_create(path: &Path) -> Result<Key, Error> {
    if let Some(key) = load(path)? {
        return Ok(key);
    }
    let key = random();
    let mut file = create_private(path)?;
    let text = Zeroizing::new(format!("{}\n", hex::encode(*key)));
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.map_err(Error::file("write", path)).and_then(|()| sync_parent(path));
    if let Err(error) = written {
        // It may be there now and gone after a crash: nothing may be sealed under it. If it cannot be
        // removed either, it is not read as a key unless it is whole.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(key)
}

/// Reads a key file, if there is one.
pub(crate) fn load(path: &Path) -> Result<Option<Key>, Error> {
    let mut text = Zeroizing::new(String::new());
    match File::open(path) {
        Ok(mut file) => file.read_to_string(&mut text).map_err(Error::file("read", path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    let mut key = Zeroizing::new([0; 32]);
    let canonical =
        text.len() == 65 && text.ends_with('\n') && !text.contains(|c: char| c.is_ascii_uppercase());
    match hex::decode_to_slice(text.trim_end(), &mut *key) {
        Ok(()) if canonical => Ok(Some(key)),
        _ => Err(Error::damaged(format!("key file {}", path.display()), "it is not 64 hexadecimal digits")),
    }
}

/// Creates a file that only its owner can read.
pub(crate) fn create_private(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(Error::file("create", path))
}

/// Destroys a key: overwrites its file in place, waits until that is on the disk, then
/// removes it. Without its key, what it sealed is noise, wherever copies of it lie.
pub(crate) fn destroy(path: &Path) -> Result<(), Error> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    let length = file.metadata().map_err(Error::file("read", path))?.len();
    let zeros = vec![b'0'; usize::try_from(length).unwrap_or(65).min(4096)];
    file.rewind()
        .and_then(|()| file.write_all(&zeros))
        .and_then(|()| file.sync_all())
        .map_err(Error::file("overwrite", path))?;
    std::fs::remove_file(path).map_err(Error::file("remove", path))?;
    sync_parent(path)
}

/// Makes the creation, renaming or removal of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(Error::file("sync", parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_its_key_and_name() {
        let key = random();
        let mut bytes = b"synthetic".to_vec();
        let tag = seal_once(&key, b"name", &mut bytes);
        assert_ne!(bytes, b"synthetic");
        bytes.extend_from_slice(&tag);
        assert!(open_once(&random(), b"name", &mut bytes.clone()).is_none());
        assert!(open_once(&key, b"other", &mut bytes.clone()).is_none());
        assert_eq!(open_once(&key, b"name", &mut bytes).unwrap(), b"synthetic");
        let wrapped = wrap(&key, b"name", b"key");
        assert_eq!(**unwrap(&key, b"name", &wrapped).unwrap(), *b"key");
        assert!(unwrap(&key, b"name", &wrapped[1..]).is_none());
        assert!(unwrap(&key, b"name", &[]).is_none());
    }

    #[test]
    fn a_destroyed_key_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        let key = load_or_create(&path).unwrap();
        assert_eq!(*load_or_create(&path).unwrap(), *key);
        destroy(&path).unwrap();
        destroy(&path).unwrap();
        assert_eq!(load(&path).unwrap(), None);
    }
}
