//! The superblock (kernel Documentation/filesystems/ext4/super.rst).

use crate::field::{halves, le16, le32, le64, quotient, remainder, word};
use crate::fs::Failure;
use crate::window::Window;

/// Most block groups that are read; 2^20 groups of 4 KiB blocks are 128 TiB.
const GROUPS_MAX: u64 = 1 << 20;

/// The root directory.
pub(crate) const ROOT: u32 = 2;

/// First inode that is not reserved. The superblock could say more, and hide files so.
pub(crate) const FIRST_INODE: u32 = 11;

/// What tells a superblock.
pub(crate) const MAGIC: u16 = 0xef53;

/// Groups that have copies of it, whatever the features.
const COPY_GROUPS: [u64; 5] = [1, 3, 5, 7, 9];

const COMPAT_JOURNAL: u32 = 0x4;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const COMPAT_ORPHAN_FILE: u32 = 0x1000;
const INCOMPAT_FILETYPE: u32 = 0x2;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEVICE: u32 = 0x8;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_MMP: u32 = 0x100;
/// filetype, recover, journal device, `meta_bg`, extents, 64bit, mmp, `flex_bg`, `ea_inode`,
/// dirdata, `csum_seed`, largedir, `inline_data`, encrypt, casefold.
const INCOMPAT_KNOWN: u32 = 0x3_f7de;
/// What the kernel's ext3 driver knew: filetype, recover, `meta_bg`.
const INCOMPAT_EXT3: u32 = 0x16;
const RO_SPARSE_SUPER: u32 = 0x1;
/// What the kernel's ext3 driver knew: `sparse_super`, `large_file`, `btree_dir`.
const RO_EXT3: u32 = 0x7;
const RO_GDT_CSUM: u32 = 0x10;
const RO_QUOTA: u32 = 0x100;
const RO_BIGALLOC: u32 = 0x200;
const RO_METADATA_CSUM: u32 = 0x400;
const RO_SHARED_BLOCKS: u32 = 0x4000;

/// What the survey needs of the superblock; every number was checked against the volume.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature of the format")]
pub(crate) struct Superblock {
    /// `ext2`, `ext3` or `ext4`.
    pub(crate) content: &'static str,
    pub(crate) block_bytes: u64,
    /// Blocks on the volume, cut to its size.
    pub(crate) blocks: u64,
    /// Blocks that the superblock claims.
    pub(crate) blocks_claimed: u64,
    pub(crate) first_data_block: u64,
    pub(crate) blocks_per_group: u64,
    /// Blocks of a cluster, as a power of two; 0 without bigalloc.
    pub(crate) cluster_bits: u32,
    pub(crate) groups: u64,
    pub(crate) inodes: u64,
    pub(crate) inodes_per_group: u64,
    pub(crate) inode_bytes: u64,
    pub(crate) descriptor_bytes: u64,
    pub(crate) reserved_gdt_blocks: u64,
    pub(crate) first_meta_group: u64,
    pub(crate) backup_groups: Option<[u32; 2]>,
    pub(crate) sparse_super: bool,
    pub(crate) meta_bg: bool,
    pub(crate) needs_recovery: bool,
    pub(crate) filetype: bool,
    /// Whether the flags of group descriptors count.
    pub(crate) group_flags: bool,
    pub(crate) shared_blocks: bool,
    pub(crate) mmp_block: Option<u64>,
    /// Inodes that belong to the file system itself, beside the reserved ones.
    pub(crate) own_inodes: [u32; 5],
    pub(crate) journal_inode: u32,
    /// Whether the journal is on another device.
    pub(crate) journal_outside: bool,
    /// First inode of the list of those that a mount deletes or truncates.
    pub(crate) last_orphan: u32,
}

fn power(bits: u32) -> u64 {
    1_u64.checked_shl(bits).unwrap_or(0)
}

impl Superblock {
    /// Reads and checks the superblock at byte 1024 of the volume.
    pub(crate) fn read(window: &Window<'_>) -> Result<Self, Failure> {
        let bytes = window.bytes_at("the superblock", 1024, 1024);
        let bytes = bytes.map_err(|error| Failure::raw("unknown", error))?;
        if le16(&bytes, 56) != MAGIC {
            return Err(Failure::raw("unknown", "damaged superblock: magic number"));
        }
        Self::parse(&bytes, window.bytes())
    }

    /// Reads the first copy of the superblock that is one, and says of which group.
    pub(crate) fn read_copy(window: &Window<'_>) -> Option<(Self, u64)> {
        COPY_GROUPS.into_iter().find_map(|group| {
            (10..=16).find_map(|block_bits| {
                let block_bytes = power(block_bits);
                let first = u64::from(block_bits == 10);
                let blocks = block_bytes.saturating_mul(8).saturating_mul(group).saturating_add(first);
                let at = blocks.saturating_mul(block_bytes);
                let bytes = window.bytes_at("a copy of the superblock", at, 1024).ok()?;
                // Old copies say that they are the first one.
                let is_copy = le16(&bytes, 56) == MAGIC
                    && (u64::from(le16(&bytes, 90)) == group || le16(&bytes, 90) == 0)
                    && le32(&bytes, 24).saturating_add(10) == block_bits;
                let copy = is_copy.then(|| Self::parse(&bytes, window.bytes()).ok())??;
                Some((copy, group))
            })
        })
    }

