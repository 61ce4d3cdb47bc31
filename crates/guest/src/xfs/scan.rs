//! Reads all inodes, then directories for names.

use super::Fs;
use super::directory::{self, Found, NAMES_END};
use super::extents::{Mapping, Walk, blocks_in};
use super::groups::{CHUNK_INODES, Chunk, Groups};
use super::inode::{Format, Inode, Kind};
use crate::Error;
use crate::field::{be64, narrow, wide, word};
use crate::fs::{Claim, Claims, Names, Node, NodeKind, Role, Tally, Views};
use airlock_model::{Extent, Run};
use std::collections::{HashMap, HashSet};

/// Most files and directories of a volume; 40 bytes each, and as many again in the map.
const NODES_MAX: usize = 16 << 20;

/// Most runs of directories; 24 bytes each.
const DIRECTORY_RUNS_MAX: usize = 16 << 20;

/// Most bytes of directories that are looked at.
const DIRECTORY_BYTES_MAX: u64 = 64 << 30;

/// Most inodes that only directories know of.
const LATE_MAX: usize = 1 << 20;

/// Directories are read in pieces of this size.
const READ_BYTES: u64 = 1 << 20;

/// A directory and where it is.
#[derive(Debug, Clone, Copy)]
enum Directory {
    /// In so many bytes of its inode.
    Short { node: u32, at: u64, bytes: u16 },
    /// In runs of blocks.
    Runs { node: u32, first: u32, count: u32 },
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Names,
    pub(crate) claims: Claims,
    /// Files of the file system itself.
    pub(crate) views: Views,
    pub(crate) groups: Groups,
    pub(crate) tally: Tally,
    /// Whether a budget was used up, so that there may be files that were not found.
    pub(crate) limited: bool,
    walk: Walk,
    directories: Vec<Directory>,
    runs: Vec<Mapping>,
    /// Nodes below this position are sorted by inode.
    sorted: usize,
    late: HashMap<u64, u32>,
    late_seen: HashSet<u64>,
}

/// An entry of a directory whose inode is not known: inode, node of the directory, name.
type Unknown = Vec<(u64, u32, Vec<u8>)>;

/// Scans a file system for all that is in use; claims come in order of precedence.
pub(crate) fn scan(fs: &Fs<'_>, claims_max: usize) -> Result<Scan, Error> {
    let mut claims = Claims::new(fs.superblock.blocks, claims_max);
    let mut tally = Tally::default();
    let groups = Groups::read(fs, &mut claims, &mut tally)?;
    let mut scan = Scan {
        nodes: Vec::new(),
        names: Names::default(),
        claims,
        views: Views::default(),
        groups,
        tally,
        limited: false,
        walk: Walk::default(),
        directories: Vec::new(),
        runs: Vec::new(),
        sorted: 0,
        late: HashMap::new(),
        late_seen: HashSet::new(),
    };
    let chunks = std::mem::take(&mut scan.groups.chunks);
    let mut buffer = Vec::new();
    for chunk in &chunks {
        scan.chunk(fs, chunk, &mut buffer)?;
    }
    scan.groups.chunks = chunks;
    scan.sorted = scan.nodes.len();
    // The root, if the tree of inodes does not know it.
    let mut unknown = Vec::new();
    if !scan.is_known(fs.superblock.root) {
        unknown.push((fs.superblock.root, u32::MAX, Vec::new()));
    }
    scan.read_late(fs, &mut unknown)?;
    scan.name_all(fs)?;
    scan.limited |= scan.claims.is_full();
    Ok(scan)
}

