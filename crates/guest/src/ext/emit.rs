//! Turns settled claims and block bitmaps into places.

use super::Fs;
use super::bitmap::Bitmaps;
use super::claims::{Claim, NOBODY, Role, Settled};
use super::names::{Names, Node, NodeKind, Paths};
use super::scan::{Inline, Scan};
use super::tally::Tally;
use crate::Error;
use crate::field::narrow;
use crate::volumes::{Findings, as_runs};
use airlock_model::{Extent, PlaceKind, Run, Volume};

/// Most runs of free space and of blocks that nobody owns; further ones are raw.
const GAP_RUNS_MAX: usize = 8 << 20;

/// The parts of a volume that no file has, in bytes of the disk.
#[derive(Debug, Default)]
struct Rest {
    metadata: Vec<Extent>,
    free: Vec<Extent>,
    /// Not understood because a budget was used up.
    raw: Vec<Extent>,
    gap: Vec<Extent>,
}

/// Adds an extent, to the one before it where they touch.
fn push(list: &mut Vec<Extent>, extent: Extent) {
    if extent.length == 0 {
        return;
    }
    match list.last_mut() {
        Some(last) if last.end() == extent.offset => {
            last.length = last.length.saturating_add(extent.length);
        }
        _ => list.push(extent),
    }
}

/// Adds all places of a file system.
pub(crate) fn emit(fs: &Fs<'_>, scan: Scan, label: &str, findings: &mut Findings) -> Result<(), Error> {
    let Scan { own_files, nodes, names, mut claims, inlines, cluster_claims, mut tally, limited, .. } = scan;
    let first_cluster_claim = claims.len();
    for claim in cluster_claims {
        claims.push(claim);
    }
    let behind_cluster_claims = claims.len();
    claims.rest_of_metadata(fs.superblock.cluster_bits);
    let limited = limited || claims.is_full();
    let settled = claims.settle();
    let gaps_max = findings.runs_left.min(GAP_RUNS_MAX);
    let rest = divide(fs, &settled, limited, gaps_max, &mut tally)?;

    findings.runs_left = findings.runs_left.saturating_sub(settled.pieces.len());
    let volume = findings.map.volume(Volume {
        label: label.to_owned(),
        content: fs.superblock.content.to_owned(),
        extent: fs.window.extent,
        block_bytes: u32::try_from(fs.superblock.block_bytes).unwrap_or(u32::MAX),
    });
    let mut files = Files {
        fs,
        settled: &settled,
        volume,
        names: &names,
        nodes: &nodes,
        paths: Paths::default(),
        file: Vec::new(),
        slack: Vec::new(),
        view_bytes_left: fs.window.bytes(),
    };
    let mut own_files = own_files.iter().peekable();
    let mut own_named = 0_u64;
    let mut inlines = inlines.iter().peekable();
    let mut clusters = (first_cluster_claim..behind_cluster_claims).peekable();
    for (number, node) in (0_u32..).zip(&nodes) {
        let inline = inlines.next_if(|inline| inline.node == number);
        if let Some((_, runs)) = own_files.next_if(|(node, _)| *node == number) {
            own_named = own_named.saturating_add(u64::from(!node.is_nameless()));
            files.own(node, runs, findings);
            continue;
        }
        files.begin();
        for claim in node.first_claim..node.first_claim.saturating_add(node.claims) {
            files.add(node, claim);
        }
        let owner = |at: &usize| settled.claims.get(*at).map(|claim| claim.owner);
        while let Some(claim) = clusters.next_if(|at| owner(at) == Some(number)) {
            files.add(node, u32::try_from(claim).unwrap_or(u32::MAX));
        }
        files.finish(number, node, inline, findings);
    }
    for (kind, extents) in [
        (PlaceKind::Metadata, &rest.metadata),
        (PlaceKind::Free, &rest.free),
        (PlaceKind::Raw, &rest.raw),
        (PlaceKind::Gap, &rest.gap),
    ] {
        let runs = as_runs(extents);
        let size = extents.iter().map(|extent| extent.length).sum();
        if !runs.is_empty() {
            findings.map.place(volume, kind, b"", size, &runs);
        }
        findings.runs_left = findings.runs_left.saturating_sub(runs.len());
    }
    findings.limits.extend_from_slice(&rest.raw);
    let what = "files of the file system itself that a directory names";
    tally.count(what, own_named, Extent::new(0, fs.window.bytes()));
    tell(fs, &settled, files.view_bytes_left, limited, &mut tally);
    tally.tell(label, fs.window.extent, &mut findings.oddities);
    Ok(())
}

