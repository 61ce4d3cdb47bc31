//! Zip archives, read in both ways.
//!
//! The directory at the end says where members begin, and so do the headers before each of them.
//! Programs believe the one or the other, and a hostile archive shows them different content. So
//! both are read: every member of the directory as the directory has it; then every local header
//! that the directory does not know, or contradicts, as that header has it, wherever it stands.
//! Sizes are not believed where the compression has an end of its own.
//!
//! Numbers of sections are those of APPNOTE.TXT 6.3.10.

mod directory;
mod implode;

use crate::compressed::open_as;
use crate::gzip::Inflate;
use crate::layer::Relation;
use crate::sniff::Kind;
use crate::source::{Cursor, ReadAt, bytes_at, find};
use crate::walk::Walk;
use airlock_model::field::{le16, le32, le64, wide};
use airlock_model::{Escaped, Reason};
use std::io::BufReader;

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;

/// Bytes of an archive that are read at once for a member.
const READ_BYTES: usize = 32 << 10;

/// Longest name of a member that is shown.
const NAME_BYTES_MAX: usize = 1024;

/// A member as a header has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    flags: u16,
    method: u16,
    packed: u64,
    unpacked: u64,
    name: Vec<u8>,
    /// Where its local header is.
    header: u64,
}

impl Member {
    /// The sizes come behind the data (4.4.4, bit 3).
    fn sizes_follow(&self) -> bool {
        self.flags & 8 != 0
    }

    /// Takes the sizes out of a field for large archives (4.5.3), where the header has no room.
    fn widen(&mut self, mut extra: &[u8], header: bool) {
        while let (Some(tag), Some(size)) = (le16(extra, 0), le16(extra, 2)) {
            let field = extra.get(4..).unwrap_or_default();
            let end = usize::from(size).min(field.len());
            let (field, rest) = field.split_at(end);
            if tag == 1 {
                let mut at = 0_usize;
                let mut next = |value: &mut u64| {
                    if *value == u64::from(u32::MAX)
                        && let Some(wider) = le64(field, at)
                    {
                        *value = wider;
                        at = at.saturating_add(8);
                    }
                };
                next(&mut self.unpacked);
                next(&mut self.packed);
                if header {
                    next(&mut self.header);
                }
            }
            extra = rest;
        }
    }
}

/// Reads the local header at `at` (4.3.7), and where the data behind it begins.
fn local_header(source: &mut dyn ReadAt, at: u64) -> Option<(Member, u64)> {
    let fixed = bytes_at(source, at, LOCAL_BYTES);
    if !fixed.starts_with(LOCAL) {
        return None;
    }
    let (name_bytes, extra_bytes) = (le16(&fixed, 26)?, le16(&fixed, 28)?);
    let behind = at.checked_add(wide(LOCAL_BYTES))?;
    let name = bytes_at(source, behind, usize::from(name_bytes).min(NAME_BYTES_MAX));
    let extra_at = behind.checked_add(u64::from(name_bytes))?;
    let extra = bytes_at(source, extra_at, usize::from(extra_bytes));
    let mut member = Member {
        flags: le16(&fixed, 6)?,
        method: le16(&fixed, 8)?,
        packed: u64::from(le32(&fixed, 18)?),
        unpacked: u64::from(le32(&fixed, 22)?),
        name,
        header: at,
    };
    member.widen(&extra, false);
    Some((member, extra_at.checked_add(u64::from(extra_bytes))?))
}

/// Opens every member, in both ways.
pub(crate) fn open(walk: &Walk<'_>, depth: usize, source: &mut dyn ReadAt) {
    let directory = directory::read(walk, source);
    // Parts of the archive that a reading has accounted for: from a local header to the end of
    // its data.
    let mut read: Vec<(u64, u64)> = directory.extents.clone();
    for member in &directory.members {
        let Some((local, data)) = local_header(source, member.header) else {
            walk.note(Reason::Unsupported);
            continue;
        };
        open_member(walk, depth, source, member, data);
        read.push((member.header, data.saturating_add(member.packed)));
        let agrees = local.method == member.method
            && local.flags & 1 == member.flags & 1
            && (local.packed == member.packed || local.sizes_follow());
        if !agrees {
            open_member(walk, depth, source, &local, data);
        }
    }
    read.sort_unstable();
    let mut at = 0;
    for (start, end) in read.into_iter().chain([(source.size(), source.size())]) {
        if at < start {
            open_strays(walk, depth, source, (at, start));
        }
        at = at.max(end);
    }
}

