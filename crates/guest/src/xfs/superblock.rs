//! The superblock, and numbers that say where something is
//! (XFS Algorithms & Data Structures, "Superblocks" and "AG Inode Management").

use super::copies;
use crate::field::{be16, be32, be64, has, narrow, u8_at};
use crate::fs::Failure;
use crate::window::Window;

/// What tells a superblock.
pub(super) const MAGIC: &[u8] = b"XFSB";

/// Most allocation groups; with the least of 16 MiB each they have 16 TiB.
const GROUPS_MAX: u64 = 1 << 20;

/// Bytes of a superblock that are looked at.
const BYTES: usize = 512;

const VERSION_MORE: u16 = 0x8000;
const VERSION_DIRECTORY_2: u16 = 0x2000;
const FEATURES2_FTYPE: u32 = 0x200;
const RO_COMPAT_REFLINK: u32 = 0x4;
/// finobt, rmapbt, reflink, inode counts.
const RO_COMPAT_KNOWN: u32 = 0xf;
const INCOMPAT_FTYPE: u32 = 0x1;
const INCOMPAT_SPARSE: u32 = 0x2;
const INCOMPAT_META_UUID: u32 = 0x4;
/// Those, bigtime, needs repair, 64-bit extent counts, exchange of ranges, parent pointers.
const INCOMPAT_KNOWN: u32 = 0xff;

/// What the survey needs of the superblock; every number was checked against the volume.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature of the format")]
pub(crate) struct Superblock {
    pub(crate) block_bits: u32,
    pub(crate) block_bytes: u64,
    pub(crate) sector_bytes: u64,
    pub(crate) inode_bytes: u64,
    /// Inodes of a block, as a power of two.
    pub(crate) inode_bits: u32,
    /// Blocks on the volume, cut to its size.
    pub(crate) blocks: u64,
    pub(crate) blocks_claimed: u64,
    pub(crate) group_blocks: u64,
    /// Bits of a block's number in its group.
    pub(crate) group_bits: u32,
    pub(crate) groups: u64,
    /// Blocks of a directory block, as a power of two.
    pub(crate) directory_bits: u32,
    pub(crate) root: u64,
    /// Bitmap and summary of the realtime device, and quotas.
    pub(crate) own_inodes: [u64; 5],
    /// First block of the log, as in the file system; 0 where it is on another device.
    pub(crate) log_start: u64,
    pub(crate) log_blocks: u64,
    /// Whether structures have checksums: version 5.
    pub(crate) checksums: bool,
    pub(crate) filetype: bool,
    pub(crate) sparse: bool,
    pub(crate) reflink: bool,
    /// What the structures of version 5 carry.
    pub(crate) uuid: [u8; 16],
    /// Whether it is a copy, because the first one is damaged.
    pub(crate) copy: bool,
}

/// Returns the power of two that a number is.
fn bits_of(number: u64) -> u32 {
    number.trailing_zeros()
}

impl Superblock {
    /// Reads and checks the superblock at the start of the volume, or a copy where that is damaged.
    pub(crate) fn read(window: &Window<'_>) -> Result<Self, Failure> {
        let bytes = copies::sector_at(window, 0).map_err(|error| Failure::raw("xfs", error))?;
        let first = Self::parse(&bytes, window.bytes());
        let believed = match &first {
            Ok(first) => copies::confirms(window, first, &bytes),
            // What is whole and not known stays so, whatever an older copy says.
            Err(_) => has(&bytes, 0, MAGIC) && copies::is_whole(&bytes),
        };
        if believed {
            return first;
        }
        match copies::find(window, &bytes) {
            Some(copy) => Ok(Self { copy: true, ..copy }),
            None => first,
        }
    }

    /// Reads the superblock of a volume whose log is over it: its checksum is older than the log.
    /// Where this one is a copy, it stays.
    pub(crate) fn read_replayed(&self, window: &Window<'_>) -> Result<Self, Failure> {
        if self.copy {
            return Ok(self.clone());
        }
        let bytes = window.bytes_at("the superblock", 0, BYTES);
        let bytes = bytes.map_err(|error| Failure::raw("xfs", error))?;
        Self::parse(&bytes, window.bytes())
    }

