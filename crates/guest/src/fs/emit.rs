//! Turns settled claims and what is free into places.

use super::claims::{Claim, Role, Settled};
use super::names::{Node, NodeKind, Paths};
use super::{FileSystem, spare};
use crate::Error;
use crate::field::{narrow, quotient, word};
use crate::volumes::{Findings, as_runs};
use crate::window::Window;
use airlock_model::{Extent, Packed, PackedFile, PlaceKind, Reason, Run, Volume};

/// Most runs of free space and of units that nobody owns; further ones are raw.
const GAP_RUNS_MAX: usize = 8 << 20;

/// What views of compressed files may cost: so often the bytes of the volume, and at least as much.
const PACKED_VIEWS_MAX: (u64, u64) = (16, 1 << 30);

/// The parts of a volume that no file has, in bytes of the disk.
#[derive(Debug, Default)]
struct Rest {
    metadata: Vec<Extent>,
    log: Vec<Extent>,
    free: Vec<Extent>,
    /// Not understood because a budget was used up.
    raw: Vec<Extent>,
    gap: Vec<Extent>,
}

/// Adds where a part of the volume lies, to the extent before it where they touch.
fn push(list: &mut Vec<Extent>, window: &Window<'_>, part: Extent) {
    for piece in window.locate(part) {
        match list.last_mut() {
            Some(last) if last.end() == piece.offset => {
                last.length = last.length.saturating_add(piece.length);
            }
            _ => list.push(piece.extent()),
        }
    }
}

/// Adds all places of a file system.
pub(crate) fn emit(fs: FileSystem<'_>, label: &str, findings: &mut Findings) -> Result<(), Error> {
    add(fs, label, findings, false)
}

/// Adds the files of a file system as views, for a volume whose bytes belong to others.
pub(crate) fn emit_views(fs: FileSystem<'_>, label: &str, findings: &mut Findings) -> Result<(), Error> {
    add(fs, label, findings, true)
}

fn add(mut fs: FileSystem<'_>, label: &str, findings: &mut Findings, views: bool) -> Result<(), Error> {
    let limited = fs.limited || fs.claims.is_full();
    spare::add(&mut fs);
    let claims = std::mem::take(&mut fs.claims);
    let settled = claims.settle();
    let gaps_max = findings.runs_left.min(GAP_RUNS_MAX);
    let rest = divide(&mut fs, &settled, limited, gaps_max)?;

    findings.runs_left = findings.runs_left.saturating_sub(settled.pieces.len());
    let volume = findings.map.volume(Volume {
        label: label.to_owned(),
        content: fs.content.to_owned(),
        extent: fs.window.extent(),
        block_bytes: word(fs.block_bytes),
    });
    let (often, least) = PACKED_VIEWS_MAX;
    let mut files = Files {
        fs: &fs,
        settled: &settled,
        volume,
        paths: Paths::below(fs.root),
        file: Vec::new(),
        slack: Vec::new(),
        view_bytes_left: fs.window.bytes(),
        packed_left: fs.window.bytes().saturating_mul(often).max(least),
        own_named: 0,
        valid: u64::MAX,
        views,
    };
    let mut rests = fs.rests.clone().peekable();
    for (number, node) in (0_u32..).zip(&fs.nodes) {
        files.begin(number);
        for claim in node.first_claim..node.first_claim.saturating_add(node.claims) {
            files.add(node, claim);
        }
        let owner = |at: &usize| settled.claims.get(*at).map(|claim| claim.owner);
        while let Some(claim) = rests.next_if(|at| owner(at) == Some(number)) {
            files.add(node, u32::try_from(claim).unwrap_or(u32::MAX));
        }
        files.finish(number, node, findings);
    }
    let (own_named, views_left) = (files.own_named, files.view_bytes_left.min(files.packed_left));
    if !views {
        add_rest(rest, volume, findings);
    }
    let what = "files of the file system itself that a directory names";
    fs.tally.count(what, own_named, Extent::new(0, fs.window.bytes()));
    tell(&mut fs, &settled, views_left, limited);
    findings.replays.extend(fs.replays.drain(..).map(|replay| replay.of(label)));
    fs.tally.tell(label, &fs.window, &mut findings.oddities);
    Ok(())
}