    fn parse(bytes: &[u8], volume_bytes: u64) -> Result<Self, Failure> {
        let dynamic = le32(bytes, 76) > 0;
        let feature = |at| if dynamic { le32(bytes, at) } else { 0 };
        let (compat, incompat, ro_compat) = (feature(92), feature(96), feature(100));
        let content = content(compat, incompat, ro_compat);
        let damaged = |what: &str| Failure::raw(content, format!("damaged superblock: {what}"));
        if incompat & INCOMPAT_JOURNAL_DEVICE != 0 {
            return Err(Failure::raw("jbd", "external journal"));
        }
        if incompat & !INCOMPAT_KNOWN != 0 {
            let unknown = incompat & !INCOMPAT_KNOWN;
            return Err(Failure::raw(content, format!("unknown features {unknown:#x}")));
        }
        let block_bits = le32(bytes, 24).saturating_add(10);
        if block_bits > 16 {
            return Err(damaged("block size"));
        }
        let block_bytes = power(block_bits);
        let high = if incompat & INCOMPAT_64BIT != 0 { le32(bytes, 336) } else { 0 };
        let blocks_claimed = halves(le32(bytes, 4), high);
        let blocks = blocks_claimed.min(volume_bytes.checked_shr(block_bits).unwrap_or(0));
        let first_data_block = u64::from(le32(bytes, 20));
        if first_data_block > 1 || blocks <= first_data_block {
            return Err(damaged("number of blocks"));
        }
        let cluster_bits =
            cluster_bits(bytes, ro_compat, block_bits).ok_or_else(|| damaged("cluster size"))?;
        let blocks_per_group = u64::from(le32(bytes, 32));
        let bits_per_bitmap = block_bytes.saturating_mul(8);
        let clusters = blocks_per_group.checked_shr(cluster_bits).unwrap_or(0);
        if clusters == 0
            || clusters > bits_per_bitmap
            || blocks_per_group & power(cluster_bits).saturating_sub(1) != 0
        {
            return Err(damaged("blocks per group"));
        }
        let groups = blocks.saturating_sub(first_data_block).div_ceil(blocks_per_group);
        if groups > GROUPS_MAX {
            return Err(damaged("number of groups").limited(true));
        }
        let inode_bytes = if dynamic { u64::from(le16(bytes, 88)) } else { 128 };
        if inode_bytes < 128 || inode_bytes > block_bytes || !inode_bytes.is_power_of_two() {
            return Err(damaged("inode size"));
        }
        let inodes_per_group = u64::from(le32(bytes, 40));
        if inodes_per_group == 0 || inodes_per_group > bits_per_bitmap {
            return Err(damaged("inodes per group"));
        }
        let descriptor_bytes = if incompat & INCOMPAT_64BIT != 0 { u64::from(le16(bytes, 254)) } else { 32 };
        if !(32..=1024).contains(&descriptor_bytes) || !descriptor_bytes.is_power_of_two() {
            return Err(damaged("descriptor size"));
        }
        let quota = ro_compat & RO_QUOTA != 0;
        let when = |yes: bool, at| if yes { le32(bytes, at) } else { 0 };
        let journal_inode = when(compat & COMPAT_JOURNAL != 0, 224);
        Ok(Self {
            content,
            block_bytes,
            blocks,
            blocks_claimed,
            first_data_block,
            blocks_per_group,
            cluster_bits,
            groups,
            inodes: u64::from(le32(bytes, 0)).min(groups.saturating_mul(inodes_per_group)),
            inodes_per_group,
            inode_bytes,
            descriptor_bytes,
            reserved_gdt_blocks: u64::from(le16(bytes, 206)),
            first_meta_group: u64::from(le32(bytes, 260)),
            backup_groups: (compat & COMPAT_SPARSE_SUPER2 != 0).then(|| [le32(bytes, 588), le32(bytes, 592)]),
            sparse_super: ro_compat & RO_SPARSE_SUPER != 0,
            meta_bg: incompat & INCOMPAT_META_BG != 0,
            needs_recovery: incompat & INCOMPAT_RECOVER != 0,
            filetype: incompat & INCOMPAT_FILETYPE != 0,
            group_flags: ro_compat & (RO_GDT_CSUM | RO_METADATA_CSUM) != 0,
            shared_blocks: ro_compat & RO_SHARED_BLOCKS != 0,
            mmp_block: (incompat & INCOMPAT_MMP != 0).then(|| le64(bytes, 360)),
            own_inodes: [
                journal_inode,
                when(quota, 576),
                when(quota, 580),
                when(quota, 620),
                when(compat & COMPAT_ORPHAN_FILE != 0, 640),
            ],
            journal_inode,
            journal_outside: compat & COMPAT_JOURNAL != 0 && journal_inode == 0,
            last_orphan: le32(bytes, 232),
        })
    }

