//! Reads all inodes, then directories for names.

use super::Fs;
use super::inode::{File, Inode, Kind};
use super::table::Table;
use crate::field::{le16, le32, narrow, remainder, wide, word};
use crate::fs::{Claim, Claims, Names, Node, NodeKind, Packs, Reasons, Role, Tally};
use airlock_model::{Codec, Extent, Packed, Reason};

/// Most files and directories.
const NODES_MAX: usize = 4 << 20;

/// Most blocks of files; 56 bytes each.
const PACKS_MAX: usize = 8 << 20;

/// Bit of a stored size that says that the block is not compressed.
const PLAIN: u32 = 1 << 24;

/// A directory: its node, where its list is, and how long it is.
type List = (u32, usize, usize);

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Names,
    pub(crate) claims: Claims,
    pub(crate) packs: Packs,
    pub(crate) reasons: Reasons,
    pub(crate) tally: Tally,
    pub(crate) limited: bool,
    packs_left: usize,
    /// Nodes by where their inode is in the unpacked table, in order.
    places: Vec<(usize, u32)>,
    lists: Vec<List>,
}

impl Scan {
    pub(crate) fn new(claims: Claims) -> Self {
        Self {
            nodes: Vec::new(),
            names: Names::default(),
            claims,
            packs: Packs::default(),
            reasons: Reasons::default(),
            tally: Tally::default(),
            limited: false,
            packs_left: PACKS_MAX,
            places: Vec::new(),
            lists: Vec::new(),
        }
    }

    /// Reads all inodes.
    pub(crate) fn inodes(&mut self, fs: &Fs<'_>, inodes: &Table, directories: &Table) {
        let mut at = 0_usize;
        while let Some(bytes) = inodes.bytes.get(at..)
            && let Some(inode) = Inode::parse(bytes, &fs.superblock)
        {
            if self.nodes.len() >= NODES_MAX || self.claims.is_full() {
                self.limited = true;
                return;
            }
            let node = word(wide(self.nodes.len()));
            match inode.kind {
                Kind::Directory { block, offset, bytes: length } => {
                    self.nodes.push(Node::new(u64::from(inode.number), NodeKind::Directory, 0));
                    self.places.push((at, node));
                    // Three bytes stand for the entries that no list has.
                    let length = narrow(length.saturating_sub(3));
                    if let Some(list) = directories.position(block, offset).filter(|_| length > 0) {
                        self.lists.push((node, list, length));
                    }
                }
                Kind::File(file) => {
                    self.places.push((at, node));
                    self.file(fs, &inode, &file, bytes);
                }
                Kind::Other => {}
            }
            at = at.saturating_add(inode.length);
        }
        let rest = inodes.bytes.get(at..).unwrap_or_default();
        let odd = u64::from(inodes.damaged || rest.iter().any(|byte| *byte != 0));
        self.tally.count("inodes that cannot be read", odd, fs.place());
    }

    fn file(&mut self, fs: &Fs<'_>, inode: &Inode, file: &File, bytes: &[u8]) {
        let owner = word(wide(self.nodes.len()));
        let block_bytes = fs.superblock.block_bytes;
        let mut node = Node::new(u64::from(inode.number), NodeKind::Packed, file.size);
        node.first_claim = word(wide(self.claims.len()));
        let (sizes, count) = file.sizes;
        let sizes = bytes.get(sizes..inode.length).unwrap_or_default().chunks_exact(4).take(count);
        let mut packs = Vec::new();
        let (mut at, mut logical, mut stored) = (file.start, 0_u64, 0_u64);
        let mut claimed = file.start;
        for size in sizes.map(|size| le32(size, 0)) {
            let length = block_bytes.min(file.size.saturating_sub(logical));
            let stored_bytes = u64::from(size & !PLAIN & 0x1ff_ffff);
            let piece = Piece { logical, length, skip: 0, unpacked: block_bytes, stored, size };
            if stored_bytes > 0 {
                packs.push(piece.packed(fs));
            }
            at = at.saturating_add(stored_bytes);
            stored = stored.saturating_add(stored_bytes);
            logical = logical.saturating_add(length);
        }
        let mut outside = at > fs.superblock.bytes;
        // A claim has at most so many bytes as 32 bits count.
        while claimed < at {
            let length = word(at.saturating_sub(claimed));
            let from = claimed.saturating_sub(file.start);
            self.claims.push(Claim::new(owner, Role::Written, claimed, length, from));
            claimed = claimed.saturating_add(u64::from(length));
        }
        let left = file.size.saturating_sub(logical);
        if let Some((number, offset)) = file.fragment.filter(|_| left > 0) {
            match fs.fragments.get(narrow(u64::from(number))) {
                Some(&(start, size)) => {
                    let piece =
                        Piece { logical, length: left, skip: offset, unpacked: block_bytes, stored, size };
                    let stored_bytes = size & !PLAIN & 0x1ff_ffff;
                    outside |= start.saturating_add(u64::from(stored_bytes)) > fs.superblock.bytes;
                    outside |= offset.saturating_add(left) > block_bytes;
                    self.claims.push(Claim::new(owner, Role::Written, start, stored_bytes, stored));
                    packs.push(piece.packed(fs));
                }
                None => outside = true,
            }
        }
        node.claims = word(wide(self.claims.len())).saturating_sub(node.first_claim);
        let known = self.packs_left.checked_sub(packs.len());
        self.limited |= known.is_none();
        self.packs_left = known.unwrap_or(0);
        if outside || known.is_none() {
            // What cannot all be unpacked is inspected as it is stored.
            self.tally.count("files that are partly outside the file system", u64::from(outside), fs.place());
            node.kind = NodeKind::File;
            let too_many = known.is_none() || fs.superblock.has_too_many_fragments();
            self.reasons.push(owner, [if too_many { Reason::Limit } else { Reason::Unsupported }]);
        } else if packs.is_empty() {
            node.kind = NodeKind::File;
        } else {
            self.packs.push(owner, packs);
        }
        self.nodes.push(node);
    }