/// Adds what no file has.
fn add_rest(rest: Rest, volume: u16, findings: &mut Findings) {
    findings.limits.extend(rest.raw.iter().copied());
    for (kind, mut extents, reason) in [
        (PlaceKind::Metadata, rest.metadata, None),
        (PlaceKind::Metadata, rest.log, Some(Reason::Unsupported)),
        (PlaceKind::Free, rest.free, None),
        (PlaceKind::Raw, rest.raw, None),
        (PlaceKind::Gap, rest.gap, None),
    ] {
        // In the order of the disk, which a volume of several segments need not have.
        extents.sort_unstable();
        let runs = as_runs(&extents);
        let size = extents.iter().map(|extent| extent.length).sum();
        if !runs.is_empty() {
            let before = findings.map.places();
            findings.map.place(volume, kind, b"", size, &runs);
            if let Some(reason) = reason {
                findings.map.unscannable(before, reason);
            }
        }
        findings.runs_left = findings.runs_left.saturating_sub(runs.len());
    }
}

/// Walks over all units: pieces of claims, and between them what is free or not.
fn divide(fs: &mut FileSystem<'_>, settled: &Settled, limited: bool, gaps_max: usize) -> Result<Rest, Error> {
    let unit_bytes = fs.unit_bytes;
    let part = |unit: u64, end: u64| {
        let bytes = end.saturating_sub(unit).saturating_mul(unit_bytes);
        Extent::new(unit.saturating_mul(unit_bytes), bytes)
    };
    let mut rest = Rest::default();
    let mut at = 0_u64;
    let end = std::iter::once((fs.units, fs.units, Role::Cluster));
    let pieces = settled.pieces.iter().map(|piece| {
        let claim = settled.claims.get(narrow(u64::from(piece.claim)));
        (piece.block, piece.end(), claim.map_or(Role::Metadata, |claim| claim.role))
    });
    for (unit, piece_end, role) in pieces.chain(end) {
        while at < unit {
            let full = rest.free.len().saturating_add(rest.metadata.len()) > gaps_max;
            if full {
                push(&mut rest.raw, &fs.window, part(at, unit));
                break;
            }
            let stretch = fs.allocation.stretch(at, unit)?;
            let stop = stretch.end.clamp(at.saturating_add(1), unit);
            let extent = part(at, stop);
            if stretch.free {
                push(&mut rest.free, &fs.window, extent);
            } else if limited {
                push(&mut rest.raw, &fs.window, extent);
            } else {
                let what = "allocated blocks that nothing owns";
                fs.tally.count(what, stop.saturating_sub(at), extent);
                push(&mut rest.metadata, &fs.window, extent);
            }
            at = stop;
        }
        match role {
            Role::Metadata => push(&mut rest.metadata, &fs.window, part(unit, piece_end)),
            Role::Log => push(&mut rest.log, &fs.window, part(unit, piece_end)),
            Role::Written | Role::Unwritten | Role::Cluster => {}
        }
        at = piece_end;
    }
    let used = fs.units.saturating_mul(unit_bytes);
    push(&mut rest.gap, &fs.window, Extent::new(used, fs.window.bytes().saturating_sub(used)));
    Ok(rest)
}

/// Counts what only shows at the end.
fn tell(fs: &mut FileSystem<'_>, settled: &Settled, views_left: u64, limited: bool) {
    let whole = Extent::new(0, fs.window.bytes());
    if let Some(unit) = settled.first_contested.filter(|_| !fs.shares) {
        let extent = Extent::new(unit.saturating_mul(fs.unit_bytes), fs.unit_bytes);
        fs.tally.count("file blocks that are claimed twice", settled.contested, extent);
    }
    if views_left == 0 {
        let what = "so many blocks are claimed twice that some are inspected for one file only";
        fs.tally.count(what, 1, whole);
    }
    if limited {
        fs.tally.count("too many inodes, directories or runs to follow all", 1, whole);
    }
}

/// Adds files one by one.
struct Files<'s, 'd> {
    fs: &'s FileSystem<'d>,
    settled: &'s Settled,
    volume: u16,
    paths: Paths,
    /// Runs of the file at hand.
    file: Vec<Run>,
    /// Runs behind what the file holds, counted from its first byte.
    slack: Vec<Run>,
    /// Bytes that views may still repeat.
    view_bytes_left: u64,
    /// What views of compressed files may still cost.
    packed_left: u64,
    /// Files of the file system itself that a directory names.
    own_named: u64,
    /// Bytes that were written of the file at hand, if not all.
    valid: u64,
    /// Whether all files are views.
    views: bool,
}

