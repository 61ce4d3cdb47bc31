//! Runs of clusters of a stream.

use super::boot::Boot;
use crate::Error;
use crate::field::{narrow, quotient, u8_at, wide};
use crate::window::Window;
use airlock_model::Run;

/// Last cluster that a stream can have.
const VCN_MAX: u64 = 1 << 48;

/// A run of clusters; what is between two runs of a stream reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// First cluster in the stream.
    pub(crate) vcn: u64,
    /// First cluster on the volume.
    pub(crate) lcn: u64,
    pub(crate) length: u64,
}

impl Mapping {
    pub(crate) fn end(&self) -> u64 {
        self.vcn.saturating_add(self.length)
    }
}

/// What a list of runs came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Cluster of the stream behind the last run, a hole or not.
    pub(crate) end: u64,
    /// Whether it ended before its end mark.
    pub(crate) damaged: bool,
    /// Runs that are not on the volume.
    pub(crate) outside: u64,
}

/// Decodes the runs of an attribute from cluster `first` of the stream on.
pub(crate) fn decode(bytes: &[u8], first: u64, clusters: u64, into: &mut Vec<Mapping>) -> Decoded {
    let mut decoded = Decoded { end: first.min(VCN_MAX), ..Decoded::default() };
    let (mut rest, mut lcn) = (bytes, 0_u64);
    loop {
        let (header, behind) = match rest.split_first() {
            Some((0, _)) => return decoded,
            Some((&header, behind)) => (header, behind),
            None => break,
        };
        let (length_bytes, delta_bytes) = (usize::from(header & 15), usize::from(header >> 4));
        let fields = behind.split_at_checked(length_bytes).and_then(|(length, behind)| {
            let (delta, behind) = behind.split_at_checked(delta_bytes)?;
            rest = behind;
            Some((number(length, false)?, delta))
        });
        let Some((length, delta)) = fields else {
            break;
        };
        let end = decoded.end.saturating_add(length);
        if length == 0 || end > VCN_MAX {
            break;
        }
        let vcn = std::mem::replace(&mut decoded.end, end);
        if delta.is_empty() {
            continue;
        }
        let Some(delta) = number(delta, true) else {
            break;
        };
        lcn = lcn.wrapping_add(delta);
        let left = clusters.saturating_sub(lcn);
        if length > left {
            decoded.outside = decoded.outside.saturating_add(1);
        }
        if left > 0 {
            into.push(Mapping { vcn, lcn, length: length.min(left) });
        }
    }
    decoded.damaged = true;
    decoded
}

/// Returns a little-endian number of up to eight bytes, in two's complement if it is signed.
fn number(bytes: &[u8], signed: bool) -> Option<u64> {
    let fill = if signed && bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut all = [fill; 8];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(all))
}

/// A stream that the file system itself reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    pub(crate) runs: Vec<Mapping>,
    pub(crate) size: u64,
}

impl Stream {
    /// Returns where on the volume a byte of the stream lies, and how many follow it there; for
    /// a hole, only how many.
    pub(crate) fn locate(&self, boot: &Boot, at: u64) -> (Option<u64>, u64) {
        let vcn = quotient(at, boot.cluster_bytes);
        let behind = self.runs.partition_point(|run| run.vcn <= vcn);
        let run = behind.checked_sub(1).and_then(|last| self.runs.get(last));
        if let Some(run) = run.filter(|run| run.end() > vcn) {
            let within = at.saturating_sub(boot.to_bytes(run.vcn));
            let place = boot.to_bytes(run.lcn).saturating_add(within);
            return (Some(place), boot.to_bytes(run.length).saturating_sub(within));
        }
        let next = self.runs.get(behind).map_or(u64::MAX, |run| boot.to_bytes(run.vcn));
        (None, next.saturating_sub(at))
    }

    /// Returns the byte behind its last run.
    pub(crate) fn mapped(&self, boot: &Boot) -> u64 {
        self.runs.last().map_or(0, |run| boot.to_bytes(run.end()))
    }

    /// Fills `buffer` from `at` on; holes are zeros.
    pub(crate) fn read(
        &self,
        window: &Window<'_>,
        boot: &Boot,
        what: &'static str,
        at: u64,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let (mut rest, mut at) = (buffer, at);
        while !rest.is_empty() {
            let (place, follow) = self.locate(boot, at);
            let length = narrow(follow).min(rest.len()).max(1);
            let (part, behind) = rest.split_at_mut(length);
            match place {
                Some(place) => window.read(what, place, part)?,
                None => part.fill(0),
            }
            at = at.saturating_add(wide(length));
            rest = behind;
        }
        Ok(())
    }

    /// Adds where on the volume so many bytes of the stream lie; they are byte `logical` of a file.
    pub(crate) fn runs_of(&self, boot: &Boot, logical: u64, at: u64, length: u64, into: &mut Vec<Run>) {
        let mut done = 0_u64;
        while done < length {
            let (place, follow) = self.locate(boot, at.saturating_add(done));
            let part = follow.min(length.saturating_sub(done)).max(1);
            if let Some(disk) = place {
                into.push(Run { logical: logical.saturating_add(done), disk, length: part });
            }
            done = done.saturating_add(part);
        }
    }
}

/// Returns whether two names in UTF-16 are the same but for the case of ASCII letters.
pub(crate) fn is_named(name: &[u8], ascii: &str) -> bool {
    let same =
        |(pair, wanted): (&[u8], u8)| u8_at(pair, 0).eq_ignore_ascii_case(&wanted) && u8_at(pair, 1) == 0;
    name.len() == ascii.len().saturating_mul(2) && name.chunks(2).zip(ascii.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &[(u64, u64, u64)], end: u64, damaged: bool, outside: u64) {
        let mut runs = Vec::new();
        let decoded = decode(bytes, 5, 1000, &mut runs);
        let runs: Vec<_> = runs.iter().map(|run| (run.vcn, run.lcn, run.length)).collect();
        assert_eq!((runs.as_slice(), decoded), (expected, Decoded { end, damaged, outside }));
    }

    #[test]
    fn runs_are_relative_and_have_holes() {
        check(&[0], &[], 5, false, 0);
        check(&[0x11, 3, 100, 0x01, 4, 0x11, 2, 0xf6, 0], &[(5, 100, 3), (12, 90, 2)], 14, false, 0);
        check(&[0x21, 3, 0xe6, 3, 0x11, 5, 1, 0], &[(5, 998, 2), (8, 999, 1)], 13, false, 2);
        check(&[0x11, 3, 0x80, 0], &[], 8, false, 1);
        check(&[0x11, 3, 100], &[(5, 100, 3)], 8, true, 0);
        check(&[0x10, 3], &[], 5, true, 0);
        check(&[0x11, 0, 3, 0], &[], 5, true, 0);
        check(&[0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], &[], 5, true, 0);
        check(&[0x18, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], &[], 5, true, 0);
        check(&[0x41, 1, 1], &[], 5, true, 0);
    }
}
