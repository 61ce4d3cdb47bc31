//! The checksums of btrfs (the documentation of btrfs, "Checksumming").

use crate::checksum::crc32c;
use crate::field::{le32, le64};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use sha2::Sha256;
use twox_hash::XxHash64;

/// Bytes in front of a structure that its checksum has; a shorter one is followed by zeros.
const SUM_BYTES: usize = 32;

/// How structures are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    Crc32c,
    XxHash64,
    Sha256,
    Blake2b,
}

impl Sum {
    /// Returns the kind that a superblock names.
    pub(crate) fn of(number: u16) -> Option<Self> {
        [Self::Crc32c, Self::XxHash64, Self::Sha256, Self::Blake2b].get(usize::from(number)).copied()
    }

    /// Returns whether the checksum in front of a structure is right.
    pub(crate) fn is_right(self, bytes: &[u8]) -> bool {
        let (sum, rest) = bytes.split_at_checked(SUM_BYTES).unwrap_or_default();
        match self {
            Self::Crc32c => !crc32c(u32::MAX, rest) == le32(sum, 0),
            Self::XxHash64 => XxHash64::oneshot(0, rest) == le64(sum, 0),
            Self::Sha256 => Sha256::digest(rest).as_slice() == sum,
            Self::Blake2b => Blake2b::<U32>::digest(rest).as_slice() == sum,
        }
    }
}