impl Scan {
    fn chunk(&mut self, fs: &Fs<'_>, chunk: &Chunk, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let Some(start) = fs.superblock.inode_at(chunk.first) else {
            return Ok(());
        };
        let inode_bytes = fs.superblock.inode_bytes;
        let bytes = inode_bytes.saturating_mul(CHUNK_INODES);
        let end = start.saturating_add(bytes);
        if fs.window.skip_zeros("inodes", start, end)? >= end.min(fs.window.bytes()) {
            // A tree can list far more inodes than a sparse disk has.
            let what = "inodes that are called used and are not";
            self.tally.count(what, CHUNK_INODES, Extent::new(start, bytes));
            return Ok(());
        }
        buffer.resize(narrow(bytes), 0);
        fs.window.read("inodes", start, buffer)?;
        for (index, bytes) in (0_u64..).zip(buffer.chunks_exact(narrow(inode_bytes))) {
            if chunk.is_used(index) {
                let at = start.saturating_add(index.saturating_mul(inode_bytes));
                self.inode(fs, chunk.first.saturating_add(index), at, bytes)?;
            }
        }
        Ok(())
    }

    /// Looks at one inode.
    fn inode(&mut self, fs: &Fs<'_>, number: u64, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let extent = Extent::new(at, fs.superblock.inode_bytes);
        let Some(inode) = Inode::parse(bytes) else {
            self.tally.count("inodes that are called used and are not", 1, extent);
            return Ok(());
        };
        if self.nodes.len() >= NODES_MAX || self.claims.is_full() {
            self.limited = true;
            return Ok(());
        }
        if !fs.is_sum_right(bytes, 100, at) || fs.superblock.checksums && be64(bytes, 152) != number {
            self.tally.count("inodes with a wrong checksum or number", 1, extent);
        }
        if let Some(fork) = inode.attributes() {
            self.walk.map(fs, &fork)?;
            self.count_damage(extent);
            self.own_blocks();
        }
        if inode.is_realtime() && inode.kind == Kind::File {
            self.tally.count("files on a realtime device, which is not here", 1, extent);
            let kind = if fs.superblock.is_own(number) { NodeKind::Own } else { NodeKind::File };
            self.nodes.push(Node::new(number, kind, inode.size));
            return Ok(());
        }
        let fork = inode.data();
        self.walk.map(fs, &fork)?;
        self.count_damage(extent);
        for &block in &self.walk.tree {
            self.claims.metadata(block, 1);
        }
        match inode.kind {
            Kind::File | Kind::Directory if inode.links == 0 => {
                if !fs.superblock.is_own(number) {
                    self.tally.count("deleted files that were still open", 1, extent);
                }
                self.own_blocks();
            }
            Kind::File if fs.superblock.is_own(number) => self.own_file(fs, number, &inode),
            Kind::File => self.file(number, &inode),
            Kind::Directory => self.directory(fs, number, at, &inode),
            Kind::Other => self.own_blocks(),
        }
        Ok(())
    }

    fn count_damage(&mut self, extent: Extent) {
        let [nodes, outside, disorder, sums] = self.walk.take_damage();
        self.tally.count("block tree nodes damaged or used twice", nodes, extent);
        self.tally.count("block runs outside the file system", outside, extent);
        self.tally.count("block runs out of order", disorder, extent);
        self.tally.count("block tree nodes with a wrong checksum", sums, extent);
    }

    /// Claims the mapped blocks for the file system itself.
    fn own_blocks(&mut self) {
        for block in &self.walk.tree {
            self.claims.metadata(*block, 1);
        }
        for mapping in &self.walk.mappings {
            self.claims.metadata(mapping.block, u64::from(mapping.length));
        }
    }

    /// Claims the blocks of a file for the file system itself, and keeps where they are:
    /// if a directory names the file, a guest may be able to read it.
    fn own_file(&mut self, fs: &Fs<'_>, number: u64, inode: &Inode<'_>) {
        self.own_blocks();
        let node = word(wide(self.nodes.len()));
        let runs = self.walk.mappings.iter().filter(|mapping| mapping.written).map(|mapping| {
            let logical = fs.superblock.to_bytes(mapping.logical);
            let length = fs.superblock.to_bytes(u64::from(mapping.length));
            let disk = fs.superblock.to_bytes(mapping.block);
            Run { logical, disk, length: inode.size.saturating_sub(logical).min(length) }
        });
        self.views.push(node, runs.filter(|run| run.length > 0));
        self.nodes.push(Node::new(number, NodeKind::Own, inode.size));
    }

    fn file(&mut self, number: u64, inode: &Inode<'_>) {
        let owner = word(wide(self.nodes.len()));
        let mut node = Node::new(number, NodeKind::File, inode.size);
        node.first_claim = word(wide(self.claims.len()));
        for &Mapping { logical, block, length, written } in &self.walk.mappings {
            let role = if written { Role::Written } else { Role::Unwritten };
            self.claims.push(Claim::new(owner, role, block, length, logical));
        }
        node.claims = word(wide(self.claims.len())).saturating_sub(node.first_claim);
        self.nodes.push(node);
    }

    fn directory(&mut self, fs: &Fs<'_>, number: u64, at: u64, inode: &Inode<'_>) {
        let node = word(wide(self.nodes.len()));
        self.own_blocks();
        if inode.data().format == Format::Local {
            let place = inode.data_place();
            let bytes = u16::try_from(inode.size.min(place.length)).unwrap_or(0);
            let at = at.saturating_add(place.offset);
            self.directories.push(Directory::Short { node, at, bytes });
        } else {
            let end = blocks_in(fs, NAMES_END);
            let first = word(wide(self.runs.len()));
            let runs = self.walk.mappings.iter().filter(|run| run.logical < end && run.written);
            self.runs.extend(runs);
            if self.runs.len() > DIRECTORY_RUNS_MAX {
                self.limited = true;
                self.runs.truncate(DIRECTORY_RUNS_MAX);
            }
            let count = word(wide(self.runs.len())).saturating_sub(first);
            self.directories.push(Directory::Runs { node, first, count });
        }
        self.nodes.push(Node::new(number, NodeKind::Directory, 0));
    }

    /// Reads all directories, and inodes that only they know of, until no new ones turn up.
    fn name_all(&mut self, fs: &Fs<'_>) -> Result<(), Error> {
        let mut bytes_left = DIRECTORY_BYTES_MAX;
        let mut unknown = Vec::new();
        let mut buffer = Vec::new();
        while !self.directories.is_empty() {
            let directories = std::mem::take(&mut self.directories);
            let runs = std::mem::take(&mut self.runs);
            for directory in directories {
                match directory {
                    Directory::Short { node, at, bytes } => {
                        buffer.resize(usize::from(bytes), 0);
                        fs.window.read("a directory", at, &mut buffer)?;
                        let filetype = fs.superblock.filetype;
                        let mut namer = self.namer(fs.superblock.root, node, &mut unknown);
                        let right =
                            directory::short(&buffer, filetype, |inode, name| namer.name(inode, name));
                        let extent = Extent::new(at, u64::from(bytes));
                        self.tally.count("damaged directory blocks", u64::from(!right), extent);
                    }
                    Directory::Runs { node, first, count } => {
                        let runs = runs.iter().skip(narrow(u64::from(first)));
                        let blocks = Blocks { node, bytes: Vec::new(), number: None, places: Vec::new() };
                        let runs = runs.take(narrow(u64::from(count)));
                        self.name_runs(fs, runs, blocks, &mut bytes_left, &mut unknown)?;
                    }
                }
            }
            self.read_late(fs, &mut unknown)?;
        }
        Ok(())
    }

    /// Names what the blocks of a directory have, which may lie in several runs each.
    fn name_runs<'r>(
        &mut self,
        fs: &Fs<'_>,
        runs: impl Iterator<Item = &'r Mapping>,
        mut blocks: Blocks,
        bytes_left: &mut u64,
        unknown: &mut Unknown,
    ) -> Result<(), Error> {
        let superblock = &fs.superblock;
        let block_bytes = superblock.block_bytes;
        let mut piece = Vec::new();
        for run in runs {
            let mut at = superblock.to_bytes(run.block);
            let end = at.saturating_add(superblock.to_bytes(u64::from(run.length)));
            let mut logical = run.logical;
            while at < end {
                let data = fs.window.skip_zeros("a directory", at, end)?;
                let skipped = data.saturating_sub(at).checked_shr(superblock.block_bits).unwrap_or(0);
                logical = logical.saturating_add(skipped);
                at = at.saturating_add(superblock.to_bytes(skipped));
                if at >= end {
                    break;
                }
                let length = end.saturating_sub(at).min(READ_BYTES);
                *bytes_left = bytes_left.saturating_sub(length);
                if *bytes_left == 0 {
                    self.limited = true;
                    return Ok(());
                }
                piece.resize(narrow(length), 0);
                fs.window.read("a directory", at, &mut piece)?;
                for bytes in piece.chunks_exact(narrow(block_bytes)) {
                    let number = logical.checked_shr(superblock.directory_bits).unwrap_or(0);
                    if blocks.number != Some(number) {
                        self.name_block(fs, &blocks, unknown);
                        blocks.start(number, superblock.directory_bytes());
                    }
                    let mask = 1_u64.checked_shl(superblock.directory_bits).unwrap_or(1).saturating_sub(1);
                    let within = narrow((logical & mask).saturating_mul(block_bytes));
                    if let Some(into) = blocks.bytes.get_mut(within..within.saturating_add(bytes.len())) {
                        into.copy_from_slice(bytes);
                    }
                    blocks.places.push(at);
                    logical = logical.saturating_add(1);
                    at = at.saturating_add(block_bytes);
                }
            }
        }
        self.name_block(fs, &blocks, unknown);
        Ok(())
    }

    fn name_block(&mut self, fs: &Fs<'_>, block: &Blocks, unknown: &mut Unknown) {
        let Some(&first) = block.places.first() else {
            return;
        };
        let patched = || {
            let overlay = fs.window.overlay();
            block.places.iter().any(|&at| {
                let next = overlay.and_then(|overlay| overlay.next(at));
                next.is_some_and(|next| next < at.saturating_add(fs.superblock.block_bytes))
            })
        };
        let right = !fs.superblock.checksums || super::is_sum_right(&block.bytes, 4) || patched();
        let mut namer = self.namer(fs.superblock.root, block.node, unknown);
        let found =
            directory::entries(&fs.superblock, &block.bytes, right, |inode, name| namer.name(inode, name));
        let what = match found {
            Found::WellFormed => return,
            Found::Damaged => "damaged directory blocks",
            Found::WrongSum => "directory blocks with a wrong checksum",
        };
        self.tally.count(what, 1, Extent::new(first, fs.superblock.block_bytes));
    }

    fn namer<'s>(&'s mut self, root: u64, directory: u32, unknown: &'s mut Unknown) -> Namer<'s> {
        Namer {
            nodes: &mut self.nodes,
            names: &mut self.names,
            sorted: self.sorted,
            late: &self.late,
            seen: &mut self.late_seen,
            chunks: &self.groups.chunks,
            limited: &mut self.limited,
            root,
            directory,
            unknown,
        }
    }

    fn is_known(&self, inode: u64) -> bool {
        let sorted = self.nodes.get(..self.sorted).unwrap_or_default();
        self.late.contains_key(&inode) || sorted.binary_search_by_key(&inode, |node| node.inode).is_ok()
    }

    /// Reads inodes that the trees of inodes do not have and directories name all the same.
    fn read_late(&mut self, fs: &Fs<'_>, unknown: &mut Unknown) -> Result<(), Error> {
        for (number, directory, name) in unknown.drain(..) {
            let Some(at) = fs.superblock.inode_at(number) else {
                continue;
            };
            let bytes = fs.window.bytes_at("an inode", at, narrow(fs.superblock.inode_bytes))?;
            if Inode::parse(&bytes).is_none_or(|inode| inode.kind == Kind::Other) {
                continue;
            }
            if let Some(block) = at.checked_shr(fs.superblock.block_bits) {
                self.claims.metadata(block, 1);
            }
            let node = self.nodes.len();
            self.inode(fs, number, at, &bytes)?;
            let Some(found) = self.nodes.get_mut(node) else {
                continue;
            };
            if !name.is_empty() {
                self.names.give(found, directory, &name);
            }
            self.late.insert(number, word(wide(node)));
            let extent = Extent::new(at, fs.superblock.inode_bytes);
            self.tally.count("inodes in use that are called unused", 1, extent);
        }
        Ok(())
    }
}

