//! Replies of a server to a request: each covers exactly what was asked for.

use crate::Error;
use crate::protocol::{
    EXTENT_HOLE, EXTENT_ZERO, EXTENTS_MAX, OPTION_BYTES_MAX, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC,
    chunk,
};
use crate::wire::{Fields, Wire};
use airlock_disk::{Span, SpanKind};
use airlock_model::field::{narrow, wide};

/// Most chunks of one reply.
const CHUNKS_MAX: usize = 64 << 10;

/// The head of a reply, or of one of its chunks.
#[derive(Debug, Clone, Copy)]
struct Head {
    last: bool,
    kind: u16,
    length: u32,
}

/// How a server ended a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As asked.
    Done,
    /// With this error.
    Failed(u32),
}

/// Reads the head of what comes next. A simple reply is shown as one chunk of nothing, or as an error.
fn head(wire: &mut Wire, cookie: u64) -> Result<Result<Head, u32>, Error> {
    let magic = wire.u32()?;
    let (kind, last, error) = match magic {
        SIMPLE_REPLY_MAGIC => (None, true, wire.u32()?),
        STRUCTURED_REPLY_MAGIC => {
            let flags = wire.u16()?;
            (Some(wire.u16()?), flags & chunk::DONE != 0, 0)
        }
        _ => return Err(Error::protocol(format!("a reply begins with {magic:#010x}"))),
    };
    if wire.u64()? != cookie {
        return Err(Error::protocol("a reply is to another request"));
    }
    match kind {
        None if error != 0 => Ok(Err(error)),
        None => Ok(Ok(Head { last, kind: chunk::NONE, length: 0 })),
        Some(kind) => Ok(Ok(Head { last, kind, length: wire.u32()? })),
    }
}

/// Reads the reply to a read of `into.len()` bytes at `offset`.
pub(crate) fn read(
    wire: &mut Wire,
    structured: bool,
    cookie: u64,
    offset: u64,
    into: &mut [u8],
) -> Result<End, Error> {
    if !structured {
        return Ok(match head(wire, cookie)? {
            Ok(_) => {
                wire.fill(into)?;
                End::Done
            }
            Err(error) => End::Failed(error),
        });
    }
    let mut covered: Vec<(usize, usize)> = Vec::new();
    let mut end = End::Done;
    for _ in 0..CHUNKS_MAX {
        let Head { last, kind, length } = match head(wire, cookie)? {
            Ok(head) => head,
            Err(error) => return Ok(End::Failed(error)),
        };
        match kind {
            chunk::NONE if length == 0 => {}
            chunk::OFFSET_DATA => {
                let at = wire.u64()?;
                let part = part(into, offset, at, u64::from(length).checked_sub(8), &mut covered)?;
                wire.fill(part)?;
            }
            chunk::OFFSET_HOLE if length == 12 => {
                let (at, size) = (wire.u64()?, wire.u32()?);
                part(into, offset, at, Some(u64::from(size)), &mut covered)?.fill(0);
            }
            _ => end = failure(wire, kind, length)?,
        }
        if last {
            let sum = covered
                .iter()
                .fold(0_usize, |sum, (start, end)| sum.saturating_add(end.saturating_sub(*start)));
            return match end {
                // What was said lies apart, so a sum that fits leaves nothing out.
                End::Done if sum != into.len() => Err(Error::protocol("a reply leaves bytes out")),
                end => Ok(end),
            };
        }
    }
    Err(Error::protocol("a reply has too many chunks"))
}

/// Returns the part of the buffer that a chunk is about, which no other chunk was.
fn part<'b>(
    into: &'b mut [u8],
    offset: u64,
    at: u64,
    length: Option<u64>,
    covered: &mut Vec<(usize, usize)>,
) -> Result<&'b mut [u8], Error> {
    let outside = || Error::protocol("a reply is about bytes that were not asked for, or twice about some");
    let start = at.checked_sub(offset).map(narrow).ok_or_else(outside)?;
    let end = length.map(narrow).and_then(|length| start.checked_add(length)).ok_or_else(outside)?;
    let place = covered.partition_point(|(other, _)| *other < start);
    let before = place.checked_sub(1).and_then(|place| covered.get(place));
    let overlaps = before.is_some_and(|(_, end)| *end > start)
        || covered.get(place).is_some_and(|(next, _)| *next < end);
    let part = into.get_mut(start..end).filter(|part| !part.is_empty() && !overlaps).ok_or_else(outside)?;
    covered.insert(place, (start, end));
    Ok(part)
}

