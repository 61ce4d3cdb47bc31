//! The directory at the end of a zip archive.

use super::{Member, NAME_BYTES_MAX};
use crate::source::{Cursor, ReadAt, bytes_at};
use crate::walk::Walk;
use airlock_model::Reason;
use airlock_model::field::{le16, le32, le64, narrow, wide};
use std::io::{BufReader, Read};

const END: &[u8; 4] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const END64_LOCATOR: &[u8; 4] = b"PK\x06\x07";
const END64_LOCATOR_BYTES: u64 = 20;
const END64: &[u8; 4] = b"PK\x06\x06";
const ENTRY: &[u8; 4] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;

/// Entries of directories that are read.
const ENTRIES_MAX: usize = 100_000;

/// Bytes of names that are kept.
const NAMES_BYTES_MAX: usize = 8 << 20;

/// What the directories of an archive say.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) members: Vec<Member>,
    /// Where the directories themselves lie.
    pub(super) extents: Vec<(u64, u64)>,
}

/// Reads the directory that the last end record (4.3.16) leads to, and those of earlier ends
/// within reach of a comment: which one counts depends on the program.
pub(super) fn read(walk: &Walk<'_>, source: &mut dyn ReadAt) -> Directory {
    let size = source.size();
    let reach = wide(END_BYTES).saturating_add(u64::from(u16::MAX));
    let tail_at = size.saturating_sub(reach);
    let tail = bytes_at(source, tail_at, narrow(reach));
    let mut directory = Directory::default();
    let mut names = 0_usize;
    let ends: Vec<usize> = memchr::memmem::rfind_iter(&tail, END).take(4).collect();
    for place in ends {
        let end = tail.get(place..).unwrap_or_default();
        let at = tail_at.saturating_add(wide(place));
        let Some((start, length)) = directory_of(source, end, at) else { continue };
        if directory.extents.contains(&(start, start.saturating_add(length))) {
            continue;
        }
        let mut entries = BufReader::new(Cursor::new(source, start, start.saturating_add(length)));
        // A prefix before the archive moves all offsets by its length.
        let moved = start.saturating_sub(stated_start(end, start));
        while let Some(mut member) = entry(&mut entries) {
            member.header = member.header.saturating_add(moved);
            names = names.saturating_add(member.name.len());
            if directory.members.len() >= ENTRIES_MAX || names > NAMES_BYTES_MAX {
                walk.note(Reason::Limit);
                break;
            }
            directory.members.push(member);
        }
        directory.extents.push((start, start.saturating_add(length)));
    }
    // Two directories may say the same of a member.
    directory.members.sort_by_key(|member| (member.header, member.method, member.packed));
    directory.members.dedup_by(|one, other| {
        (one.header, one.method, one.packed, one.flags)
            == (other.header, other.method, other.packed, other.flags)
    });
    directory
}

/// Returns where the directory of the end record at `at` lies, and its length.
fn directory_of(source: &mut dyn ReadAt, end: &[u8], at: u64) -> Option<(u64, u64)> {
    let (length, start) = (le32(end, 12)?, le32(end, 16)?);
    if start == u32::MAX || length == u32::MAX {
        let locator = bytes_at(source, at.checked_sub(END64_LOCATOR_BYTES)?, 20);
        let end64_at = locator.starts_with(END64_LOCATOR).then(|| le64(&locator, 8)).flatten()?;
        let end64 = bytes_at(source, end64_at, 56);
        if !end64.starts_with(END64) {
            return None;
        }
        return Some((le64(&end64, 48)?, le64(&end64, 40)?));
    }
    let length = u64::from(length);
    // It stands right before its end record; the offset only says so if nothing is before the
    // archive.
    let before = at.checked_sub(length)?;
    let begins = |source: &mut dyn ReadAt, at| bytes_at(source, at, 4).starts_with(ENTRY);
    if length == 0 {
        return None;
    }
    if begins(source, before) {
        return Some((before, length));
    }
    begins(source, u64::from(start)).then_some((u64::from(start), length))
}

/// Returns where the end record says that the directory begins.
fn stated_start(end: &[u8], start: u64) -> u64 {
    match le32(end, 16) {
        Some(u32::MAX) | None => start,
        Some(stated) => u64::from(stated).min(start),
    }
}

/// Reads one entry (4.3.12).
fn entry(entries: &mut impl Read) -> Option<Member> {
    let mut fixed = [0; ENTRY_BYTES];
    entries.read_exact(&mut fixed).ok()?;
    if !fixed.starts_with(ENTRY) {
        return None;
    }
    let mut take = |count: u16| {
        let mut bytes = vec![0; usize::from(count)];
        entries.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    let mut name = take(le16(&fixed, 28)?)?;
    let extra = take(le16(&fixed, 30)?)?;
    take(le16(&fixed, 32)?)?;
    name.truncate(NAME_BYTES_MAX);
    let mut member = Member {
        flags: le16(&fixed, 8)?,
        method: le16(&fixed, 10)?,
        packed: u64::from(le32(&fixed, 20)?),
        unpacked: u64::from(le32(&fixed, 24)?),
        name,
        header: u64::from(le32(&fixed, 42)?),
    };
    member.widen(&extra, true);
    Some(member)
}
