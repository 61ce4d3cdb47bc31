//! Reads all directories from the root on.

use super::Fs;
use super::entries::{ENTRY_BYTES, Read, Reader, Stream};
use crate::Error;
use crate::fat::chain::{Chains, Ended};
use crate::fat::table::Table;
use crate::field::{narrow, wide, word};
use crate::fs::{Claims, Names, Node, NodeKind, Reasons, Role, Tally, Valid};
use airlock_model::{Extent, Reason};
use std::collections::{BTreeMap, VecDeque};

const WHAT: &str = "a directory";

/// Most files and directories of a volume; 40 bytes each, and as many again in the map.
const NODES_MAX: usize = 16 << 20;

/// Directories are read in pieces of this size.
const READ_BYTES: u64 = 1 << 18;

/// What a scan found.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) names: Names,
    pub(crate) claims: Claims,
    pub(crate) valid: Valid,
    pub(crate) reasons: Reasons,
    pub(crate) tally: Tally,
    /// Whether a budget was used up, so that there may be files that were not found.
    pub(crate) limited: bool,
    /// Runs of the allocation bitmap, as cluster and length, and its size.
    pub(crate) bitmap: Vec<(u32, u32)>,
    pub(crate) bitmap_bytes: u64,
    chains: Chains,
    /// Directories that are to be read: node and place.
    queue: VecDeque<(u32, Stream)>,
    /// Clusters that were read as directories: first, and behind the last.
    read: BTreeMap<u32, u32>,
    /// Clusters of what is at hand.
    runs: Vec<(u32, u32)>,
    buffer: Vec<u8>,
    /// Whether the chain at hand was not followed to its end.
    cut: bool,
}

/// Scans a file system for all that is in use; claims come in order of precedence.
pub(crate) fn scan(fs: &Fs<'_>, table: Table, claims_max: usize) -> Result<Scan, Error> {
    let mut scan = Scan {
        nodes: vec![Node::new(0, NodeKind::Directory, 0)],
        names: Names::default(),
        claims: Claims::new(fs.units(), claims_max),
        valid: Valid::default(),
        reasons: Reasons::default(),
        tally: Tally::default(),
        limited: table.limited,
        bitmap: Vec::new(),
        bitmap_bytes: 0,
        chains: Chains::new(table),
        queue: VecDeque::new(),
        read: BTreeMap::new(),
        runs: Vec::new(),
        buffer: Vec::new(),
        cut: false,
    };
    scan.claims.metadata(0, fs.boot.heap);
    scan.bad_clusters(fs);
    let root = Stream { cluster: fs.boot.root, contiguous: false, size: u64::MAX, valid: u64::MAX };
    scan.queue.push_back((0, root));
    while let Some((node, place)) = scan.queue.pop_front() {
        scan.directory(fs, node, place)?;
    }
    scan.limited |= scan.claims.is_full();
    Ok(scan)
}

impl Scan {
    fn bad_clusters(&mut self, fs: &Fs<'_>) {
        let mut count = 0_u64;
        for (start, end) in self.chains.table.bad() {
            let clusters = u64::from(end.saturating_sub(start));
            let sectors = clusters.saturating_mul(fs.boot.cluster_sectors);
            self.claims.metadata(fs.boot.sector(start), sectors);
            count = count.saturating_add(clusters);
        }
        self.tally.count("clusters marked as bad", count, Extent::new(0, fs.boot.sector_bytes));
    }

    /// Sets `runs` to the clusters of a stream, and returns how many they are.
    fn locate(&mut self, fs: &Fs<'_>, who: u32, place: &Stream) -> u64 {
        self.runs.clear();
        let need = place.size.div_ceil(fs.boot.cluster_bytes().max(1));
        if place.contiguous {
            self.runs.extend(fs.boot.clip(place.cluster, need));
        } else if place.cluster != 0 {
            let ended = self.chains.follow(place.cluster, who, need, &mut self.runs);
            let extent = Extent::new(fs.boot.to_bytes(fs.boot.sector(place.cluster)), fs.boot.sector_bytes);
            self.cut = ended == Ended::Limited;
            self.limited |= self.cut;
            let what = match ended {
                Ended::Whole => None,
                Ended::Broken => Some("chains of clusters that end in a free or impossible one"),
                Ended::Cycle => Some("chains of clusters that lead back into themselves"),
                Ended::Crossed | Ended::Limited => Some("chains of clusters that lead into another one"),
            };
            if let Some(what) = what {
                self.tally.count(what, 1, extent);
            }
        }
        self.runs.iter().map(|(_, length)| u64::from(*length)).sum()
    }

    /// Claims the clusters at hand for the file system itself.
    fn own_clusters(&mut self, fs: &Fs<'_>) {
        for &(cluster, length) in &self.runs {
            let sectors = u64::from(length).saturating_mul(fs.boot.cluster_sectors);
            self.claims.metadata(fs.boot.sector(cluster), sectors);
        }
    }

    /// Notes clusters that are read as a directory; false if some of them were before, so that
    /// directories that lead to each other end.
    fn is_first(&mut self, cluster: u32, length: u32) -> bool {
        let end = cluster.saturating_add(length);
        let before = self.read.range(..end).next_back();
        let first = before.is_none_or(|(_, behind)| *behind <= cluster);
        if first {
            self.read.insert(cluster, end);
        }
        first
    }

