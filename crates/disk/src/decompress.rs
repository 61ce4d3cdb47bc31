//! Decompresses single clusters and grains.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// How units are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Raw deflate (RFC 1951).
    Deflate,
    /// Deflate behind a zlib header (RFC 1950); its checksum is checked.
    Zlib,
    /// Zstandard frames.
    Zstd,
}

/// Decompresses units of one image, from several threads at once.
///
/// Contexts are kept for the next unit; there are as many as threads have read at once.
pub(crate) struct Decompressor {
    compression: Compression,
    inflate: Mutex<Vec<Box<DecompressorOxide>>>,
    zstd: Mutex<Vec<zstd::bulk::Decompressor<'static>>>,
}

impl Decompressor {
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, inflate: Mutex::default(), zstd: Mutex::default() }
    }

    /// Fills `out` from `packed`, behind whose end there may be anything.
    pub(crate) fn run(&self, packed: &[u8], out: &mut [u8]) -> Option<()> {
        match self.compression {
            Compression::Deflate | Compression::Zlib => {
                let pool = || self.inflate.lock().unwrap_or_else(PoisonError::into_inner);
                let mut context = pool().pop().unwrap_or_default();
                let done = inflate(&mut context, self.compression, packed, out);
                pool().push(context);
                done
            }
            Compression::Zstd => {
                let pool = || self.zstd.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = pool().pop();
                let mut context = match kept {
                    Some(context) => context,
                    None => zstd::bulk::Decompressor::new().ok()?,
                };
                let done = unzstd(&mut context, packed, out);
                pool().push(context);
                done
            }
        }
    }
}

/// Deflate; the stream may end early only by filling `out`.
fn inflate(
    context: &mut DecompressorOxide,
    compression: Compression,
    packed: &[u8],
    out: &mut [u8],
) -> Option<()> {
    context.init();
    let flat = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let flags = match compression {
        Compression::Zlib => flat | inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER,
        Compression::Deflate | Compression::Zstd => flat,
    };
    let (status, _, written) = decompress(context, packed, out, 0, flags);
    let ended = matches!(status, TINFLStatus::Done | TINFLStatus::HasMoreOutput);
    (ended && written == out.len()).then_some(())
}

/// One or several frames. Each is decompressed into its place at once, so the window
/// that a hostile frame asks for is never allocated.
fn unzstd(context: &mut zstd::bulk::Decompressor<'_>, packed: &[u8], out: &mut [u8]) -> Option<()> {
    let (mut packed, mut out) = (packed, out);
    while !out.is_empty() {
        let length = zstd::zstd_safe::find_frame_compressed_size(packed).ok()?;
        let (frame, behind) = packed.split_at_checked(length)?;
        let written = context.decompress_to_buffer(frame, out).ok()?;
        out = out.get_mut(written..)?;
        packed = behind;
    }
    Some(())
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").field("compression", &self.compression).finish_non_exhaustive()
    }
}
