//! Single streams that other codecs compressed: bzip2, xz, lzma, Zstandard and LZ4 frames.

use crate::layer::Relation;
use crate::sniff::Kind;
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::field::le32;
use std::io::{self, BufRead, Read};

/// Memory of a decoder of bzip2, LZ4 or deflate64, in KiB: blocks of 900 kB with their tables,
/// or two blocks of 4 MiB.
const SMALL_KIB: u32 = 8 << 10;

/// Largest window of Zstandard that is decoded, as a power of two. RFC 8878, section 3.1.1.1.2,
/// asks decoders for 8 MiB at least; `zstd --ultra -20` uses 32 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;

/// Memory of a decoder of Zstandard besides its window, in KiB.
const ZSTD_KIB: u32 = 1 << 10;

/// Memory of a decoder of LZMA besides its dictionary, in KiB.
const LZMA_KIB: u32 = 512;

/// Opens a compressed stream.
pub(crate) fn open(walk: &Walk<'_>, kind: Kind, stream: &mut Stream<'_, '_>) {
    let (depth, at) = (stream.depth(), stream.position());
    let name = match kind {
        Kind::Bzip2 => "bzip2",
        Kind::Xz => "xz",
        Kind::Lzma => "lzma",
        Kind::Zstd => "zstd",
        _ => "lz4",
    };
    open_as(walk, kind, (depth, name, at), stream);
}

/// Opens what a stream of `kind` holds as a layer of this depth, name and place.
pub(crate) fn open_as<R: BufRead>(
    walk: &Walk<'_>,
    kind: Kind,
    (depth, name, at): (usize, &str, u64),
    mut stream: R,
) {
    let need = match kind {
        Kind::Xz | Kind::Lzma => memory_of_lzma(kind, stream.fill_buf().unwrap_or_default()),
        Kind::Zstd => memory_of_zstd(stream.fill_buf().unwrap_or_default()),
        _ => SMALL_KIB,
    };
    if !walk.take_memory(need) {
        return;
    }
    let source: Box<dyn Read + '_> = match kind {
        Kind::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(stream)),
        Kind::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(stream, true, need)),
        Kind::Lzma => match lzma_rust2::LzmaReader::new_mem_limit(stream, need, None) {
            Ok(reader) => Box::new(reader),
            Err(_) => Box::new(Damaged),
        },
        Kind::Zstd => match zstd_reader(stream) {
            Ok(reader) => Box::new(reader),
            Err(_) => Box::new(Damaged),
        },
        Kind::Deflate64 => Box::new(deflate64::Deflate64Decoder::with_buffer(stream)),
        _ => Box::new(Lz4 { frames: lz4_flex::frame::FrameDecoder::new(stream), inside: true }),
    };
    walk.open(depth, (name, at), Relation::Decoded, source);
    walk.give_back(need);
}

fn zstd_reader<'a, R: BufRead + 'a>(stream: R) -> io::Result<impl Read + 'a> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(stream)?;
    reader.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(reader)
}

/// Returns the memory that the first frame asks for, in KiB (RFC 8878, sections 3.1.1.1.1 and 2).
fn memory_of_zstd(head: &[u8]) -> u32 {
    const FRAME: u32 = 0xFD2F_B528;
    const SINGLE_SEGMENT: u8 = 0x20;
    let default = 8 << 10;
    let window = match (le32(head, 0), head.get(4), head.get(5)) {
        (Some(FRAME), Some(flags), Some(window)) if flags & SINGLE_SEGMENT == 0 => {
            let exponent = u32::from(window >> 3);
            let base = 1_u32.checked_shl(exponent).unwrap_or(u32::MAX);
            base.saturating_add((base >> 3).saturating_mul(u32::from(window & 7)))
        }
        _ => default,
    };
    window.saturating_add(ZSTD_KIB)
}

/// Returns the memory that the first block of a stream asks for, in KiB.
fn memory_of_lzma(kind: Kind, head: &[u8]) -> u32 {
    let dictionary = match kind {
        Kind::Lzma => le32(head, 1).unwrap_or(0),
        _ => xz_dictionary(head).unwrap_or(u32::MAX),
    };
    (dictionary >> 10).saturating_add(LZMA_KIB)
}

/// Returns the size of the dictionary of the first block (The .xz File Format 1.2, sections 3.1
/// and 5.3.1), which is the last filter.
fn xz_dictionary(head: &[u8]) -> Option<u32> {
    const LZMA2: u8 = 0x21;
    const STREAM_HEADER_BYTES: usize = 12;
    let block = head.get(STREAM_HEADER_BYTES..)?;
    let size = usize::from(*block.first()?).checked_add(1)?.checked_mul(4)?;
    let header = block.get(..size.checked_sub(4)?)?;
    if header.is_empty() {
        // An index: there is no block.
        return Some(0);
    }
    let place = header.windows(2).rposition(|two| two == [LZMA2, 1])?;
    let bits = u32::from(*header.get(place.checked_add(2)?)?);
    match bits {
        40 => Some(u32::MAX),
        0..40 => (2 | (bits & 1)).checked_shl((bits >> 1).checked_add(11)?),
        _ => None,
    }
}

/// Frames behind each other.
struct Lz4<R: Read> {
    frames: lz4_flex::frame::FrameDecoder<R>,
    /// Whether something came out of the frame in work.
    inside: bool,
}

impl<R: Read> Read for Lz4<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let made = self.frames.read(into)?;
            if made > 0 || !std::mem::replace(&mut self.inside, made > 0) {
                return Ok(made);
            }
        }
    }
}

/// A stream whose beginning is no beginning.
struct Damaged;

impl Read for Damaged {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Opens a member of a zip archive that LZMA compressed: its header (APPNOTE 5.8.8) has a version,
/// the size of the properties, and the properties.
pub(crate) fn open_zip_lzma<R: BufRead>(
    walk: &Walk<'_>,
    (depth, name, at): (usize, &str, u64),
    mut stream: R,
    unpacked: u64,
) {
    let mut header = [0; 9];
    let read = stream.read_exact(&mut header);
    let (dictionary, properties) = (le32(&header, 5).unwrap_or(0), header[4]);
    let need = (dictionary >> 10).saturating_add(LZMA_KIB);
    if !walk.take_memory(need) {
        return;
    }
    let size = if unpacked == 0 { u64::MAX } else { unpacked };
    let source: Box<dyn Read + '_> =
        match lzma_rust2::LzmaReader::new_with_props(stream, size, properties, dictionary, None) {
            Ok(reader) if read.is_ok() => Box::new(reader),
            _ => Box::new(Damaged),
        };
    walk.open(depth, (name, at), Relation::Decoded, source);
    walk.give_back(need);
}
