//! Scans inode tables from end to end, then directories for names.

use super::Fs;
use super::fast::Fast;
use super::groups;
use super::inode::{Inode, Kind, Mapping, Walk};
use super::superblock::{FIRST_INODE, ROOT};
use super::{directory, inline, orphans};
use crate::Error;
use crate::field::{narrow, quotient, wide, word};
use crate::fs::{Claim, Claims, Names, Node, NodeKind, Role, Tally, Views, rests};
use airlock_model::{Extent, Run};
use std::collections::{HashMap, HashSet};

/// Most files and directories of a volume; 40 bytes each, and as many again in the map.
const NODES_MAX: usize = 16 << 20;

/// Most inodes that are looked at. A disk that unpacks from a small image can have more.
const INODES_MAX: u64 = 1 << 28;

/// Most bytes of directories that are looked at.
const DIRECTORY_BYTES_MAX: u64 = 64 << 30;

/// Inode tables and directories are read in pieces of this size.
const READ_BYTES: u64 = 1 << 20;

/// A part of a directory.
#[derive(Debug, Clone, Copy)]
struct DirectoryRun {
    block: u64,
    length: u32,
    node: u32,
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Names,
    pub(crate) claims: Claims,
    /// Files inside inodes, and files of the file system itself.
    pub(crate) views: Views,
    /// Claims on the rest of clusters, by node.
    pub(crate) cluster_claims: Vec<Claim>,
    pub(crate) tally: Tally,
    /// Whether a budget was used up, so that there may be files that were not found.
    pub(crate) limited: bool,
    walk: Walk,
    directories: Vec<DirectoryRun>,
    inline_directories: Vec<(u32, Vec<u8>)>,
    /// Nodes of inodes below this position are sorted by inode.
    sorted: usize,
    late: HashMap<u32, u32>,
    late_seen: HashSet<u32>,
    /// Inodes that a mount frees.
    orphans: HashSet<u32>,
    /// What fast commits changed.
    fast: Fast,
}

/// Scans a file system for all that is in use; claims come in order of precedence.
pub(crate) fn scan(fs: &Fs<'_>, claims_max: usize, tally: Tally, fast: Fast) -> Result<Scan, Error> {
    let mut scan = Scan {
        nodes: Vec::new(),
        names: Names::default(),
        claims: Claims::new(fs.superblock.blocks, claims_max),
        views: Views::default(),
        cluster_claims: Vec::new(),
        tally,
        limited: false,
        walk: Walk::default(),
        directories: Vec::new(),
        inline_directories: Vec::new(),
        sorted: 0,
        late: HashMap::new(),
        late_seen: HashSet::new(),
        orphans: orphans::list(fs)?,
        fast,
    };
    groups::claim_fixed(&fs.superblock, &fs.groups, &mut scan.claims);
    let mut inodes_left = INODES_MAX;
    for group in 0..wide(fs.groups.len()) {
        scan.table(fs, group, &mut inodes_left)?;
    }
    scan.sorted = scan.nodes.len();
    scan.read_fast(fs)?;
    scan.name_all(fs)?;
    scan.name_fast();
    scan.limited |= scan.claims.is_full();
    Ok(scan)
}

impl Scan {
    /// Scans the inode table of a group.
    fn table(&mut self, fs: &Fs<'_>, group: u64, inodes_left: &mut u64) -> Result<(), Error> {
        const WHAT: &str = "an inode table";
        let Some((table, used)) =
            fs.groups.get(narrow(group)).and_then(|group| Some((group.inode_table?, group.inodes_used)))
        else {
            return Ok(());
        };
        let inode_bytes = fs.superblock.inode_bytes;
        let start = fs.superblock.to_bytes(table);
        let end = start.saturating_add(u64::from(used).saturating_mul(inode_bytes));
        let mut buffer = Vec::new();
        let mut at = start;
        loop {
            // Zeros are inodes that are not in use.
            let data = fs.window.skip_zeros(WHAT, at, end)?;
            let whole = data.saturating_sub(start) & !inode_bytes.saturating_sub(1);
            at = start.saturating_add(whole);
            let length = end.saturating_sub(at).min(READ_BYTES);
            if data >= end || length == 0 {
                return Ok(());
            }
            let inodes = quotient(length, inode_bytes);
            *inodes_left = inodes_left.saturating_sub(inodes);
            if *inodes_left == 0 {
                self.limited = true;
                return Ok(());
            }
            buffer.resize(narrow(length), 0);
            fs.window.read(WHAT, at, &mut buffer)?;
            let first = quotient(at.saturating_sub(start), inode_bytes);
            for (index, bytes) in (first..).zip(buffer.chunks_exact(narrow(inode_bytes))) {
                let number = fs.superblock.inode_number(group, index);
                self.inode(fs, number, bytes)?;
            }
            at = at.saturating_add(length);
        }
    }

