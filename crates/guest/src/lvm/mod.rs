//! LVM2: physical volumes put together to logical ones (lvm2 sources; lvmraid(7), lvmthin(7)).
//!
//! Logical volumes whose segments are linear or striped become volumes of their own, over
//! as many disks as they lie on. The legs of mirrors and of RAID 1 are such volumes, too,
//! and each is inspected as the copy that it is. What the kernel would have to compute
//! (thin pools, caches, snapshots, RAID with parity) is named and taken as raw bytes.

mod label;
mod text;

pub(crate) use label::Label;

use crate::Error;
use crate::field::{narrow, wide};
use crate::window::{Lies, Segment, Window};
use airlock_model::Extent;
use std::collections::{BTreeMap, BTreeSet};
use text::Section;

const SECTOR: u64 = 512;
/// Most fields and sections in the metadata of all physical volumes together; about 130 bytes each.
pub(crate) const ITEMS_MAX: usize = 1_000_000;
/// Most segments of a volume group, each counted as often as it has stripes.
const SEGMENTS_MAX: usize = 100_000;
/// Most stripes of a segment.
const STRIPES_MAX: usize = 128;
/// Smallest stripe: less would make more runs than any file system has.
const STRIPE_BYTES_MIN: u64 = 4096;

/// A physical volume.
#[derive(Debug)]
pub(crate) struct Physical<'d> {
    pub(crate) label: Label,
    pub(crate) window: Window<'d>,
}

/// A logical volume.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Logical {
    /// `vg/lv`.
    pub(crate) label: String,
    /// Where it lies, in bytes of the disk.
    pub(crate) segments: Vec<Segment>,
    /// What it is called, where its bytes are not what a file system would see.
    pub(crate) opaque: Option<&'static str>,
}

/// What was made of physical volumes.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pub(crate) logical: Vec<Logical>,
    /// Where the extents of each physical volume begin and end, in bytes of the volume; by
    /// position. Nothing for one that no metadata knows.
    pub(crate) extents: Vec<Option<Extent>>,
    /// What logical volumes have that is not followed, in bytes of the disk: it is not free.
    pub(crate) lost: Vec<Extent>,
    /// Physical volumes of groups with more segments than are followed, by position: what is
    /// not used there may be.
    pub(crate) limited: BTreeSet<usize>,
    /// What is odd, for people; by volume group.
    pub(crate) oddities: Vec<(String, String)>,
}

/// Reads the label of a volume, with so many items of metadata at most.
pub(crate) fn read(window: &Window<'_>, items_left: &mut usize) -> Result<Option<Label>, Error> {
    label::read(window, items_left)
}

