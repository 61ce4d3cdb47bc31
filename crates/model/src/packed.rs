//! Files whose bytes on the disk are compressed by the file system.

use serde::{Deserialize, Serialize};

/// How a file system stores a piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// As it is.
    Stored,
    /// LZNT1, the compression of NTFS ([MS-XCA] section 2.5).
    Lznt1,
    /// A zlib stream (RFC 1950).
    Zlib,
    /// A Zstandard frame (RFC 8878).
    Zstd,
    /// LZO1X in the framing of btrfs; the sector size is that of the file system.
    BtrfsLzo,
    /// LZO1X, one block.
    Lzo,
    /// An LZ4 block.
    Lz4,
    /// An xz stream.
    Xz,
    /// An LZMA stream with the header of the LZMA SDK.
    Lzma,
}

/// A piece of a packed file: bytes of the file, and where they come from.
///
/// The runs of a packed file are the bytes that the disk stores for it, one behind the
/// other: the *stored stream*. The pieces say what of it unpacks to which bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// First byte in the file.
    pub logical: u64,
    /// Number of bytes of the file.
    pub length: u64,
    /// First byte in the stored stream.
    pub stored: u64,
    /// Number of bytes there.
    pub stored_bytes: u64,
    /// Bytes that come out of the codec before the first one of this piece.
    pub skip: u64,
    /// Bytes that come out of the codec altogether, at most; what is missing is zeros.
    pub unpacked: u64,
    /// How it is stored.
    pub codec: Codec,
    /// Whether no file shows these bytes: they come out of the codec all the same, as those of
    /// an extent that was overwritten in part. They are slack, and `logical` is where the file
    /// would have them.
    pub spare: bool,
}
