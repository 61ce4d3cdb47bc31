//! Writing segments.

use crate::Error;
use crate::direct::{ALIGNMENT, AlignedBuffer, DirectFile};
use crate::keys::{self, TAG_BYTES};
use crate::segment::{SegmentId, Segments, Stored};
use airlock_model::{CHUNK_BYTES_MAX, ChunkId, ContentHash};
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes after which a segment is full and the next one is begun.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// Appends sealed chunks to segments of one transfer. Each data stream has its own.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    segments: Arc<Segments>,
    next: Arc<AtomicU32>,
    transfer: [u8; 16],
    current: Option<Current>,
    unsynced: Vec<(PathBuf, File)>,
    /// Sealed bytes of the current segment that are not written yet, behind an aligned offset.
    buffer: AlignedBuffer,
}

/// The segment that is being written.
#[derive(Debug)]
struct Current {
    id: SegmentId,
    path: PathBuf,
    file: DirectFile,
    /// Bytes that are written, in whole blocks.
    written: u64,
    /// Bytes that wait in the buffer.
    waiting: usize,
}

impl Current {
    fn length(&self) -> u64 {
        self.written + self.waiting as u64
    }

    /// Writes the whole blocks of what waits, and leaves the rest.
    fn write_blocks(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let whole = self.waiting / ALIGNMENT * ALIGNMENT;
        self.file.write_aligned(&buffer[..whole], self.written).map_err(Error::file("write", &self.path))?;
        buffer.copy_within(whole..self.waiting, 0);
        self.written += whole as u64;
        self.waiting -= whole;
        Ok(())
    }

    /// Writes all that waits. The last block, if it is not whole, goes through the page cache and
    /// stays in the buffer: once there is more of it, it is written again as a whole.
    fn write_all(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.write_blocks(buffer)?;
        self.file.write_tail(&buffer[..self.waiting], self.written).map_err(Error::file("write", &self.path))
    }
}

impl SegmentWriter {
    /// Starts a writer; `next` gives out segment numbers that no other writer of the transfer uses.
    pub(crate) fn new(segments: Arc<Segments>, transfer: [u8; 16], next: Arc<AtomicU32>) -> Self {
        let buffer = AlignedBuffer::new(WRITE_BYTES + CHUNK_BYTES_MAX + TAG_BYTES);
        Self { segments, next, transfer, current: None, unsynced: Vec::new(), buffer }
    }

    /// Copies a chunk, seals the copy under a new key and writes that.
    pub(crate) fn append(
        &mut self,
        id: ChunkId,
        content: ContentHash,
        bytes: &[u8],
    ) -> Result<Stored, Error> {
        let length = u32::try_from(bytes.len()).expect("a chunk is at most 1 MiB");
        let (segment, offset, sealed) = self.room(bytes.len() + TAG_BYTES)?;
        let (copy, tag) = sealed.split_at_mut(bytes.len());
        copy.copy_from_slice(bytes);
        let key = keys::random();
        tag.copy_from_slice(&keys::seal_once(&key, &id.0, copy));
        self.filled(bytes.len() + TAG_BYTES)?;
        Ok(Stored { id, content, segment, offset, length, key: *key })
    }

    /// Copies a chunk that is sealed already, and returns where it is now.
    pub(crate) fn append_sealed(&mut self, chunk: &Stored) -> Result<Stored, Error> {
        let sealed = self.segments.read_sealed(chunk)?;
        let (segment, offset, room) = self.room(sealed.len())?;
        room.copy_from_slice(&sealed);
        self.filled(sealed.len())?;
        Ok(Stored { segment, offset, ..chunk.clone() })
    }

    /// Returns the segment to append to, its length, and room for as many bytes.
    fn room(&mut self, bytes: usize) -> Result<(SegmentId, u64, &mut [u8]), Error> {
        if self.current.as_ref().is_some_and(|current| current.length() >= SEGMENT_BYTES) {
            self.end_segment()?;
        }
        if self.current.is_none() {
            self.current = Some(self.begin_segment()?);
        }
        let current = self.current.as_ref().expect("one was begun");
        let at = current.waiting;
        Ok((current.id, current.length(), &mut self.buffer[at..at + bytes]))
    }