/// Puts physical volumes together.
pub(crate) fn assemble(physical: &[Physical<'_>]) -> Assembled {
    let mut groups: BTreeMap<String, &Section> = BTreeMap::new();
    for text in physical.iter().filter_map(|volume| volume.label.metadata.as_ref()) {
        let Some((_, group)) = text.sections().next() else { continue };
        let newest = groups.entry(group.text("id").to_owned()).or_insert(text);
        if label::sequence(text) > label::sequence(newest) {
            *newest = text;
        }
    }
    let mut assembled = Assembled { extents: vec![None; physical.len()], ..Assembled::default() };
    for text in groups.values() {
        if let Some((name, section)) = text.sections().next() {
            Group::new(name, section, physical, &mut assembled).add_all(section, &mut assembled);
        }
    }
    assembled
}

/// A volume group that is put together.
struct Group<'g, 'd> {
    name: &'g str,
    extent_bytes: u64,
    /// Where the extents of a physical volume are, by the name that the metadata gives it.
    physical: BTreeMap<&'g str, (&'g Window<'d>, Extent)>,
    /// Which physical volumes these are.
    positions: BTreeSet<usize>,
    segments_left: usize,
    /// Whether there were more.
    limited: bool,
}

impl<'g, 'd> Group<'g, 'd> {
    fn new(
        name: &'g str,
        section: &'g Section,
        physical: &'g [Physical<'d>],
        assembled: &mut Assembled,
    ) -> Self {
        let extent_bytes = section.number("extent_size").unwrap_or(0).saturating_mul(SECTOR);
        let mut group = Self {
            name,
            extent_bytes,
            physical: BTreeMap::new(),
            positions: BTreeSet::new(),
            segments_left: SEGMENTS_MAX,
            limited: false,
        };
        for (own, volume) in section.section("physical_volumes").into_iter().flat_map(Section::sections) {
            let uuid: String = volume.text("id").chars().filter(|char| *char != '-').collect();
            let found = physical.iter().position(|known| known.label.uuid == uuid);
            let Some((position, known)) = found.and_then(|at| Some((at, physical.get(at)?))) else {
                let what = format!("physical volume {own} is missing");
                assembled.oddities.push((name.to_owned(), what));
                continue;
            };
            let start = volume.number("pe_start").unwrap_or(0).saturating_mul(SECTOR);
            let bytes = volume.number("pe_count").unwrap_or(0).saturating_mul(extent_bytes);
            let inside = Extent::new(0, known.window.bytes()).intersect(&Extent::new(start, bytes));
            let area = inside.unwrap_or(Extent::new(known.window.bytes(), 0));
            if let Some(slot) = assembled.extents.get_mut(position) {
                *slot = Some(area);
            }
            group.physical.insert(own, (&known.window, area));
            group.positions.insert(position);
        }
        group
    }

    fn add_all(&mut self, section: &'g Section, assembled: &mut Assembled) {
        let volumes = section.section("logical_volumes");
        let all: Vec<(&str, &Section)> = volumes.into_iter().flat_map(Section::sections).collect();
        let opaque = opaque(&all);
        for (own, volume) in all {
            let label = format!("{}/{own}", self.name);
            let mut segments = Vec::new();
            let mut whole = true;
            for (_, segment) in volume.sections() {
                match segment.text("type") {
                    "striped" | "linear" => {
                        let added = self.add(segment);
                        if added.is_none() {
                            whole = false;
                            assembled.lost.extend(self.parts(segment));
                        }
                        segments.extend(added);
                    }
                    // Its legs are volumes of their own; so are what a snapshot has and its origin.
                    "mirror" | "raid1" | "snapshot" => {}
                    kind => {
                        let what =
                            format!("{label} is of type {kind}; what it is made of is taken as raw bytes");
                        assembled.oddities.push((self.name.to_owned(), what));
                    }
                }
            }
            if segments.is_empty() {
                continue;
            }
            segments.sort_by_key(|segment| segment.extent.offset);
            let mut at = 0;
            whole &= segments.iter().all(|segment| {
                let follows = segment.extent.offset == at;
                at = segment.extent.end();
                follows
            });
            let kind = opaque.get(own).copied();
            if !whole && kind.is_none() {
                let what = format!("{label} is not all there; it is taken as raw bytes");
                assembled.oddities.push((self.name.to_owned(), what));
            }
            let opaque = kind.or((!whole).then_some("lvm2-partial"));
            assembled.logical.push(Logical { label, segments, opaque });
        }
        if self.limited {
            let what = "more segments than are followed; what no other volume has is taken as raw bytes";
            assembled.oddities.push((self.name.to_owned(), what.to_owned()));
            assembled.limited.extend(&self.positions);
        }
    }

    /// Returns the parts of the disk that a segment says it has, as far as they are there.
    fn parts(&self, segment: &Section) -> Vec<Extent> {
        if self.limited {
            return Vec::new();
        }
        let stripes = segment.pairs("stripes");
        let bytes = |count: u64| count.saturating_mul(self.extent_bytes);
        let share = bytes(segment.number("extent_count").unwrap_or(0)).div_ceil(wide(stripes.len()).max(1));
        let mut parts = Vec::new();
        for (name, first) in stripes.iter().take(STRIPES_MAX) {
            let Some((window, area)) = self.physical.get(name) else { continue };
            let part = Extent::new(area.offset.saturating_add(bytes(*first)), share);
            let inside = part.intersect(area);
            parts.extend(inside.iter().flat_map(|part| window.locate(*part)).map(|piece| piece.extent()));
        }
        parts
    }

    /// Returns where a linear or striped segment lies, if all of it is there.
    fn add(&mut self, segment: &Section) -> Option<Segment> {
        let stripes = segment.pairs("stripes");
        let Some(left) = self.segments_left.checked_sub(stripes.len().max(1)) else {
            self.limited = true;
            return None;
        };
        self.segments_left = left;
        let number = |name| segment.number(name).unwrap_or(0);
        let start = number("start_extent").saturating_mul(self.extent_bytes);
        let length = number("extent_count").saturating_mul(self.extent_bytes);
        let count = wide(stripes.len());
        if length == 0 || count == 0 || stripes.len() > STRIPES_MAX {
            return None;
        }
        let share = length.div_ceil(count);
        let mut starts = Vec::new();
        for (name, first) in &stripes {
            let (window, area) = self.physical.get(name)?;
            let at = area.offset.saturating_add(first.saturating_mul(self.extent_bytes));
            let part = Extent::new(at, share);
            // Physical volumes lie in one piece, or are arrays, which do not.
            let mut pieces = window.locate(part);
            match (pieces.next(), pieces.next()) {
                (Some(piece), None) if piece.length == share && part.end() <= area.end() => {
                    starts.push(piece.offset);
                }
                _ => return None,
            }
        }
        let lies = if let [start] = starts.as_slice() {
            Lies::At(*start)
        } else {
            let stripe_bytes = number("stripe_size").saturating_mul(SECTOR);
            let whole = length.checked_rem(stripe_bytes.saturating_mul(count)) == Some(0);
            if stripe_bytes < STRIPE_BYTES_MIN || !whole {
                return None;
            }
            Lies::Striped { starts, stripe_bytes }
        };
        Some(Segment { extent: Extent::new(start, length), lies })
    }
}