/// Adds where a run lies, to the one before it where they touch on the disk and in the file.
/// The run's `disk` counts from the first byte of the volume.
fn push_run(list: &mut Vec<Run>, window: &Window<'_>, run: Run) {
    for piece in window.locate(Extent::new(run.disk, run.length)) {
        let run = Run {
            logical: run.logical.saturating_add(piece.skipped),
            disk: piece.offset,
            length: piece.length,
        };
        match list.last_mut() {
            Some(last)
                if last.extent().end() == run.disk
                    && last.logical.saturating_add(last.length) == run.logical =>
            {
                last.length = last.length.saturating_add(run.length);
            }
            _ => list.push(run),
        }
    }
}

/// Returns the number of bytes of a list of runs.
fn bytes_of(runs: &[Run]) -> u64 {
    runs.iter().fold(0, |sum, run| sum.saturating_add(run.length))
}

/// Returns what it costs to inspect a view of a compressed file: its bytes; of small parts of a
/// large piece, as in a fragment of squashfs, some of what the piece unpacks to.
fn cost_of(packed: &[Packed]) -> u64 {
    packed.iter().fold(0, |sum, piece| sum.saturating_add(piece.length.max(piece.unpacked >> 6)))
}

impl Files<'_, '_> {
    fn begin(&mut self, number: u32) {
        self.valid = self.fs.valid.of(number).first().copied().unwrap_or(u64::MAX);
        self.file.clear();
        self.slack.clear();
    }

    fn to_bytes(&self, units: u64) -> u64 {
        units.saturating_mul(self.fs.unit_bytes)
    }

    /// Returns the run of `length` units from `unit` on, which `claim` has; in bytes of the volume.
    fn run(&self, claim: &Claim, unit: u64, length: u32) -> Run {
        let logical = unit.saturating_sub(claim.block).saturating_add(claim.logical());
        Run {
            logical: self.to_bytes(logical),
            disk: self.to_bytes(unit),
            length: self.to_bytes(u64::from(length)),
        }
    }

    /// Adds what a claim has: up to the end of the file, and slack behind it.
    fn add(&mut self, node: &Node, number: u32) {
        let settled = self.settled;
        let Some(claim) = settled.claims.get(narrow(u64::from(number))) else {
            return;
        };
        let window = &self.fs.window;
        for (unit, length) in settled.won(number) {
            let run = self.run(claim, unit, length);
            let data = match (claim.role, node.kind) {
                (Role::Written, NodeKind::Encrypted | NodeKind::Packed) => run.length,
                (Role::Written, NodeKind::File) => {
                    node.size.min(self.valid).saturating_sub(run.logical).min(run.length)
                }
                _ => 0,
            };
            push_run(&mut self.file, window, Run { length: data, ..run });
            // The rest of a cluster has no place in the file: it follows what came before.
            let least = self.slack.last().map_or(0, |last| last.logical.saturating_add(last.length));
            let behind = Run {
                logical: run.logical.saturating_add(data).max(least),
                disk: run.disk.saturating_add(data),
                length: run.length.saturating_sub(data),
            };
            push_run(&mut self.slack, window, behind);
        }
    }

    /// Adds a file, and says why it is not scanned for what it is.
    fn finish(&mut self, number: u32, node: &Node, findings: &mut Findings) {
        let before = findings.map.places();
        match node.kind {
            NodeKind::Directory => return,
            _ if self.views => self.view(number, node, findings),
            _ => self.places(number, node, findings),
        }
        if let Some(reason) = self.fs.reasons.of(number).first() {
            findings.map.unscannable(before, *reason);
        }
    }

    /// Adds the places of a file.
    fn places(&mut self, number: u32, node: &Node, findings: &mut Findings) {
        let path = self.paths.of(&self.fs.nodes, &self.fs.names, node);
        let (volume, map) = (self.volume, &mut findings.map);
        let packed = self.fs.packs.of(number);
        let lost = self.settled.losers.contains(&number);
        match node.kind {
            NodeKind::View | NodeKind::Own | NodeKind::Directory => {}
            NodeKind::Encrypted => {
                let ends = self.file.last();
                let end = ends.map_or(0, |run| run.logical.saturating_add(run.length));
                map.place(volume, PlaceKind::Encrypted, path, node.size.max(end), &self.file);
            }
            // All that is left of it is a view.
            NodeKind::Packed if lost && self.file.is_empty() => {}
            NodeKind::Packed if lost => {
                let size = self.file.last().map_or(0, |run| run.logical.saturating_add(run.length));
                map.place(volume, PlaceKind::File, path, size, &self.file);
            }
            NodeKind::Packed => {
                let (size, runs) = (node.size, self.file.as_slice());
                map.packed(PackedFile { volume, path, size, runs, packed, view: false });
            }
            NodeKind::File => map.place(volume, PlaceKind::File, path, node.size, &self.file),
        }
        if !self.slack.is_empty() {
            map.place(volume, PlaceKind::Slack, path, bytes_of(&self.slack), &self.slack);
        }
        let viewed = match node.kind {
            NodeKind::View => true,
            NodeKind::Own => !node.is_nameless(),
            _ => lost || self.is_patched(node),
        };
        if viewed {
            self.view(number, node, findings);
        }
    }