/// Walks over all blocks: pieces of claims, and between them what the bitmaps say.
fn divide(
    fs: &Fs<'_>,
    settled: &Settled,
    limited: bool,
    gaps_max: usize,
    tally: &mut Tally,
) -> Result<Rest, Error> {
    let superblock = &fs.superblock;
    let on_disk = |block: u64, end: u64| {
        let start = fs.window.on_disk(superblock.to_bytes(block));
        Extent::new(start, superblock.to_bytes(end.saturating_sub(block)))
    };
    let mut rest = Rest::default();
    let mut bitmaps = Bitmaps::default();
    let mut at = 0_u64;
    let end = std::iter::once((superblock.blocks, superblock.blocks, NOBODY, Role::Cluster));
    let pieces = settled.pieces.iter().map(|piece| {
        let claim = settled.claims.get(narrow(u64::from(piece.claim)));
        let role = claim.map_or(Role::Metadata, |claim| claim.role);
        (piece.block, piece.end(), piece.claim, role)
    });
    for (block, piece_end, _, role) in pieces.chain(end) {
        while at < block {
            let full = rest.free.len().saturating_add(rest.metadata.len()) > gaps_max;
            if full {
                push(&mut rest.raw, on_disk(at, block));
                break;
            }
            let stretch = bitmaps.stretch(fs, at, block)?;
            let stop = stretch.end.clamp(at.saturating_add(1), block);
            let extent = on_disk(at, stop);
            if stretch.free {
                push(&mut rest.free, extent);
            } else if limited {
                push(&mut rest.raw, extent);
            } else {
                let what = "allocated blocks that nothing owns";
                let place = Extent::new(superblock.to_bytes(at), extent.length);
                tally.count(what, stop.saturating_sub(at), place);
                push(&mut rest.metadata, extent);
            }
            at = stop;
        }
        if role == Role::Metadata {
            push(&mut rest.metadata, on_disk(block, piece_end));
        }
        at = piece_end;
    }
    let used = superblock.to_bytes(superblock.blocks);
    let behind = fs.window.bytes().saturating_sub(used);
    push(&mut rest.gap, Extent::new(fs.window.on_disk(used), behind));
    Ok(rest)
}

/// Counts what only shows at the end.
fn tell(fs: &Fs<'_>, settled: &Settled, views_left: u64, limited: bool, tally: &mut Tally) {
    let superblock = &fs.superblock;
    let whole = Extent::new(0, fs.window.bytes());
    let at_superblock = Extent::new(1024, 1024);
    if superblock.needs_recovery {
        tally.count("journal needs recovery", 1, at_superblock);
    }
    if superblock.blocks_claimed > superblock.blocks {
        let missing = superblock.blocks_claimed.saturating_sub(superblock.blocks);
        tally.count("blocks behind the end of the volume", missing, at_superblock);
    }
    if superblock.journal_inode > 8 {
        tally.count("journal in an unusual inode", 1, at_superblock);
    }
    if let Some(block) = settled.first_contested.filter(|_| !superblock.shared_blocks) {
        let extent = Extent::new(superblock.to_bytes(block), superblock.block_bytes);
        tally.count("file blocks that are claimed twice", settled.contested, extent);
    }
    if views_left == 0 {
        let what = "so many blocks are claimed twice that some are inspected for one file only";
        tally.count(what, 1, whole);
    }
    if limited {
        tally.count("too many inodes, directories or runs to follow all", 1, whole);
    }
}

/// Adds files one by one.
struct Files<'s> {
    fs: &'s Fs<'s>,
    settled: &'s Settled,
    volume: u16,
    names: &'s Names,
    nodes: &'s [Node],
    paths: Paths,
    /// Runs of the file at hand.
    file: Vec<Run>,
    /// Runs behind what the file holds, counted from its first byte.
    slack: Vec<Run>,
    /// Bytes that views may still repeat.
    view_bytes_left: u64,
}

/// Adds a run, to the one before it where they touch on the disk and in the file.
fn push_run(list: &mut Vec<Run>, run: Run) {
    if run.length == 0 {
        return;
    }
    match list.last_mut() {
        Some(last)
            if last.extent().end() == run.disk && last.logical.saturating_add(last.length) == run.logical =>
        {
            last.length = last.length.saturating_add(run.length);
        }
        _ => list.push(run),
    }
}

