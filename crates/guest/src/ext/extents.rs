//! Extent trees (kernel Documentation/filesystems/ext4/ifork.rst, "Extent Tree").

use super::Fs;
use super::inode::{Mapping, Walk};
use crate::Error;
use crate::field::{halves, le16, le32, narrow, word};

/// What the root and every node begin with.
pub(crate) const MAGIC: u16 = 0xf30a;
const HEADER_BYTES: usize = 12;
const ENTRY_BYTES: usize = 12;

/// Deepest tree that the kernel follows.
const DEPTH_MAX: u16 = 5;

/// Longer extents are unwritten, by their length minus this.
const WRITTEN_MAX: u16 = 32_768;

/// Maps the extent tree whose root is `root`, the 60 bytes of `i_block`.
pub(crate) fn map(fs: &Fs<'_>, root: &[u8], walk: &mut Walk) -> Result<(), Error> {
    let depth = le16(root, 6);
    node(fs, root, depth.min(DEPTH_MAX), walk)?;
    if depth > DEPTH_MAX {
        walk.bad_nodes = walk.bad_nodes.saturating_add(1);
    }
    Ok(())
}

/// Maps one node; below it every node must be one less deep, so this ends.
fn node(fs: &Fs<'_>, bytes: &[u8], depth: u16, walk: &mut Walk) -> Result<(), Error> {
    let entries = usize::from(le16(bytes, 2));
    let room = bytes.len().saturating_sub(HEADER_BYTES).wrapping_div(ENTRY_BYTES);
    if le16(bytes, 0) != MAGIC || le16(bytes, 6) != depth || entries > room {
        walk.bad_nodes = walk.bad_nodes.saturating_add(1);
        return Ok(());
    }
    let list = bytes.get(HEADER_BYTES..).unwrap_or_default();
    for entry in list.chunks_exact(ENTRY_BYTES).take(entries) {
        if depth == 0 {
            leaf(fs, entry, walk);
            continue;
        }
        let block = halves(le32(entry, 4), u32::from(le16(entry, 8)));
        if !walk.enter(fs, block) {
            continue;
        }
        let mut child = vec![0; narrow(fs.superblock.block_bytes)];
        let offset = fs.superblock.to_bytes(block);
        fs.window.read("an extent tree", offset, &mut child)?;
        node(fs, &child, depth.saturating_sub(1), walk)?;
    }
    Ok(())
}

fn leaf(fs: &Fs<'_>, entry: &[u8], walk: &mut Walk) {
    let length = le16(entry, 4);
    let written = length <= WRITTEN_MAX;
    let length = if written { length } else { length.saturating_sub(WRITTEN_MAX) };
    walk.map(
        fs,
        Mapping {
            logical: le32(entry, 0),
            block: halves(le32(entry, 8), u32::from(le16(entry, 6))),
            length: word(u64::from(length)),
            written,
        },
    );
}
