//! Divides the disks of a bundle into volumes, and each volume into places.

use crate::detect::{Content, detect};
use crate::limits::Limits;
use crate::partition::{self, Oddities};
use crate::window::Window;
use crate::{Error, Replay, Survey, assemble, fs, iso9660};
use airlock_disk::{BlockSource, Part};
use airlock_model::{
    Extent, MemberFile, MemberKind, PlaceKind, PlaceMapBuilder, Run, Space, Volume, subtract,
};
use std::collections::BTreeMap;

/// Runs that all file systems of a disk may have together; 24 bytes each.
const RUNS_MAX: usize = 32 << 20;

/// Block size of what has no file system.
const BLOCK_BYTES: u32 = 4096;

/// What the surveys of all volumes add to.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) map: PlaceMapBuilder,
    pub(crate) oddities: Oddities,
    pub(crate) limits: Limits,
    pub(crate) replays: Vec<Replay>,
    /// Runs that may still be added.
    pub(crate) runs_left: usize,
}

/// Divides a bundle into places.
pub(crate) fn survey(disk: &dyn BlockSource, space: &Space) -> Result<Survey, Error> {
    let mut findings = Findings {
        map: PlaceMapBuilder::new(disk.size()),
        oddities: Oddities::default(),
        limits: Limits::default(),
        replays: Vec::new(),
        runs_left: RUNS_MAX,
    };
    let mut found = Vec::new();
    for (member, extent) in space.iter() {
        match &member.kind {
            MemberKind::Disk { .. } => divide(disk, extent, &mut found, &mut findings)?,
            MemberKind::Files(files) => place_files(files, extent, &mut findings),
        }
    }
    let found = assemble::arrays(disk, found, &mut findings)?;
    let found = assemble::groups(disk, found, &mut findings)?;
    for volume in &found {
        survey_volume(volume, &mut findings);
    }
    Ok(Survey {
        map: findings.map.finish(),
        oddities: findings.oddities.0,
        limits: findings.limits.finish(),
        replays: findings.replays,
    })
}

/// A partition, a disk without partitions, or what a volume manager makes of several.
#[derive(Debug)]
pub(crate) struct Found<'d> {
    /// `p1`, `whole`, `vg/lv`.
    pub(crate) label: String,
    pub(crate) window: Window<'d>,
    /// What nothing else has claimed of it; all of it, unless volumes overlap.
    pub(crate) own: Vec<Extent>,
    pub(crate) content: Content,
}

impl<'d> Found<'d> {
    /// Looks at a volume.
    pub(crate) fn look(label: String, window: Window<'d>, own: Vec<Extent>, findings: &mut Findings) -> Self {
        let content = detect(&window).unwrap_or_else(|_| {
            findings.oddities.add(&label, "the start of the volume cannot be read", window.extent());
            Content { name: "unknown", kind: PlaceKind::Raw, reader: None }
        });
        Self { label, window, own, content }
    }

    /// Returns whether others have claimed some of it.
    pub(crate) fn overlaps(&self) -> bool {
        let own: u64 = self.own.iter().map(|extent| extent.length).sum();
        own != self.window.bytes()
    }
}

/// Places the files of a bundle, which lie one behind the other.
fn place_files(files: &[MemberFile], extent: Extent, findings: &mut Findings) {
    let volume = findings.map.volume(Volume {
        label: "files".to_owned(),
        content: "files".to_owned(),
        extent,
        block_bytes: BLOCK_BYTES,
    });
    let mut at = extent.offset;
    for file in files {
        let run = [Run { logical: 0, disk: at, length: file.size }];
        let runs = if file.size > 0 { &run[..] } else { &[] };
        findings.map.place(volume, PlaceKind::File, &file.path, file.size, runs);
        at = at.saturating_add(file.size);
    }
}