    /// Adds a view of a file: what its reader sees, whoever has the blocks.
    fn view(&mut self, number: u32, node: &Node, findings: &mut Findings) {
        self.own_named = self.own_named.saturating_add(u64::from(node.kind == NodeKind::Own));
        let runs = self.whole(number, node);
        let packed = self.fs.packs.of(number);
        let (left, cost) = if packed.is_empty() {
            (&mut self.view_bytes_left, bytes_of(&runs))
        } else {
            (&mut self.packed_left, cost_of(packed))
        };
        let Some(rest) = left.checked_sub(cost) else {
            *left = 0;
            findings.limits.extend(runs.iter().map(Run::extent));
            return;
        };
        *left = rest;
        let path = self.paths.of(&self.fs.nodes, &self.fs.names, node);
        let (volume, size) = (self.volume, node.size);
        if packed.is_empty() {
            findings.map.view(volume, path, size, &runs);
        } else {
            findings.map.packed(PackedFile { volume, path, size, runs: &runs, packed, view: true });
        }
        findings.runs_left = findings.runs_left.saturating_sub(runs.len());
    }

    /// Returns the runs of a file as its reader sees it.
    fn whole(&self, number: u32, node: &Node) -> Vec<Run> {
        let mut runs = Vec::new();
        for run in self.fs.views.of(number) {
            self.push_seen(&mut runs, *run);
        }
        let limit = if node.kind == NodeKind::Packed { u64::MAX } else { node.size.min(self.valid) };
        for claim in self.claims_of(node) {
            if claim.role == Role::Written {
                let run = self.run(claim, claim.block, claim.length);
                let length = limit.saturating_sub(run.logical).min(run.length);
                self.push_seen(&mut runs, Run { length, ..run });
            }
        }
        runs
    }

    fn claims_of(&self, node: &Node) -> impl Iterator<Item = &Claim> {
        let first = narrow(u64::from(node.first_claim));
        self.settled.claims.iter().skip(first).take(narrow(u64::from(node.claims)))
    }

    /// Returns whether a log has a newer copy of any of a file's blocks.
    fn is_patched(&self, node: &Node) -> bool {
        let Some(overlay) = self.fs.window.overlay() else {
            return false;
        };
        self.claims_of(node).any(|claim| {
            let run = self.run(claim, claim.block, claim.length);
            claim.role == Role::Written
                && overlay.next(run.disk).is_some_and(|next| next < run.disk.saturating_add(run.length))
        })
    }

    /// Adds a run as its reader sees it: from the log, where that has a newer copy.
    fn push_seen(&self, list: &mut Vec<Run>, run: Run) {
        let window = &self.fs.window;
        let Some(overlay) = window.overlay() else {
            return push_run(list, window, run);
        };
        let block_bytes = overlay.block_bytes();
        let first = quotient(run.disk, block_bytes);
        let end = run.disk.saturating_add(run.length);
        let mut at = run.disk;
        let part = |from: u64, until: u64, disk: u64| Run {
            logical: run.logical.saturating_add(from.saturating_sub(run.disk)),
            disk,
            length: until.saturating_sub(from),
        };
        for (block, copy) in overlay.copies(first, end.div_ceil(block_bytes).saturating_sub(first)) {
            let start = block.saturating_mul(block_bytes);
            let (from, until) = (start.max(at), start.saturating_add(block_bytes).min(end));
            push_run(list, window, part(at, from, at));
            push_run(list, window, part(from, until, copy.saturating_add(from.saturating_sub(start))));
            at = until;
        }
        push_run(list, window, part(at, end, at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_extents_are_one() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("disk");
        std::fs::write(&path, [0; 100]).expect("write");
        let disk = airlock_disk::RawFile::open(&path).expect("open");
        let window = Window::new(&disk, Extent::new(0, 100));
        let mut list = Vec::new();
        for (offset, length) in [(0, 5), (5, 0), (5, 5), (20, 1)] {
            push(&mut list, &window, Extent::new(offset, length));
        }
        assert_eq!(list, [Extent::new(0, 10), Extent::new(20, 1)]);
    }
}
