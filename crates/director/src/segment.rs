//! Segments: append-only files of sealed chunks, and reading them.

use crate::Error;
use crate::direct::{ALIGNMENT, AlignedBuffer, DirectFile};
use crate::keys::{self, TAG_BYTES};
use airlock_model::{CHUNK_BYTES_MAX, ChunkId, ContentHash};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Which segment: the transfer that wrote it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SegmentId {
    pub(crate) transfer: [u8; 16],
    pub(crate) number: u32,
}

/// A chunk at rest: where it is and the key that opens it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) id: ChunkId,
    pub(crate) content: ContentHash,
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    /// Plain bytes; sealed, there are `TAG_BYTES` more.
    pub(crate) length: u32,
    pub(crate) key: [u8; 32],
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stored({:?} at {:?}+{:#x})", self.id, self.segment, self.offset)
    }
}

/// Bytes of a segment that are read at once where chunks are small.
const WINDOW_BYTES: usize = 512 << 10;
/// Chunks of this size are read by themselves.
const ALONE_BYTES: usize = 256 << 10;
/// Most windows that are kept: a reader goes over a segment about as it was written.
const WINDOWS_MAX: usize = 16;
/// Most segment files that are kept open for reading.
const OPEN_MAX: usize = 256;
/// Most buffers that are kept for the next chunk.
const SPARE_MAX: usize = 16;

/// The segments of one director.
#[derive(Debug)]
pub(crate) struct Segments {
    root: PathBuf,
    open: Mutex<HashMap<SegmentId, Arc<DirectFile>>>,
    windows: Mutex<VecDeque<(SegmentId, u64, Arc<Window>)>>,
    spare: Arc<Spare>,
}

type Spare = Mutex<Vec<AlignedBuffer>>;

/// Part of a segment, still sealed, and how much of it there is.
#[derive(Debug)]
struct Window {
    bytes: AlignedBuffer,
    length: usize,
}

/// The bytes of a chunk in memory.
#[derive(Debug)]
pub(crate) struct Bytes {
    /// Absent only while it is dropped.
    buffer: Option<AlignedBuffer>,
    range: Range<usize>,
    spare: Arc<Spare>,
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_deref().map_or(&[], |buffer| &buffer[self.range.clone()])
    }
}

impl Bytes {
    fn as_mut(&mut self) -> &mut [u8] {
        let range = self.range.clone();
        self.buffer.as_deref_mut().map_or(&mut [], |buffer| &mut buffer[range])
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        let mut spare = self.spare.lock().expect("no holder of this lock panics");
        if spare.len() < SPARE_MAX {
            spare.extend(self.buffer.take());
        }
    }
}