    /// Reads all directories; returns the node of the topmost one.
    pub(crate) fn name_all(&mut self, fs: &Fs<'_>, inodes: &Table, directories: &Table) -> Option<u32> {
        let root = self.node_at(inodes, fs.superblock.root >> 16, fs.superblock.root & 0xffff);
        let mut bytes_left = directories.bytes.len().saturating_mul(2);
        for (node, start, length) in std::mem::take(&mut self.lists) {
            let end = start.saturating_add(length).min(directories.bytes.len());
            let Some(left) = bytes_left.checked_sub(length) else {
                self.limited = true;
                break;
            };
            bytes_left = left;
            let list = directories.bytes.get(start..end).unwrap_or_default();
            let well = self.list(inodes, root, node, list).is_some();
            self.tally.count("damaged directories", u64::from(!well), fs.place());
        }
        self.tally.count("directories that cannot be read", u64::from(directories.damaged), fs.place());
        root
    }

    fn list(&mut self, inodes: &Table, root: Option<u32>, directory: u32, mut list: &[u8]) -> Option<()> {
        while !list.is_empty() {
            let count = narrow(u64::from(le32(list, 0))).checked_add(1)?;
            let block = u64::from(le32(list, 4));
            list = list.get(12..)?;
            for _ in 0..count.min(256) {
                let length = usize::from(le16(list, 6)).checked_add(9)?;
                let name = list.get(8..length)?;
                let child = self.node_at(inodes, block, u64::from(le16(list, 0)));
                let child = child.filter(|child| Some(*child) != root);
                if let Some(node) = child.and_then(|child| self.nodes.get_mut(narrow(u64::from(child))))
                    && node.is_nameless()
                {
                    self.names.give(node, directory, name);
                }
                list = list.get(length..)?;
            }
        }
        Some(())
    }

    fn node_at(&self, inodes: &Table, block: u64, offset: u64) -> Option<u32> {
        let position = inodes.position(block, offset)?;
        let found = self.places.binary_search_by_key(&position, |(at, _)| *at).ok()?;
        self.places.get(found).map(|(_, node)| *node)
    }
}

/// A block of a file, or a part of a fragment.
struct Piece {
    logical: u64,
    length: u64,
    skip: u64,
    unpacked: u64,
    stored: u64,
    size: u32,
}

impl Piece {
    fn packed(&self, fs: &Fs<'_>) -> Packed {
        let plain = self.size & PLAIN != 0;
        let stored_bytes = u64::from(self.size & !PLAIN & 0x1ff_ffff);
        let end = self.skip.saturating_add(self.length);
        debug_assert!(remainder(self.unpacked, 4096) == 0, "a power of two");
        Packed {
            logical: self.logical,
            length: self.length,
            stored: self.stored,
            stored_bytes,
            skip: self.skip,
            unpacked: if plain { stored_bytes.max(end).min(self.unpacked) } else { self.unpacked },
            codec: if plain { Codec::Stored } else { fs.superblock.codec },
            spare: false,
        }
    }
}

impl Fs<'_> {
    /// Returns what oddities point at.
    pub(crate) fn place(&self) -> Extent {
        Extent::new(self.superblock.inode_table, 8192)
    }
}
