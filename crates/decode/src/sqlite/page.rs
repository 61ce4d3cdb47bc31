//! Pages of trees (section 1.6).

use airlock_model::field::{be16, be32};

/// Kinds of pages.
const INTERIOR_INDEX: u8 = 2;
const INTERIOR_TABLE: u8 = 5;
const LEAF_INDEX: u8 = 10;
const LEAF_TABLE: u8 = 13;

/// A page, whatever is in it.
pub(super) struct Page {
    bytes: Vec<u8>,
    /// Where its header begins: behind that of the file on the first page.
    start: usize,
}

/// A record of a page: its row number if it has one, and where its payload begins.
pub(super) struct Cell<'p> {
    pub(super) row: Option<i64>,
    /// Bytes of the payload, on this page and others.
    pub(super) payload: u64,
    /// The page from the payload on.
    pub(super) rest: &'p [u8],
}

impl Page {
    pub(super) fn new(bytes: Vec<u8>, start: usize) -> Option<Self> {
        bytes.get(start.checked_add(8)?)?;
        Some(Self { bytes, start })
    }

    fn kind(&self) -> u8 {
        self.bytes.get(self.start).copied().unwrap_or(0)
    }

    /// Returns whether it looks like a page of a tree: what it says of itself fits.
    pub(super) fn is_tree(&self) -> bool {
        let content = be16(&self.bytes, self.start.saturating_add(5)).map_or(0, usize::from);
        let cells = self.count();
        let pointers = self.pointers_at().saturating_add(cells.saturating_mul(2));
        let content = if content == 0 { 65_536 } else { content };
        matches!(self.kind(), INTERIOR_INDEX | INTERIOR_TABLE | LEAF_INDEX | LEAF_TABLE)
            && pointers <= self.bytes.len()
            && (content >= pointers || cells == 0)
    }

    pub(super) fn has_records(&self) -> bool {
        self.kind() != INTERIOR_TABLE && self.count() > 0
    }

    /// Returns the bytes that hold a whole payload at most, on a page of a table.
    pub(super) fn is_table(&self) -> bool {
        self.kind() == LEAF_TABLE
    }

    fn is_interior(&self) -> bool {
        matches!(self.kind(), INTERIOR_INDEX | INTERIOR_TABLE)
    }

    fn count(&self) -> usize {
        be16(&self.bytes, self.start.saturating_add(3)).map_or(0, usize::from)
    }

    fn pointers_at(&self) -> usize {
        self.start.saturating_add(if self.is_interior() { 12 } else { 8 })
    }

    /// Returns the bytes of a page that hold content.
    pub(super) fn usable(&self) -> usize {
        self.bytes.len()
    }

    fn cell_starts(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.pointers_at();
        (0..self.count()).filter_map(move |index| {
            let at = be16(&self.bytes, first.saturating_add(index.saturating_mul(2)))?;
            self.bytes.get(usize::from(at)..)
        })
    }

    /// Returns the pages below, in order.
    pub(super) fn children(&self) -> Vec<u64> {
        if !self.is_interior() {
            return Vec::new();
        }
        let left = self.cell_starts().filter_map(|cell| be32(cell, 0));
        let right = be32(&self.bytes, self.start.saturating_add(8));
        left.chain(right).map(u64::from).collect()
    }

    /// Returns the records.
    pub(super) fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        let skip = if self.kind() == INTERIOR_INDEX { 4 } else { 0 };
        self.cell_starts().filter_map(move |cell| {
            let (payload, rest) = varint(cell.get(skip..)?)?;
            let payload = u64::try_from(payload).ok()?;
            if self.is_table() {
                let (row, rest) = varint(rest)?;
                return Some(Cell { row: Some(row), payload, rest });
            }
            Some(Cell { row: None, payload, rest })
        })
    }
}

/// Reads an integer of variable length (section 1.6, "varint").
pub(super) fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(9).enumerate() {
        let last = place == 8;
        let bits = if last { 8 } else { 7 };
        value = (value << bits) | u64::from(if last { *byte } else { byte & 0x7f });
        if last || byte & 0x80 == 0 {
            return Some((value.cast_signed(), bytes.get(place.checked_add(1)?..)?));
        }
    }
    None
}
