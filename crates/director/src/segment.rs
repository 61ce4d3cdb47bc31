//! Segments: append-only files of sealed chunks.

use crate::Error;
use crate::keys::{self, TAG_BYTES};
use airlock_model::{ChunkId, ContentHash};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Bytes after which a segment is full and the next one is begun.
const SEGMENT_BYTES: u64 = 64 << 20;

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

/// The segments of one director.
#[derive(Debug)]
pub(crate) struct Segments {
    root: PathBuf,
    open: Mutex<HashMap<SegmentId, Arc<File>>>,
}

/// Most pieces that one system call writes (`IOV_MAX`).
const SLICES_MAX: usize = 1024;
/// Most segment files that are kept open for reading.
const OPEN_MAX: usize = 256;

impl Segments {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, open: Mutex::new(HashMap::new()) }
    }

    /// Returns the folder of one transfer's segments.
    pub(crate) fn folder(&self, transfer: &[u8; 16]) -> PathBuf {
        self.root.join(hex::encode(transfer))
    }

    pub(crate) fn path(&self, id: SegmentId) -> PathBuf {
        self.folder(&id.transfer).join(format!("{:05}.seg", id.number))
    }

    fn file(&self, id: SegmentId) -> Result<Arc<File>, Error> {
        let mut open = self.open.lock().expect("no holder of this lock panics");
        if let Some(file) = open.get(&id) {
            return Ok(Arc::clone(file));
        }
        let path = self.path(id);
        let file = Arc::new(File::open(&path).map_err(Error::file("open", &path))?);
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(id, Arc::clone(&file));
        Ok(file)
    }

    /// Forgets an open file, so that its name may come to mean another.
    pub(crate) fn forget(&self, id: SegmentId) {
        self.open.lock().expect("no holder of this lock panics").remove(&id);
    }

    /// Reads the sealed bytes of a chunk.
    pub(crate) fn read_sealed(&self, chunk: &Stored) -> Result<Vec<u8>, Error> {
        let mut sealed = vec![0; chunk.length as usize + TAG_BYTES];
        let file = self.file(chunk.segment)?;
        file.read_exact_at(&mut sealed, chunk.offset)
            .map_err(Error::file("read", &self.path(chunk.segment)))?;
        Ok(sealed)
    }

    /// Reads and opens a chunk.
    pub(crate) fn read(&self, chunk: &Stored) -> Result<Vec<u8>, Error> {
        let mut sealed = self.read_sealed(chunk)?;
        let opened = keys::open_once(&chunk.key, &chunk.id.0, &mut sealed).map(|plain| plain.len());
        let length = opened.ok_or_else(|| {
            let name = format!("chunk {} in {}", chunk.id, self.path(chunk.segment).display());
            Error::damaged(name, format!("its bytes at {:#x} fail authentication", chunk.offset))
        })?;
        sealed.truncate(length);
        Ok(sealed)
    }

    /// Removes everything that a transfer has written.
    pub(crate) fn remove_all(&self, transfer: &[u8; 16]) -> Result<(), Error> {
        let mut open = self.open.lock().expect("no holder of this lock panics");
        open.retain(|id, _| id.transfer != *transfer);
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

/// Appends sealed chunks to segments of one transfer. Each data stream has its own.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    segments: Arc<Segments>,
    next: Arc<std::sync::atomic::AtomicU32>,
    transfer: [u8; 16],
    current: Option<(SegmentId, File, u64)>,
    unsynced: Vec<(SegmentId, File)>,
}

impl SegmentWriter {
    /// Starts a writer; `next` gives out segment numbers that no other writer of the transfer uses.
    pub(crate) fn new(
        segments: Arc<Segments>,
        transfer: [u8; 16],
        next: Arc<std::sync::atomic::AtomicU32>,
    ) -> Self {
        Self { segments, next, transfer, current: None, unsynced: Vec::new() }
    }

    /// Seals chunks in place under new keys and writes them.
    pub(crate) fn append(
        &mut self,
        chunks: &mut [(ChunkId, ContentHash, &mut [u8])],
    ) -> Result<Vec<Stored>, Error> {
        if chunks.is_empty() {
            return Ok(Vec::new());
        }
        let (segment, mut offset) = self.segment()?;
        let mut stored = Vec::with_capacity(chunks.len());
        let mut tags = Vec::with_capacity(chunks.len());
        for (id, content, bytes) in chunks.iter_mut() {
            let key = keys::random();
            tags.push(keys::seal_once(&key, &id.0, bytes));
            let length = u32::try_from(bytes.len()).expect("a chunk is at most 1 MiB");
            stored.push(Stored { id: *id, content: *content, segment, offset, length, key: *key });
            offset += u64::from(length) + TAG_BYTES as u64;
        }
        let pairs = chunks.iter().zip(&tags);
        let mut slices: Vec<IoSlice<'_>> =
            pairs.flat_map(|((_, _, bytes), tag)| [IoSlice::new(bytes), IoSlice::new(tag)]).collect();
        self.write(&mut slices)?;
        Ok(stored)
    }

    /// Copies a chunk that is sealed already, and returns where it is now.
    pub(crate) fn append_sealed(&mut self, chunk: &Stored) -> Result<Stored, Error> {
        let sealed = self.segments.read_sealed(chunk)?;
        let (segment, offset) = self.segment()?;
        self.write(&mut [IoSlice::new(&sealed)])?;
        Ok(Stored { segment, offset, ..chunk.clone() })
    }

    fn write(&mut self, mut slices: &mut [IoSlice<'_>]) -> Result<(), Error> {
        let (id, file, length) = self.current.as_mut().expect("segment() was called");
        let failed = |error| Error::file("write", &self.segments.path(*id))(error);
        while !slices.is_empty() {
            let batch = slices.len().min(SLICES_MAX);
            match file.write_vectored(&slices[..batch]) {
                Ok(0) => return Err(failed(std::io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    *length += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Returns the segment to append to and its length, beginning a new one when it is full.
    fn segment(&mut self) -> Result<(SegmentId, u64), Error> {
        if let Some((id, file, _)) = self.current.take_if(|(_, _, length)| *length >= SEGMENT_BYTES) {
            self.unsynced.push((id, file));
        }
        if let Some((id, _, length)) = &self.current {
            return Ok((*id, *length));
        }
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = SegmentId { transfer: self.transfer, number };
        let path = self.segments.path(id);
        let folder = self.segments.folder(&self.transfer);
        std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        keys::sync_parent(&folder)?;
        let file = keys::create_private(&path)?;
        keys::sync_parent(&path)?;
        self.current = Some((id, file, 0));
        Ok((id, 0))
    }

    /// Makes everything that was written durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.unsynced()?.sync()
    }

    /// Returns what has to be synced so that everything written until now is durable. It may be
    /// synced on another thread while this writer goes on.
    pub(crate) fn unsynced(&mut self) -> Result<Unsynced, Error> {
        let mut files: Vec<(PathBuf, File)> =
            self.unsynced.drain(..).map(|(id, file)| (self.segments.path(id), file)).collect();
        if let Some((id, file, _)) = &self.current {
            let path = self.segments.path(*id);
            let file = file.try_clone().map_err(Error::file("sync", &path))?;
            files.push((path, file));
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