    fn directory(&mut self, fs: &Fs<'_>, node: u32, place: Stream) -> Result<(), Error> {
        self.locate(fs, node, &place);
        self.own_clusters(fs);
        let runs = std::mem::take(&mut self.runs);
        let mut reader = Reader::default();
        let mut left = place.size;
        for &(cluster, length) in &runs {
            let sectors = u64::from(length).saturating_mul(fs.boot.cluster_sectors);
            let extent =
                Extent::new(fs.boot.to_bytes(fs.boot.sector(cluster)), fs.boot.to_bytes(sectors).min(left));
            if !self.is_first(cluster, length) {
                self.tally.count("directories in clusters of another one", 1, extent);
                break;
            }
            left = left.saturating_sub(extent.length);
            if !self.piece(fs, &mut reader, node, extent)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads a part of a directory; returns whether there may be more behind it.
    fn piece(&mut self, fs: &Fs<'_>, reader: &mut Reader, node: u32, extent: Extent) -> Result<bool, Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let (mut at, mut more) = (extent.offset, true);
        // Most directories are short: the first piece is one of a few entries.
        let mut length = 4096;
        while more && at < extent.end() {
            buffer.resize(narrow(extent.end().saturating_sub(at).min(length)), 0);
            length = READ_BYTES;
            fs.window.read(WHAT, at, &mut buffer)?;
            for (index, bytes) in (0_u64..).zip(buffer.chunks_exact(ENTRY_BYTES)) {
                let number = at.wrapping_shr(5).saturating_add(index);
                let found = reader.read(bytes);
                if found == Read::End {
                    more = false;
                    break;
                }
                self.entry(fs, number, node, &reader.name, found);
            }
            at = at.saturating_add(wide(buffer.len()));
        }
        self.buffer = buffer;
        Ok(more)
    }

    /// Looks at what an entry says; `number` is its position.
    fn entry(&mut self, fs: &Fs<'_>, number: u64, directory: u32, name: &[u8], found: Read) {
        let extent = Extent::new(number.saturating_mul(32), 32);
        match found {
            Read::End | Read::Nothing => {}
            Read::Damaged => self.tally.count("damaged sets of directory entries", 1, extent),
            Read::Bitmap(place, second) => {
                self.locate(fs, u32::MAX.wrapping_sub(1), &place);
                self.own_clusters(fs);
                if directory == 0 && second == fs.boot.second && self.bitmap_bytes == 0 {
                    self.bitmap = std::mem::take(&mut self.runs);
                    self.bitmap_bytes = place.size;
                }
            }
            Read::UpCase(place) => {
                self.locate(fs, u32::MAX.wrapping_sub(1), &place);
                self.own_clusters(fs);
            }
            Read::Entry { directory: is_directory, stream, is_sum_right } => {
                let wrong = u64::from(!is_sum_right);
                self.tally.count("sets of directory entries with a wrong checksum", wrong, extent);
                self.node(fs, number, directory, name, is_directory, &stream);
            }
        }
    }

    /// Adds a file or directory.
    fn node(
        &mut self,
        fs: &Fs<'_>,
        number: u64,
        directory: u32,
        name: &[u8],
        is_directory: bool,
        place: &Stream,
    ) {
        if self.nodes.len() >= NODES_MAX || self.claims.is_full() {
            self.limited = true;
            return;
        }
        let owner = word(wide(self.nodes.len()));
        let kind = if is_directory { NodeKind::Directory } else { NodeKind::File };
        let mut node = Node::new(number, kind, place.size);
        self.names.give(&mut node, directory, name);
        if is_directory {
            self.queue.push_back((owner, *place));
        } else {
            self.file(fs, owner, &mut node, place);
        }
        self.nodes.push(node);
    }

    fn file(&mut self, fs: &Fs<'_>, owner: u32, node: &mut Node, place: &Stream) {
        let clusters = self.locate(fs, owner, place);
        if std::mem::take(&mut self.cut) {
            self.reasons.push(owner, [Reason::Limit]);
        }
        node.first_claim = word(wide(self.claims.len()));
        let written = place.valid.div_ceil(fs.boot.sector_bytes.max(1));
        let mut logical = 0_u64;
        for &(cluster, length) in &self.runs {
            let sectors = u64::from(length).saturating_mul(fs.boot.cluster_sectors);
            let (at, first) = (fs.boot.sector(cluster), written.saturating_sub(logical).min(sectors));
            self.claims.run(owner, Role::Written, at, first, logical);
            let (behind, rest) = (logical.saturating_add(first), sectors.saturating_sub(first));
            self.claims.run(owner, Role::Unwritten, at.saturating_add(first), rest, behind);
            logical = logical.saturating_add(sectors);
        }
        node.claims = word(wide(self.claims.len())).saturating_sub(node.first_claim);
        if place.valid < place.size {
            self.valid.push(owner, [place.valid]);
        }
        if clusters < place.size.div_ceil(fs.boot.cluster_bytes().max(1)) {
            let extent = Extent::new(node.inode.saturating_mul(32), 32);
            self.tally.count("files with fewer clusters than their size needs", 1, extent);
        }
    }
}