/// Divides a disk: tables first, then partitions by number, then the rest.
fn divide<'d>(
    space: &'d dyn BlockSource,
    member: Extent,
    volumes: &mut Vec<Found<'d>>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let disk = Part::new(space, member);
    let first_oddity = findings.oddities.0.len();
    let layout = partition::read(&disk, &mut findings.oddities)?;
    let in_space = |extent: Extent| Extent::new(member.offset.saturating_add(extent.offset), extent.length);
    for oddity in findings.oddities.0.iter_mut().skip(first_oddity) {
        oddity.extent = in_space(oddity.extent);
    }
    let Some(layout) = layout else {
        if member.length > 0 {
            let window = Window::new(space, member);
            let found = Found::look("whole".to_owned(), window, vec![member], findings);
            slice(space, member, found, volumes, findings)?;
        }
        return Ok(());
    };
    let mut taken = Taken::default();
    let window = Window::new(space, member);
    let hybrid = iso9660::is_there(&window).unwrap_or(false);
    if hybrid {
        // A disc that also starts as a disk: it has all bytes, and what its partitions have are views.
        let own = taken.take(member);
        volumes.push(Found::look("whole".to_owned(), window, own, findings));
    }
    let tables = layout.tables.iter().filter_map(|table| in_space(*table).intersect(&member));
    let mut tables: Vec<Extent> = tables.flat_map(|table| taken.take(table)).collect();
    tables.sort_unstable();
    let volume = findings.map.volume(Volume {
        label: "disk".to_owned(),
        content: layout.scheme.to_owned(),
        extent: member,
        block_bytes: BLOCK_BYTES,
    });
    place_extents(findings, volume, PlaceKind::PartitionTable, &tables);
    for partition in &layout.partitions {
        let label = format!("p{}", partition.number);
        let extent = in_space(partition.extent);
        let own = taken.take(extent);
        if hybrid && partition.extent.offset == 0 {
            // The disc itself once more.
            continue;
        }
        if own != [extent] && !hybrid {
            findings.oddities.add(&label, "partition overlaps another one or a partition table", extent);
        }
        let found = Found::look(label, Window::new(space, extent), own, findings);
        slice(space, member, found, volumes, findings)?;
    }
    // What only a table says that is not believed: its files are inspected all the same.
    for (table, partition) in &layout.others {
        let label = format!("{table} p{}", partition.number);
        let window = Window::new(space, in_space(partition.extent));
        let found = Found::look(label, window, Vec::new(), findings);
        volumes.extend(Some(found).filter(|found| found.content.reader.is_some()));
    }
    let gaps = taken.take(member);
    if layout.limited {
        findings.limits.extend(gaps.iter().copied());
    }
    place_extents(findings, volume, PlaceKind::Gap, &gaps);
    Ok(())
}

/// Adds a volume, or the partitions of a BSD disklabel on it.
fn slice<'d>(
    space: &'d dyn BlockSource,
    member: Extent,
    found: Found<'d>,
    volumes: &mut Vec<Found<'d>>,
    findings: &mut Findings,
) -> Result<(), Error> {
    let extent = found.window.extent();
    let plain = found.content.name == "unknown" && !found.overlaps();
    let label = if plain {
        partition::disklabel(&found.window, extent.offset.saturating_sub(member.offset))?
    } else {
        None
    };
    let Some(partitions) = label else {
        volumes.push(found);
        return Ok(());
    };
    let mut taken = Taken::default();
    for partition in partitions {
        let letter = char::from_u32(u32::from('a').saturating_add(partition.number)).unwrap_or('?');
        let name = format!("{}{letter}", found.label);
        let offset = extent.offset.saturating_add(partition.extent.offset);
        let part = Extent::new(offset, partition.extent.length);
        let own = taken.take(part);
        if own != [part] {
            findings.oddities.add(&name, "partition overlaps another one", part);
        }
        volumes.push(Found::look(name, Window::new(space, part), own, findings));
    }
    let rest = taken.take(extent);
    place_volume(findings, &found.label, "bsd", extent, &[(PlaceKind::Gap, rest)]);
    Ok(())
}

