//! Writes new images in one pass.

use crate::field::{narrow, wide};
use crate::file::io;
use crate::{Error, Format};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Zeros to compare with.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A new image that is written from its start to its end. What is never written reads as zeros.
pub trait ImageWriter: Send {
    /// Writes `bytes` at `offset`, which is not below the end of what was written before.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error>;

    /// Completes the image and waits until it is on the storage device.
    ///
    /// An image that is dropped instead is not valid and has to be removed.
    fn finish(&mut self) -> Result<(), Error>;

    /// Returns the format of the image.
    fn format(&self) -> Format;
}

/// Returns whether all bytes are zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.get(..chunk.len()) == Some(chunk))
}

/// Creates the file of a new image; an existing file is never overwritten.
pub(crate) fn create(path: &Path) -> Result<File, Error> {
    File::options().write(true).create_new(true).open(path).map_err(io("create image", 0))
}

/// Refuses writes out of order and behind the end.
pub(crate) fn check_write(size: u64, written: u64, offset: u64, bytes: &[u8]) -> Result<u64, Error> {
    if offset < written {
        return Err(Error::Backwards { offset, written });
    }
    crate::source::check_range(size, offset, bytes)?;
    Ok(offset.saturating_add(wide(bytes.len())))
}

/// Writes a raw image that is sparse where the disk is zeros.
#[derive(Debug)]
pub struct RawWriter {
    file: File,
    size: u64,
    written: u64,
}

impl RawWriter {
    /// Grain of sparseness: what file systems allocate.
    const GRAIN: usize = 4096;

    /// Creates the image of a disk of `virtual_size` bytes; the file must not exist.
    pub fn create(path: &Path, virtual_size: u64) -> Result<Self, Error> {
        Ok(Self { file: create(path)?, size: virtual_size, written: 0 })
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, offset).map_err(io("write image", offset))
    }
}

impl ImageWriter for RawWriter {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.written = check_write(self.size, self.written, offset, bytes)?;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let into = narrow(at).wrapping_rem(Self::GRAIN);
            let length = Self::GRAIN.saturating_sub(into).min(rest.len());
            let zeros = rest.get(..length).is_some_and(is_zero);
            // Takes every following grain of the same kind.
            let same = rest
                .get(length..)
                .unwrap_or_default()
                .chunks(Self::GRAIN)
                .take_while(|grain| is_zero(grain) == zeros)
                .map(<[u8]>::len)
                .fold(length, usize::saturating_add);
            let (part, behind) = rest.split_at(same.min(rest.len()));
            if !zeros {
                self.put(at, part)?;
            }
            at = at.saturating_add(wide(part.len()));
            rest = behind;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.file.set_len(self.size).and_then(|()| self.file.sync_all()).map_err(io("finish image", 0))
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}
