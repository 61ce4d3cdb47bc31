//! A volume, as the file system in it sees it: a partition, or what a volume manager makes of several.

use crate::Error;
use crate::field::{narrow, quotient, remainder, wide};
use crate::overlay::Overlay;
use airlock_disk::{BlockSource, SpanKind};
use airlock_model::Extent;
use std::sync::Arc;

/// A part of a volume, and where on the disk it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where in the volume.
    pub(crate) extent: Extent,
    pub(crate) lies: Lies,
}

/// Where the bytes of a segment lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lies {
    /// In one piece from this byte of the disk on.
    At(u64),
    /// In turns of `stripe_bytes` on each of these places.
    Striped { starts: Vec<u64>, stripe_bytes: u64 },
}

impl Segment {
    /// Returns where the byte `within` the segment lies, and how many follow it there.
    fn locate(&self, within: u64) -> (u64, u64) {
        let left = self.extent.length.saturating_sub(within);
        match &self.lies {
            Lies::At(start) => (start.saturating_add(within), left),
            Lies::Striped { starts, stripe_bytes } => {
                let stripe = quotient(within, *stripe_bytes);
                let inside = remainder(within, *stripe_bytes);
                let turn = quotient(stripe, wide(starts.len()));
                let start = starts.get(narrow(remainder(stripe, wide(starts.len()))));
                let skipped = turn.saturating_mul(*stripe_bytes).saturating_add(inside);
                let follow = stripe_bytes.saturating_sub(inside).min(left);
                (start.copied().unwrap_or(u64::MAX).saturating_add(skipped), follow)
            }
        }
    }
}

/// A volume; offsets count from its first byte.
#[derive(Debug, Clone)]
pub(crate) struct Window<'d> {
    disk: &'d dyn BlockSource,
    /// Sorted, one behind the other from byte 0 on.
    segments: Arc<[Segment]>,
    bytes: u64,
    /// What a log has to say that has not reached its place yet.
    overlay: Option<Arc<Overlay>>,
}

impl<'d> Window<'d> {
    /// Returns the part of `disk` that `extent` covers, cut to the size of the disk.
    pub(crate) fn new(disk: &'d dyn BlockSource, extent: Extent) -> Self {
        let offset = extent.offset.min(disk.size());
        let length = extent.end().min(disk.size()).saturating_sub(offset);
        let whole = Segment { extent: Extent::new(0, length), lies: Lies::At(offset) };
        Self { disk, segments: Arc::new([whole]), bytes: length, overlay: None }
    }

    /// Returns the volume that these segments make up; they follow each other from byte 0 on.
    pub(crate) fn assemble(disk: &'d dyn BlockSource, segments: Vec<Segment>) -> Self {
        let bytes = segments.last().map_or(0, |segment| segment.extent.end());
        Self { disk, segments: segments.into(), bytes, overlay: None }
    }

    /// Returns the same volume with the blocks of a log in their places.
    pub(crate) fn with_overlay(&self, overlay: Overlay) -> Self {
        Self { overlay: Some(Arc::new(overlay)), ..self.clone() }
    }

