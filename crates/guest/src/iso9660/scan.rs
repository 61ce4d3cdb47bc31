//! Goes over the directories of both trees.

use super::Fs;
use super::descriptor::Tree;
use super::record::{Extra, Record, extra, records};
use crate::field::{narrow, quotient, remainder, wide, word};
use crate::fs::{Claim, Claims, Names, Node, NodeKind, Reasons, Role, Tally};
use crate::utf16;
use airlock_model::Reason;
use std::collections::{HashSet, VecDeque};

/// Most files and directories.
const NODES_MAX: usize = 4 << 20;

/// Most bytes of directories.
const DIRECTORY_BYTES_MAX: u64 = 1 << 30;

/// Largest directory.
const DIRECTORY_MAX: u64 = 64 << 20;

const ROOT: u32 = 0;

/// A part of a file: first block and bytes.
type Part = (u64, u64);

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Names,
    pub(crate) claims: Claims,
    pub(crate) reasons: Reasons,
    pub(crate) tally: Tally,
    pub(crate) limited: bool,
    bytes_left: u64,
    /// Directories that were read, by their first block.
    visited: HashSet<u64>,
    /// Files by where their parts are: another name of the same bytes is no other file.
    seen: HashSet<Vec<Part>>,
    /// Bytes before what Rock Ridge has; where that is none, other names are better.
    skip: usize,
    /// Whether a tree was read already: empty files of another one are the same.
    again: bool,
}

impl Scan {
    pub(crate) fn new(claims: Claims) -> Self {
        let root = Node::new(0, NodeKind::Directory, 0);
        Self {
            nodes: vec![root],
            names: Names::default(),
            claims,
            reasons: Reasons::default(),
            tally: Tally::default(),
            limited: false,
            bytes_left: DIRECTORY_BYTES_MAX,
            visited: HashSet::new(),
            seen: HashSet::new(),
            skip: 0,
            again: false,
        }
    }

    /// Reads a tree; what is known already is left out.
    pub(crate) fn tree(&mut self, fs: &Fs<'_>, tree: Tree) {
        let mut queue = VecDeque::from([(tree.root, ROOT)]);
        while let Some(((block, bytes), node)) = queue.pop_front() {
            if !self.visited.insert(block) {
                self.tally.count("directories that are in a tree twice", 1, fs.extent(block, bytes));
                continue;
            }
            if bytes > self.bytes_left.min(DIRECTORY_MAX) {
                self.limited = true;
                continue;
            }
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            let extent = fs.extent(block, bytes);
            let read = fs.window.bytes_at("a directory", extent.offset, narrow(extent.length));
            let Ok(read) = read else {
                self.tally.count("directories that cannot be read", 1, extent);
                continue;
            };
            self.claims.metadata(block, bytes.div_ceil(fs.block_bytes));
            self.directory(fs, tree, &read, node, &mut queue);
        }
        self.again = true;
    }

    /// Reads the records of a directory.
    fn directory(
        &mut self,
        fs: &Fs<'_>,
        tree: Tree,
        bytes: &[u8],
        node: u32,
        queue: &mut VecDeque<(Part, u32)>,
    ) {
        let mut parts: Vec<Part> = Vec::new();
        for record in records(bytes) {
            let extra = if tree.joliet {
                Extra::default()
            } else {
                extra(&fs.window, fs.block_bytes, &record, self.skip)
            };
            if let Some(skip) = extra.skip.filter(|_| node == ROOT && record.name == [0]) {
                self.skip = skip;
            }
            if matches!(record.name, [0 | 1]) || extra.relocated {
                continue;
            }
            if self.nodes.len() >= NODES_MAX || self.claims.is_full() {
                self.limited = true;
                return;
            }
            let extent = fs.extent(record.block, record.bytes);
            self.tally.count(
                "interleaved files, read as if they were not",
                u64::from(record.interleaved),
                extent,
            );
            self.tally.count("files that are compressed block by block", u64::from(extra.compressed), extent);
            let name = name_of(&record, &extra, tree.joliet);
            if let Some(child) = extra.child {
                let bytes = size_of(fs, child);
                let child_node = self.add(NodeKind::Directory, child, 0, node, &name);
                queue.push_back(((child, bytes), child_node));
            } else if record.directory {
                let child = self.add(NodeKind::Directory, record.block, 0, node, &name);
                queue.push_back(((record.block, record.bytes), child));
            } else {
                parts.push((record.block, record.bytes));
                let more = record.goes_on && parts.len() < 1 << 16;
                let file = extra.mode & 0o170_000;
                let odd = record.interleaved || extra.compressed;
                let cut = record.goes_on && !more;
                let reason = odd.then_some(Reason::Unsupported).or(cut.then_some(Reason::Limit));
                if !more && (file == 0 || file == 0o100_000) {
                    self.file(fs, &parts, node, &name, reason);
                }
                if !more {
                    parts.clear();
                }
            }
        }
    }

