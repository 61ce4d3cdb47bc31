//! The header row of a table: what the columns of a stream are called.

use crate::window::HEAD_BYTES;
use std::fmt;

/// Longest header row, in characters.
const ROW_MAX: usize = 512;

/// Most columns.
const COLUMNS_MAX: usize = 128;

/// The first line of a stream, if it can name columns.
#[derive(Clone)]
pub struct Header {
    text: [u8; ROW_MAX],
    /// Where the names of the columns end in the text.
    ends: [u16; COLUMNS_MAX],
    columns: usize,
    delimiter: u8,
}

impl Header {
    /// Reads the header row at the start of `head`; `step` is 2 for UTF-16, and `skip`
    /// is 1 if the high byte comes first. Returns it with the number of bytes it takes.
    pub(crate) fn read(head: &[u8], skip: usize, step: usize) -> Row {
        let mut text = [0; ROW_MAX];
        let mut length: usize = 0;
        for (place, &byte) in head.iter().skip(skip).step_by(step).enumerate() {
            match byte {
                b'\n' => {
                    let end = place.saturating_add(1).saturating_mul(step);
                    let header = text.get(..length).and_then(Self::split);
                    return header.map_or(Row::Absent, |header| Row::Present(header, end));
                }
                b'\r' => {}
                0..=8 | 11..=31 | 127 => return Row::Absent,
                _ => {
                    let Some(slot) = text.get_mut(length) else { return Row::Absent };
                    *slot = byte;
                    length = length.saturating_add(1);
                }
            }
        }
        if head.len() >= HEAD_BYTES { Row::Absent } else { Row::Unknown }
    }

    fn split(row: &[u8]) -> Option<Self> {
        let count = |delimiter: &u8| row.split(|byte| byte == delimiter).count();
        let delimiter = [b',', b';', b'\t', b'|'].into_iter().max_by_key(count)?;
        let mut header = Self { text: [0; ROW_MAX], ends: [0; COLUMNS_MAX], columns: 0, delimiter };
        let (mut quoted, mut kept) = (false, 0_u16);
        for &byte in row {
            if byte == b'"' {
                quoted = !quoted;
            } else if byte == delimiter && !quoted {
                header.end_column(kept)?;
            } else {
                *header.text.get_mut(usize::from(kept))? = byte;
                kept = kept.saturating_add(1);
            }
        }
        header.end_column(kept)?;
        Some(header)
    }

    fn end_column(&mut self, end: u16) -> Option<()> {
        *self.ends.get_mut(self.columns)? = end;
        self.columns = self.columns.saturating_add(1);
        Some(())
    }

    /// Returns the name of the column in which `row`, the beginning of a later row,
    /// ends; none if that is no name.
    pub(crate) fn column(&self, row: &[u8]) -> Option<&[u8]> {
        let (mut column, mut quoted) = (0_usize, false);
        for &byte in row {
            if byte == b'"' {
                quoted = !quoted;
            } else if byte == self.delimiter && !quoted {
                column = column.saturating_add(1);
            }
        }
        let ends = self.ends.get(..self.columns)?;
        let end = usize::from(*ends.get(column)?);
        let start = column.checked_sub(1).and_then(|left| ends.get(left)).map_or(0, |end| usize::from(*end));
        let name = self.text.get(start..end)?;
        let digits = name.iter().filter(|byte| byte.is_ascii_digit()).count();
        (name.len() <= 48 && digits < 4 && name.iter().any(u8::is_ascii_alphabetic)).then_some(name)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// What is known about the header row of a stream.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one of it in a scanner, and no allocation per stream")]
pub(crate) enum Row {
    /// Its end has not come yet.
    Unknown,
    /// The stream does not begin with one.
    Absent,
    /// The row, and the byte behind it.
    Present(Header, usize),
}
