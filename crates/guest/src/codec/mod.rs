//! Unpacks what file systems compress.
//!
//! The stored bytes are hostile. Every decoder writes at most as many bytes as the
//! caller says, and no more than [`UNPACKED_MAX`]: a piece of a file system is small.

mod lznt1;
mod lzo;

use airlock_model::Codec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use zstd::zstd_safe;

/// Most bytes that a piece unpacks to. btrfs has 128 KiB, NTFS 64 KiB, squashfs 1 MiB.
pub const UNPACKED_MAX: u64 = 4 << 20;

/// Why stored bytes could not be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// They are not what the codec writes.
    #[error("the compressed bytes are damaged")]
    Damaged,
    /// The piece claims to be larger than any file system makes them.
    #[error("a compressed piece of more than {UNPACKED_MAX} bytes")]
    TooLarge,
    /// There is no decoder for this codec.
    #[error("no decoder for this compression")]
    Unsupported,
}

/// Unpacks a piece into `into`, at most `unpacked` bytes; what is missing of them is zeros.
///
/// Returns how many of the stored bytes the codec used: what is behind them is slack.
pub fn unpack(codec: Codec, stored: &[u8], unpacked: u64, into: &mut Vec<u8>) -> Result<usize, UnpackError> {
    if unpacked > UNPACKED_MAX {
        return Err(UnpackError::TooLarge);
    }
    into.clear();
    into.resize(usize::try_from(unpacked).unwrap_or(0), 0);
    match codec {
        Codec::Stored => {
            let count = stored.len().min(into.len());
            into.iter_mut().zip(stored).for_each(|(byte, stored)| *byte = *stored);
            Ok(count)
        }
        Codec::Lznt1 => lznt1::unpack(stored, into),
        Codec::Zlib => zlib(stored, into),
        Codec::Zstd => zstd(stored, into),
        Codec::BtrfsLzo => lzo::btrfs(stored, into),
        Codec::Lzo => lzo::block(stored, into).map(|(used, _)| used),
        _ => Err(UnpackError::Unsupported),
    }
}

fn zlib(stored: &[u8], into: &mut [u8]) -> Result<usize, UnpackError> {
    const FLAGS: u32 =
        inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut context = Box::<DecompressorOxide>::default();
    let (status, used, _) = decompress(&mut context, stored, into, 0, FLAGS);
    match status {
        // There may be more to come than the piece has room for.
        TINFLStatus::Done | TINFLStatus::HasMoreOutput => Ok(used),
        _ => Err(UnpackError::Damaged),
    }
}

/// Unpacks one frame: what is behind it is not looked at.
fn zstd(stored: &[u8], into: &mut [u8]) -> Result<usize, UnpackError> {
    let frame = zstd_safe::find_frame_compressed_size(stored).map_err(|_| UnpackError::Damaged)?;
    let bytes = stored.get(..frame).ok_or(UnpackError::Damaged)?;
    zstd_safe::decompress(into, bytes).map_err(|_| UnpackError::Damaged)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(codec: Codec, stored: &[u8], unpacked: u64, expected: Result<(usize, &[u8]), UnpackError>) {
        let mut into = vec![9; 3];
        let used = unpack(codec, stored, unpacked, &mut into);
        assert_eq!(used.map(|used| (used, into.as_slice())), expected, "{codec:?}");
    }

    #[test]
    fn pieces_are_unpacked_up_to_their_size() {
        let text = [b'a'; 40];
        check(Codec::Stored, b"abc", 5, Ok((3, b"abc\0\0")));
        check(Codec::Stored, b"abc", UNPACKED_MAX + 1, Err(UnpackError::TooLarge));
        let mut zlib = miniz_oxide::deflate::compress_to_vec_zlib(&text, 6);
        let used = zlib.len();
        zlib.extend_from_slice(b"old bytes");
        check(Codec::Zlib, &zlib, 40, Ok((used, &text)));
        check(Codec::Zlib, &zlib[..used - 8], 40, Err(UnpackError::Damaged));
        let mut zstd = zstd::bulk::compress(&text, 3).expect("compress");
        let used = zstd.len();
        zstd.extend_from_slice(b"old bytes");
        check(Codec::Zstd, &zstd, 40, Ok((used, &text)));
        check(Codec::Zstd, &zstd[..used - 1], 40, Err(UnpackError::Damaged));
        check(Codec::Zstd, &zstd, 39, Err(UnpackError::Damaged));
    }
}