    /// Looks at one inode.
    fn inode(&mut self, fs: &Fs<'_>, number: u32, bytes: &[u8]) -> Result<(), Error> {
        const BAD_BLOCKS: u32 = 1;
        let changed = self.fast.inodes.remove(&number);
        let bytes = changed.as_ref().map_or(bytes, |changed| &changed.bytes);
        let inode = if number == BAD_BLOCKS {
            Inode::parse_any(bytes)
        } else if let Some(inode) = Inode::parse(bytes) {
            inode
        } else if self.orphans.contains(&number) {
            Inode::parse_any(bytes)
        } else {
            return Ok(());
        };
        let orphan = self.orphans.contains(&number);
        if self.nodes.len() >= NODES_MAX || self.claims.is_full() {
            self.limited = true;
            return Ok(());
        }
        if let Some(block) = inode.attribute_block() {
            self.claims.metadata(block, 1);
        }
        inode.map(fs, &mut self.walk)?;
        self.fast.map(fs, number, &mut self.walk);
        self.count_damage(fs, number);
        for index in 0..self.walk.tree.len() {
            if let Some(&block) = self.walk.tree.get(index) {
                self.claims.metadata(block, 1);
            }
        }
        let own = fs.superblock.is_own(number) || inode.is_attribute();
        match inode.kind {
            _ if orphan => self.orphan(fs, number),
            Kind::File if !own => self.file(fs, number, &inode, changed.as_ref().map(|changed| changed.at)),
            Kind::File if number >= FIRST_INODE => self.own_file(fs, number, &inode),
            Kind::Directory if !own => self.directory(fs, number, &inode),
            _ => self.own_blocks(),
        }
        Ok(())
    }

    fn count_damage(&mut self, fs: &Fs<'_>, number: u32) {
        let (nodes, outside, disorder) = self.walk.take_damage();
        if nodes == 0 && outside == 0 && disorder == 0 {
            return;
        }
        let place = inode_at(fs, number).unwrap_or(0);
        let extent = Extent::new(place, fs.superblock.inode_bytes);
        self.tally.count("block tree nodes damaged or used twice", nodes, extent);
        self.tally.count("block runs outside the file system", outside, extent);
        self.tally.count("block runs out of order", disorder, extent);
    }

    /// Claims what a file has that was deleted while it was open.
    fn orphan(&mut self, fs: &Fs<'_>, number: u32) {
        let extent = Extent::new(inode_at(fs, number).unwrap_or(0), fs.superblock.inode_bytes);
        self.tally.count("deleted files that were still open", 1, extent);
        self.own_blocks();
    }

    /// Claims the mapped blocks for the file system itself.
    fn own_blocks(&mut self) {
        for mapping in &self.walk.mappings {
            self.claims.metadata(mapping.block, u64::from(mapping.length));
        }
    }

    /// Claims the blocks of a file for the file system itself, and keeps where they are:
    /// if a directory names the file, a guest may be able to read it.
    fn own_file(&mut self, fs: &Fs<'_>, number: u32, inode: &Inode<'_>) {
        self.own_blocks();
        let node = word(wide(self.nodes.len()));
        let mut runs = Vec::new();
        for mapping in self.walk.mappings.iter().filter(|mapping| mapping.written) {
            let logical = fs.superblock.to_bytes(u64::from(mapping.logical));
            let length = fs.superblock.to_bytes(u64::from(mapping.length));
            let run = Run {
                logical,
                disk: fs.superblock.to_bytes(mapping.block),
                length: inode.size.saturating_sub(logical).min(length),
            };
            if run.length > 0 {
                runs.push(run);
            }
        }
        self.views.push(node, runs);
        self.nodes.push(Node::new(u64::from(number), NodeKind::Own, inode.size));
    }

    fn file(&mut self, fs: &Fs<'_>, number: u32, inode: &Inode<'_>, at: Option<u64>) {
        let kind = if inode.is_inline() {
            NodeKind::View
        } else if inode.is_encrypted() {
            NodeKind::Encrypted
        } else {
            NodeKind::File
        };
        let owner = word(wide(self.nodes.len()));
        let mut node = Node::new(u64::from(number), kind, inode.size);
        node.first_claim = word(wide(self.claims.len()));
        let mappings = std::mem::take(&mut self.walk.mappings);
        for &mapping in &mappings {
            let Mapping { logical, block, length, written } = mapping;
            let role = if written { Role::Written } else { Role::Unwritten };
            self.claims.push(Claim::new(owner, role, block, length, u64::from(logical)));
            if fs.superblock.cluster_bits > 0 {
                self.rest_of_clusters(fs, mapping, owner);
            }
        }
        self.walk.mappings = mappings;
        node.claims = word(wide(self.claims.len())).saturating_sub(node.first_claim);
        let at = at.or_else(|| inode_at(fs, number)).filter(|_| kind == NodeKind::View);
        if let Some(at) = at {
            self.inline(owner, at, inode);
        }
        self.nodes.push(node);
    }

