//! Headers of sparse extents: hosted ("Hosted Sparse Extents"), stream-optimized
//! ("Stream-Optimized Compressed Sparse Extents"), COWD ("ESX Server Sparse
//! Extents") and space-efficient.

use super::{SECTOR, damaged, unsupported};
use crate::Error;
use crate::field::{le16, le32, le64, narrow};
use crate::file::HostFile;

/// Largest grain; VMware writes 64 KiB and less.
const GRAIN_BYTES_MAX: u64 = 2 << 20;

/// `gdOffset` of a file whose grain directory is at its end: the footer has the offset.
const AT_END: u64 = u64::MAX;

const SESPARSE_MAGIC: u64 = 0xcafe_babe;
const SESPARSE_VOLATILE_MAGIC: u64 = 0xcafe_cafe;
const SESPARSE_VERSION: u64 = 0x2_0000_0001;

/// How the entries of grain directory and tables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Sectors of the file, 32 bits.
    Sectors {
        /// Whether a table entry of 1 stands for zeros.
        zero_grains: bool,
        /// Whether grains are behind a marker and compressed.
        compressed: bool,
    },
    /// Numbers of tables and grains, 64 bits with a type in the highest four.
    SpaceEfficient { tables: u64, grains: u64 },
}

/// What a reader needs to know of the header of a sparse extent.
#[derive(Debug, Clone)]
pub(super) struct SparseHeader {
    pub(super) capacity_bytes: u64,
    pub(super) grain_bytes: u64,
    pub(super) table_entries: u64,
    pub(super) directory: u64,
    pub(super) encoding: Encoding,
    /// Where in the file the descriptor is, and how long.
    pub(super) descriptor: Option<(u64, u64)>,
}

fn sectors(count: u64, at: u64) -> Result<u64, Error> {
    count.checked_mul(SECTOR).ok_or_else(|| damaged("a number of sectors is impossible", at))
}

impl SparseHeader {
    /// Reads the header of a sparse extent, or nothing if there is none.
    pub(super) fn read(host: &HostFile) -> Result<Option<Self>, Error> {
        let mut bytes = [0; 512];
        host.read_padded("read VMDK header", 0, &mut bytes)?;
        let header = if bytes.starts_with(b"KDMV") {
            hosted(host, &bytes)?
        } else if bytes.starts_with(b"COWD") {
            cowd(&bytes)?
        } else if le64(&bytes, 0) == Some(SESPARSE_MAGIC) {
            space_efficient(host, &bytes)?
        } else {
            return Ok(None);
        };
        let grain = header.grain_bytes;
        if !grain.is_power_of_two() || !(SECTOR..=GRAIN_BYTES_MAX).contains(&grain) {
            return Err(damaged("the grain size is not 512 bytes to 2 MiB", 20));
        }
        Ok(Some(header))
    }
}

/// Reads the header of a hosted sparse extent, or the footer that is to be used instead.
fn hosted(host: &HostFile, first: &[u8; 512]) -> Result<SparseHeader, Error> {
    const ZERO_GRAINS: u32 = 1 << 2;
    const COMPRESSED: u32 = 1 << 16;
    const MARKERS: u32 = 1 << 17;
    let mut footer = [0; 512];
    let bytes = if le64(first, 56) == Some(AT_END) {
        read_footer(host, &mut footer)?;
        &footer
    } else {
        first
    };
    let short = || damaged("the header is cut off", 0);
    let field32 = |at| le32(bytes, at).ok_or_else(short);
    let field64 = |at| le64(bytes, at).ok_or_else(short);
    let version = field32(4)?;
    if !(1..=3).contains(&version) {
        return Err(unsupported(format!("version {version}")));
    }
    let flags = field32(8)?;
    let compressed = flags & COMPRESSED != 0;
    if compressed && (flags & MARKERS == 0 || le16(bytes, 77) != Some(1)) {
        return Err(unsupported("grains that are compressed without markers or not by deflate"));
    }
    let entries = field32(44)?;
    if entries == 0 || entries > 512 {
        return Err(damaged("a grain table has not 1 to 512 entries", 44));
    }
    let (offset, length) = (le64(first, 28).unwrap_or(0), le64(first, 36).unwrap_or(0));
    let descriptor =
        if offset == 0 || length == 0 { None } else { Some((sectors(offset, 28)?, sectors(length, 36)?)) };
    Ok(SparseHeader {
        capacity_bytes: sectors(field64(12)?, 12)?,
        grain_bytes: sectors(field64(20)?, 20)?,
        table_entries: u64::from(entries),
        directory: sectors(field64(56)?, 56)?,
        encoding: Encoding::Sectors { zero_grains: flags & ZERO_GRAINS != 0, compressed },
        descriptor,
    })
}

