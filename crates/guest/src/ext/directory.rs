//! Directories (kernel Documentation/filesystems/ext4/directory.rst).
//!
//! The inner nodes of a hashed directory look like empty entries to a linear
//! reader, so every block is read alone and in the same way.

use crate::field::{le16, le32, u8_at};

/// Calls `name` with inode and name of every entry of a block, but `.` and `..`.
/// Returns whether the block was well-formed to its end.
pub(crate) fn entries(block: &[u8], filetype: bool, mut name: impl FnMut(u32, &[u8])) -> bool {
    let mut at = 0_usize;
    while at.saturating_add(8) <= block.len() {
        let entry = block.get(at..).unwrap_or_default();
        let length = match (usize::from(le16(entry, 4)), block.len()) {
            // Blocks of 64 KiB: one entry that fills the block.
            (0 | 65_535, 65_536..) => 65_536_usize.saturating_sub(at),
            (length, 65_537..) => (length & 0xfffc) | (length & 3) << 16,
            (length, _) => length,
        };
        if length < 8 || length & 3 != 0 || length > entry.len() {
            return false;
        }
        let name_bytes = if filetype { usize::from(u8_at(entry, 6)) } else { usize::from(le16(entry, 6)) };
        let inode = le32(entry, 0);
        if inode != 0 && name_bytes > 0 {
            let end = name_bytes.min(255).saturating_add(8);
            match entry.get(8..end.min(length)) {
                Some(b"." | b"..") => {}
                // No path leads through such a name; only encrypted ones are like that.
                Some(bytes) if bytes.contains(&b'/') || bytes.contains(&0) => {}
                Some(bytes) if bytes.len() == name_bytes => name(inode, bytes),
                _ => return false,
            }
        }
        at = at.saturating_add(length);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(inode: u32, length: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = inode.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend([u8::try_from(name.len()).expect("short"), 1]);
        bytes.extend(name);
        bytes.resize(usize::from(length), 0);
        bytes
    }

    fn check(parts: &[Vec<u8>], expected: &[&str], whole: bool) {
        let mut names = Vec::new();
        let well_formed = entries(&parts.concat(), true, |inode, name| {
            names.push(format!("{inode} {}", String::from_utf8_lossy(name)));
        });
        assert_eq!((names, well_formed), (expected.iter().map(ToString::to_string).collect(), whole));
    }

    #[test]
    fn entries_are_read_until_one_is_impossible() {
        let dot = || entry(2, 12, b".");
        check(&[dot(), entry(2, 12, b".."), entry(12, 40, b"a")], &["12 a"], true);
        check(&[entry(0, 16, b"gone"), entry(13, 16, b"here")], &["13 here"], true);
        check(&[dot(), entry(14, 16, b"b"), vec![0; 8]], &["14 b"], false);
        check(&[entry(15, 12, b"long name")[..12].to_vec()], &[], false);
        check(&[entry(1 << 30, 12, b"\xff\xfe")], &["1073741824 \u{fffd}\u{fffd}"], true);
        check(&[], &[], true);
    }
}
