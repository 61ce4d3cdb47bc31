//! Labels of physical volumes, and where their metadata is (lvm2 sources,
//! `lib/label/label.h`, `lib/format_text/layout.h`).

use super::text::Section;
use crate::Error;
use crate::field::{has, le32, le64, narrow, wide};
use crate::window::Window;

const SECTOR: u64 = 512;
/// The label is in one of the first sectors.
const LABEL_SECTORS: u64 = 4;
/// Most areas of a kind that a header lists.
const AREAS_MAX: usize = 8;
/// Longest metadata that is read.
const METADATA_BYTES_MAX: u64 = 32 << 20;
/// Bytes of the header of a metadata area; the text is in a ring behind it.
const AREA_HEADER_BYTES: u64 = 512;
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
/// Set in a location whose text is not to be used.
const LOCATION_IGNORED: u32 = 1;

/// What the label of a physical volume says.
#[derive(Debug)]
pub(crate) struct Label {
    /// Without dashes.
    pub(crate) uuid: String,
    /// What the newest metadata on this volume says; nothing where it has none.
    pub(crate) metadata: Option<Section>,
    /// Whether there is more metadata than is read.
    pub(crate) limited: bool,
}

/// Reads the label of a volume.
pub(crate) fn read(window: &Window<'_>, items_left: &mut usize) -> Result<Option<Label>, Error> {
    let head = window.bytes_at("a label of LVM", 0, narrow(LABEL_SECTORS.saturating_mul(SECTOR)))?;
    for sector in 0..LABEL_SECTORS {
        let start = narrow(sector.saturating_mul(SECTOR));
        let label = head.get(start..start.saturating_add(512)).unwrap_or_default();
        if has(label, 0, b"LABELONE") && has(label, 24, b"LVM2 001") && le64(label, 8) == sector {
            return parse(window, label, items_left).map(Some);
        }
    }
    Ok(None)
}

fn parse(window: &Window<'_>, label: &[u8], items_left: &mut usize) -> Result<Label, Error> {
    let header = narrow(u64::from(le32(label, 20)));
    let header = label.get(header..).unwrap_or_default();
    let uuid = header.get(..32).unwrap_or_default().iter().map(|byte| char::from(*byte)).collect();
    // Pairs of offset and size: first data areas, then metadata areas, each ended by zeros.
    let mut at = 40_usize;
    let mut area = || {
        let (offset, size) = (le64(header, at), le64(header, at.saturating_add(8)));
        at = at.saturating_add(16);
        (offset != 0).then_some((offset, size))
    };
    let mut left = AREAS_MAX;
    while area().is_some() {
        left = left.saturating_sub(1);
        if left == 0 {
            break;
        }
    }
    let mut newest: Option<Section> = None;
    for _ in 0..AREAS_MAX {
        let Some((offset, size)) = area() else { break };
        let found = metadata(window, offset, size, items_left)?;
        if found.as_ref().map(sequence) > newest.as_ref().map(sequence) {
            newest = found;
        }
    }
    Ok(Label { uuid, metadata: newest, limited: *items_left == 0 })
}

/// Returns the sequence number of a metadata text.
pub(crate) fn sequence(text: &Section) -> u64 {
    text.sections().next().and_then(|(_, group)| group.number("seqno")).unwrap_or(0)
}

/// Reads the text of a metadata area: a ring in which it may begin near the end and go on at the start.
fn metadata(
    window: &Window<'_>,
    offset: u64,
    size: u64,
    items_left: &mut usize,
) -> Result<Option<Section>, Error> {
    const WHAT: &str = "metadata of LVM";
    let header = window.bytes_at(WHAT, offset, narrow(AREA_HEADER_BYTES))?;
    if !has(&header, 4, AREA_MAGIC) {
        return Ok(None);
    }
    let (start, length) = (le64(&header, 40), le64(&header, 48));
    let ignored = le32(&header, 60) & LOCATION_IGNORED != 0;
    let ring = size.saturating_sub(AREA_HEADER_BYTES);
    let inside = start >= AREA_HEADER_BYTES && start < size && length <= ring;
    if ignored || length == 0 || length > METADATA_BYTES_MAX || !inside {
        return Ok(None);
    }
    let first = length.min(size.saturating_sub(start));
    let mut text = window.bytes_at(WHAT, offset.saturating_add(start), narrow(first))?;
    let rest = length.saturating_sub(wide(text.len()));
    if first < length {
        let at = offset.saturating_add(AREA_HEADER_BYTES);
        text.extend(window.bytes_at(WHAT, at, narrow(rest))?);
    }
    Ok(Section::parse(&String::from_utf8_lossy(&text), items_left))
}
