//! The address space of a bundle: its disks and its other files, one behind the other.
//!
//! Everything that a VM consists of lies in one space, so that a volume over two disks, a
//! chunk, a verdict and a root are the same things whether there is one disk or ten. What
//! people read names the member and the offset in it.

use crate::Extent;
use serde::{Deserialize, Serialize};

/// Most disks of a bundle.
pub const DISKS_MAX: usize = 256;

/// A part of a [`Space`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `disk0`, `disk1`, … or `files`.
    pub id: String,
    /// Size in bytes.
    pub size: u64,
    /// What it is.
    pub kind: MemberKind,
}

/// What a member of a bundle is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberKind {
    /// A disk: its bytes mean what partition tables and file systems say.
    Disk {
        /// The format of the image at the source, such as `qcow2`.
        format: String,
        /// The name of the image at the source, escaped; empty where it is not part of a bundle.
        name: String,
    },
    /// Files, one behind the other: a folder, or what a bundle has beside its disks.
    Files(Vec<MemberFile>),
}

/// A file of a [`MemberKind::Files`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFile {
    /// Path within the bundle as bytes, with a leading slash.
    pub path: Vec<u8>,
    /// Size in bytes.
    pub size: u64,
}

/// The address space of a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Member>", into = "Vec<Member>")]
pub struct Space {
    members: Vec<Member>,
    /// Where each member begins, and the end.
    starts: Vec<u64>,
}

/// Why members make no space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// There is nothing in it.
    #[error("a bundle without disks and files")]
    Empty,
    /// There are more than [`DISKS_MAX`] members.
    #[error("a bundle of {0} disks, above the limit of {DISKS_MAX}")]
    Crowded(usize),
    /// The sizes do not fit 63 bits together.
    #[error("a bundle of more than 2^63 bytes")]
    TooLarge,
    /// A member is not what the other fields of it say.
    #[error("member {0:?} of the bundle has a wrong name, or a size that its files do not have")]
    Member(String),
}

impl Space {
    /// Puts members one behind the other.
    pub fn new(members: Vec<Member>) -> Result<Self, SpaceError> {
        if members.is_empty() {
            return Err(SpaceError::Empty);
        }
        if members.len() > DISKS_MAX {
            return Err(SpaceError::Crowded(members.len()));
        }
        let mut starts = vec![0];
        let mut disks = 0;
        let mut end = 0_u64;
        for (index, member) in members.iter().enumerate() {
            let expected = match &member.kind {
                MemberKind::Disk { .. } => {
                    disks += 1;
                    format!("disk{}", disks - 1)
                }
                MemberKind::Files(files) => {
                    let sum = files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.size));
                    if sum != Some(member.size) || index + 1 != members.len() {
                        return Err(SpaceError::Member(member.id.clone()));
                    }
                    "files".to_owned()
                }
            };
            if member.id != expected {
                return Err(SpaceError::Member(member.id.clone()));
            }
            end = end.checked_add(member.size).filter(|end| end >> 63 == 0).ok_or(SpaceError::TooLarge)?;
            starts.push(end);
        }
        Ok(Self { members, starts })
    }

    /// Returns the space of one disk.
    pub fn of_disk(size: u64, format: &str) -> Self {
        let kind = MemberKind::Disk { format: format.to_owned(), name: String::new() };
        let member = Member { id: "disk0".to_owned(), size: size.min(u64::MAX >> 1), kind };
        Self { starts: vec![0, member.size], members: vec![member] }
    }

    /// Returns the number of bytes of all members.
    pub fn size(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Returns the members, in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the members with where they lie.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Member, Extent)> {
        self.members
            .iter()
            .zip(&self.starts)
            .map(|(member, start)| (member, Extent::new(*start, member.size)))
    }

    /// Returns the position of the member that has the byte at `address`. Members without
    /// bytes have none; what is behind the end counts to the last.
    pub fn index_at(&self, address: u64) -> usize {
        let after = self.starts.partition_point(|start| *start <= address);
        after.saturating_sub(1).min(self.members.len().saturating_sub(1))
    }

    /// Returns where a member lies.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn extent(&self, index: usize) -> Extent {
        Extent::new(self.starts[index], self.members[index].size)
    }

    /// Returns the member that has the byte at `address`, and the offset in it.
    pub fn locate(&self, address: u64) -> (&str, u64) {
        let index = self.index_at(address);
        let id = self.members.get(index).map_or("", |member| member.id.as_str());
        (id, address.saturating_sub(self.starts.get(index).copied().unwrap_or(0)))
    }

    /// Returns the parts of members that an extent of the space covers: their positions, and
    /// extents that count in the member.
    pub fn split(&self, extent: Extent) -> impl Iterator<Item = (usize, Extent)> {
        let mut index = self.index_at(extent.offset);
        let mut parts = Vec::new();
        while index < self.members.len() && self.starts[index] < extent.end() {
            if let Some(part) = self.extent(index).intersect(&extent) {
                parts.push((index, Extent::new(part.offset - self.starts[index], part.length)));
            }
            index += 1;
        }
        parts.into_iter()
    }

    /// Returns where a member begins behind `address`, if one does.
    pub fn next_start(&self, address: u64) -> Option<u64> {
        let after = self.starts.partition_point(|start| *start <= address);
        self.starts.get(after).copied().filter(|start| *start < self.size())
    }
}

impl TryFrom<Vec<Member>> for Space {
    type Error = SpaceError;

    fn try_from(members: Vec<Member>) -> Result<Self, SpaceError> {
        Self::new(members)
    }
}

impl From<Space> for Vec<Member> {
    fn from(space: Space) -> Self {
        space.members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(number: usize, size: u64) -> Member {
        let kind = MemberKind::Disk { format: "raw".into(), name: String::new() };
        Member { id: format!("disk{number}"), size, kind }
    }

    fn files(sizes: &[u64], size: u64) -> Member {
        let file = |size: &u64| MemberFile { path: b"/a".to_vec(), size: *size };
        Member { id: "files".into(), size, kind: MemberKind::Files(sizes.iter().map(file).collect()) }
    }

    #[test]
    fn an_address_has_a_member_and_an_offset() {
        let space = Space::new(vec![disk(0, 100), disk(1, 0), disk(2, 50), files(&[3, 4], 7)]).unwrap();
        assert_eq!(space.size(), 157);
        for (address, expected) in
            [(0, ("disk0", 0)), (99, ("disk0", 99)), (100, ("disk2", 0)), (150, ("files", 0))]
        {
            assert_eq!(space.locate(address), expected);
        }
        let split: Vec<_> = space.split(Extent::new(90, 65)).collect();
        let expected = [(0, Extent::new(90, 10)), (2, Extent::new(0, 50)), (3, Extent::new(0, 5))];
        assert_eq!(split, expected);
        assert_eq!(space.next_start(0), Some(100));
        assert_eq!(space.next_start(150), None);
        assert_eq!(space.extent(2), Extent::new(100, 50));
    }

    #[test]
    fn members_that_contradict_themselves_make_no_space() {
        let check = |members: Vec<Member>, expected: &str| {
            assert!(Space::new(members).unwrap_err().to_string().contains(expected));
        };
        check(vec![], "without");
        check(vec![disk(1, 10)], "disk1");
        check(vec![files(&[1], 2)], "files");
        check(vec![files(&[1], 1), disk(0, 10)], "files");
        check(vec![disk(0, u64::MAX >> 1), disk(1, 1)], "2^63");
        check((0..300).map(|number| disk(number, 1)).collect(), "300");
    }
}