/// Opens every member whose local header lies in a part that the directory does not know.
fn open_strays(walk: &Walk<'_>, depth: usize, source: &mut dyn ReadAt, (from, until): (u64, u64)) {
    let mut at = from;
    while let Some(place) = find(source, LOCAL, at, until) {
        at = place.saturating_add(wide(LOCAL.len()));
        let Some((member, data)) = local_header(source, place) else { continue };
        let plain = |byte: &u8| *byte != 0;
        if member.name.is_empty() || !member.name.iter().all(plain) || Method::of(member.method).is_none() {
            continue;
        }
        open_member(walk, depth, source, &member, data);
        if !member.sizes_follow() {
            at = at.max(data.saturating_add(member.packed).min(until));
        }
    }
}

/// How a member is stored (4.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Stored,
    Deflate,
    Implode,
    Lzma,
    Other(Kind),
    /// Known by name, and by AES: the method behind it is in an extra field.
    Closed,
    Encrypted,
}

impl Method {
    fn of(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Stored,
            6 => Self::Implode,
            8 => Self::Deflate,
            9 => Self::Other(Kind::Deflate64),
            12 => Self::Other(Kind::Bzip2),
            14 => Self::Lzma,
            93 => Self::Other(Kind::Zstd),
            95 => Self::Other(Kind::Xz),
            1..=5 | 7 | 10 | 18 | 19 | 94 | 96..=98 => Self::Closed,
            99 => Self::Encrypted,
            _ => return None,
        })
    }
}

/// Reads the data of a member.
fn packed(source: &mut dyn ReadAt, data: u64, end: u64) -> BufReader<Cursor<'_>> {
    BufReader::with_capacity(READ_BYTES, Cursor::new(source, data, end))
}

/// Opens one member whose data begins at `data`.
fn open_member(walk: &Walk<'_>, depth: usize, source: &mut dyn ReadAt, member: &Member, data: u64) {
    if member.packed == 0 && member.unpacked == 0 && !member.sizes_follow() {
        return;
    }
    if member.flags & 1 != 0 {
        walk.note(Reason::Encrypted);
        return;
    }
    let shown = member.name.get(..NAME_BYTES_MAX).unwrap_or(&member.name);
    let name = format!("zip:{}", Escaped(shown));
    let end = source.size();
    match Method::of(member.method) {
        // What is stored has no end of its own; without a size it lies in plain sight.
        Some(Method::Stored) => {
            let bytes = packed(source, data, data.saturating_add(member.packed));
            walk.open(depth, (&name, data), Relation::Same, Box::new(bytes));
        }
        Some(Method::Deflate) => {
            let bytes = Inflate::new(packed(source, data, end), false);
            walk.open(depth, (&name, data), Relation::Decoded, Box::new(bytes));
        }
        Some(Method::Implode) => {
            let bytes = implode::Explode::new(packed(source, data, end), member.flags, member.unpacked);
            walk.open(depth, (&name, data), Relation::Decoded, Box::new(bytes));
        }
        Some(Method::Other(kind)) => {
            // These complain of what is behind their end.
            let known = member.packed > 0;
            let end = if known { data.saturating_add(member.packed) } else { end };
            open_as(walk, kind, (depth, &name, data), packed(source, data, end));
        }
        Some(Method::Lzma) => {
            let bytes = packed(source, data, end);
            crate::compressed::open_zip_lzma(walk, (depth, &name, data), bytes, member.unpacked);
        }
        Some(Method::Encrypted) => walk.note(Reason::Encrypted),
        Some(Method::Closed) | None => walk.note(Reason::Unsupported),
    }
}
