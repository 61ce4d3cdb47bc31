//! Reads all directories from the root on.

use super::Fs;
use super::chain::{Chains, Ended};
use super::name::{ENTRY_BYTES, Entry, Read, Reader};
use super::table::{Table, Width};
use crate::Error;
use crate::field::{narrow, wide, word};
use crate::fs::{Claims, Names, Node, NodeKind, Reasons, Role, Tally};
use airlock_model::{Extent, Reason};
use std::collections::VecDeque;

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
    pub(crate) reasons: Reasons,
    pub(crate) tally: Tally,
    /// Whether a budget was used up, so that there may be files that were not found.
    pub(crate) limited: bool,
    pub(crate) chains: Chains,
    /// Directories that are to be read: node and first cluster.
    queue: VecDeque<(u32, u32)>,
    /// Clusters of the chain at hand.
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
        reasons: Reasons::default(),
        tally: Tally::default(),
        limited: table.limited,
        chains: Chains::new(table),
        queue: VecDeque::new(),
        runs: Vec::new(),
        buffer: Vec::new(),
        cut: false,
    };
    scan.claims.metadata(0, fs.boot.data);
    scan.bad_clusters(fs);
    let mut reader = Reader::default();
    if fs.boot.width == Width::ThirtyTwo {
        scan.queue.push_back((0, fs.boot.root_cluster));
    } else {
        let (first, sectors) = fs.boot.fixed_root();
        scan.piece(fs, &mut reader, 0, Extent::new(fs.boot.to_bytes(first), fs.boot.to_bytes(sectors)))?;
    }
    while let Some((node, cluster)) = scan.queue.pop_front() {
        scan.directory(fs, node, cluster)?;
    }
    scan.limited |= scan.claims.is_full();
    Ok(scan)
}

impl Scan {
    fn bad_clusters(&mut self, fs: &Fs<'_>) {
        let mut count = 0_u64;
        for (start, end) in self.chains.table.bad() {
            let clusters = u64::from(end.saturating_sub(start));
            let length = clusters.saturating_mul(fs.boot.cluster_sectors);
            self.claims.metadata(fs.boot.sector(start), length);
            count = count.saturating_add(clusters);
        }
        self.tally.count("clusters marked as bad", count, Extent::new(0, fs.boot.sector_bytes));
    }

    /// Reads a directory that is a chain.
    fn directory(&mut self, fs: &Fs<'_>, node: u32, cluster: u32) -> Result<(), Error> {
        let mut runs = std::mem::take(&mut self.runs);
        // What another chain has is not read again, so directories that lead to each other end.
        let ended = self.chains.follow(cluster, node, 0, &mut runs);
        self.count_end(fs, ended, cluster);
        let mut reader = Reader::default();
        let mut more = true;
        for &(cluster, length) in &runs {
            let first = fs.boot.sector(cluster);
            let sectors = u64::from(length).saturating_mul(fs.boot.cluster_sectors);
            self.claims.metadata(first, sectors);
            let extent = Extent::new(fs.boot.to_bytes(first), fs.boot.to_bytes(sectors));
            more = more && self.piece(fs, &mut reader, node, extent)?;
        }
        self.runs = runs;
        Ok(())
    }

    fn count_end(&mut self, fs: &Fs<'_>, ended: Ended, cluster: u32) {
        let extent = Extent::new(fs.boot.to_bytes(fs.boot.sector(cluster)), fs.boot.sector_bytes);
        self.cut = ended == Ended::Limited;
        self.limited |= self.cut;
        let what = match ended {
            Ended::Whole => return,
            Ended::Broken => "chains of clusters that end in a free or impossible one",
            Ended::Cycle => "chains of clusters that lead back into themselves",
            Ended::Crossed | Ended::Limited => "chains of clusters that lead into another one",
        };
        self.tally.count(what, 1, extent);
    }

    /// Reads a part of a directory; returns whether there may be more behind it.
    fn piece(&mut self, fs: &Fs<'_>, reader: &mut Reader, node: u32, extent: Extent) -> Result<bool, Error> {
        let wide_clusters = fs.boot.width == Width::ThirtyTwo;
        let mut buffer = std::mem::take(&mut self.buffer);
        let (mut at, mut more) = (extent.offset, true);
        // Most directories are short: the first piece is one of a few entries.
        let mut length = 4096;
        while more && at < extent.end() {
            buffer.resize(narrow(extent.end().saturating_sub(at).min(length)), 0);
            length = READ_BYTES;
            fs.window.read(WHAT, at, &mut buffer)?;
            for (index, bytes) in (0_u64..).zip(buffer.chunks_exact(ENTRY_BYTES)) {
                match reader.read(bytes, wide_clusters) {
                    Read::End => {
                        more = false;
                        break;
                    }
                    Read::Nothing => {}
                    Read::Entry(entry) => {
                        let number = at.wrapping_shr(5).saturating_add(index);
                        self.entry(fs, number, node, &reader.name, entry);
                    }
                }
            }
            at = at.saturating_add(wide(buffer.len()));
        }
        self.buffer = buffer;
        Ok(more)
    }

    /// Adds a file or directory; `number` is the position of its entry.
    fn entry(&mut self, fs: &Fs<'_>, number: u64, directory: u32, name: &[u8], entry: Entry) {
        if self.nodes.len() >= NODES_MAX || self.claims.is_full() {
            self.limited = true;
            return;
        }
        let owner = word(wide(self.nodes.len()));
        let kind = if entry.directory { NodeKind::Directory } else { NodeKind::File };
        let mut node = Node::new(number, kind, entry.size);
        self.names.give(&mut node, directory, name);
        if entry.directory {
            self.queue.push_back((owner, entry.cluster));
        } else {
            self.file(fs, owner, &mut node, entry);
        }
        self.nodes.push(node);
    }

    fn file(&mut self, fs: &Fs<'_>, owner: u32, node: &mut Node, entry: Entry) {
        let cluster_bytes = fs.boot.to_bytes(fs.boot.cluster_sectors);
        let need = entry.size.div_ceil(cluster_bytes.max(1));
        node.first_claim = word(wide(self.claims.len()));
        let mut clusters = 0_u64;
        if entry.cluster != 0 {
            let mut runs = std::mem::take(&mut self.runs);
            let ended = self.chains.follow(entry.cluster, owner, need, &mut runs);
            self.count_end(fs, ended, entry.cluster);
            if self.cut {
                self.reasons.push(owner, [Reason::Limit]);
            }
            for &(cluster, length) in &runs {
                let logical = clusters.saturating_mul(fs.boot.cluster_sectors);
                let sectors = u64::from(length).saturating_mul(fs.boot.cluster_sectors);
                self.claims.run(owner, Role::Written, fs.boot.sector(cluster), sectors, logical);
                clusters = clusters.saturating_add(u64::from(length));
            }
            self.runs = runs;
        }
        node.claims = word(wide(self.claims.len())).saturating_sub(node.first_claim);
        if clusters < need {
            let extent = Extent::new(node.inode.saturating_mul(32), 32);
            self.tally.count("files with fewer clusters than their size needs", 1, extent);
        }
    }
}