/// Reads a chunk that says that the request failed.
fn failure(wire: &mut Wire, kind: u16, length: u32) -> Result<End, Error> {
    if kind & chunk::ERROR == 0 {
        return Err(Error::protocol(format!("a chunk of type {kind} with {length} bytes is no answer")));
    }
    let payload = wire.bytes(length, OPTION_BYTES_MAX)?;
    match Fields(&payload).u32() {
        Some(error) if error != 0 => Ok(End::Failed(error)),
        _ => Err(Error::protocol("a chunk says error and means none")),
    }
}

/// Reads the reply to a question about the extents of `length` bytes. What is left out counts as data.
pub(crate) fn block_status(
    wire: &mut Wire,
    cookie: u64,
    context: u32,
    length: u64,
) -> Result<(Vec<Span>, End), Error> {
    let (mut spans, mut end) = (Vec::new(), End::Done);
    for _ in 0..CHUNKS_MAX {
        let Head { last, kind, length: bytes } = match head(wire, cookie)? {
            Ok(head) => head,
            Err(error) => return Ok((spans, End::Failed(error))),
        };
        match kind {
            chunk::NONE if bytes == 0 => {}
            chunk::BLOCK_STATUS => {
                let limit = u32::try_from(EXTENTS_MAX).unwrap_or(u32::MAX).saturating_mul(8);
                let payload = wire.bytes(bytes, limit.saturating_add(4))?;
                let mut fields = Fields(&payload);
                if fields.u32() == Some(context) && spans.is_empty() {
                    spans = extents(&mut fields, length)?;
                }
            }
            _ => end = failure(wire, kind, bytes)?,
        }
        if last {
            return Ok((spans, end));
        }
    }
    Err(Error::protocol("a reply has too many chunks"))
}

/// Reads the extents of a block status, cut to `left` bytes.
fn extents(fields: &mut Fields<'_>, mut left: u64) -> Result<Vec<Span>, Error> {
    let mut spans: Vec<Span> = Vec::new();
    while !fields.0.is_empty() && left > 0 {
        let (length, flags) =
            fields.u32().zip(fields.u32()).ok_or_else(|| Error::protocol("an extent is cut short"))?;
        if length == 0 {
            return Err(Error::protocol("an extent has no bytes"));
        }
        let length = u64::from(length).min(left);
        left = left.saturating_sub(length);
        // What is a hole and not said to be zero may be anything.
        let kind = if flags & EXTENT_ZERO != 0 { SpanKind::Zero } else { SpanKind::Data };
        match spans.last_mut() {
            Some(last) if last.kind == kind => last.length = last.length.saturating_add(length),
            _ => spans.push(Span { kind, length }),
        }
    }
    if spans.is_empty() {
        return Err(Error::protocol("a block status has no extents"));
    }
    Ok(spans)
}

/// Returns the flags of an extent.
pub(crate) fn flags(kind: SpanKind) -> u32 {
    match kind {
        SpanKind::Zero => EXTENT_HOLE | EXTENT_ZERO,
        SpanKind::Data => 0,
    }
}

/// Returns a number of bytes as 32 bits, saturating at a multiple of `align`.
pub(crate) fn clip(length: u64, align: u64) -> u32 {
    let most = u64::from(u32::MAX);
    let most = most.saturating_sub(most.checked_rem(align).unwrap_or(0));
    u32::try_from(length.min(most)).unwrap_or(u32::MAX)
}

/// Returns the length of a buffer as a number of bytes on the disk.
pub(crate) fn size_of(bytes: &[u8]) -> u64 {
    wide(bytes.len())
}
