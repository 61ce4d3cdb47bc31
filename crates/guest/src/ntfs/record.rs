//! Records of the MFT and the attributes in them.

use crate::field::{has, le16, le32, le64, narrow, quotient, u8_at, wide};

/// Every so many bytes of a record, the last two are the update sequence number.
const STRIDE: usize = 512;

/// Types of attributes.
pub(crate) const ATTRIBUTE_LIST: u32 = 0x20;
pub(crate) const FILE_NAME: u32 = 0x30;
pub(crate) const VOLUME_INFORMATION: u32 = 0x70;
pub(crate) const DATA: u32 = 0x80;
pub(crate) const REPARSE_POINT: u32 = 0xc0;
const END: u32 = u32::MAX;

/// Which bytes of a record are not where they belong: the last two of every 512 make room
/// for a number by which a torn write shows, and are kept in an array.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fixups {
    array: u64,
    /// By stride, whether its last bytes are in the array.
    moved: u128,
    /// Whether a stride has another number: it was not written with the others.
    pub(crate) torn: bool,
}

impl Fixups {
    /// Puts the bytes of a record in their places.
    pub(crate) fn apply(record: &mut [u8]) -> Self {
        let at = usize::from(le16(record, 4));
        let (number, count) = (le16(record, at), usize::from(le16(record, 6)));
        let mut fixups = Self { array: wide(at.saturating_add(2)), ..Self::default() };
        let strides = record.len().wrapping_div(STRIDE);
        fixups.torn = count != strides.saturating_add(1) || at.saturating_add(2) > STRIDE;
        for stride in 0..strides.min(count.saturating_sub(1)).min(128) {
            let tail = stride.saturating_mul(STRIDE).saturating_add(510);
            let place = narrow(fixups.array).saturating_add(stride.saturating_mul(2));
            let original = record.get(place..place.saturating_add(2)).and_then(|two| two.try_into().ok());
            let (Some(original), Some(end)) = (original, record.get_mut(tail..tail.saturating_add(2))) else {
                continue;
            };
            if le16(end, 0) == number {
                let original: [u8; 2] = original;
                end.copy_from_slice(&original);
                fixups.moved |= 1_u128.checked_shl(u32::try_from(stride).unwrap_or(128)).unwrap_or(0);
            } else {
                fixups.torn = true;
            }
        }
        fixups
    }

    /// Calls `part` with where so many bytes of a record really are: bytes that come before in
    /// the range, offset in the record, length.
    pub(crate) fn originals(&self, from: u64, length: u64, mut part: impl FnMut(u64, u64, u64)) {
        let stride_bytes = wide(STRIDE);
        let end = from.saturating_add(length);
        let mut at = from;
        while at < end {
            let stride = quotient(at, stride_bytes);
            let tail = stride.saturating_mul(stride_bytes).saturating_add(510);
            let bit = u32::try_from(stride).ok().and_then(|stride| self.moved.checked_shr(stride));
            let (place, until) = if at < tail {
                (at, tail)
            } else if bit.unwrap_or(0) & 1 != 0 {
                let within = at.saturating_sub(tail);
                let place = self.array.saturating_add(stride.saturating_mul(2));
                (place.saturating_add(within), tail.saturating_add(2))
            } else {
                (at, tail.saturating_add(2))
            };
            let length = until.min(end).saturating_sub(at);
            part(at.saturating_sub(from), place, length);
            at = at.saturating_add(length);
        }
    }
}

/// The header of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) sequence: u16,
    pub(crate) in_use: bool,
    pub(crate) directory: bool,
    /// The record that this one continues, with its sequence; zero for a base record.
    pub(crate) base: u64,
}

impl Header {
    pub(crate) fn parse(record: &[u8]) -> Option<Self> {
        let flags = le16(record, 22);
        has(record, 0, b"FILE").then(|| Self {
            sequence: le16(record, 16),
            in_use: flags & 1 != 0,
            directory: flags & 2 != 0,
            base: le64(record, 32),
        })
    }
}

/// Returns the number of the record that a reference leads to, and its sequence.
pub(crate) fn split(reference: u64) -> (u64, u16) {
    (reference & 0xffff_ffff_ffff, u16::try_from(reference >> 48).unwrap_or(0))
}

/// An attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'b> {
    pub(crate) kind: u32,
    /// Where in the record it begins.
    pub(crate) at: usize,
    pub(crate) bytes: &'b [u8],
}

/// Sizes of a stream outside the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) size: u64,
    /// Bytes that were written; the others read as zeros.
    pub(crate) valid: u64,
}

impl<'b> Attribute<'b> {
    pub(crate) fn is_resident(&self) -> bool {
        u8_at(self.bytes, 8) == 0
    }