    pub(super) fn parse(bytes: &[u8], volume_bytes: u64) -> Result<Self, Failure> {
        let damaged = |what: &str| Failure::raw("xfs", format!("damaged superblock: {what}"));
        let power =
            |number: u64, least: u64, most: u64| number.is_power_of_two() && (least..=most).contains(&number);
        if !has(bytes, 0, MAGIC) {
            return Err(damaged("magic number"));
        }
        let version = be16(bytes, 100);
        let checksums = version & 0xf == 5;
        if !checksums && (version & 0xf != 4 || version & VERSION_DIRECTORY_2 == 0) {
            return Err(Failure::raw("xfs", format!("unknown version {version:#x}")));
        }
        let feature = |at| if checksums { be32(bytes, at) } else { 0 };
        let (ro_compat, incompat) = (feature(212), feature(216));
        let unknown = incompat & !INCOMPAT_KNOWN | ro_compat & !RO_COMPAT_KNOWN;
        if unknown != 0 {
            return Err(Failure::raw("xfs", format!("unknown features {unknown:#x}")));
        }
        let block_bytes = u64::from(be32(bytes, 4));
        if !power(block_bytes, 512, 65_536) {
            return Err(damaged("block size"));
        }
        let block_bits = bits_of(block_bytes);
        let sector_bytes = u64::from(be16(bytes, 102));
        if !power(sector_bytes, 512, 32_768) {
            return Err(damaged("sector size"));
        }
        let inode_bytes = u64::from(be16(bytes, 104));
        if !power(inode_bytes, 256, 2048) || inode_bytes > block_bytes {
            return Err(damaged("inode size"));
        }
        let directory_bits = u32::from(u8_at(bytes, 192));
        if directory_bits.saturating_add(block_bits) > 16 {
            return Err(damaged("directory block size"));
        }
        let blocks_claimed = be64(bytes, 8);
        let group_blocks = u64::from(be32(bytes, 84));
        let groups = u64::from(be32(bytes, 88));
        let group_bits = u32::from(u8_at(bytes, 124));
        if group_blocks == 0
            || group_bits > 31
            || group_blocks.checked_next_power_of_two() != Some(1 << group_bits)
        {
            return Err(damaged("blocks per group"));
        }
        if groups > GROUPS_MAX || blocks_claimed.div_ceil(group_blocks) != groups {
            return Err(damaged("number of groups").limited(groups > GROUPS_MAX));
        }
        let blocks = blocks_claimed.min(volume_bytes.checked_shr(block_bits).unwrap_or(0));
        if blocks == 0 {
            return Err(damaged("number of blocks"));
        }
        let filetype = if checksums {
            incompat & INCOMPAT_FTYPE != 0
        } else {
            version & VERSION_MORE != 0 && be32(bytes, 200) & FEATURES2_FTYPE != 0
        };
        let uuid_at = if incompat & INCOMPAT_META_UUID != 0 { 248 } else { 32 };
        let uuid = bytes.get(uuid_at..).and_then(|rest| rest.first_chunk::<16>());
        let project = if checksums { be64(bytes, 232) } else { 0 };
        Ok(Self {
            block_bits,
            block_bytes,
            sector_bytes,
            inode_bytes,
            inode_bits: block_bits.saturating_sub(bits_of(inode_bytes)),
            blocks,
            blocks_claimed,
            group_blocks,
            group_bits,
            groups,
            directory_bits,
            root: be64(bytes, 56),
            own_inodes: [be64(bytes, 64), be64(bytes, 72), be64(bytes, 160), be64(bytes, 168), project],
            log_start: be64(bytes, 48),
            log_blocks: u64::from(be32(bytes, 96)),
            checksums,
            filetype,
            sparse: incompat & INCOMPAT_SPARSE != 0,
            reflink: ro_compat & RO_COMPAT_REFLINK != 0,
            uuid: uuid.copied().unwrap_or_default(),
            copy: false,
        })
    }