    /// Claims what is in a file's clusters before and behind a run, unless another run has it.
    fn rest_of_clusters(&mut self, fs: &Fs<'_>, mapping: Mapping, owner: u32) {
        let end = mapping.block.saturating_add(u64::from(mapping.length));
        for (block, length) in rests(mapping.block, end, fs.superblock.cluster_bits) {
            self.cluster_claims.push(Claim::new(owner, Role::Cluster, block, length, 0));
        }
    }

    /// Adds a view of a file inside an inode that lies at byte `at` of the volume.
    fn inline(&mut self, node: u32, at: u64, inode: &Inode<'_>) {
        let [head, tail] = inline::parts(inode);
        let run = |logical, part: Extent| Run {
            logical,
            disk: at.saturating_add(part.offset),
            length: part.length,
        };
        let runs = [run(0, head), run(head.length, tail)];
        self.views.push(node, runs);
    }

    fn directory(&mut self, fs: &Fs<'_>, number: u32, inode: &Inode<'_>) {
        let node = word(wide(self.nodes.len()));
        let blocks = inode.size.div_ceil(fs.superblock.block_bytes);
        for &mapping in &self.walk.mappings {
            self.claims.metadata(mapping.block, u64::from(mapping.length));
            let left = blocks.saturating_sub(u64::from(mapping.logical));
            let length = mapping.length.min(word(left));
            if mapping.written && length > 0 && !self.fast.is_created(number) {
                self.directories.push(DirectoryRun { block: mapping.block, length, node });
            }
        }
        if inode.is_inline() {
            let [head, tail] = inline::parts(inode);
            let part = |part: Extent, skip: u64| {
                let start = narrow(part.offset.saturating_add(skip));
                let bytes = inode.bytes.get(start..narrow(part.end()));
                bytes.unwrap_or_default().to_vec()
            };
            // The first four bytes are the parent's inode.
            self.inline_directories.push((node, part(head, 4)));
            self.inline_directories.push((node, part(tail, 0)));
        }
        self.nodes.push(Node::new(u64::from(number), NodeKind::Directory, 0));
    }

    /// Reads all directories, and inodes that only they know of, until no new ones turn up.
    fn name_all(&mut self, fs: &Fs<'_>) -> Result<(), Error> {
        let mut bytes_left = DIRECTORY_BYTES_MAX;
        let mut unknown = Vec::new();
        let mut buffer = Vec::new();
        while !self.directories.is_empty() || !self.inline_directories.is_empty() {
            let mut runs = std::mem::take(&mut self.directories);
            runs.sort_unstable_by_key(|run| (run.block, run.node));
            for (node, bytes) in std::mem::take(&mut self.inline_directories) {
                self.name_block(fs, node, &bytes, &mut unknown);
            }
            for run in runs {
                let bytes = fs.superblock.to_bytes(u64::from(run.length));
                if bytes > bytes_left {
                    self.limited = true;
                    break;
                }
                bytes_left = bytes_left.saturating_sub(bytes);
                self.name_run(fs, run, &mut buffer, &mut unknown)?;
            }
            self.read_late(fs, &mut unknown)?;
        }
        Ok(())
    }

    fn name_run(
        &mut self,
        fs: &Fs<'_>,
        run: DirectoryRun,
        buffer: &mut Vec<u8>,
        unknown: &mut Vec<(u32, u32, Vec<u8>)>,
    ) -> Result<(), Error> {
        const WHAT: &str = "a directory";
        let mut at = fs.superblock.to_bytes(run.block);
        let end = at.saturating_add(fs.superblock.to_bytes(u64::from(run.length)));
        let block_bytes = fs.superblock.block_bytes;
        while at < end {
            let length = end.saturating_sub(at).min(READ_BYTES);
            if length > block_bytes {
                let data = fs.window.skip_zeros(WHAT, at, end)?;
                let skipped = data.saturating_sub(at) & !block_bytes.saturating_sub(1);
                at = at.saturating_add(skipped);
            }
            let length = end.saturating_sub(at).min(READ_BYTES);
            buffer.resize(narrow(length), 0);
            fs.window.read(WHAT, at, buffer)?;
            for block in buffer.chunks(narrow(block_bytes)) {
                let well_formed = self.name_block(fs, run.node, block, unknown);
                let extent = Extent::new(at, block_bytes);
                let count = u64::from(!well_formed);
                self.tally.count("damaged directory blocks", count, extent);
            }
            at = at.saturating_add(length);
        }
        Ok(())
    }