/// A directory block that is put together.
#[derive(Debug)]
struct Blocks {
    node: u32,
    bytes: Vec<u8>,
    /// Which one of the directory it is.
    number: Option<u64>,
    /// Where its parts are.
    places: Vec<u64>,
}

impl Blocks {
    fn start(&mut self, number: u64, bytes: usize) {
        self.bytes.clear();
        self.bytes.resize(bytes, 0);
        self.number = Some(number);
        self.places.clear();
    }
}

/// Gives names to the nodes of one directory.
struct Namer<'s> {
    nodes: &'s mut Vec<Node>,
    names: &'s mut Names,
    sorted: usize,
    late: &'s HashMap<u64, u32>,
    seen: &'s mut HashSet<u64>,
    chunks: &'s [Chunk],
    limited: &'s mut bool,
    root: u64,
    directory: u32,
    unknown: &'s mut Unknown,
}

impl Namer<'_> {
    fn name(&mut self, inode: u64, name: &[u8]) {
        let known = self.late.get(&inode).map(|&node| narrow(u64::from(node)));
        let known = known.or_else(|| {
            let list = self.nodes.get(..self.sorted)?;
            list.binary_search_by_key(&inode, |node| node.inode).ok()
        });
        if let Some(node) = known.and_then(|node| self.nodes.get_mut(node)) {
            if node.is_nameless() && node.inode != self.root {
                self.names.give(node, self.directory, name);
            }
        } else if !self.was_read(inode) {
            if self.seen.len() >= LATE_MAX {
                *self.limited = true;
            } else if self.seen.insert(inode) {
                self.unknown.push((inode, self.directory, name.to_vec()));
            }
        }
    }

    /// Returns whether an inode is in a chunk, and so was read and is neither file nor directory.
    fn was_read(&self, inode: u64) -> bool {
        let behind = self.chunks.partition_point(|chunk| chunk.first <= inode);
        let chunk = behind.checked_sub(1).and_then(|last| self.chunks.get(last));
        chunk.is_some_and(|chunk| {
            let index = inode.saturating_sub(chunk.first);
            index < CHUNK_INODES && chunk.is_used(index)
        })
    }
}