/// Surveys a volume. Where others have claimed some of it, its files are views: both
/// readings of the bytes are inspected, and the bytes belong to one place all the same.
fn survey_volume(volume: &Found<'_>, findings: &mut Findings) {
    let Found { label, window, own, content } = volume;
    let overlaps = volume.overlaps();
    let extent = window.extent();
    let mut name = content.name;
    if let Some(reader) = content.reader {
        let read = reader(window, findings.runs_left);
        let emitted = read.and_then(|read| {
            let content = read.content;
            let emit = if overlaps { fs::emit_views } else { fs::emit };
            emit(read, label, findings).map_err(|error| fs::Failure::raw(content, error))
        });
        match emitted {
            Ok(()) if overlaps => name = "unknown",
            Ok(()) => return,
            Err(failure) => {
                findings.oddities.add(label, failure.what, extent);
                findings.replays.extend(failure.log.map(|log| Replay::not_done(log).of(label)));
                if failure.limited {
                    findings.limits.extend(own.iter().copied());
                }
                name = failure.content;
            }
        }
    }
    let kind = if overlaps { PlaceKind::Raw } else { content.kind };
    place_volume(findings, label, name, extent, &[(kind, own.clone())]);
}

/// Adds a volume that no reader divides, with its places.
pub(crate) fn place_volume(
    findings: &mut Findings,
    label: &str,
    content: &str,
    extent: Extent,
    places: &[(PlaceKind, Vec<Extent>)],
) {
    let volume = findings.map.volume(Volume {
        label: label.to_owned(),
        content: content.to_owned(),
        extent,
        block_bytes: BLOCK_BYTES,
    });
    for (kind, extents) in places {
        let mut extents = extents.clone();
        extents.sort_unstable();
        place_extents(findings, volume, *kind, &extents);
    }
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

/// Parts of a disk that are already claimed: where they end by where they begin. None touches
/// another.
#[derive(Debug, Default)]
pub(crate) struct Taken(BTreeMap<u64, u64>);

impl Taken {
    /// Claims what nobody has claimed of `extent`, and returns it.
    pub(crate) fn take(&mut self, extent: Extent) -> Vec<Extent> {
        let free = self.without(extent);
        let (mut start, mut end) = (extent.offset, extent.end());
        while let Some((&first, &last)) = self.0.range(..=end).next_back().filter(|(_, last)| **last >= start)
        {
            start = start.min(first);
            end = end.max(last);
            self.0.remove(&first);
        }
        if start < end {
            self.0.insert(start, end);
        }
        free
    }

    /// Returns what nobody has claimed of `extent`.
    pub(crate) fn without(&self, extent: Extent) -> Vec<Extent> {
        let before = self.0.range(..=extent.offset).next_back();
        let behind =
            self.0.range(extent.offset.saturating_add(1)..extent.end().max(extent.offset.saturating_add(1)));
        let taken: Vec<Extent> = before
            .into_iter()
            .chain(behind)
            .map(|(start, end)| Extent::new(*start, end.saturating_sub(*start)))
            .collect();
        subtract(extent, &taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_taken_once() {
        let mut taken = Taken::default();
        let mut check = |extent: (u64, u64), expected: &[(u64, u64)]| {
            let pair = |extent: &Extent| (extent.offset, extent.length);
            let got: Vec<_> = taken.take(Extent::new(extent.0, extent.1)).iter().map(pair).collect();
            assert_eq!(got, expected);
        };
        check((10, 10), &[(10, 10)]);
        check((10, 10), &[]);
        check((30, 10), &[(30, 10)]);
        check((5, 0), &[]);
        check((0, 50), &[(0, 10), (20, 10), (40, 10)]);
        // One inside of a longer one before it.
        check((12, 3), &[]);
        check((45, 10), &[(50, 5)]);
        check((60, 5), &[(60, 5)]);
        check((55, 5), &[(55, 5)]);
        assert_eq!(taken.0, BTreeMap::from([(0, 65)]));
    }
}
