//! Volumes that lie on several others: arrays and volume groups.

use crate::volumes::{Findings, Found, Taken, place_volume};
use crate::window::{Segment, Window};
use crate::{Error, lvm, md};
use airlock_disk::BlockSource;
use airlock_model::{Extent, PlaceKind, joined, subtract};

/// Most stripes of a volume; each is a run of its own at least.
const STRIPES_MAX: usize = 4 << 20;

/// Takes volumes with this content out of a list, if nothing else has claimed any of them.
fn drain<'d>(found: &mut Vec<Found<'d>>, content: &str) -> Vec<Found<'d>> {
    let (taken, left) =
        found.drain(..).partition(|volume| volume.content.name == content && !volume.overlaps());
    *found = left;
    taken
}

/// Puts the members of md arrays together.
pub(crate) fn arrays<'d>(
    disk: &'d dyn BlockSource,
    mut found: Vec<Found<'d>>,
    findings: &mut Findings,
) -> Result<Vec<Found<'d>>, Error> {
    let mut members = Vec::new();
    for volume in drain(&mut found, "md") {
        match md::read(&volume.window)? {
            Some(member) => members.push((member, volume)),
            None => found.push(volume),
        }
    }
    let pairs: Vec<_> =
        members.iter().map(|(member, volume)| (member.clone(), volume.window.clone())).collect();
    let mut taken = Taken::default();
    for array in md::assemble(&pairs) {
        let md::Array { label, segments, opaque } = array;
        found.extend(volume(disk, label, segments, opaque, &mut taken, findings));
    }
    for (member, volume) in &members {
        let data: Vec<Extent> = volume.window.locate(member.data).map(|piece| piece.extent()).collect();
        // What of its data no array uses, because the members are not of one length.
        let spare: Vec<Extent> = data.iter().flat_map(|extent| taken.without(*extent)).collect();
        let rest = without(&volume.own, data);
        let places = [(PlaceKind::Metadata, rest), (PlaceKind::Raw, spare)];
        place_volume(findings, &volume.label, "md", volume.window.extent(), &places);
    }
    Ok(found)
}

/// Puts the physical volumes of LVM together.
pub(crate) fn groups<'d>(
    disk: &'d dyn BlockSource,
    mut found: Vec<Found<'d>>,
    findings: &mut Findings,
) -> Result<Vec<Found<'d>>, Error> {
    let mut physical = Vec::new();
    let mut items_left = lvm::ITEMS_MAX;
    let mut volumes = Vec::new();
    for volume in drain(&mut found, "lvm2") {
        match lvm::read(&volume.window, &mut items_left)? {
            Some(label) => {
                physical.push(lvm::Physical { label, window: volume.window.clone() });
                volumes.push(volume);
            }
            None => found.push(volume),
        }
    }
    let assembled = lvm::assemble(&physical);
    let whole = Extent::new(0, disk.size());
    for (group, what) in assembled.oddities {
        findings.oddities.add(&group, what, whole);
    }
    let mut taken = Taken::default();
    for logical in assembled.logical {
        let lvm::Logical { label, segments, opaque } = logical;
        found.extend(volume(disk, label, segments, opaque, &mut taken, findings));
    }
    let mut lost = Taken::default();
    for part in assembled.lost {
        lost.take(part);
    }
    for (position, (volume, extents)) in volumes.into_iter().zip(assembled.extents).enumerate() {
        let Some(extents) = extents else {
            findings.oddities.add(
                &volume.label,
                "no metadata of LVM knows the volume",
                volume.window.extent(),
            );
            if physical.get(position).is_some_and(|known| known.label.limited) {
                findings.limits.extend(volume.own.iter().copied());
            }
            found.push(volume);
            continue;
        };
        let area: Vec<Extent> = volume.window.locate(extents).map(|piece| piece.extent()).collect();
        let spare: Vec<Extent> = area.iter().flat_map(|extent| taken.without(*extent)).collect();
        let mut free = Vec::new();
        if assembled.limited.contains(&position) {
            findings.limits.extend(spare.iter().copied());
        } else {
            free = spare.iter().flat_map(|extent| lost.without(*extent)).collect();
        }
        let raw = without(&spare, free.clone());
        let rest = without(&volume.own, area);
        let places = [(PlaceKind::Metadata, rest), (PlaceKind::Free, free), (PlaceKind::Raw, raw)];
        place_volume(findings, &volume.label, "lvm2", volume.window.extent(), &places);
    }
    Ok(found)
}

/// Returns what is left of extents without others.
fn without(extents: &[Extent], others: Vec<Extent>) -> Vec<Extent> {
    let others = joined(others);
    extents.iter().flat_map(|extent| subtract(*extent, &others)).collect()
}

/// Returns a volume of these segments, or places its bytes where it is not to be looked into.
fn volume<'d>(
    disk: &'d dyn BlockSource,
    label: String,
    segments: Vec<Segment>,
    opaque: Option<&'static str>,
    taken: &mut Taken,
    findings: &mut Findings,
) -> Option<Found<'d>> {
    let parts: Vec<Extent> = segments.iter().flat_map(lvm::parts).collect();
    let own: Vec<Extent> = parts.iter().flat_map(|part| taken.take(*part)).collect();
    let many = lvm::stripes(&segments) > STRIPES_MAX;
    let content = opaque.or(many.then_some("unknown"));
    let window = Window::assemble(disk, segments);
    if many {
        findings.oddities.add(&label, "too many stripes to follow; taken as raw bytes", window.extent());
        findings.limits.extend(own.iter().copied());
    }
    if let Some(content) = content {
        place_volume(findings, &label, content, window.extent(), &[(PlaceKind::Raw, own)]);
        return None;
    }
    let found = Found::look(label, window, own, findings);
    if found.overlaps() {
        let extent = found.window.extent();
        findings.oddities.add(&found.label, "another volume has some of the same bytes", extent);
    }
    Some(found)
}
