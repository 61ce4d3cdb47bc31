//! What a director and its worker say to each other.
//!
//! A frame is the length of its header and of its body (4 bytes each, little endian), the header in postcard,
//! and the body, which is bytes of the disk. Both ends are the same version of the same program, so the form
//! may change with every version; [`VERSION`] is there to say so where they are not.
//!
//! On a *lane* the director gives one [`Order`] after another. Before its last [`Answer`] the worker asks
//! for bytes of the disk, as often as it likes, and the director gives them.

use airlock_checks::{Examined, Unit};
use airlock_inventory::{Ecosystem, Evidence, System};
use airlock_model::{Extent, Packed, PlaceKind, Reason, Run, Space, Volume};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{Error, ErrorKind, IoSlice, Read, Result, Write};

/// Version of what is said.
pub(super) const VERSION: u32 = 1;
/// Longest header: what was found in one unit, with its names.
pub(super) const HEADER_BYTES_MAX: usize = 64 << 20;
/// Longest body: what is read of a disk at once.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// About how many bytes of lists go into one frame.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// Bytes that are received at once, where nothing tells how many there are.
pub(super) const RECEIVE_BYTES: usize = 64 << 10;
/// Bytes that are made room for before they are there.
const STEP_BYTES: usize = 1 << 20;

/// What a worker is told before anything else. What its hash lists hold follows the frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) version: u32,
    pub(super) space: Space,
    /// The policies of both sites, as YAML.
    pub(super) policies: [String; 2],
    /// Key of the fingerprints in what it finds, made for this transfer alone.
    pub(super) fingerprint_key: [u8; 32],
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
}

/// What a worker says to that.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Begun {
    /// It is in the jail, and inspects with the rules of this digest.
    Ready { rules: [u8; 32] },
    /// It could not be put into the jail, and ends.
    NotJailed { why: String },
}

/// What a director says on a lane.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Survey the disk.
    Survey,
    /// Examine a unit of the disk as it was surveyed last. The body has the bytes of some extents.
    Examine { unit: Unit, ahead: Vec<Extent> },
    /// Take the inventory of the disk as it was surveyed last.
    Inventory,
    /// The body has the bytes that were asked for.
    Bytes,
    /// The bytes that were asked for cannot be read.
    Unreadable,
    /// What begins where it was asked for, and how long it is.
    Span { data: bool, length: u64 },
}

/// What a worker says on a lane.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It needs bytes of the disk: at most [`BODY_BYTES_MAX`].
    Read { offset: u64, length: u32 },
    /// It needs to know whether something is a hole.
    Span { offset: u64 },
    /// Some of what it surveyed; more follows.
    Volumes(Vec<Volume>),
    /// Some of what it surveyed; more follows.
    Map(Vec<Row>),
    /// Where budgets were used up; the survey is complete.
    Surveyed { limits: Vec<Extent> },
    /// The disk could not be read.
    NotSurveyed,
    /// What a unit came to.
    Examined(Examined),
    /// Some of the inventory; more follows.
    Packages(Vec<PackageRow>),
    /// Some of the inventory; more follows.
    Products(Vec<ProductRow>),
    /// The rest of the inventory.
    Inventoried { systems: Vec<System>, left_out: u64 },
}

/// A part of a place map.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Row {
    /// A place; its runs and pieces follow.
    Place { kind: PlaceKind, volume: u16, path: Vec<u8>, size: u64, view: bool, unscannable: Option<Reason> },
    /// Runs of the place.
    Runs(Vec<Run>),
    /// Pieces of the place.
    Packed(Vec<Packed>),
}

/// A package of an inventory.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PackageRow {
    pub(super) ecosystem: Ecosystem,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) source: Option<String>,
    pub(super) source_version: Option<String>,
    pub(super) architecture: Option<String>,
    pub(super) evidence: Evidence,
}

/// A product of an inventory.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ProductRow {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) publisher: String,
    pub(super) evidence: Evidence,
}

/// Returns a frame up to its body, which the caller appends or sends behind it.
pub(super) fn encode(message: &impl Serialize, body_bytes: usize) -> Result<Vec<u8>> {
    let frame = postcard::to_extend(message, vec![0; 8]).map_err(|_| ErrorKind::InvalidData)?;
    let header_bytes = frame.len().saturating_sub(8);
    if header_bytes > HEADER_BYTES_MAX || body_bytes > BODY_BYTES_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut frame = frame;
    let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    frame[..4].copy_from_slice(&word(header_bytes));
    frame[4..8].copy_from_slice(&word(body_bytes));
    Ok(frame)
}

/// Writes a frame, at once where that is possible.
pub(super) fn send(mut into: impl Write, message: &impl Serialize, body: &[u8]) -> Result<()> {
    let frame = encode(message, body.len())?;
    let written = into.write_vectored(&[IoSlice::new(&frame), IoSlice::new(body)])?;
    into.write_all(frame.get(written..).unwrap_or_default())?;
    into.write_all(body.get(written.saturating_sub(frame.len())..).unwrap_or_default())
}

/// Reads the header of a frame. Returns it with the length of the body, which is still to be read.
pub(super) fn receive<M: DeserializeOwned>(mut from: impl Read, header: &mut Vec<u8>) -> Result<(M, usize)> {
    let mut lengths = [0; 8];
    from.read_exact(&mut lengths)?;
    let word = u64::from_le_bytes(lengths);
    let part = |bits: u64| usize::try_from(bits & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let (header_bytes, body_bytes) = (part(word), part(word >> 32));
    if header_bytes > HEADER_BYTES_MAX || body_bytes > BODY_BYTES_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    header.clear();
    while header.len() < header_bytes {
        let start = header.len();
        header.resize(start + STEP_BYTES.min(header_bytes - start), 0);
        from.read_exact(&mut header[start..])?;
    }
    match postcard::take_from_bytes(header) {
        Ok((message, [])) => Ok((message, body_bytes)),
        _ => Err(Error::from(ErrorKind::InvalidData)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_what_was_sent_and_nothing_else() {
        let order = Order::Examine { unit: Unit::File { place: 300 }, ahead: vec![Extent::new(4096, 5)] };
        let mut frame = Vec::new();
        send(&mut frame, &order, b"bytes").unwrap();
        let mut from = frame.as_slice();
        let (found, body) = receive::<Order>(&mut from, &mut Vec::new()).unwrap();
        assert_eq!((found, body, from), (order, 5, &b"bytes"[..]));
        for cut in 0..frame.len() - 5 {
            assert!(receive::<Order>(&frame[..cut], &mut Vec::new()).is_err(), "{cut}");
        }
        // One byte more in the header than the message has.
        frame[0] += 1;
        assert!(receive::<Order>(frame.as_slice(), &mut Vec::new()).is_err());
    }

    #[test]
    fn lengths_are_bounded_and_nothing_is_made_room_for_that_does_not_come() {
        for lengths in [[0, 0, 0, 255, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 255]] {
            assert!(receive::<Order>(lengths.as_slice(), &mut Vec::new()).is_err());
        }
        let mut header = Vec::new();
        assert!(receive::<Order>([0, 0, 0, 4, 0, 0, 0, 0, 1, 2, 3].as_slice(), &mut header).is_err());
        assert!(header.capacity() <= 2 * STEP_BYTES);
        assert!(encode(&Order::Bytes, BODY_BYTES_MAX + 1).is_err());
    }
}