    /// Returns the first block of a group.
    pub(crate) fn group_start(&self, group: u64) -> u64 {
        group.saturating_mul(self.blocks_per_group).saturating_add(self.first_data_block)
    }

    /// Returns the bytes that `count` blocks have.
    pub(crate) fn to_bytes(&self, count: u64) -> u64 {
        count.saturating_mul(self.block_bytes)
    }

    /// Returns how many blocks an inode table has.
    pub(crate) fn table_blocks(&self) -> u64 {
        self.inodes_per_group.saturating_mul(self.inode_bytes).div_ceil(self.block_bytes)
    }

    /// Returns how many group descriptors are in a block.
    pub(crate) fn descriptors_per_block(&self) -> u64 {
        quotient(self.block_bytes, self.descriptor_bytes)
    }

    /// Returns the group and the position in its table of an inode.
    pub(crate) fn inode_place(&self, inode: u32) -> Option<(u64, u64)> {
        let index = u64::from(inode).checked_sub(1)?;
        (index < self.inodes).then(|| {
            let per_group = self.inodes_per_group.max(1);
            (quotient(index, per_group), remainder(index, per_group))
        })
    }

    /// Returns the number of the inode at a position.
    pub(crate) fn inode_number(&self, group: u64, index: u64) -> u32 {
        let before = group.saturating_mul(self.inodes_per_group);
        word(before.saturating_add(index).saturating_add(1))
    }

    /// Returns whether an inode belongs to the file system itself. The root directory
    /// does not, nor does the boot loader's inode, which holds a file of the guest's.
    pub(crate) fn is_own(&self, inode: u32) -> bool {
        (inode < FIRST_INODE && inode != 2 && inode != 5) || self.own_inodes.contains(&inode)
    }
}

/// Returns the name that `blkid` gives to a file system with these features.
fn content(compat: u32, incompat: u32, ro_compat: u32) -> &'static str {
    if incompat & !INCOMPAT_EXT3 != 0 || ro_compat & !RO_EXT3 != 0 {
        "ext4"
    } else if compat & COMPAT_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    }
}

/// Returns the power of two of blocks in a cluster.
fn cluster_bits(bytes: &[u8], ro_compat: u32, block_bits: u32) -> Option<u32> {
    if ro_compat & RO_BIGALLOC == 0 {
        return Some(0);
    }
    let bits = le32(bytes, 28).checked_add(10)?;
    // Clusters are at most 512 MiB.
    (bits <= 29).then(|| bits.checked_sub(block_bits)).flatten()
}

/// Returns whether a group has a copy of the superblock.
pub(crate) fn has_superblock(superblock: &Superblock, group: u64) -> bool {
    let is_power_of = |base: u64| {
        let mut power = base;
        while power < group {
            power = power.saturating_mul(base);
        }
        power == group
    };
    if let Some(backups) = superblock.backup_groups {
        return group == 0 || backups.iter().any(|&backup| u64::from(backup) == group);
    }
    !superblock.sparse_super || group <= 1 || [3, 5, 7].into_iter().any(is_power_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patches: &[(usize, u32)], expected: &str) {
        let mut bytes = vec![0; 1024];
        let usual = [(0, 16), (4, 8192), (32, 8192), (40, 16), (20, 1), (76, 1), (84, 11)];
        for &(at, value) in usual.iter().chain(patches) {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        if bytes[88] == 0 && bytes[89] == 0 {
            bytes[89] = 1;
        }
        let said = match Superblock::parse(&bytes, 8 << 20) {
            Ok(superblock) => superblock.content.to_owned(),
            Err(failure) => failure.what,
        };
        assert!(said.starts_with(expected), "{said} and not {expected}");
    }

    #[test]
    fn names_and_impossible_numbers() {
        check(&[], "ext2");
        check(&[(92, 4)], "ext3");
        check(&[(96, 0x40)], "ext4");
        check(&[(96, 1)], "unknown features 0x1");
        check(&[(96, 8)], "external journal");
        check(&[(24, 7)], "damaged superblock: block size");
        check(&[(24, u32::MAX)], "damaged superblock: block size");
        check(&[(4, 0)], "damaged superblock: number of blocks");
        check(&[(20, 2)], "damaged superblock: number of blocks");
        check(&[(32, 0)], "damaged superblock: blocks per group");
        check(&[(32, 8193)], "damaged superblock: blocks per group");
        check(&[(40, 0)], "damaged superblock: inodes per group");
        check(&[(88, 100)], "damaged superblock: inode size");
        check(&[(88, 2048)], "damaged superblock: inode size");
        check(&[(96, 0x80)], "damaged superblock: descriptor size");
        check(&[(100, 0x200), (28, 40)], "damaged superblock: cluster size");
    }
}
