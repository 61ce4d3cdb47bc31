//! Divides a disk into volumes, and each volume into places.

use crate::detect::{Content, detect};
use crate::partition::{self, Oddities};
use crate::window::Window;
use crate::{Error, Replay, Survey, fs};
use airlock_disk::BlockSource;
use airlock_model::{Extent, PlaceKind, PlaceMapBuilder, Run, Volume, subtract};

/// Runs that all file systems of a disk may have together; 24 bytes each.
const RUNS_MAX: usize = 32 << 20;

/// Block size of what has no file system.
const BLOCK_BYTES: u32 = 4096;

/// What the surveys of all volumes add to.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) map: PlaceMapBuilder,
    pub(crate) oddities: Oddities,
    pub(crate) limits: Vec<Extent>,
    pub(crate) replays: Vec<Replay>,
    /// Runs that may still be added.
    pub(crate) runs_left: usize,
}

/// Divides `disk` into places.
pub(crate) fn survey(disk: &dyn BlockSource) -> Result<Survey, Error> {
    let mut findings = Findings {
        map: PlaceMapBuilder::new(disk.size()),
        oddities: Oddities::default(),
        limits: Vec::new(),
        replays: Vec::new(),
        runs_left: RUNS_MAX,
    };
    let whole = Extent::new(0, disk.size());
    match partition::read(disk, &mut findings.oddities)? {
        None if disk.size() == 0 => {}
        None => survey_volume(disk, "whole", whole, &mut findings),
        Some(layout) => survey_layout(disk, &layout, &mut findings),
    }
    Ok(Survey {
        map: findings.map.finish(),
        oddities: findings.oddities.0,
        limits: findings.limits,
        replays: findings.replays,
    })
}

/// Surveys a partitioned disk: tables first, then partitions by number, then the rest.
fn survey_layout(disk: &dyn BlockSource, layout: &partition::Layout, findings: &mut Findings) {
    let whole = Extent::new(0, disk.size());
    let mut taken = Taken::default();
    let tables: Vec<Extent> = layout
        .tables
        .iter()
        .filter_map(|table| table.intersect(&whole))
        .flat_map(|table| taken.take(table))
        .collect();
    let volume = findings.map.volume(Volume {
        label: "disk".to_owned(),
        content: layout.scheme.to_owned(),
        extent: whole,
        block_bytes: BLOCK_BYTES,
    });
    let mut tables = tables;
    tables.sort_unstable();
    place_extents(findings, volume, PlaceKind::PartitionTable, &tables);
    for partition in &layout.partitions {
        let label = format!("p{}", partition.number);
        let free = taken.take(partition.extent);
        if free == [partition.extent] {
            survey_volume(disk, &label, partition.extent, findings);
            continue;
        }
        let what = "partition overlaps another one or a partition table";
        findings.oddities.add(&label, what, partition.extent);
        let volume = findings.map.volume(Volume {
            label,
            content: "unknown".to_owned(),
            extent: partition.extent,
            block_bytes: BLOCK_BYTES,
        });
        place_extents(findings, volume, PlaceKind::Raw, &free);
    }
    place_extents(findings, volume, PlaceKind::Gap, &taken.take(whole));
}

/// Surveys a volume whose bytes nothing else has claimed.
fn survey_volume(disk: &dyn BlockSource, label: &str, extent: Extent, findings: &mut Findings) {
    let window = Window::new(disk, extent);
    let content = detect(&window).unwrap_or_else(|_| {
        let what = "the start of the volume cannot be read";
        findings.oddities.add(label, what, extent);
        Content { name: "unknown", kind: PlaceKind::Raw, reader: None }
    });
    let mut name = content.name;
    if let Some(reader) = content.reader {
        let read = reader(&window, findings.runs_left);
        let emitted = read.and_then(|read| {
            let content = read.content;
            fs::emit(read, label, findings).map_err(|error| fs::Failure::raw(content, error))
        });
        match emitted {
            Ok(()) => return,
            Err(failure) => {
                findings.oddities.add(label, failure.what, extent);
                name = failure.content;
            }
        }
    }
    let volume = findings.map.volume(Volume {
        label: label.to_owned(),
        content: name.to_owned(),
        extent,
        block_bytes: BLOCK_BYTES,
    });
    place_extents(findings, volume, content.kind, &[extent]);
}

/// Adds one place with these extents, if there are any.
fn place_extents(findings: &mut Findings, volume: u16, kind: PlaceKind, extents: &[Extent]) {
    let runs = as_runs(extents);
    let size = extents.iter().map(|extent| extent.length).sum();
    if !runs.is_empty() {
        findings.map.place(volume, kind, b"", size, &runs);
    }
}

/// Returns the runs of a place without an inner order of its own.
pub(crate) fn as_runs(extents: &[Extent]) -> Vec<Run> {
    let mut logical = 0_u64;
    extents
        .iter()
        .map(|extent| {
            let run = Run { logical, disk: extent.offset, length: extent.length };
            logical = logical.saturating_add(extent.length);
            run
        })
        .collect()
}

/// Parts of a disk that are already claimed, sorted and apart.
#[derive(Debug, Default)]
struct Taken(Vec<Extent>);

impl Taken {
    /// Claims what nobody has claimed of `extent`, and returns it.
    fn take(&mut self, extent: Extent) -> Vec<Extent> {
        let free = subtract(extent, &self.0);
        self.0.extend_from_slice(&free);
        self.0.sort_unstable();
        self.0.dedup_by(|next, kept| {
            let joined = kept.end() >= next.offset;
            if joined {
                let end = kept.end().max(next.end());
                kept.length = end.saturating_sub(kept.offset);
            }
            joined
        });
        free
    }
}
