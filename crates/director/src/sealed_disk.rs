//! A disk whose bytes lie in sealed chunks: the chamber's view and the vault's.

use crate::segment::{Bytes, Segments, Stored};
use airlock_checks::Names;
use airlock_disk::{BlockSource, Error, Format, Span, SpanKind, check_range};
use airlock_model::Extent;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Opened chunks that are kept for the next read; each takes the memory of the longest one.
const CACHED_MAX: usize = 16;

/// Where a chunk's bytes belong on a disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Placement {
    pub(crate) extents: Vec<Extent>,
    /// Position in the list of chunks.
    pub(crate) chunk: u32,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    disk: u64,
    length: u32,
    chunk: u32,
    within: u32,
}

/// A disk over sealed chunks. What no chunk covers reads as zeros.
pub(crate) struct SealedDisk {
    size: u64,
    pieces: Vec<Piece>,
    chunks: Arc<Vec<Stored>>,
    segments: Arc<Segments>,
    cache: Mutex<VecDeque<(u32, Arc<Bytes>)>>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.disk + u64::from(self.length)
    }
}

impl std::fmt::Debug for SealedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedDisk({} bytes in {} pieces)", self.size, self.pieces.len())
    }
}

impl SealedDisk {
    /// Lays chunks out on a disk of `size` bytes. Fails if two claim the same byte or one lies outside.
    pub(crate) fn new<'p>(
        size: u64,
        placements: impl Iterator<Item = &'p Placement>,
        chunks: Arc<Vec<Stored>>,
        segments: Arc<Segments>,
    ) -> Result<Self, String> {
        let mut pieces = Vec::new();
        for placement in placements {
            let length = chunks.get(placement.chunk as usize).map(|chunk| u64::from(chunk.length));
            let mut within = 0_u64;
            for extent in &placement.extents {
                let piece_length =
                    u32::try_from(extent.length).map_err(|_| "an extent is too long".to_owned())?;
                let start = u32::try_from(within).map_err(|_| "a chunk is too long".to_owned())?;
                pieces.push(Piece {
                    disk: extent.offset,
                    length: piece_length,
                    chunk: placement.chunk,
                    within: start,
                });
                within += extent.length;
            }
            if length != Some(within) {
                return Err(format!("a chunk of {length:?} bytes is to fill {within}"));
            }
        }
        pieces.sort_unstable_by_key(|piece| piece.disk);
        let mut end = 0;
        for piece in &pieces {
            if piece.disk < end {
                return Err(format!("two chunks claim byte {:#x}", piece.disk));
            }
            end = piece.disk.saturating_add(u64::from(piece.length));
        }
        if end > size {
            return Err(format!("a chunk lies behind the end of the disk at {size:#x}"));
        }
        Ok(Self { size, pieces, chunks, segments, cache: Mutex::default() })
    }

    fn opened(&self, index: u32, offset: u64) -> Result<Arc<Bytes>, Error> {
        {
            let cache = self.cache.lock().expect("no holder of this lock panics");
            if let Some((_, bytes)) = cache.iter().rev().find(|(other, _)| *other == index) {
                return Ok(Arc::clone(bytes));
            }
        }
        let bytes = Arc::new(self.open_chunk(index, offset)?);
        let mut cache = self.cache.lock().expect("no holder of this lock panics");
        if cache.len() >= CACHED_MAX {
            cache.pop_front();
        }
        cache.push_back((index, Arc::clone(&bytes)));
        Ok(bytes)
    }

    fn open_chunk(&self, index: u32, offset: u64) -> Result<Bytes, Error> {
        let chunk = self.chunks.get(index as usize).expect("checked when the disk was laid out");
        self.segments.read(chunk).map_err(|error| Error::Io {
            what: "open a chunk",
            offset,
            source: std::io::Error::other(error),
        })
    }
}

impl Names for SealedDisk {
    fn name(&self, extent: Extent, into: &mut blake3::Hasher) -> u64 {
        let first = self.pieces.partition_point(|piece| piece.end() <= extent.offset);
        let mut present = 0;
        for piece in self.pieces[first..].iter().take_while(|piece| piece.disk < extent.end()) {
            let whole = Extent::new(piece.disk, u64::from(piece.length));
            let Some((shared, chunk)) = whole.intersect(&extent).zip(self.chunks.get(piece.chunk as usize))
            else {
                continue;
            };
            into.update(&chunk.id.0);
            into.update(&(u64::from(piece.within) + (shared.offset - piece.disk)).to_le_bytes());
            into.update(&shared.offset.to_le_bytes());
            into.update(&shared.length.to_le_bytes());
            present += shared.length;
        }
        into.update(&present.to_le_bytes());
        present
    }
}

impl BlockSource for SealedDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        check_range(self.size, offset, buffer)?;
        let length = buffer.len() as u64;
        let end = offset + length;
        buffer.fill(0);
        let first = self.pieces.partition_point(|piece| piece.end() <= offset);
        for piece in self.pieces[first..].iter().take_while(|piece| piece.disk < end) {
            let extent = Extent::new(piece.disk, u64::from(piece.length));
            let wanted = Extent::new(offset, length);
            let Some(shared) = extent.intersect(&wanted) else { continue };
            let to_usize = |value: u64| usize::try_from(value).expect("inside a buffer in memory");
            let within = piece.within as usize + to_usize(shared.offset - piece.disk);
            let at = to_usize(shared.offset - offset);
            let count = to_usize(shared.length);
            let whole =
                self.chunks.get(piece.chunk as usize).is_some_and(|chunk| chunk.length as usize == count);
            if whole {
                buffer[at..at + count].copy_from_slice(&self.open_chunk(piece.chunk, shared.offset)?);
            } else {
                let bytes = self.opened(piece.chunk, shared.offset)?;
                buffer[at..at + count].copy_from_slice(&bytes[within..within + count]);
            }
        }
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        check_range(self.size, offset, &[0])?;
        let next = self.pieces.partition_point(|piece| piece.end() <= offset);
        let Some(piece) = self.pieces.get(next) else {
            return Ok(Span { kind: SpanKind::Zero, length: self.size - offset });
        };
        if piece.disk > offset {
            return Ok(Span { kind: SpanKind::Zero, length: piece.disk - offset });
        }
        let mut end = piece.disk + u64::from(piece.length);
        for following in self.pieces[next + 1..].iter().take(1024) {
            if following.disk != end {
                break;
            }
            end += u64::from(following.length);
        }
        Ok(Span { kind: SpanKind::Data, length: end - offset })
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}
