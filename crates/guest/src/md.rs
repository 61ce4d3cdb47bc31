//! md arrays: RAID 0, RAID 1 and linear (kernel `include/uapi/linux/raid/md_p.h`,
//! Documentation/admin-guide/md.rst).
//!
//! The members of a RAID 1 are copies; each is inspected as the copy that it is. What
//! has parity is named and taken as raw bytes.

use crate::Error;
use crate::field::{le16, le32, le64, narrow, quotient, wide};
use crate::window::{Lies, Segment, Window};
use airlock_model::Extent;
use std::collections::BTreeMap;

const MAGIC: u32 = 0xa92b_4efc;
const SECTOR: u64 = 512;
/// Smallest chunk of a striped array.
const CHUNK_BYTES_MIN: u64 = 4096;
/// Most members of an array.
const MEMBERS_MAX: u32 = 128;

/// The superblock of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    uuid: [u8; 16],
    /// −1 is linear.
    level: i32,
    chunk_bytes: u64,
    members: u32,
    /// Position in the array; none for a spare.
    role: Option<u32>,
    /// Where the data is, in bytes of the member.
    pub(crate) data: Extent,
}

/// What members make up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Array {
    /// `md/` and the start of its UUID; with the position for a copy.
    pub(crate) label: String,
    pub(crate) segments: Vec<Segment>,
    /// What it is called, where its bytes are not what a file system would see.
    pub(crate) opaque: Option<&'static str>,
}

/// Reads the superblock of a member.
pub(crate) fn read(window: &Window<'_>) -> Result<Option<Member>, Error> {
    const WHAT: &str = "a superblock of md";
    let bytes = window.bytes();
    let last = bytes.saturating_sub(8192) & !4095;
    for at in [0, 4096, last] {
        let block = window.bytes_at(WHAT, at, 4096)?;
        if le32(&block, 0) == MAGIC && le32(&block, 4) == 1 && le64(&block, 144).saturating_mul(SECTOR) == at
        {
            return Ok(version_1(&block, bytes));
        }
    }
    let old = (bytes & !0xffff).saturating_sub(0x1_0000);
    let block = window.bytes_at(WHAT, old, 4096)?;
    Ok((le32(&block, 0) == MAGIC && le32(&block, 4) == 0).then(|| version_0(&block, old)))
}

fn version_1(block: &[u8], bytes: u64) -> Option<Member> {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(block.get(16..32)?);
    let number = narrow(u64::from(le32(block, 160)));
    let role = u32::from(le16(block, 256_usize.checked_add(number.checked_mul(2)?)?));
    let sectors = |at| le64(block, at).saturating_mul(SECTOR);
    let data = Extent::new(sectors(128), sectors(136)).intersect(&Extent::new(0, bytes))?;
    let size = sectors(80);
    Some(Member {
        uuid,
        level: le32(block, 72).cast_signed(),
        chunk_bytes: u64::from(le32(block, 88)).saturating_mul(SECTOR),
        members: le32(block, 92),
        role: (role < 0xfff0).then_some(role),
        // Of a mirror, only so much is used of every member.
        data: Extent::new(data.offset, if size == 0 { data.length } else { data.length.min(size) }),
    })
}

fn version_0(block: &[u8], bytes: u64) -> Member {
    let mut uuid = [0; 16];
    for (slot, at) in uuid.chunks_exact_mut(4).zip([20, 52, 56, 60]) {
        slot.copy_from_slice(&le32(block, at).to_be_bytes());
    }
    let (level, size) = (le32(block, 28).cast_signed(), u64::from(le32(block, 32)).saturating_mul(1024));
    let used = if level > 0 && size > 0 { size.min(bytes) } else { bytes };
    Member {
        uuid,
        level,
        chunk_bytes: u64::from(le32(block, 260)),
        members: le32(block, 40),
        role: Some(le32(block, 3980)),
        data: Extent::new(0, used),
    }
}

/// Puts members together; `windows` are the volumes that they were read from.
pub(crate) fn assemble(members: &[(Member, Window<'_>)]) -> Vec<Array> {
    let mut groups: BTreeMap<[u8; 16], Vec<&(Member, Window<'_>)>> = BTreeMap::new();
    for member in members {
        groups.entry(member.0.uuid).or_default().push(member);
    }
    let mut arrays = Vec::new();
    for (uuid, mut group) in groups {
        let [a, b, c, d, ..] = uuid;
        let id = format!("{a:02x}{b:02x}{c:02x}{d:02x}");
        group.sort_by_key(|(member, _)| member.role);
        let first = group.first().map(|(member, _)| member.clone());
        let striped =
            first.filter(|first| matches!(first.level, 0 | -1)).and_then(|first| join(&first, &group));
        if let Some(segments) = striped {
            arrays.push(Array { label: format!("md/{id}"), segments, opaque: None });
            continue;
        }
        for (position, (member, window)) in group.iter().enumerate() {
            let mut at = 0_u64;
            let lie = |piece: crate::window::Piece| {
                let extent = Extent::new(at, piece.length);
                at = at.saturating_add(piece.length);
                Segment { extent, lies: Lies::At(piece.offset) }
            };
            let segments: Vec<Segment> = window.locate(member.data).map(lie).collect();
            let opaque = match member.level {
                1 => None,
                0 | -1 => Some("md-partial"),
                _ => Some("md-raid"),
            };
            arrays.push(Array { label: format!("md/{id}.{position}"), segments, opaque });
        }
    }
    arrays
}

/// Joins the members of an array without copies, if all are there.
fn join(first: &Member, group: &[&(Member, Window<'_>)]) -> Option<Vec<Segment>> {
    let count = u32::try_from(group.len()).ok()?;
    let in_order = (0..count).zip(group).all(|(role, (member, _))| {
        member.role == Some(role) && member.level == first.level && member.chunk_bytes == first.chunk_bytes
    });
    if !in_order || count != first.members || count > MEMBERS_MAX {
        return None;
    }
    let mut starts = Vec::new();
    let mut segments = Vec::new();
    let mut at = 0_u64;
    for (member, window) in group {
        let mut pieces = window.locate(member.data);
        let (piece, None) = (pieces.next()?, pieces.next()) else { return None };
        starts.push(piece.offset);
        segments.push(Segment { extent: Extent::new(at, piece.length), lies: Lies::At(piece.offset) });
        at = at.saturating_add(piece.length);
    }
    if first.level == -1 {
        return Some(segments);
    }
    // Members of different sizes make zones, each with fewer stripes.
    let whole = |member: &Member| quotient(member.data.length, first.chunk_bytes);
    let chunks = whole(first);
    let equal = group.iter().all(|(member, _)| whole(member) == chunks);
    if first.chunk_bytes < CHUNK_BYTES_MIN || !equal {
        return None;
    }
    let share = chunks.checked_mul(first.chunk_bytes)?;
    let extent = Extent::new(0, share.checked_mul(wide(starts.len()))?);
    Some(vec![Segment { extent, lies: Lies::Striped { starts, stripe_bytes: first.chunk_bytes } }])
}
