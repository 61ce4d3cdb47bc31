//! Unpacks what file systems compress.
//!
//! The stored bytes are hostile. Every decoder writes at most as many bytes as the
//! caller says, and no more than [`UNPACKED_MAX`]: a piece of a file system is small.

mod lznt1;
mod lzo;

use airlock_model::Codec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use std::io::Read;
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
        Codec::Lz4 => lz4(stored, into),
        Codec::Xz => xz(stored, into),
        Codec::Lzma => lzma(stored, into),
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
    let made = zstd_safe::decompress(into, bytes).map_err(|_| UnpackError::Damaged)?;
    clear(into, made);
    Ok(frame)
}

/// Clears what is behind the bytes that a decoder made: some write more than they say.
fn clear(into: &mut [u8], made: usize) {
    into.get_mut(made..).unwrap_or_default().fill(0);
}

/// Unpacks a block, which has no end of its own.
fn lz4(stored: &[u8], into: &mut [u8]) -> Result<usize, UnpackError> {
    let made = lz4_flex::block::decompress_into(stored, into).map_err(|_| UnpackError::Damaged)?;
    clear(into, made);
    Ok(stored.len())
}

/// Most memory of a decoder, in KiB: squashfs has dictionaries of at most a block, which is 1 MiB.
const MEMORY_KIB_MAX: u32 = 16 << 10;

/// Reads all that fits.
fn fill(mut reader: impl Read, into: &mut [u8]) -> Result<(), UnpackError> {
    let mut made = 0_usize;
    while let Some(rest) = into.get_mut(made..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => made = made.saturating_add(count),
            Err(_) => return Err(UnpackError::Damaged),
        }
    }
    Ok(())
}

fn xz(mut stored: &[u8], into: &mut [u8]) -> Result<usize, UnpackError> {
    let whole = stored.len();
    fill(lzma_rust2::XzReader::new_mem_limit(&mut stored, false, MEMORY_KIB_MAX), into)?;
    Ok(whole.saturating_sub(stored.len()))
}

fn lzma(mut stored: &[u8], into: &mut [u8]) -> Result<usize, UnpackError> {
    let whole = stored.len();
    let reader = lzma_rust2::LzmaReader::new_mem_limit(&mut stored, MEMORY_KIB_MAX, None);
    fill(reader.map_err(|_| UnpackError::Damaged)?, into)?;
    Ok(whole.saturating_sub(stored.len()))
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
        let short = zstd::bulk::compress(&text[..33], 3).expect("compress");
        let padded = [&text[..33], &[0; 67]].concat();
        check(Codec::Zstd, &short, 100, Ok((short.len(), &padded)));
        let short = lz4_flex::block::compress(&text[..33]);
        check(Codec::Lz4, &short, 100, Ok((short.len(), &padded)));
        check(Codec::Lz4, &short, 32, Err(UnpackError::Damaged));
    }
}
