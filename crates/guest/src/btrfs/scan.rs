//! Goes over the trees of all subvolumes.

use super::Fs;
use super::file::{Layout, layouts};
use super::item::{
    DIR_INDEX, EXTENT_DATA, Entry, FileExtent, INODE_EXTREF, INODE_ITEM, INODE_REF, InodeItem, names,
};
use super::log::{Log, LogInode, cover};
use super::roots::{FIRST_FREE, LAST_FREE, Subvolume};
use super::tree::{Item, Walker};
use crate::field::{narrow, wide, word};
use crate::fs::{Claim, Claims, Names, Node, NodeKind, Packs, Reasons, Role, Tally, Views};
use airlock_model::{Extent, Reason};
use std::collections::HashMap;
use std::ops::Range;

/// Most files and directories of a volume; 40 bytes each, and as many again in the map.
const NODES_MAX: usize = 16 << 20;

/// Most extents of one file; 72 bytes each.
const FILE_EXTENTS_MAX: usize = 2 << 20;

/// Most compressed extents; 56 bytes each.
const PACKS_MAX: usize = 8 << 20;

/// Most names of one subvolume, and bytes of them.
const NAMES_MAX: usize = 32 << 20;
const NAMES_BYTES_MAX: usize = 1 << 30;

/// Versions of a file in other subvolumes that it is compared with.
const VERSIONS_MAX: usize = 16;

/// A name of an inode.
#[derive(Debug, Clone, Copy)]
struct Name {
    node: u32,
    parent: u64,
    start: u32,
    bytes: u16,
    logged: bool,
}

/// An inode whose items are being read.
#[derive(Debug, Default)]
struct Inode {
    number: u64,
    item: Option<InodeItem>,
    extents: Vec<FileExtent>,
    /// Directories and where in the arena the names are.
    names: Vec<(u64, Range<usize>)>,
}

/// The nodes of a subvolume.
#[derive(Debug)]
struct Part {
    number: u64,
    nodes: Range<usize>,
}

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Names,
    pub(crate) claims: Claims,
    /// Claims on what files have of extents and do not show.
    pub(crate) rests: Vec<Claim>,
    pub(crate) views: Views,
    pub(crate) packs: Packs,
    pub(crate) reasons: Reasons,
    pub(crate) tally: Tally,
    pub(crate) limited: bool,
    packs_left: usize,
    /// Nodes by inode, where there are several subvolumes.
    versions: Option<HashMap<u64, Vec<u32>>>,
    parts: Vec<Part>,
    inode: Inode,
    list: Vec<Name>,
    arena: Vec<u8>,
}

impl Scan {
    pub(crate) fn new(claims: Claims, several: bool, tally: Tally) -> Self {
        Self {
            nodes: Vec::new(),
            names: Names::default(),
            claims,
            rests: Vec::new(),
            views: Views::default(),
            packs: Packs::default(),
            reasons: Reasons::default(),
            tally,
            limited: false,
            packs_left: PACKS_MAX,
            versions: several.then(HashMap::new),
            parts: Vec::new(),
            inode: Inode::default(),
            list: Vec::new(),
            arena: Vec::new(),
        }
    }

    /// Scans a subvolume, with its log.
    pub(crate) fn subvolume(
        &mut self,
        fs: &Fs<'_>,
        walker: &mut Walker,
        subvolume: &Subvolume,
        mut log: Option<Log>,
    ) {
        let first = self.nodes.len();
        let before = walker.damage;
        walker.walk(fs, subvolume.root, |item| self.item(fs, item, log.as_mut()));
        if subvolume.deleted {
            // Some of its blocks are free already.
            walker.damage = before;
        }
        self.turn_to(fs, u64::MAX, log.as_mut());
        self.name_all(first, log.as_ref());
        self.parts.push(Part { number: subvolume.number, nodes: first..self.nodes.len() });
    }

    fn item(&mut self, fs: &Fs<'_>, item: Item<'_>, mut log: Option<&mut Log>) {
        let Item { key, bytes, at } = item;
        if !(FIRST_FREE..=LAST_FREE).contains(&key.object) {
            return;
        }
        if key.object != self.inode.number {
            self.turn_to(fs, key.object, log.as_deref_mut());
        }
        match key.kind {
            INODE_ITEM => self.inode.item = Some(InodeItem::parse(bytes)),
            INODE_REF | INODE_EXTREF => names(key.kind, key.offset, bytes, |parent, name| {
                if self.arena.len() >= NAMES_BYTES_MAX {
                    self.limited = true;
                    return;
                }
                let start = self.arena.len();
                self.arena.extend_from_slice(name);
                self.inode.names.push((parent, start..self.arena.len()));
            }),
            DIR_INDEX => {
                if let Some(log) = log.filter(|log| log.wants(key.object))
                    && let Some(entry) = Entry::parse(bytes)
                {
                    log.entry(key.object, key.offset, entry.name);
                }
            }
            EXTENT_DATA => {
                let extents = &mut self.inode.extents;
                let end = extents.last().and_then(FileExtent::end);
                let extent = FileExtent::parse(bytes, key.offset, at)
                    .filter(|extent| end.is_none_or(|end| end <= extent.logical));
                let Some(extent) = extent else {
                    let place = Extent::new(at, wide(bytes.len()));
                    self.tally.count("parts of files that are damaged or overlap", 1, place);
                    return;
                };
                if extents.len() >= FILE_EXTENTS_MAX {
                    self.limited = true;
                } else {
                    extents.push(extent);
                }
            }
            _ => {}
        }
    }