    fn add(&mut self, kind: NodeKind, inode: u64, size: u64, parent: u32, name: &[u8]) -> u32 {
        let number = word(wide(self.nodes.len()));
        let mut node = Node::new(inode, kind, size);
        self.names.give(&mut node, parent, name);
        self.nodes.push(node);
        number
    }

    fn file(&mut self, fs: &Fs<'_>, parts: &[Part], parent: u32, name: &[u8], reason: Option<Reason>) {
        let size = parts.iter().fold(0_u64, |size, (_, bytes)| size.saturating_add(*bytes));
        let known = if size == 0 { self.again } else { !self.seen.insert(parts.to_vec()) };
        if known {
            return;
        }
        let first = word(wide(self.claims.len()));
        let inode = parts.first().map_or(0, |(block, _)| *block);
        let number = self.add(NodeKind::File, inode, size, parent, name);
        if let Some(reason) = reason {
            self.reasons.push(number, [reason]);
        }
        let mut logical = 0_u64;
        for &(block, bytes) in parts {
            let count = bytes.div_ceil(fs.block_bytes);
            let inside = block.saturating_add(count) <= fs.blocks;
            let whole = remainder(logical, fs.block_bytes) == 0;
            if inside && whole {
                let logical = quotient(logical, fs.block_bytes);
                self.claims.push(Claim::new(number, Role::Written, block, word(count), logical));
            } else {
                let what = "parts of files that are outside the volume or begin inside a block";
                self.tally.count(what, 1, fs.extent(block, bytes));
            }
            logical = logical.saturating_add(bytes);
        }
        let claims = word(wide(self.claims.len())).saturating_sub(first);
        if let Some(node) = self.nodes.get_mut(narrow(u64::from(number))) {
            (node.first_claim, node.claims) = (first, claims);
        }
    }
}

/// Returns the size of a directory that is elsewhere, which its first record says.
fn size_of(fs: &Fs<'_>, block: u64) -> u64 {
    let at = block.saturating_mul(fs.block_bytes);
    let bytes = fs.window.bytes_at("a directory", at, 2048).unwrap_or_default();
    records(&bytes).next().map_or(0, |record| record.bytes)
}

/// Returns the name of a record: that of Rock Ridge, or the plain one without its version.
fn name_of(record: &Record<'_>, extra: &Extra, joliet: bool) -> Vec<u8> {
    if !extra.name.is_empty() {
        let name = extra.name.iter();
        return name.map(|byte| if matches!(byte, b'/' | 0) { b'_' } else { *byte }).collect();
    }
    let mut name = Vec::new();
    if joliet {
        let little: Vec<u8> =
            record.name.as_chunks::<2>().0.iter().flat_map(|[high, low]| [*low, *high]).collect();
        utf16::utf8(&little, &mut name);
    } else {
        name.extend(record.name.iter().map(|byte| if matches!(byte, b'/' | 0) { b'_' } else { *byte }));
    }
    let version = name.iter().rposition(|byte| *byte == b';').filter(|_| !record.directory);
    let is_number =
        |at: usize| name.get(at.saturating_add(1)..).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit));
    if let Some(at) = version.filter(|at| is_number(*at)) {
        name.truncate(at);
    }
    if !joliet && name.last() == Some(&b'.') {
        name.pop();
    }
    name
}