/// Names the volumes whose bytes mean something only to the volume above them.
fn opaque<'g>(all: &[(&'g str, &'g Section)]) -> BTreeMap<&'g str, &'static str> {
    let mut opaque = BTreeMap::new();
    let mut legs = BTreeSet::new();
    for (_, segment) in all.iter().flat_map(|(_, volume)| volume.sections()) {
        match segment.text("type") {
            "mirror" => legs.extend(segment.pairs("mirrors").into_iter().map(|(name, _)| name)),
            "raid1" => legs.extend(segment.texts("raids")),
            "snapshot" => {
                opaque.insert(segment.text("cow_store"), "lvm2-snapshot");
            }
            "thin-pool" => {
                opaque.insert(segment.text("metadata"), "lvm2-thin-metadata");
                opaque.insert(segment.text("pool"), "lvm2-thin-data");
            }
            "cache" | "cache-pool" | "writecache" => {
                for name in ["cache_pool", "metadata", "data", "origin", "writecache"] {
                    opaque.insert(segment.text(name), "lvm2-cache");
                }
            }
            kind if kind.starts_with("raid") => {
                opaque.extend(segment.texts("raids").into_iter().map(|name| (name, "lvm2-raid")));
            }
            kind if kind.starts_with("vdo") => {
                opaque.insert(segment.text("data"), "lvm2-vdo");
            }
            _ => {}
        }
    }
    for leg in legs {
        opaque.remove(leg);
    }
    opaque
}

/// Returns the parts of the disk that a segment lies in: one for each stripe.
pub(crate) fn parts(segment: &Segment) -> Vec<Extent> {
    match &segment.lies {
        Lies::At(start) => vec![Extent::new(*start, segment.extent.length)],
        Lies::Striped { starts, .. } => {
            let share = segment.extent.length.div_ceil(wide(starts.len()).max(1));
            starts.iter().map(|start| Extent::new(*start, share)).collect()
        }
    }
}

/// Returns how many runs a volume of these segments can have at least, in stripes.
pub(crate) fn stripes(segments: &[Segment]) -> usize {
    let count = |segment: &Segment| match &segment.lies {
        Lies::At(_) => 1,
        Lies::Striped { stripe_bytes, .. } => narrow(segment.extent.length.div_ceil((*stripe_bytes).max(1))),
    };
    segments.iter().map(count).fold(0, usize::saturating_add)
}