    /// Finishes the inode at hand and those that only the log has, up to `number`.
    fn turn_to(&mut self, fs: &Fs<'_>, number: u64, mut log: Option<&mut Log>) {
        let inode = std::mem::take(&mut self.inode);
        if inode.number != 0 {
            let logged = log.as_mut().and_then(|log| log.inodes.remove(&inode.number));
            self.finish(fs, inode, logged);
        }
        while let Some(log) = log.as_mut()
            && let Some(first) = log.inodes.first_entry()
            && *first.key() < number
        {
            let (number, logged) = first.remove_entry();
            if (FIRST_FREE..=LAST_FREE).contains(&number) {
                self.finish(fs, Inode { number, ..Inode::default() }, Some(logged));
            }
        }
        self.inode.number = number;
    }

    fn finish(&mut self, fs: &Fs<'_>, mut inode: Inode, logged: Option<LogInode>) {
        let mut covered = Vec::new();
        let mut logged_names = Vec::new();
        if let Some(logged) = logged {
            let extents = &logged.extents;
            inode.extents = cover(&inode.extents, extents, fs.superblock.sector_bytes, &mut covered);
            inode.item = match (inode.item, logged.item) {
                // Says only that the inode is there.
                (Some(item), Some(newer)) if newer.generation == 0 && item.is_file() => {
                    let size = if newer.size == 0 { item.size } else { newer.size };
                    Some(InodeItem { size, ..item })
                }
                (item, newer) => newer.or(item),
            };
            logged_names = logged.names;
        }
        let place = Extent::new(0, fs.superblock.sector_bytes);
        if inode.item.is_none() {
            let missing = u64::from(!inode.extents.is_empty());
            self.tally.count("files without an inode", missing, place);
        }
        let is_directory = inode.item.is_some_and(|item| item.is_directory());
        let is_file = match inode.item {
            Some(item) => item.is_file(),
            None => !inode.extents.is_empty(),
        };
        if self.nodes.len() >= NODES_MAX || self.claims.is_full() || self.list.len() >= NAMES_MAX {
            self.limited = true;
            return;
        }
        let first = self.nodes.len();
        if is_directory {
            self.nodes.push(Node::new(inode.number, NodeKind::Directory, 0));
        } else if is_file {
            self.file(fs, &inode, &covered);
        } else {
            // Where a link leads to is in its leaf; devices have nothing.
            return;
        }
        for node in first..self.nodes.len() {
            let node = word(wide(node));
            for (parent, name) in &logged_names {
                let start = self.arena.len();
                self.arena.extend_from_slice(name);
                self.add_name(node, *parent, start..self.arena.len(), true);
            }
            for (parent, name) in &inode.names {
                self.add_name(node, *parent, name.clone(), false);
            }
        }
    }

    fn add_name(&mut self, node: u32, parent: u64, name: Range<usize>, logged: bool) {
        let bytes = u16::try_from(name.len()).unwrap_or(0);
        self.list.push(Name { node, parent, start: word(wide(name.start)), bytes, logged });
    }

    /// Adds the nodes of a file, unless another subvolume has the same.
    fn file(&mut self, fs: &Fs<'_>, inode: &Inode, covered: &[FileExtent]) {
        let end = inode.extents.last().and_then(FileExtent::end).unwrap_or(0);
        let size = inode.item.map_or(end, |item| item.size);
        let place = Extent::new(0, fs.superblock.sector_bytes);
        if inode.item.is_some_and(|item| item.links == 0) {
            self.tally.count("deleted files that were still open", 1, place);
        }
        let mut made = layouts(fs, size, &inode.extents);
        // What the log has covered is not free before the next commit.
        let old = layouts(fs, u64::MAX, covered);
        for layout in &old.list {
            made.rests.extend(layout.claims.iter().map(|(_, block, length, _)| (*block, *length)));
        }
        made.rests.extend(old.rests);
        made.list
            .extend(old.list.into_iter().filter_map(|layout| layout.into_old(fs.superblock.sector_bytes)));
        self.tally.count("block runs outside the file system", made.outside, place);
        self.tally.count("extents that are compressed in an unknown way", made.unknown, place);
        let rests = made.rests;
        if self.is_known(inode.number, &made.list) {
            return;
        }
        let owner = word(wide(self.nodes.len()));
        let reason = (made.unknown > 0).then_some(Reason::Unsupported);
        for layout in made.list {
            self.layout(inode.number, layout, reason);
        }
        for (block, length) in rests {
            self.rests.push(Claim::new(owner, Role::Cluster, block, length, 0));
        }
        if self.rests.len().saturating_add(self.claims.len()) > narrow(u64::from(u32::MAX >> 4)) {
            self.limited = true;
        }
        if let Some(versions) = &mut self.versions {
            versions.entry(inode.number).or_default().push(owner);
        }
    }

