//! Keyed fingerprints of values.

use airlock_model::Fingerprint;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// `HMAC-SHA256(key, detector + 0x00 + normalised value)`, fed piece by piece.
#[derive(Clone)]
pub struct FingerprintBuilder(Hmac<Sha256>);

impl FingerprintBuilder {
    /// Starts a fingerprint of a value that `detector` found.
    pub fn new(key: &[u8; 32], detector: &str) -> Self {
        // HMAC fills a short key with zeros up to the block of its hash (RFC 2104).
        let mut block = zeroize::Zeroizing::new([0_u8; 64]);
        for (slot, byte) in block.iter_mut().zip(key) {
            *slot = *byte;
        }
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        mac.update(detector.as_bytes());
        mac.update(&[0]);
        Self(mac)
    }

    /// Adds a piece of the value; only its digits and upper-case letters count.
    pub fn update(&mut self, piece: &[u8]) {
        let counts = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        for run in piece.split(|byte| !counts(byte)) {
            self.0.update(run);
        }
    }

    /// Returns the fingerprint.
    pub fn finish(self) -> Fingerprint {
        Fingerprint(self.0.finalize().into_bytes().into())
    }
}

impl fmt::Debug for FingerprintBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintBuilder(…)")
    }
}