impl Segments {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, open: Mutex::default(), windows: Mutex::default(), spare: Arc::default() }
    }

    /// Returns the folder of one transfer's segments.
    pub(crate) fn folder(&self, transfer: &[u8; 16]) -> PathBuf {
        self.root.join(hex::encode(transfer))
    }

    pub(crate) fn path(&self, id: SegmentId) -> PathBuf {
        self.folder(&id.transfer).join(format!("{:05}.seg", id.number))
    }

    fn file(&self, id: SegmentId) -> Result<Arc<DirectFile>, Error> {
        let mut open = self.open.lock().expect("no holder of this lock panics");
        if let Some(file) = open.get(&id) {
            return Ok(Arc::clone(file));
        }
        let path = self.path(id);
        let file = File::open(&path).map_err(Error::file("open", &path))?;
        let file = Arc::new(DirectFile::new(file, &path, OpenOptions::new().read(true)));
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(id, Arc::clone(&file));
        Ok(file)
    }

    fn windows(&self) -> std::sync::MutexGuard<'_, VecDeque<(SegmentId, u64, Arc<Window>)>> {
        self.windows.lock().expect("no holder of this lock panics")
    }

    /// Forgets what is open and read of a segment, so that its name may come to mean another.
    pub(crate) fn forget(&self, id: SegmentId) {
        self.open.lock().expect("no holder of this lock panics").remove(&id);
        self.windows().retain(|(other, _, _)| *other != id);
    }

    /// Returns the window that begins at `start`, with at least `length` bytes.
    fn window(&self, id: SegmentId, start: u64, length: usize) -> std::io::Result<Option<Arc<Window>>> {
        let right = |window: &Window| window.length >= length;
        let found = {
            let windows = self.windows();
            let mut same = windows.iter().rev().filter(|(other, at, _)| *other == id && *at == start);
            same.next().map(|(_, _, window)| Arc::clone(window))
        };
        if let Some(window) = found.filter(|window| right(window)) {
            return Ok(Some(window));
        }
        let file = self.file(id).map_err(std::io::Error::other)?;
        let oldest = {
            let mut windows = self.windows();
            if windows.len() >= WINDOWS_MAX { windows.pop_front() } else { None }
        };
        let oldest = oldest.and_then(|(_, _, window)| Arc::into_inner(window));
        let mut bytes = oldest.map_or_else(|| AlignedBuffer::new(WINDOW_BYTES), |window| window.bytes);
        let count = file.read_aligned(&mut bytes, start)?;
        let window = Arc::new(Window { bytes, length: count });
        let mut windows = self.windows();
        // What was there reached less far: the segment has grown since.
        windows.retain(|(other, at, _)| *other != id || *at != start);
        windows.push_back((id, start, Arc::clone(&window)));
        Ok(Some(window).filter(|window| right(window)))
    }

    /// Reads the sealed bytes of a chunk.
    pub(crate) fn read_sealed(&self, chunk: &Stored) -> Result<Bytes, Error> {
        let failed = |error| Error::file("read", &self.path(chunk.segment))(error);
        let length = chunk.length as usize + TAG_BYTES;
        if length > CHUNK_BYTES_MAX + TAG_BYTES {
            return Err(Error::damaged(format!("chunk {}", chunk.id), "it is longer than a chunk can be"));
        }
        let spare = self.spare.lock().expect("no holder of this lock panics").pop();
        // Room for the longest chunk and the rest of the blocks at its edges.
        let buffer = spare.unwrap_or_else(|| AlignedBuffer::new(CHUNK_BYTES_MAX + TAG_BYTES + 2 * ALIGNMENT));
        let mut bytes = Bytes { buffer: Some(buffer), range: 0..length, spare: Arc::clone(&self.spare) };
        if length >= ALONE_BYTES {
            let skip = usize::try_from(chunk.offset % ALIGNMENT as u64).expect("less than a block");
            let end = (skip + length).next_multiple_of(ALIGNMENT);
            bytes.range = 0..end;
            let file = self.file(chunk.segment)?;
            let count = file.read_aligned(bytes.as_mut(), chunk.offset - skip as u64).map_err(failed)?;
            if count < skip + length {
                return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            bytes.range = skip..skip + length;
            return Ok(bytes);
        }
        let mut at = 0;
        while at < length {
            let offset = chunk.offset + at as u64;
            let within = usize::try_from(offset % WINDOW_BYTES as u64).expect("inside a window");
            let count = (length - at).min(WINDOW_BYTES - within);
            let start = offset - within as u64;
            let window = self.window(chunk.segment, start, within + count).map_err(failed)?;
            let window = window.ok_or_else(|| failed(std::io::ErrorKind::UnexpectedEof.into()))?;
            bytes.as_mut()[at..at + count].copy_from_slice(&window.bytes[within..within + count]);
            at += count;
        }
        Ok(bytes)
    }

    /// Reads and opens a chunk.
    pub(crate) fn read(&self, chunk: &Stored) -> Result<Bytes, Error> {
        let mut bytes = self.read_sealed(chunk)?;
        let opened = keys::open_once(&chunk.key, &chunk.id.0, bytes.as_mut()).map(|plain| plain.len());
        let length = opened.ok_or_else(|| {
            let name = format!("chunk {} in {}", chunk.id, self.path(chunk.segment).display());
            Error::damaged(name, format!("its bytes at {:#x} fail authentication", chunk.offset))
        })?;
        bytes.range.end = bytes.range.start + length;
        Ok(bytes)
    }

    /// Removes everything that a transfer has written.
    pub(crate) fn remove_all(&self, transfer: &[u8; 16]) -> Result<(), Error> {
        let mut open = self.open.lock().expect("no holder of this lock panics");
        open.retain(|id, _| id.transfer != *transfer);
        self.windows().retain(|(id, _, _)| id.transfer != *transfer);
        let folder = self.folder(transfer);
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => keys::sync_parent(&folder),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::file("remove", &folder)(error)),
        }
    }

    /// Returns the numbers of a transfer's segments that exist.
    pub(crate) fn numbers(&self, transfer: &[u8; 16]) -> Result<Vec<u32>, Error> {
        let folder = self.folder(transfer);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("list", &folder)(error)),
        };
        let number = |path: &Path| path.file_stem()?.to_str()?.parse::<u32>().ok();
        let mut numbers = Vec::new();
        for entry in entries {
            numbers.extend(number(&entry.map_err(Error::file("list", &folder))?.path()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}
