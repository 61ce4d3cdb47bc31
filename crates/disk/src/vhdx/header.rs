//! Headers and region tables ([MS-VHDX] 2.2).

use super::crc32c::sealed;
use super::{MIB, damaged, unsupported};
use crate::Error;
use crate::field::{array, le16, le32, le64, narrow};
use crate::file::HostFile;

/// Offsets of the two headers and the two region tables.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const HEADER_BYTES: usize = 4 << 10;
const REGION_TABLE_BYTES: usize = 64 << 10;
/// Most entries of a region table, by the specification.
const REGIONS_MAX: u32 = 2047;

/// A GUID as it lies in the file.
pub(super) type Guid = [u8; 16];

/// 2dc27766-f623-4200-9d64-115e9bfd4a08
const BAT: Guid = *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
/// 8b7ca206-4790-4b9a-b8fe-575f050f886e
const METADATA: Guid = *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";

/// What a reader needs to know of the current header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    sequence: u64,
    pub(super) data_write_id: Guid,
    pub(super) log_id: Guid,
    pub(super) log_version: u16,
    pub(super) log_bytes: u64,
    pub(super) log_offset: u64,
}

impl Header {
    /// Reads both headers and returns the sound one with the higher sequence number.
    pub(super) fn read(host: &HostFile) -> Result<Self, Error> {
        let mut magic = [0; 8];
        host.read_padded("read VHDX file identifier", 0, &mut magic)?;
        if &magic != b"vhdxfile" {
            return Err(damaged("there is no VHDX file identifier", 0));
        }
        let mut current: Option<Self> = None;
        for offset in HEADERS {
            let Some(header) = Self::read_at(host, offset)? else {
                continue;
            };
            match &current {
                Some(other) if other.sequence == header.sequence && *other != header => {
                    return Err(damaged("two headers claim to be current", offset));
                }
                Some(other) if other.sequence >= header.sequence => {}
                _ => current = Some(header),
            }
        }
        current.ok_or_else(|| damaged("there is no sound header", 64 << 10))
    }

    fn read_at(host: &HostFile, offset: u64) -> Result<Option<Self>, Error> {
        let mut bytes = [0; HEADER_BYTES];
        host.read_padded("read VHDX header", offset, &mut bytes)?;
        if !bytes.starts_with(b"head") || le32(&bytes, 4) != Some(sealed(&bytes, 4)) {
            return Ok(None);
        }
        let short = || damaged("the header is cut off", offset);
        let version = le16(&bytes, 66).ok_or_else(short)?;
        if version != 1 {
            return Err(unsupported(format!("version {version}")));
        }
        Ok(Some(Self {
            sequence: le64(&bytes, 8).ok_or_else(short)?,
            data_write_id: array(&bytes, 32).ok_or_else(short)?,
            log_id: array(&bytes, 48).ok_or_else(short)?,
            log_version: le16(&bytes, 64).ok_or_else(short)?,
            log_bytes: le32(&bytes, 68).map(u64::from).ok_or_else(short)?,
            log_offset: le64(&bytes, 72).ok_or_else(short)?,
        }))
    }
}

/// A part of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// The regions that every image has.
#[derive(Debug)]
pub(super) struct Regions {
    pub(super) bat: Region,
    pub(super) metadata: Region,
}

impl Regions {
    /// Reads the first region table that is sound.
    pub(super) fn read(host: &HostFile) -> Result<Self, Error> {
        for offset in REGION_TABLES {
            let mut bytes = vec![0; REGION_TABLE_BYTES];
            host.read_padded("read region table", offset, &mut bytes)?;
            if bytes.starts_with(b"regi") && le32(&bytes, 4) == Some(sealed(&bytes, 4)) {
                return Self::parse(&bytes, offset);
            }
        }
        Err(damaged("there is no sound region table", 192 << 10))
    }

    fn parse(bytes: &[u8], offset: u64) -> Result<Self, Error> {
        let count = le32(bytes, 8).filter(|&count| count <= REGIONS_MAX);
        let count = count.ok_or_else(|| damaged("the region table has too many entries", offset))?;
        let (mut bat, mut metadata) = (None, None);
        let entries = bytes.get(16..).unwrap_or_default().as_chunks::<32>().0;
        for entry in entries.iter().take(narrow(u64::from(count))) {
            let region =
                Region { offset: le64(entry, 16).unwrap_or(0), bytes: le32(entry, 24).map_or(0, u64::from) };
            let slot = match array(entry, 0) {
                Some(BAT) => &mut bat,
                Some(METADATA) => &mut metadata,
                _ if le32(entry, 28) == Some(0) => continue,
                _ => return Err(unsupported("an unknown region that is required")),
            };
            if region.offset < MIB
                || [region.offset, region.bytes].iter().any(|at| at & MIB.wrapping_sub(1) != 0)
            {
                return Err(damaged("a region is not aligned", region.offset));
            }
            if slot.replace(region).is_some() {
                return Err(damaged("a region is there twice", region.offset));
            }
        }
        let missing = || damaged("there is no BAT or no metadata region", offset);
        Ok(Self { bat: bat.ok_or_else(missing)?, metadata: metadata.ok_or_else(missing)? })
    }
}
