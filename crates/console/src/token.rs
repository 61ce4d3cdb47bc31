//! Bearer tokens, and the digests by which they are known.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// What every token begins with, so that scanners of secrets know it.
const TOKEN_PREFIX: &str = "airlock_";

/// Returns the SHA-256 of a secret, in hexadecimal. A secret is 256 random bits, so a plain hash is enough.
pub fn digest_of(secret: &str) -> String {
    hex::encode(digest(&SHA256, secret.as_bytes()))
}

/// Makes a secret of 256 random bits, in hexadecimal.
pub fn new_secret() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).expect("the operating system gives random bytes");
    Zeroizing::new(hex::encode(*bytes))
}

/// Makes a bearer token.
pub fn new_token() -> Zeroizing<String> {
    Zeroizing::new(format!("{TOKEN_PREFIX}{}", *new_secret()))
}

/// Makes an id of 128 random bits, in hexadecimal.
pub fn new_id() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    hex::encode(bytes)
}

/// Writes a secret durably to a new file that only its owner can read.
pub fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
