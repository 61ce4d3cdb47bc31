//! Files that are read and written past the page cache, where the file system allows it.
//!
//! What a transfer brings is written once and, if at all, read once soon after. Filling the page
//! cache with it costs the kernel more than everything else that a director does with a byte,
//! and drives out what other programs need.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What offsets, lengths and memory are multiples of; no device in use asks for more.
pub(crate) const ALIGNMENT: usize = 4096;

/// Memory that a device can be read into and written from.
pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// Returns at least `bytes` zeros.
    pub(crate) fn new(bytes: usize) -> Self {
        let memory = vec![0; bytes.next_multiple_of(ALIGNMENT) + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start }
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len())
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.memory.len() - ALIGNMENT]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let end = self.start + self.memory.len() - ALIGNMENT;
        &mut self.memory[self.start..end]
    }
}

/// A file that is read or written past the page cache, or through it where that is refused.
#[derive(Debug)]
pub(crate) struct DirectFile {
    file: File,
    direct: Option<File>,
    refused: AtomicBool,
}

impl DirectFile {
    /// Takes a file that was opened by `options` at `path`.
    pub(crate) fn new(file: File, path: &Path, options: &mut OpenOptions) -> Self {
        let flag = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let direct = options.custom_flags(flag).open(path).ok().filter(|_| flag != 0);
        Self { file, direct, refused: AtomicBool::new(false) }
    }

    /// Returns another handle to the file, to make it durable on another thread.
    pub(crate) fn handle(&self) -> Result<File> {
        self.file.try_clone()
    }

    fn direct(&self) -> Option<&File> {
        self.direct.as_ref().filter(|_| !self.refused.load(Ordering::Relaxed))
    }

    /// Writes aligned bytes to an aligned offset.
    pub(crate) fn write_aligned(&self, bytes: &[u8], offset: u64) -> Result<()> {
        if let Some(direct) = self.direct() {
            match direct.write_all_at(bytes, offset) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    self.refused.store(true, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Writes any bytes anywhere.
    pub(crate) fn write_tail(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Fills `buffer` from an aligned offset, as far as the file goes. Returns how far that is.
    pub(crate) fn read_aligned(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        if let Some(direct) = self.direct() {
            match fill(direct, buffer, offset, ALIGNMENT) {
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    self.refused.store(true, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        fill(&self.file, buffer, offset, 1)
    }
}

/// Reads until the buffer is full or the file ends, which it does where a read ends out of step.
fn fill(file: &File, buffer: &mut [u8], offset: u64, step: usize) -> Result<usize> {
    let mut at = 0;
    while at < buffer.len() {
        match file.read_at(&mut buffer[at..], offset + at as u64) {
            Ok(0) => break,
            Ok(count) => {
                at += count;
                if count % step != 0 {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(direct: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let create = File::create_new(&path).unwrap();
        let mut file = DirectFile::new(create, &path, OpenOptions::new().write(true));
        file.direct = file.direct.filter(|_| direct);
        let mut buffer = AlignedBuffer::new(3 * ALIGNMENT);
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = u8::try_from(at % 251).unwrap();
        }
        file.write_aligned(&buffer[..2 * ALIGNMENT], 0).unwrap();
        file.write_tail(&buffer[2 * ALIGNMENT..2 * ALIGNMENT + 5], 2 * ALIGNMENT as u64).unwrap();
        // The block that was begun is written again as a whole.
        file.write_aligned(&buffer[2 * ALIGNMENT..], 2 * ALIGNMENT as u64).unwrap();
        file.write_tail(b"end", 3 * ALIGNMENT as u64).unwrap();
        let mut read = DirectFile::new(File::open(&path).unwrap(), &path, OpenOptions::new().read(true));
        read.direct = read.direct.filter(|_| direct);
        let mut back = AlignedBuffer::new(8 * ALIGNMENT);
        assert_eq!(read.read_aligned(&mut back, 0).unwrap(), 3 * ALIGNMENT + 3);
        assert_eq!(back[..3 * ALIGNMENT], buffer[..]);
        assert_eq!(&back[3 * ALIGNMENT..3 * ALIGNMENT + 3], b"end");
        assert_eq!(read.read_aligned(&mut back, 3 * ALIGNMENT as u64).unwrap(), 3);
    }

    #[test]
    fn what_is_written_is_read_whether_the_page_cache_is_used_or_not() {
        check(true);
        check(false);
    }
}