    /// Returns the name, in UTF-16.
    pub(crate) fn name(&self) -> &'b [u8] {
        let start = usize::from(le16(self.bytes, 10));
        let end = start.saturating_add(usize::from(u8_at(self.bytes, 9)).saturating_mul(2));
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Returns how it is compressed, and whether it is.
    pub(crate) fn is_compressed(&self) -> bool {
        le16(self.bytes, 12) & 0xff != 0
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        le16(self.bytes, 12) & 0x4000 != 0
    }

    /// Returns where in the record the value is, and the value.
    pub(crate) fn value(&self) -> Option<(usize, &'b [u8])> {
        let start = usize::from(le16(self.bytes, 20));
        let length = narrow(u64::from(le32(self.bytes, 16)));
        let value = self.bytes.get(start..start.checked_add(length)?)?;
        self.is_resident().then_some((self.at.saturating_add(start), value))
    }

    /// Returns the first cluster of the stream that its runs are of.
    pub(crate) fn first(&self) -> u64 {
        le64(self.bytes, 16)
    }

    /// Returns the runs, as they are stored.
    pub(crate) fn runs(&self) -> &'b [u8] {
        self.bytes.get(usize::from(le16(self.bytes, 32))..).unwrap_or_default()
    }

    /// Returns how many clusters are compressed together, as a power of two.
    pub(crate) fn unit_bits(&self) -> u8 {
        u8_at(self.bytes, 34)
    }

    pub(crate) fn sizes(&self) -> Sizes {
        let size = le64(self.bytes, 48).min(u64::MAX >> 1);
        Sizes { size, valid: le64(self.bytes, 56).min(size) }
    }
}

/// Goes over the attributes of a record.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'b> {
    record: &'b [u8],
    at: usize,
}

impl<'b> Attributes<'b> {
    pub(crate) fn of(record: &'b [u8]) -> Self {
        let used = narrow(u64::from(le32(record, 24))).min(record.len());
        Self { record: record.get(..used).unwrap_or_default(), at: usize::from(le16(record, 20)) }
    }
}

impl<'b> Iterator for Attributes<'b> {
    type Item = Attribute<'b>;

    fn next(&mut self) -> Option<Attribute<'b>> {
        let rest = self.record.get(self.at..)?;
        let (kind, length) = (le32(rest, 0), narrow(u64::from(le32(rest, 4))));
        if rest.len() < 8 || kind == END || length < 16 {
            return None;
        }
        let attribute = Attribute { kind, at: self.at, bytes: rest.get(..length)? };
        self.at = self.at.saturating_add(length);
        Some(attribute)
    }
}

/// A name of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Title<'b> {
    /// Reference to the directory.
    pub(crate) parent: u64,
    /// In UTF-16.
    pub(crate) name: &'b [u8],
    /// Whether it is only the short form of another one.
    pub(crate) short: bool,
}

impl<'b> Title<'b> {
    /// Returns the name in the value of a `$FILE_NAME` attribute.
    pub(crate) fn parse(value: &'b [u8]) -> Option<Self> {
        let end = usize::from(u8_at(value, 64)).saturating_mul(2).saturating_add(66);
        let name = value.get(66..end).filter(|name| !name.is_empty())?;
        Some(Self { parent: le64(value, 0), name, short: u8_at(value, 65) == 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_where_they_were_moved() {
        let mut record = vec![0; 1024];
        record[4] = 48;
        record[6] = 3;
        record[48..54].copy_from_slice(b"NNabcd");
        record[510..512].copy_from_slice(b"NN");
        record[1022..1024].copy_from_slice(b"XX");
        let fixups = Fixups::apply(&mut record);
        assert_eq!((&record[510..512], &record[1022..1024]), (&b"ab"[..], &b"XX"[..]));
        assert!(fixups.torn);
        let mut parts = Vec::new();
        fixups.originals(500, 524, |before, at, length| parts.push((before, at, length)));
        assert_eq!(parts, [(0, 500, 10), (10, 50, 2), (12, 512, 510), (522, 1022, 2)]);
        parts.clear();
        fixups.originals(511, 2, |before, at, length| parts.push((before, at, length)));
        assert_eq!(parts, [(0, 51, 1), (1, 512, 1)]);
    }

    #[test]
    fn attributes_end_where_one_is_impossible() {
        let mut record = vec![0; 512];
        record[20] = 56;
        record[25] = 2;
        let kinds = |record: &[u8]| Attributes::of(record).map(|found| found.kind).collect::<Vec<_>>();
        record[56] = 0x10;
        record[60] = 24;
        record[80] = 0x80;
        record[84] = 16;
        record[96..100].fill(0xff);
        assert_eq!(kinds(&record), [0x10, 0x80]);
        record[85] = 0xff;
        assert_eq!(kinds(&record), [0x10]);
        record[60] = 0;
        assert_eq!(kinds(&record), [0_u32; 0]);
    }
}
