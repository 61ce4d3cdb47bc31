//! Footer and header of a VHD ("Hard Disk Footer Format", "Dynamic Disk Header Format").

use super::damaged;
use crate::field::{array, be32, be64, narrow, utf16, wide};
use crate::file::HostFile;
use crate::{Error, Format};

const FOOTER_BYTES: u64 = 512;
const COOKIE: &[u8; 8] = b"conectix";
const HEADER_COOKIE: &[u8; 8] = b"cxsparse";
/// Major version 1, minor version 0, of footer and header.
const VERSION: u32 = 0x0001_0000;
/// Longest name of a parent that is read.
const LOCATOR_BYTES_MAX: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskType {
    Fixed,
    Dynamic,
    Differencing,
}

/// What a reader needs to know of the footer.
#[derive(Debug, Clone)]
pub(super) struct Footer {
    pub(super) data_offset: u64,
    pub(super) size: u64,
    pub(super) disk_type: DiskType,
    pub(super) unique_id: [u8; 16],
}

/// Returns whether the checksum at `at` is the complement of the sum of all other bytes.
fn is_sound(bytes: &[u8], at: usize) -> bool {
    let behind = at.saturating_add(4);
    let parts = [bytes.get(..at), bytes.get(behind..)];
    let sum = parts.iter().flatten().flat_map(|part| part.iter());
    let sum = sum.fold(0_u32, |sum, &byte| sum.wrapping_add(u32::from(byte)));
    be32(bytes, at) == Some(!sum)
}

/// Returns whether a file of `file_bytes` whose last sector is `last` looks like a fixed disk.
pub(crate) fn is_fixed_footer(last: &[u8], file_bytes: u64) -> bool {
    let size = be64(last, 48).and_then(|size| size.checked_add(FOOTER_BYTES));
    last.starts_with(COOKIE) && is_sound(last, 64) && be32(last, 60) == Some(2) && size == Some(file_bytes)
}

impl Footer {
    /// Reads the footer, or the copy of it at the start if there is none at the end.
    pub(super) fn read(host: &HostFile) -> Result<Self, Error> {
        let last = host.bytes.checked_sub(FOOTER_BYTES);
        let last = last.ok_or_else(|| damaged("the file is shorter than a footer", 0))?;
        match Self::read_at(host, last)? {
            Some(footer) => Ok(footer),
            None => match Self::read_at(host, 0)? {
                Some(copy) if copy.disk_type != DiskType::Fixed => Ok(copy),
                _ => Err(damaged("there is no sound footer", last)),
            },
        }
    }

    fn read_at(host: &HostFile, offset: u64) -> Result<Option<Self>, Error> {
        let mut bytes = [0; 512];
        host.read("read VHD footer", offset, &mut bytes)?;
        if !bytes.starts_with(COOKIE) || !is_sound(&bytes, 64) {
            return Ok(None);
        }
        let short = || damaged("the footer is cut off", offset);
        let version = be32(&bytes, 12).ok_or_else(short)?;
        if version != VERSION {
            return Err(Format::Vhd.unsupported(format!("version {version:#x}")));
        }
        let disk_type = match be32(&bytes, 60).ok_or_else(short)? {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => DiskType::Differencing,
            other => return Err(Format::Vhd.unsupported(format!("disk type {other}"))),
        };
        Ok(Some(Self {
            data_offset: be64(&bytes, 16).ok_or_else(short)?,
            size: be64(&bytes, 48).ok_or_else(short)?,
            disk_type,
            unique_id: array(&bytes, 68).ok_or_else(short)?,
        }))
    }
}

/// What a reader needs to know of the header of a dynamic or differencing disk.
#[derive(Debug, Clone)]
pub(super) struct DynamicHeader {
    pub(super) table_offset: u64,
    pub(super) table_entries: u64,
    pub(super) block_bytes: u64,
    pub(super) parent_id: [u8; 16],
    /// The whole header: names of the parent are read when they are needed.
    bytes: Vec<u8>,
}

impl DynamicHeader {
    pub(super) fn read(host: &HostFile, offset: u64) -> Result<Self, Error> {
        let mut bytes = vec![0; 1024];
        if !host.holds(offset, wide(bytes.len())) {
            return Err(damaged("the dynamic disk header is not inside the file", offset));
        }
        host.read("read VHD header", offset, &mut bytes)?;
        if !bytes.starts_with(HEADER_COOKIE) || !is_sound(&bytes, 36) {
            return Err(damaged("there is no sound dynamic disk header", offset));
        }
        let short = || damaged("the dynamic disk header is cut off", offset);
        let version = be32(&bytes, 24).ok_or_else(short)?;
        if version != VERSION {
            return Err(Format::Vhd.unsupported(format!("header version {version:#x}")));
        }
        let block_bytes = u64::from(be32(&bytes, 32).ok_or_else(short)?);
        if !block_bytes.is_power_of_two() || !(4096..=256 << 20).contains(&block_bytes) {
            return Err(damaged("the block size is not 4 KiB to 256 MiB", offset.saturating_add(32)));
        }
        Ok(Self {
            table_offset: be64(&bytes, 16).ok_or_else(short)?,
            table_entries: u64::from(be32(&bytes, 28).ok_or_else(short)?),
            block_bytes,
            parent_id: array(&bytes, 40).ok_or_else(short)?,
            bytes,
        })
    }

    /// Returns the names of the parent: relative, absolute, then its plain file name.
    pub(super) fn parent_names(&self, host: &HostFile) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for wanted in [b"W2ru", b"W2ku"] {
            for locator in self.bytes.get(576..768).unwrap_or_default().as_chunks::<24>().0 {
                if !locator.starts_with(wanted) {
                    continue;
                }
                let length = be32(locator, 8).map_or(0, u64::from);
                let offset = be64(locator, 16).unwrap_or(u64::MAX);
                if length > LOCATOR_BYTES_MAX || !host.holds(offset, length) {
                    return Err(damaged("a parent locator is not inside the file", offset));
                }
                let mut name = vec![0; narrow(length)];
                host.read("read parent locator", offset, &mut name)?;
                names.push(utf16(&name, u16::from_le_bytes));
            }
        }
        names.push(utf16(self.bytes.get(64..576).unwrap_or_default(), u16::from_be_bytes));
        Ok(names)
    }
}
