//! Volume descriptors.

use crate::field::{be16, be32, has, le16, le32, u8_at};
use crate::window::Window;
use crate::{Error, fs::Failure};

/// Bytes of a descriptor; directories and descriptors are read in sectors of this size.
pub(crate) const SECTOR_BYTES: u64 = 2048;

/// First byte of the descriptors; before them is room for boot code.
pub(crate) const START: u64 = 16 * SECTOR_BYTES;

/// Most descriptors; real ones have four or so.
const DESCRIPTORS_MAX: u64 = 64;

/// A primary or supplementary descriptor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree {
    /// First block and bytes of the root directory.
    pub(crate) root: (u64, u64),
    pub(crate) joliet: bool,
}

/// What the descriptors say.
#[derive(Debug)]
pub(crate) struct Descriptors {
    pub(crate) block_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) primary: Tree,
    pub(crate) joliet: Option<Tree>,
}

/// Returns whether a sector is a primary descriptor whose numbers agree with themselves.
fn is_primary(sector: &[u8]) -> bool {
    has(sector, 0, b"\x01CD001\x01")
        && le16(sector, 128) == be16(sector, 130)
        && le32(sector, 80) == be32(sector, 84)
}

/// Returns whether the volume is an ISO 9660 file system.
pub(crate) fn is_there(window: &Window<'_>) -> Result<bool, Error> {
    Ok(is_primary(&window.bytes_at("a volume descriptor", START, 2048)?))
}

fn tree(sector: &[u8], joliet: bool) -> Tree {
    let extra = u64::from(u8_at(sector, 157));
    let block = u64::from(le32(sector, 158)).saturating_add(extra);
    Tree { root: (block, u64::from(le32(sector, 166))), joliet }
}

/// Reads the descriptors up to the last one.
pub(crate) fn read(window: &Window<'_>) -> Result<Descriptors, Failure> {
    let mut found: Option<Descriptors> = None;
    let mut joliet = None;
    for number in 0..DESCRIPTORS_MAX {
        let at = START.saturating_add(number.saturating_mul(SECTOR_BYTES));
        let sector = window.bytes_at("a volume descriptor", at, 2048);
        let sector = sector.map_err(|error| Failure::raw("iso9660", error))?;
        if !has(&sector, 1, b"CD001") || u8_at(&sector, 0) == 255 {
            break;
        }
        let level = sector.get(88..91).unwrap_or_default();
        if is_primary(&sector) && found.is_none() {
            found = Some(Descriptors {
                block_bytes: u64::from(le16(&sector, 128)),
                blocks: u64::from(le32(&sector, 80)),
                primary: tree(&sector, false),
                joliet: None,
            });
        } else if u8_at(&sector, 0) == 2 && matches!(level, b"%/@" | b"%/C" | b"%/E") {
            joliet = Some(tree(&sector, true));
        }
    }
    let found = found.ok_or_else(|| Failure::raw("iso9660", "no primary volume descriptor"))?;
    if !matches!(found.block_bytes, 512 | 1024 | 2048) {
        return Err(Failure::raw("iso9660", "a block size that is not 512, 1024 or 2048"));
    }
    Ok(Descriptors { joliet, ..found })
}