    fn layout(&mut self, number: u64, layout: Layout, mut reason: Option<Reason>) {
        let Layout { kind, size, claims, views, packs } = layout;
        let owner = word(wide(self.nodes.len()));
        let mut node = Node::new(number, kind, size);
        node.first_claim = word(wide(self.claims.len()));
        for (role, block, length, logical) in claims {
            self.claims.push(Claim::new(owner, role, block, length, logical));
        }
        node.claims = word(wide(self.claims.len())).saturating_sub(node.first_claim);
        if !views.is_empty() {
            self.views.push(owner, views);
        }
        match self.packs_left.checked_sub(packs.len()) {
            _ if packs.is_empty() => {}
            Some(left) => {
                self.packs_left = left;
                self.packs.push(owner, packs);
            }
            // Then the stored bytes are all that is inspected.
            None => {
                self.limited = true;
                reason = Some(Reason::Limit);
                node.kind = NodeKind::File;
            }
        }
        if let Some(reason) = reason {
            self.reasons.push(owner, [reason]);
        }
        self.nodes.push(node);
    }

    /// Returns whether the file of the same number in another subvolume is kept in the same way.
    fn is_known(&self, number: u64, list: &[Layout]) -> bool {
        let Some(versions) = self.versions.as_ref().and_then(|versions| versions.get(&number)) else {
            return false;
        };
        let [layout] = list else { return false };
        versions.iter().rev().take(VERSIONS_MAX).any(|&version| {
            let Some(node) = self.nodes.get(narrow(u64::from(version))) else { return false };
            let claims = self.claims.of(node.first_claim, node.claims);
            let parts = claims.iter().map(|claim| (claim.role, claim.block, claim.length, claim.logical()));
            (node.kind, node.size) == (layout.kind, layout.size)
                && parts.eq(layout.claims.iter().copied())
                && self.views.of(version) == layout.views
                && self.packs.of(version) == layout.packs
        })
    }

    /// Gives the nodes from `first` on their names.
    fn name_all(&mut self, first: usize, log: Option<&Log>) {
        let list = std::mem::take(&mut self.list);
        let arena = std::mem::take(&mut self.arena);
        for name in list {
            let start = narrow(u64::from(name.start));
            let bytes = arena.get(start..start.saturating_add(usize::from(name.bytes))).unwrap_or_default();
            let number = self.nodes.get(narrow(u64::from(name.node))).map_or(0, |node| node.inode);
            let gone = log.is_some_and(|log| !name.logged && log.is_gone(number, name.parent, bytes));
            if !gone {
                self.name(first, name.node, name.parent, bytes);
            }
        }
        for (number, parent, bytes) in log.map(Log::added).unwrap_or_default() {
            let nodes = self.nodes.get(first..).unwrap_or_default();
            let start = nodes.partition_point(|node| node.inode < number).saturating_add(first);
            let same = nodes.partition_point(|node| node.inode <= number).saturating_add(first);
            for node in start..same {
                self.name(first, word(wide(node)), parent, &bytes);
            }
        }
    }

    /// Names a node of a subvolume whose nodes begin at `first`, if it has no name yet.
    fn name(&mut self, first: usize, node: u32, parent: u64, bytes: &[u8]) {
        let parent = self.nodes.get(first..).and_then(|nodes| find(nodes, parent));
        let parent = parent.map(|parent| word(wide(parent.saturating_add(first))));
        if let (Some(parent), Some(node)) = (parent, self.nodes.get_mut(narrow(u64::from(node))))
            && node.inode != FIRST_FREE
            && node.is_nameless()
        {
            self.names.give(node, parent, bytes);
        }
    }

    /// Hangs the subvolumes into one another; returns the node of the topmost directory.
    pub(crate) fn hang(&mut self, subvolumes: &[Subvolume], top: u64) -> Option<u32> {
        for subvolume in subvolumes {
            let Some(child) = self.find(subvolume.number, FIRST_FREE) else { continue };
            let place = subvolume.place.as_ref();
            let parent = place.and_then(|(above, directory, _)| self.find(*above, *directory));
            if let (Some(parent), Some((_, _, name)), Some(node)) =
                (parent, place, self.nodes.get_mut(narrow(u64::from(child))))
                && subvolume.number != top
            {
                self.names.give(node, parent, name);
            }
        }
        self.find(top, FIRST_FREE)
    }

    fn find(&self, subvolume: u64, inode: u64) -> Option<u32> {
        let part = self.parts.iter().find(|part| part.number == subvolume)?;
        let within = find(self.nodes.get(part.nodes.clone())?, inode)?;
        Some(word(wide(part.nodes.start.saturating_add(within))))
    }
}

/// Returns which of nodes in order is the directory of a number.
fn find(nodes: &[Node], inode: u64) -> Option<usize> {
    let found = nodes.binary_search_by_key(&inode, |node| node.inode).ok()?;
    nodes.get(found).filter(|node| node.kind == NodeKind::Directory).map(|_| found)
}