    /// Takes bytes that were put into the room.
    fn filled(&mut self, bytes: usize) -> Result<(), Error> {
        let current = self.current.as_mut().expect("room() was called");
        current.waiting += bytes;
        if current.waiting >= WRITE_BYTES { current.write_blocks(&mut self.buffer) } else { Ok(()) }
    }

    fn begin_segment(&self) -> Result<Current, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = SegmentId { transfer: self.transfer, number };
        let path = self.segments.path(id);
        let folder = self.segments.folder(&self.transfer);
        if !folder.exists() {
            std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
            keys::sync_parent(&folder)?;
        }
        let file = keys::create_private(&path)?;
        let file = DirectFile::new(file, &path, OpenOptions::new().write(true));
        keys::sync_parent(&path)?;
        Ok(Current { id, path, file, written: 0, waiting: 0 })
    }

    /// Writes what waits; what comes next goes into another segment.
    pub(crate) fn end_segment(&mut self) -> Result<(), Error> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        current.write_all(&mut self.buffer)?;
        let file = current.file.handle().map_err(Error::file("sync", &current.path))?;
        self.unsynced.push((current.path, file));
        Ok(())
    }

    /// Makes everything that was appended durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.unsynced()?.sync()
    }

    /// Returns what has to be synced so that everything appended until now is durable. It may be
    /// synced on another thread while this writer goes on.
    pub(crate) fn unsynced(&mut self) -> Result<Unsynced, Error> {
        let mut files = std::mem::take(&mut self.unsynced);
        if let Some(current) = &mut self.current {
            current.write_all(&mut self.buffer)?;
            let file = current.file.handle().map_err(Error::file("sync", &current.path))?;
            files.push((current.path.clone(), file));
        }
        Ok(Unsynced { files })
    }
}

/// Segments that are written and not durable yet.
#[derive(Debug)]
pub(crate) struct Unsynced {
    files: Vec<(PathBuf, File)>,
}

impl Unsynced {
    /// Waits until they are durable.
    pub(crate) fn sync(self) -> Result<(), Error> {
        for (path, file) in &self.files {
            file.sync_data().map_err(Error::file("sync", path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_any_size_are_read_back_at_once_and_after_the_sync() {
        let folder = tempfile::tempdir().unwrap();
        let segments = Arc::new(Segments::new(folder.path().to_path_buf()));
        let mut writer = SegmentWriter::new(Arc::clone(&segments), [7; 16], Arc::default());
        let mut kept = Vec::new();
        for round in 0..70_usize {
            let length = [1, 4080, 4096, 70_000, CHUNK_BYTES_MAX, 300_001][round % 6];
            let bytes: Vec<u8> =
                (0..length).map(|at| u8::try_from((at * 7 + round) % 251).unwrap()).collect();
            let content = ContentHash::of(&bytes);
            let stored = writer.append(ChunkId([u8::try_from(round).unwrap(); 32]), content, &bytes).unwrap();
            kept.push((stored, bytes));
            if round % 9 == 0 {
                writer.sync().unwrap();
                for (stored, bytes) in &kept {
                    assert_eq!(*segments.read(stored).unwrap(), **bytes);
                }
            }
        }
        writer.sync().unwrap();
        let mut lengths = std::collections::BTreeMap::<_, u64>::new();
        for (stored, bytes) in &kept {
            assert_eq!(*segments.read(stored).unwrap(), **bytes);
            *lengths.entry(stored.segment).or_default() += (bytes.len() + TAG_BYTES) as u64;
        }
        for (segment, length) in lengths {
            assert_eq!(std::fs::metadata(segments.path(segment)).unwrap().len(), length);
        }
        let (moved, bytes) = (writer.append_sealed(&kept[4].0).unwrap(), &kept[4].1);
        assert!(segments.read(&moved).is_err(), "not written yet");
        writer.sync().unwrap();
        assert_eq!(*segments.read(&moved).unwrap(), **bytes);
    }
}