/// Reads the footer of a stream: marker, header, end-of-stream marker in the last three sectors.
fn read_footer(host: &HostFile, footer: &mut [u8; 512]) -> Result<(), Error> {
    const FOOTER: u32 = 3;
    let mut end = [0; 1536];
    let wrong = || damaged("the stream does not end with a footer", host.bytes);
    let at = host.bytes.checked_sub(1536).ok_or_else(wrong)?;
    host.read("read VMDK footer", at, &mut end)?;
    let (marker, rest) = end.split_at(narrow(SECTOR));
    let (header, last) = rest.split_at(narrow(SECTOR));
    let is_footer = le32(marker, 8) == Some(0) && le32(marker, 12) == Some(FOOTER);
    let is_last = le64(last, 0) == Some(0) && le32(last, 8) == Some(0) && le32(last, 12) == Some(0);
    if !is_footer || !is_last || !header.starts_with(b"KDMV") || le64(header, 56) == Some(AT_END) {
        return Err(wrong());
    }
    footer.copy_from_slice(header);
    Ok(())
}

/// Reads the header of an ESX redo log (COWD).
fn cowd(bytes: &[u8; 512]) -> Result<SparseHeader, Error> {
    let short = || damaged("the header is cut off", 0);
    let field = |at| le32(bytes, at).map(u64::from).ok_or_else(short);
    let version = field(4)?;
    if version != 1 {
        return Err(unsupported(format!("COWD version {version}")));
    }
    Ok(SparseHeader {
        capacity_bytes: sectors(field(12)?, 12)?,
        grain_bytes: sectors(field(16)?, 16)?,
        table_entries: 4096,
        directory: sectors(field(20)?, 20)?,
        encoding: Encoding::Sectors { zero_grains: false, compressed: false },
        descriptor: None,
    })
}

/// Reads the headers of a space-efficient extent; one whose journal is to be replayed is refused.
fn space_efficient(host: &HostFile, bytes: &[u8; 512]) -> Result<SparseHeader, Error> {
    let field = |at| le64(bytes, at).ok_or_else(|| damaged("the header is cut off", 0));
    if field(8)? != SESPARSE_VERSION {
        return Err(unsupported(format!("seSparse version {:#x}", field(8)?)));
    }
    if field(40)? != 0 {
        return Err(unsupported("unknown flags of a seSparse extent"));
    }
    let volatile = sectors(field(80)?, 80)?;
    let mut second = [0; 512];
    if !host.holds(volatile, SECTOR) {
        return Err(damaged("the volatile header is not inside the file", 80));
    }
    host.read("read volatile header", volatile, &mut second)?;
    if le64(&second, 0) != Some(SESPARSE_VOLATILE_MAGIC) {
        return Err(damaged("there is no volatile header", volatile));
    }
    if le64(&second, 24) != Some(0) {
        return Err(unsupported("a seSparse extent with a journal to replay"));
    }
    let table_bytes = sectors(field(32)?, 32)?;
    if table_bytes == 0 || table_bytes > 64 << 10 {
        return Err(damaged("the size of a grain table is impossible", 32));
    }
    Ok(SparseHeader {
        capacity_bytes: sectors(field(16)?, 16)?,
        grain_bytes: sectors(field(24)?, 24)?,
        table_entries: table_bytes.wrapping_div(8),
        directory: sectors(field(128)?, 128)?,
        encoding: Encoding::SpaceEfficient {
            tables: sectors(field(144)?, 144)?,
            grains: sectors(field(192)?, 192)?,
        },
        descriptor: None,
    })
}