    /// Returns what a log has put over the volume.
    pub(crate) fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_deref()
    }

    /// Returns the size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the smallest part of the disk that has all of the volume.
    pub(crate) fn extent(&self) -> Extent {
        let ends = self.segments.iter().flat_map(|segment| match &segment.lies {
            Lies::At(start) => vec![Extent::new(*start, segment.extent.length)],
            Lies::Striped { starts, .. } => {
                let share = segment.extent.length.div_ceil(wide(starts.len()).max(1));
                starts.iter().map(|start| Extent::new(*start, share)).collect()
            }
        });
        let ends: Vec<Extent> = ends.collect();
        let start = ends.iter().map(|extent| extent.offset).min().unwrap_or(0);
        let end = ends.iter().map(Extent::end).max().unwrap_or(0);
        Extent::new(start, end.saturating_sub(start))
    }

    /// Returns where on the disk a part of the volume lies, in the order of the volume.
    ///
    /// What is behind the end of the volume lies nowhere.
    pub(crate) fn locate(&self, extent: Extent) -> Located<'_> {
        let end = extent.end().min(self.bytes);
        let at = extent.offset.min(end);
        let next = self.segments.partition_point(|segment| segment.extent.end() <= at);
        Located { segments: self.segments.get(next..).unwrap_or_default(), start: at, at, end }
    }

    /// Fills `buffer` from `offset`; what is behind the end of the volume is zeros.
    pub(crate) fn read(&self, what: &'static str, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.read_beneath(what, offset, buffer)?;
        match &self.overlay {
            Some(overlay) => overlay.apply(self, what, offset, buffer),
            None => Ok(()),
        }
    }

    /// Fills `buffer` with what the disk has, whatever a log says.
    pub(crate) fn read_beneath(
        &self,
        what: &'static str,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let inside = narrow(self.bytes.saturating_sub(offset)).min(buffer.len());
        let (data, behind) = buffer.split_at_mut(inside);
        behind.fill(0);
        let mut rest = data;
        for piece in self.locate(Extent::new(offset, wide(inside))) {
            let (part, behind) = rest.split_at_mut(narrow(piece.length).min(rest.len()));
            self.disk.read_at(piece.offset, part).map_err(|source| Error::Source { what, source })?;
            rest = behind;
        }
        Ok(())
    }

    /// Returns the first byte from `offset` on that is not known to be zero, at most `end`.
    pub(crate) fn skip_zeros(&self, what: &'static str, offset: u64, end: u64) -> Result<u64, Error> {
        let patched = self.overlay.as_ref().and_then(|overlay| overlay.next(offset));
        let end = end.min(self.bytes);
        let stop = end.min(patched.unwrap_or(end)).max(offset);
        for piece in self.locate(Extent::new(offset, stop.saturating_sub(offset))) {
            let mut at = piece.offset;
            while at < piece.end() {
                let span = self.disk.span_at(at).map_err(|source| Error::Source { what, source })?;
                if span.kind == SpanKind::Data {
                    let skipped = piece.skipped.saturating_add(at.saturating_sub(piece.offset));
                    return Ok(offset.saturating_add(skipped));
                }
                at = at.saturating_add(span.length.max(1));
            }
        }
        Ok(stop)
    }

    /// Reads `length` bytes from `offset`, which the caller has bounded; fewer at the end.
    pub(crate) fn bytes_at(&self, what: &'static str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let inside = self.bytes.saturating_sub(offset).min(wide(length));
        let mut buffer = vec![0; narrow(inside)];
        self.read(what, offset, &mut buffer)?;
        Ok(buffer)
    }
}

/// A part of the disk that has a part of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// Bytes of the part asked for that come before it.
    pub(crate) skipped: u64,
}

impl Piece {
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent::new(self.offset, self.length)
    }
}

/// Goes over the pieces of the disk that have a part of a volume.
#[derive(Debug)]
pub(crate) struct Located<'w> {
    segments: &'w [Segment],
    start: u64,
    at: u64,
    end: u64,
}

impl Iterator for Located<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        while self.segments.first()?.extent.end() <= self.at {
            self.segments = self.segments.get(1..)?;
        }
        let segment = self.segments.first()?;
        let (offset, follow) = segment.locate(self.at.checked_sub(segment.extent.offset)?);
        let length = follow.min(self.end.saturating_sub(self.at));
        if length == 0 {
            return None;
        }
        let piece = Piece { offset, length, skipped: self.at.saturating_sub(self.start) };
        self.at = self.at.saturating_add(length);
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(window: &Window<'_>, offset: u64, length: u64, expected: &[(u64, u64, u64)]) {
        let pieces: Vec<_> = window
            .locate(Extent::new(offset, length))
            .map(|piece| (piece.offset, piece.length, piece.skipped))
            .collect();
        assert_eq!(pieces, expected, "{offset}+{length}");
    }

    #[test]
    fn a_volume_lies_where_its_segments_do() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("disk");
        std::fs::write(&path, vec![7; 1000]).expect("write");
        let disk = airlock_disk::RawFile::open(&path).expect("open");
        let part = Window::new(&disk, Extent::new(100, 50));
        check(&part, 0, 50, &[(100, 50, 0)]);
        check(&part, 40, 50, &[(140, 10, 0)]);
        check(&part, 50, 1, &[]);
        let striped = Lies::Striped { starts: vec![200, 500], stripe_bytes: 10 };
        let volume = Window::assemble(
            &disk,
            vec![
                Segment { extent: Extent::new(0, 20), lies: Lies::At(900) },
                Segment { extent: Extent::new(20, 40), lies: striped },
            ],
        );
        check(&volume, 0, 60, &[(900, 20, 0), (200, 10, 20), (500, 10, 30), (210, 10, 40), (510, 10, 50)]);
        check(&volume, 35, 10, &[(505, 5, 0), (210, 5, 5)]);
        assert_eq!(volume.extent(), Extent::new(200, 720));
        let mut buffer = [0; 70];
        volume.read("bytes", 0, &mut buffer).expect("read");
        assert!(buffer[..60].iter().all(|byte| *byte == 7) && buffer[60..].iter().all(|byte| *byte == 0));
    }
}
