//! Directory records, and what Rock Ridge adds to them (SUSP 1.12, RRIP 1.12).

use super::descriptor::SECTOR_BYTES;
use crate::field::{has, le32, narrow, u8_at};
use crate::window::Window;

/// Most continuation areas of one record.
const CONTINUATIONS_MAX: usize = 32;

/// Longest name.
const NAME_BYTES_MAX: usize = 4096;

/// A directory record.
#[derive(Debug)]
pub(crate) struct Record<'b> {
    /// First block of its data.
    pub(crate) block: u64,
    pub(crate) bytes: u64,
    pub(crate) directory: bool,
    /// Whether another record goes on with the file.
    pub(crate) goes_on: bool,
    pub(crate) interleaved: bool,
    pub(crate) name: &'b [u8],
    system: &'b [u8],
}

impl<'b> Record<'b> {
    fn parse(bytes: &'b [u8]) -> Option<Self> {
        let name_bytes = usize::from(u8_at(bytes, 32));
        let name = bytes.get(33..33_usize.checked_add(name_bytes)?)?;
        // Names of even length have a byte behind them.
        let system = 33_usize.checked_add(name_bytes)?.checked_next_multiple_of(2)?;
        let flags = u8_at(bytes, 25);
        let extra = u64::from(u8_at(bytes, 1));
        Some(Self {
            block: u64::from(le32(bytes, 2)).saturating_add(extra),
            bytes: u64::from(le32(bytes, 10)),
            directory: flags & 2 != 0,
            goes_on: flags & 0x80 != 0,
            interleaved: u8_at(bytes, 26) != 0,
            name,
            system: bytes.get(system..).unwrap_or_default(),
        })
    }
}

/// Returns the records of a directory; none lies across the end of a sector.
pub(crate) fn records(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    bytes.chunks(narrow(SECTOR_BYTES)).flat_map(|sector| {
        let mut rest = sector;
        std::iter::from_fn(move || {
            let length = usize::from(u8_at(rest, 0));
            let record = Record::parse(rest.get(..length).filter(|record| record.len() > 33)?)?;
            rest = rest.get(length..)?;
            Some(record)
        })
    })
}

/// What Rock Ridge says of a record.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Empty where it has none.
    pub(crate) name: Vec<u8>,
    /// Whether there is anything of Rock Ridge at all.
    pub(crate) found: bool,
    /// What the file is, as in `stat`; 0 where it does not say.
    pub(crate) mode: u32,
    /// Block of the directory that is elsewhere, for this place.
    pub(crate) child: Option<u64>,
    /// Whether this is the elsewhere.
    pub(crate) relocated: bool,
    pub(crate) compressed: bool,
    /// Bytes to skip in front of all others; only the root has this.
    pub(crate) skip: Option<usize>,
}

/// Reads what Rock Ridge says of a record, following continuations.
pub(crate) fn extra(window: &Window<'_>, block_bytes: u64, record: &Record<'_>, skip: usize) -> Extra {
    let mut extra = Extra::default();
    let mut area = record.system.get(skip..).unwrap_or_default().to_vec();
    for _ in 0..CONTINUATIONS_MAX {
        let Some((at, length)) = extra.area(&area, block_bytes) else { break };
        let length = length.min(narrow(SECTOR_BYTES));
        match window.bytes_at("a continuation area", at, length) {
            Ok(next) => area = next,
            Err(_) => break,
        }
    }
    extra
}

impl Extra {
    /// Reads one area; returns where it goes on.
    fn area(&mut self, area: &[u8], block_bytes: u64) -> Option<(u64, usize)> {
        let mut rest = area;
        let mut next = None;
        loop {
            let length = usize::from(u8_at(rest, 2));
            let Some(entry) = rest.get(..length).filter(|_| length >= 4) else { return next };
            rest = rest.get(length..).unwrap_or_default();
            match entry.get(..2).unwrap_or_default() {
                b"SP" if has(entry, 4, b"\xbe\xef") => self.skip = Some(usize::from(u8_at(entry, 6))),
                b"NM" => {
                    self.found = true;
                    // Names of the directory itself and the one above have no letters.
                    if u8_at(entry, 4) & 6 == 0 && self.name.len() < NAME_BYTES_MAX {
                        self.name.extend_from_slice(entry.get(5..).unwrap_or_default());
                    }
                }
                b"PX" => {
                    self.found = true;
                    self.mode = le32(entry, 4);
                }
                b"CL" => self.child = Some(u64::from(le32(entry, 4))),
                b"RE" => self.relocated = true,
                b"ZF" => self.compressed = true,
                b"CE" => {
                    let at = u64::from(le32(entry, 4)).saturating_mul(block_bytes);
                    let at = at.saturating_add(u64::from(le32(entry, 12)));
                    next = Some((at, narrow(u64::from(le32(entry, 20)))));
                }
                b"ST" => return next,
                _ => {}
            }
        }
    }
}