impl Files<'_> {
    fn begin(&mut self) {
        self.file.clear();
        self.slack.clear();
    }

    /// Returns the run of `length` blocks from `block` on, which `claim` has.
    fn run(&self, claim: &Claim, block: u64, length: u32) -> Run {
        let superblock = &self.fs.superblock;
        let logical = block.saturating_sub(claim.block).saturating_add(u64::from(claim.logical));
        Run {
            logical: superblock.to_bytes(logical),
            disk: self.fs.window.on_disk(superblock.to_bytes(block)),
            length: superblock.to_bytes(u64::from(length)),
        }
    }

    /// Adds what a claim has: up to the end of the file, and slack behind it.
    fn add(&mut self, node: &Node, number: u32) {
        let settled = self.settled;
        let Some(claim) = settled.claims.get(narrow(u64::from(number))) else {
            return;
        };
        for (block, length) in settled.won(number) {
            let run = self.run(claim, block, length);
            let data = match (claim.role, node.kind) {
                (Role::Written, NodeKind::Encrypted) => run.length,
                (Role::Written, NodeKind::File) => node.size.saturating_sub(run.logical).min(run.length),
                _ => 0,
            };
            push_run(&mut self.file, Run { length: data, ..run });
            // The rest of a cluster has no place in the file: it follows what came before.
            let least = self.slack.last().map_or(0, |last| last.logical.saturating_add(last.length));
            let behind = Run {
                logical: run.logical.saturating_add(data).max(least),
                disk: run.disk.saturating_add(data),
                length: run.length.saturating_sub(data),
            };
            push_run(&mut self.slack, behind);
        }
    }

    /// Adds the places of a file.
    fn finish(&mut self, number: u32, node: &Node, inline: Option<&Inline>, findings: &mut Findings) {
        if node.kind == NodeKind::Directory {
            return;
        }
        let lost = self.settled.losers.contains(&number);
        let whole = if lost { self.whole(node) } else { Vec::new() };
        let path = self.paths.of(self.nodes, self.names, node);
        let map = &mut findings.map;
        match node.kind {
            NodeKind::Inline => {
                let runs = inline.map_or(&[][..], |inline| &inline.runs);
                let runs: Vec<Run> = runs.iter().filter(|run| run.length > 0).copied().collect();
                map.view(self.volume, path, node.size, &runs);
            }
            NodeKind::Encrypted => {
                let ends = self.file.last();
                let end = ends.map_or(0, |run| run.logical.saturating_add(run.length));
                let size = node.size.max(end);
                map.place(self.volume, PlaceKind::Encrypted, path, size, &self.file);
            }
            _ => map.place(self.volume, PlaceKind::File, path, node.size, &self.file),
        }
        if !self.slack.is_empty() {
            let size = self.slack.iter().map(|run| run.length).sum();
            map.place(self.volume, PlaceKind::Slack, path, size, &self.slack);
        }
        let bytes: u64 = whole.iter().map(|run| run.length).sum();
        if lost && bytes <= self.view_bytes_left {
            self.view_bytes_left = self.view_bytes_left.saturating_sub(bytes);
            map.view(self.volume, path, node.size, &whole);
            findings.runs_left = findings.runs_left.saturating_sub(whole.len());
        } else if lost {
            self.view_bytes_left = 0;
        }
    }

    /// Adds a view of a file whose blocks are metadata, if a directory names it.
    fn own(&mut self, node: &Node, runs: &[Run], findings: &mut Findings) {
        let bytes: u64 = runs.iter().map(|run| run.length).sum();
        if node.is_nameless() {
            return;
        }
        if bytes > self.view_bytes_left {
            self.view_bytes_left = 0;
            return;
        }
        self.view_bytes_left = self.view_bytes_left.saturating_sub(bytes);
        let path = self.paths.of(self.nodes, self.names, node);
        findings.map.view(self.volume, path, node.size, runs);
        findings.runs_left = findings.runs_left.saturating_sub(runs.len());
    }

    /// Returns the runs of a file as its reader sees it, whoever has the blocks.
    fn whole(&self, node: &Node) -> Vec<Run> {
        let mut runs = Vec::new();
        let first = narrow(u64::from(node.first_claim));
        let count = narrow(u64::from(node.claims));
        for claim in self.settled.claims.iter().skip(first).take(count) {
            if claim.role == Role::Written {
                let run = self.run(claim, claim.block, claim.length);
                let length = node.size.saturating_sub(run.logical).min(run.length);
                push_run(&mut runs, Run { length, ..run });
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_extents_are_one() {
        let mut list = Vec::new();
        for (offset, length) in [(0, 5), (5, 0), (5, 5), (20, 1)] {
            push(&mut list, Extent::new(offset, length));
        }
        assert_eq!(list, [Extent::new(0, 10), Extent::new(20, 1)]);
    }
}
