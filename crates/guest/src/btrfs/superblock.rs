//! The superblock and its copies.

use super::chunks::Chunks;
use super::sum::Sum;
use super::tree::Root;
use crate::field::{has, le16, le32, le64, narrow, quotient, u8_at, wide};
use crate::fs::Failure;
use crate::window::Window;

/// Where the superblock and its copies are.
pub(crate) const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];

/// Bytes of a superblock.
pub(crate) const BYTES: u64 = 4096;

const MAGIC: &[u8] = b"_BHRfS_M";

/// Mixed back references, default subvolume, mixed groups, LZO, Zstandard, large nodes, extended
/// references, skinny metadata, no holes, another UUID in metadata, simple quotas.
const INCOMPAT_KNOWN: u64 = 0x1_07ff & !0x80;

/// What the survey needs of the superblock; every number was checked.
#[derive(Debug, Clone)]
pub(crate) struct Superblock {
    pub(crate) sector_bytes: u64,
    pub(crate) node_bytes: u64,
    /// Sectors on the volume, cut to its size.
    pub(crate) sectors: u64,
    pub(crate) sectors_claimed: u64,
    pub(crate) root: Root,
    pub(crate) chunk_root: Root,
    pub(crate) log_root: Option<Root>,
    pub(crate) device: u64,
    /// How structures are checked; nothing for a kind that is not known.
    pub(crate) sum: Option<Sum>,
    /// Whether it is one of the copies.
    pub(crate) copy: bool,
}

/// Returns whether one of the copies of the superblock is whole.
pub(crate) fn has_copy(window: &Window<'_>) -> bool {
    PLACES.iter().skip(1).any(|at| read_at(window, *at).is_ok())
}

/// Reads the superblock, or its copy where it is damaged; with the chunks that it knows.
pub(crate) fn read(window: &Window<'_>) -> Result<(Superblock, Chunks), Failure> {
    let [first, copies @ ..] = PLACES;
    let first = match read_at(window, first) {
        Ok(read) => return Ok(read),
        Err(failure) => failure,
    };
    let found = copies.iter().find_map(|at| read_at(window, *at).ok());
    let (mut superblock, chunks) = found.ok_or(first)?;
    superblock.copy = true;
    Ok((superblock, chunks))
}

fn read_at(window: &Window<'_>, at: u64) -> Result<(Superblock, Chunks), Failure> {
    let damaged = |what: &str| Failure::raw("btrfs", format!("damaged superblock: {what}"));
    let bytes = window.bytes_at("the superblock", at, narrow(BYTES));
    let bytes = bytes.map_err(|error| Failure::raw("btrfs", error))?;
    if wide(bytes.len()) < BYTES || !has(&bytes, 64, MAGIC) || le64(&bytes, 48) != at {
        return Err(damaged("magic number or address"));
    }
    let sum = Sum::of(le16(&bytes, 196));
    if sum.is_some_and(|sum| !sum.is_right(&bytes)) {
        return Err(damaged("checksum"));
    }
    let incompat = le64(&bytes, 188);
    if incompat & !INCOMPAT_KNOWN != 0 {
        let unknown = incompat & !INCOMPAT_KNOWN;
        return Err(Failure::raw("btrfs", format!("unknown features {unknown:#x}")));
    }
    if le64(&bytes, 136) != 1 {
        return Err(Failure::raw("btrfs", "a file system of several devices"));
    }
    let (sector_bytes, node_bytes) = (u64::from(le32(&bytes, 144)), u64::from(le32(&bytes, 148)));
    let power = |number: u64| number.is_power_of_two() && (2048..=65_536).contains(&number);
    if !power(sector_bytes) || !power(node_bytes) || node_bytes < sector_bytes {
        return Err(damaged("sector or node size"));
    }
    let generation = le64(&bytes, 72);
    let root =
        |at, generation, level| Root { bytenr: le64(&bytes, at), generation, level: u8_at(&bytes, level) };
    let log_root = root(96, generation.saturating_add(1), 200);
    let sectors_claimed = quotient(le64(&bytes, 209), sector_bytes);
    let sectors = sectors_claimed.min(quotient(window.bytes(), sector_bytes));
    let superblock = Superblock {
        sector_bytes,
        node_bytes,
        sectors,
        sectors_claimed,
        root: root(80, generation, 198),
        chunk_root: root(88, le64(&bytes, 164), 199),
        log_root: Some(log_root).filter(|root| root.bytenr != 0),
        device: le64(&bytes, 201),
        sum,
        copy: false,
    };
    if superblock.sectors == 0 {
        return Err(damaged("number of sectors"));
    }
    let mut chunks = Chunks::default();
    let array = bytes.get(811..2859).unwrap_or_default();
    let array = array.get(..narrow(u64::from(le32(&bytes, 160)))).unwrap_or_default();
    chunks.add_array(array, &superblock)?;
    Ok((superblock, chunks))
}
