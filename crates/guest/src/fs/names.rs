//! Who is called what.

use super::claims::NOBODY;
use crate::field::{narrow, wide};

/// Longest path; the kernel takes none that is longer.
const PATH_BYTES_MAX: usize = 4096;

/// Most bytes of all names; further files are nameless.
const NAMES_BYTES_MAX: usize = 1 << 30;

/// A file or a stream that becomes a place, or a directory above one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// The number that the file system gives it, for what nobody names.
    pub(crate) inode: u64,
    pub(crate) kind: NodeKind,
    pub(crate) size: u64,
    /// First claim and number of claims.
    pub(crate) first_claim: u32,
    pub(crate) claims: u32,
    name: u32,
    parent: u32,
    name_bytes: u16,
}

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// A file with blocks of its own.
    File,
    /// A file whose data lies inside metadata, where [`super::Views`] say.
    View,
    /// A file whose blocks hold a stored stream; [`super::Packs`] say what it unpacks to. The
    /// `logical` of its claims counts in that stream.
    Packed,
    Encrypted,
    /// A file of the file system itself: a view, if a directory names it.
    Own,
    Directory,
}

impl Node {
    pub(crate) fn new(inode: u64, kind: NodeKind, size: u64) -> Self {
        Self { inode, kind, size, first_claim: 0, claims: 0, name: 0, name_bytes: 0, parent: NOBODY }
    }

    /// Returns whether no directory has named it yet.
    pub(crate) fn is_nameless(&self) -> bool {
        self.name_bytes == 0
    }

    /// Returns what [`Names::give`] was told of its directory.
    pub(crate) fn parent(&self) -> u32 {
        self.parent
    }

    /// Says which node its directory is; without one, it is nameless.
    pub(crate) fn adopt(&mut self, parent: Option<u32>) {
        match parent {
            Some(parent) => self.parent = parent,
            None => self.name_bytes = 0,
        }
    }
}

/// The names of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Names {
    arena: Vec<u8>,
}

impl Names {
    /// Names a node; `parent` is the number of the directory's node.
    pub(crate) fn give(&mut self, node: &mut Node, parent: u32, name: &[u8]) {
        let start = u32::try_from(self.arena.len());
        let (Ok(start), Ok(name_bytes)) = (start, u16::try_from(name.len())) else {
            return;
        };
        if self.arena.len() < NAMES_BYTES_MAX {
            self.arena.extend_from_slice(name);
            node.name = start;
            node.name_bytes = name_bytes;
            node.parent = parent;
        }
    }

    /// Returns the name of a node.
    pub(crate) fn name(&self, node: &Node) -> &[u8] {
        let start = narrow(u64::from(node.name));
        let end = start.saturating_add(usize::from(node.name_bytes));
        self.arena.get(start..end).unwrap_or_default()
    }
}

/// Makes paths, and remembers that of the last directory: neighbours often share it.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    root: Option<u32>,
    parent: Option<u32>,
    prefix: Vec<u8>,
    path: Vec<u8>,
    above: Vec<u32>,
}

impl Paths {
    /// Makes paths below the node `root`.
    pub(crate) fn below(root: Option<u32>) -> Self {
        Self { root, ..Self::default() }
    }

    /// Returns the path of a node.
    pub(crate) fn of(&mut self, nodes: &[Node], names: &Names, node: &Node) -> &[u8] {
        if node.is_nameless() {
            return self.nameless(node.inode);
        }
        if self.parent != Some(node.parent) {
            self.parent = Some(node.parent);
            self.climb(nodes, names, node.parent);
        }
        let name = names.name(node);
        if self.prefix.len().saturating_add(name.len()) >= PATH_BYTES_MAX {
            return self.nameless(node.inode);
        }
        self.path.clear();
        self.path.extend_from_slice(&self.prefix);
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        &self.path
    }

    fn nameless(&mut self, inode: u64) -> &[u8] {
        self.path.clear();
        self.path.extend_from_slice(format!("/lost+found/#{inode}").as_bytes());
        &self.path
    }

    /// Sets the prefix to the path of a directory. A chain that is too long or leads back
    /// into itself ends where the path would be too long, and the directory is nameless.
    fn climb(&mut self, nodes: &[Node], names: &Names, directory: u32) {
        self.above.clear();
        self.prefix.clear();
        let (mut at, mut bytes) = (directory, 0_u64);
        let mut top = None;
        while bytes < wide(PATH_BYTES_MAX) {
            if Some(at) == self.root {
                top = Some(None);
                break;
            }
            let Some(node) = nodes.get(narrow(u64::from(at))) else {
                break;
            };
            if node.is_nameless() {
                top = Some(Some(node.inode));
                break;
            }
            self.above.push(at);
            bytes = bytes.saturating_add(u64::from(node.name_bytes)).saturating_add(1);
            at = node.parent;
        }
        if top.is_none() {
            self.above.clear();
            top = Some(nodes.get(narrow(u64::from(directory))).map(|node| node.inode));
        }
        if let Some(Some(inode)) = top {
            self.prefix.extend_from_slice(format!("/lost+found/#{inode}").as_bytes());
        }
        for &at in self.above.iter().rev() {
            if let Some(node) = nodes.get(narrow(u64::from(at))) {
                self.prefix.push(b'/');
                self.prefix.extend_from_slice(names.name(node));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_from_the_root_or_from_lost_and_found() {
        let mut names = Names::default();
        let mut nodes: Vec<Node> =
            [2, 11, 12, 13, 14, 15].iter().map(|&inode| Node::new(inode, NodeKind::Directory, 0)).collect();
        names.give(&mut nodes[1], 0, b"a");
        names.give(&mut nodes[2], 1, b"b\xff");
        names.give(&mut nodes[4], 3, b"c");
        names.give(&mut nodes[5], 5, b"loop");
        let mut paths = Paths::below(Some(0));
        let mut check = |node: usize, expected: &[u8]| {
            assert_eq!(paths.of(&nodes, &names, &nodes[node]), expected);
        };
        check(1, b"/a");
        check(2, b"/a/b\xff");
        check(3, b"/lost+found/#13");
        check(4, b"/lost+found/#13/c");
        check(5, b"/lost+found/#15/loop");
    }
}
