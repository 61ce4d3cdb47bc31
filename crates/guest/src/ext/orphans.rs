//! Inodes that are in use by nobody: files that were deleted while they were open.
//!
//! A mount frees them. Until then their blocks are neither free nor a file's.

use super::Fs;
use super::inode::{Inode, Walk};
use super::scan::inode_at;
use crate::Error;
use crate::field::{le16, le32, narrow};
use std::collections::HashSet;

/// Most inodes that are followed; a list has as many as files were open.
const ORPHANS_MAX: usize = 1 << 20;

/// Blocks of the file of orphans end with a magic number and a checksum.
const TAIL_BYTES: usize = 8;

/// Returns the inodes that a mount would free.
pub(crate) fn list(fs: &Fs<'_>) -> Result<HashSet<u32>, Error> {
    let mut seen = HashSet::new();
    let mut orphans = HashSet::new();
    let mut next = fs.superblock.last_orphan;
    // An inode of the list has the number of the next one in place of the time of its deletion.
    while next != 0 && seen.len() < ORPHANS_MAX && seen.insert(next) {
        let Some(bytes) = inode(fs, next)? else { break };
        if le16(&bytes, 26) == 0 {
            orphans.insert(next);
        }
        next = le32(&bytes, 20);
    }
    let [.., file] = fs.superblock.own_inodes;
    for number in listed(fs, file)? {
        if inode(fs, number)?.is_some_and(|bytes| le16(&bytes, 26) == 0) {
            orphans.insert(number);
        }
    }
    Ok(orphans)
}

/// Returns the bytes of an inode that has been in use.
fn inode(fs: &Fs<'_>, number: u32) -> Result<Option<Vec<u8>>, Error> {
    let Some(at) = inode_at(fs, number) else {
        return Ok(None);
    };
    let bytes = fs.window.bytes_at("an orphan", at, narrow(fs.superblock.inode_bytes))?;
    Ok((le16(&bytes, 0) != 0).then_some(bytes))
}

/// Returns the inodes that are in the file of orphans.
fn listed(fs: &Fs<'_>, file: u32) -> Result<HashSet<u32>, Error> {
    let mut numbers = HashSet::new();
    let bytes = if file == 0 { None } else { inode(fs, file)? };
    let Some(bytes) = bytes else {
        return Ok(numbers);
    };
    let mut walk = Walk::default();
    Inode::parse_any(&bytes).map(fs, &mut walk)?;
    let mut block = vec![0; narrow(fs.superblock.block_bytes)];
    for run in &walk.mappings {
        for skipped in 0..u64::from(run.length) {
            let at = fs.superblock.to_bytes(run.block.saturating_add(skipped));
            fs.window.read("the file of orphans", at, &mut block)?;
            let entries = block.get(..block.len().saturating_sub(TAIL_BYTES)).unwrap_or_default();
            numbers.extend(entries.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry)));
            if numbers.len() > ORPHANS_MAX {
                return Ok(numbers);
            }
        }
    }
    numbers.remove(&0);
    Ok(numbers)
}
