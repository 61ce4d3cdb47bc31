//! Data inside inodes (kernel Documentation/filesystems/ext4/inlinedata.rst and
//! attributes.rst).

use super::inode::{BLOCK_AT, BLOCK_BYTES, Inode};
use crate::field::{has, le16, le32, narrow, u8_at, wide};
use airlock_model::Extent;

/// Most entries of the attributes in an inode; the largest inode has room for fewer.
const ENTRIES_MAX: usize = 4096;

const MAGIC: u32 = 0xea02_0000;
/// Index of the prefix `system.`.
const INDEX_SYSTEM: u8 = 7;

/// Returns where the data of an inode lies within it: in `i_block`, and behind it
/// in the value of the attribute `system.data`.
///
/// Both are cut to the size of the file; the second may be empty.
pub(crate) fn parts(inode: &Inode<'_>) -> [Extent; 2] {
    let head = inode.size.min(wide(BLOCK_BYTES));
    let more = inode.size.saturating_sub(head);
    let tail = attribute(inode.bytes).unwrap_or(Extent::new(0, 0));
    [Extent::new(wide(BLOCK_AT), head), Extent::new(tail.offset, tail.length.min(more))]
}

/// Returns where the value of `system.data` lies in the inode.
fn attribute(inode: &[u8]) -> Option<Extent> {
    let area = 128_usize.checked_add(usize::from(le16(inode, 128)))?;
    if le32(inode, area) != MAGIC {
        return None;
    }
    let first = area.checked_add(4)?;
    let mut at = first;
    for _ in 0..ENTRIES_MAX {
        let entry = inode.get(at..)?;
        let name_bytes = usize::from(u8_at(entry, 0));
        if le32(entry, 0) == 0 || entry.len() < 16 {
            return None;
        }
        if u8_at(entry, 1) == INDEX_SYSTEM && name_bytes == 4 && has(entry, 16, b"data") {
            let offset = first.checked_add(usize::from(le16(entry, 2)))?;
            let length = narrow(u64::from(le32(entry, 8)));
            let inside = le32(entry, 4) == 0 && offset.checked_add(length)? <= inode.len();
            return inside.then(|| Extent::new(wide(offset), wide(length)));
        }
        at = at.checked_add(16)?.checked_add(name_bytes)?.checked_next_multiple_of(4)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(size: u32, attribute: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[0..2].copy_from_slice(&0x81a4_u16.to_le_bytes());
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        bytes[26] = 1;
        bytes[128] = 32;
        bytes[160..164].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[164..164 + attribute.len()].copy_from_slice(attribute);
        bytes
    }

    fn check(size: u32, attribute: &[u8], expected: [(u64, u64); 2]) {
        let bytes = inode(size, attribute);
        let inode = Inode::parse(&bytes).expect("in use");
        let parts = parts(&inode).map(|part| (part.offset, part.length));
        assert_eq!(parts, expected);
    }

    #[test]
    fn data_is_in_the_block_and_the_attribute() {
        let data = b"\x04\x07\x40\0\0\0\0\0\x14\0\0\0\0\0\0\0data";
        check(10, b"", [(40, 10), (0, 0)]);
        check(60, data, [(40, 60), (228, 0)]);
        check(70, data, [(40, 60), (228, 10)]);
        check(1000, data, [(40, 60), (228, 20)]);
        check(70, b"", [(40, 60), (0, 0)]);
        // A value behind the end of the inode, and a name that is another one.
        check(70, b"\x04\x07\x50\0\0\0\0\0\x14\0\0\0\0\0\0\0data", [(40, 60), (0, 0)]);
        check(70, b"\x04\x06\x40\0\0\0\0\0\x14\0\0\0\0\0\0\0data", [(40, 60), (0, 0)]);
    }
}
