//! What the manager has to say at the end, held against what has arrived.
//!
//! The record carries it as the source's word. What of it can be checked is checked here: that it is about
//! these disks, that it speaks for the source alone, and that it does not call withheld what it has sent.

use crate::Error;
use crate::chamber::Arrival;
use airlock_evidence::{SourceDisk, SourceReport};
use airlock_model::{Decision, Extent, Site, Space, invariant};
use airlock_transfer::Hello;

/// Most findings that the source may list; it counts all of them.
pub(crate) const FINDINGS_LISTED_MAX: usize = 10_000;

/// Checks a report against what was agreed at the beginning and what has arrived.
/// Whoever is told that the transfer is `refused` stops to send anywhere.
pub(crate) fn check(
    hello: &Hello,
    source: &SourceReport,
    arrival: &Arrival,
    refused: bool,
) -> Result<(), Error> {
    let told = told_by_the_source(source).and_then(|()| {
        if source.rules != format!("blake3:{}", hex::encode(hello.rules)) {
            return Err("its report names other rules than it began with".into());
        }
        let members = hello.space.members();
        if source.disks.len() != members.len() {
            return Err("its report is about other disks".into());
        }
        for (disk, member) in source.disks.iter().zip(members) {
            check_disk(disk, &member.id, member.size)?;
            // What the destination takes out later explains nothing of what the source has not sent. One that refuses
            // stops to send anywhere.
            let all_sent = disk.holes.is_empty() && disk.coverage.dropped == 0;
            if all_sent && !refused && source.decision != Decision::Terminate && disk.root != disk.kept_root {
                return Err(format!("its roots of {} differ, and no hole explains it", member.id));
            }
        }
        check_withheld(&hello.space, source, arrival)
    });
    told.map_err(Error::Peer)
}

/// Checks that nothing in it is said in the name of this site.
fn told_by_the_source(source: &SourceReport) -> Result<(), String> {
    let holes = source.disks.iter().flat_map(|disk| &disk.holes).map(|hole| hole.site);
    let findings = source.findings.iter().map(|finding| finding.site);
    let replays = source.replays.iter().map(|replay| replay.site);
    let own = holes.chain(findings).chain(replays).all(|site| site == Site::Source);
    if !own || !source.counts.keys().all(|key| key.starts_with("source/")) {
        return Err("its report speaks for this site".into());
    }
    if source.findings.len() > FINDINGS_LISTED_MAX {
        return Err(format!("its report lists more than {FINDINGS_LISTED_MAX} findings"));
    }
    Ok(())
}

fn check_disk(disk: &SourceDisk, id: &str, size: u64) -> Result<(), String> {
    if disk.coverage.total != size || invariant::coverage_sums(&disk.coverage).is_err() {
        return Err(format!("its coverage of {id} does not sum to its size"));
    }
    let sorted = disk.holes.windows(2).all(|pair| pair[0].extent.end() <= pair[1].extent.offset);
    let inside = |extent: &Extent| extent.offset.checked_add(extent.length).is_some_and(|end| end <= size);
    if !sorted || !disk.holes.iter().all(|hole| inside(&hole.extent)) {
        return Err(format!("its hole map of {id} overlaps itself or the end"));
    }
    Ok(())
}

/// Checks that what it calls withheld has not arrived.
fn check_withheld(space: &Space, source: &SourceReport, arrival: &Arrival) -> Result<(), String> {
    let mut holes: Vec<(Extent, &str)> = Vec::new();
    for ((member, extent), disk) in space.iter().zip(&source.disks) {
        let in_space = |hole: &Extent| Extent::new(extent.offset.saturating_add(hole.offset), hole.length);
        holes.extend(disk.holes.iter().map(|hole| (in_space(&hole.extent), member.id.as_str())));
    }
    // Members lie one behind the other, and the holes of each are sorted.
    for extent in arrival.placements.iter().flat_map(|placement| &placement.extents) {
        let after = holes.partition_point(|(hole, _)| hole.end() <= extent.offset);
        if let Some((hole, id)) = holes.get(after)
            && hole.intersect(extent).is_some()
        {
            return Err(format!("its report calls bytes of {id} withheld that it has sent"));
        }
    }
    Ok(())
}