    /// Names the nodes that a directory block has; entries of inodes that were
    /// not scanned go into `unknown`.
    fn name_block(
        &mut self,
        fs: &Fs<'_>,
        directory: u32,
        block: &[u8],
        unknown: &mut Vec<(u32, u32, Vec<u8>)>,
    ) -> bool {
        let (nodes, names, fast) = (&mut self.nodes, &mut self.names, &self.fast);
        let parent = nodes.get(narrow(u64::from(directory))).map_or(0, |node| node.inode);
        let (sorted, late, seen) = (self.sorted, &self.late, &mut self.late_seen);
        directory::entries(block, fs.superblock.filetype, |inode, name| {
            if fast.is_renamed(parent, name) {
                return;
            }
            let known = late.get(&inode).map(|&node| narrow(u64::from(node)));
            let known = known.or_else(|| {
                let list = nodes.get(..sorted)?;
                list.binary_search_by_key(&u64::from(inode), |node| node.inode).ok()
            });
            if let Some(node) = known.and_then(|node| nodes.get_mut(node)) {
                if node.is_nameless() && node.inode != u64::from(ROOT) {
                    names.give(node, directory, name);
                }
            } else if !was_scanned(fs, inode) && seen.insert(inode) {
                unknown.push((inode, directory, name.to_vec()));
            }
        })
    }

    /// Reads inodes that only fast commits have.
    fn read_fast(&mut self, fs: &Fs<'_>) -> Result<(), Error> {
        while let Some((&number, _)) = self.fast.inodes.first_key_value() {
            let node = self.nodes.len();
            self.inode(fs, number, &[])?;
            self.fast.inodes.remove(&number);
            if self.nodes.len() > node {
                self.late.insert(number, word(wide(node)));
            }
        }
        Ok(())
    }

    /// Gives the names that fast commits have.
    fn name_fast(&mut self) {
        let find = |number: u32| {
            let known = self.late.get(&number).map(|&node| narrow(u64::from(node)));
            known.or_else(|| {
                let list = self.nodes.get(..self.sorted)?;
                list.binary_search_by_key(&u64::from(number), |node| node.inode).ok()
            })
        };
        let added = self.fast.added();
        let found: Vec<_> =
            added.filter_map(|(parent, name, number)| Some((find(parent)?, name, find(number)?))).collect();
        for (parent, name, node) in found {
            if let Some(node) = self.nodes.get_mut(node)
                && node.is_nameless()
                && node.inode != u64::from(ROOT)
            {
                self.names.give(node, word(wide(parent)), name);
            }
        }
    }

    /// Reads inodes that group descriptors call unused and directories name all the same.
    fn read_late(&mut self, fs: &Fs<'_>, unknown: &mut Vec<(u32, u32, Vec<u8>)>) -> Result<(), Error> {
        for (number, directory, name) in unknown.drain(..) {
            let Some(at) = inode_at(fs, number) else {
                continue;
            };
            let length = narrow(fs.superblock.inode_bytes);
            let bytes = fs.window.bytes_at("an inode", at, length)?;
            let node = self.nodes.len();
            self.inode(fs, number, &bytes)?;
            let Some(found) = self.nodes.get_mut(node) else {
                continue;
            };
            self.names.give(found, directory, &name);
            self.late.insert(number, word(wide(node)));
            let extent = Extent::new(at, fs.superblock.inode_bytes);
            self.tally.count("inodes in use that are called unused", 1, extent);
        }
        Ok(())
    }
}

/// Returns where an inode lies, in bytes of the volume.
pub(crate) fn inode_at(fs: &Fs<'_>, number: u32) -> Option<u64> {
    let (group, index) = fs.superblock.inode_place(number)?;
    let table = fs.groups.get(narrow(group))?.inode_table?;
    let within = index.saturating_mul(fs.superblock.inode_bytes);
    Some(fs.superblock.to_bytes(table).saturating_add(within))
}

/// Returns whether an inode was in the scanned part of a table, or cannot be anywhere.
fn was_scanned(fs: &Fs<'_>, number: u32) -> bool {
    let Some((group, index)) = fs.superblock.inode_place(number) else {
        return true;
    };
    fs.groups.get(narrow(group)).is_none_or(|group| index < u64::from(group.inodes_used))
}