    /// Returns whether another superblock divides the volume in the same way.
    pub(super) fn divides_as(&self, other: &Self) -> bool {
        let sizes = |of: &Self| (of.block_bytes, of.sector_bytes, of.inode_bytes, of.directory_bits);
        let groups = |of: &Self| (of.group_blocks, of.group_bits, of.groups);
        self.checksums == other.checksums && sizes(self) == sizes(other) && groups(self) == groups(other)
    }

    /// Returns the bytes that `count` blocks have.
    pub(crate) fn to_bytes(&self, count: u64) -> u64 {
        count.saturating_mul(self.block_bytes)
    }

    /// Returns the block of the volume that is `block` of a group, if there is one.
    pub(crate) fn in_group(&self, group: u64, block: u64) -> Option<u64> {
        let inside = group < self.groups && block < self.group_blocks;
        let found = inside.then(|| group.saturating_mul(self.group_blocks).saturating_add(block))?;
        (found < self.blocks).then_some(found)
    }

    /// Returns the block of the volume that a block of the file system is: its number has
    /// the group in its upper bits.
    pub(crate) fn block(&self, number: u64) -> Option<u64> {
        let mask = 1_u64.checked_shl(self.group_bits)?.saturating_sub(1);
        self.in_group(number.checked_shr(self.group_bits)?, number & mask)
    }

    /// Returns how many blocks from `block` on are in the same group.
    pub(crate) fn left_in_group(&self, block: u64) -> u64 {
        let within = crate::field::remainder(block, self.group_blocks);
        self.group_blocks.saturating_sub(within).min(self.blocks.saturating_sub(block))
    }

    /// Returns the number of an inode.
    pub(crate) fn inode_number(&self, group: u64, within: u64) -> u64 {
        let bits = self.group_bits.saturating_add(self.inode_bits);
        group.checked_shl(bits).unwrap_or(0) | within
    }

    /// Returns where an inode lies, in bytes of the volume.
    pub(crate) fn inode_at(&self, number: u64) -> Option<u64> {
        let block = self.block(number.checked_shr(self.inode_bits)?)?;
        let mask = 1_u64.checked_shl(self.inode_bits)?.saturating_sub(1);
        let within = (number & mask).saturating_mul(self.inode_bytes);
        Some(self.to_bytes(block).saturating_add(within))
    }

    /// Returns the bytes of a directory block.
    pub(crate) fn directory_bytes(&self) -> usize {
        narrow(self.block_bytes.checked_shl(self.directory_bits).unwrap_or(0))
    }

    /// Returns whether an inode belongs to the file system itself.
    pub(crate) fn is_own(&self, inode: u64) -> bool {
        inode != 0 && self.own_inodes.contains(&inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patches: &[(usize, u32)], expected: &str) {
        let mut bytes = vec![0; BYTES];
        let usual = [
            (0, 0x5846_5342),
            (4, 4096),
            (12, 4000),
            (84, 1000),
            (88, 4),
            (100, 0xb4a5_0200),
            (104, 0x0200_0008),
            (124, 10 << 24),
            (216, 3),
        ];
        for &(at, value) in usual.iter().chain(patches) {
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        let said = match Superblock::parse(&bytes, 16 << 20) {
            Ok(superblock) => format!("{} groups", superblock.groups),
            Err(failure) => failure.what,
        };
        assert!(said.starts_with(expected), "{said} and not {expected}");
    }

    #[test]
    fn impossible_numbers() {
        check(&[], "4 groups");
        check(&[(0, 0)], "damaged superblock: magic number");
        check(&[(4, 256)], "damaged superblock: block size");
        check(&[(4, 5000)], "damaged superblock: block size");
        check(&[(84, 1025)], "damaged superblock: blocks per group");
        check(&[(88, 5)], "damaged superblock: number of groups");
        check(&[(88, u32::MAX)], "damaged superblock: number of groups");
        check(&[(100, 0xb4a3_0200)], "unknown version");
        check(&[(100, 0xb4a5_0300)], "damaged superblock: sector size");
        check(&[(104, 0x0300_0008)], "damaged superblock: inode size");
        check(&[(192, 9 << 24)], "damaged superblock: directory block size");
        check(&[(216, 0x100)], "unknown features 0x100");
    }
}
