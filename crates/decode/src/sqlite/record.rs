//! Records (section 2.1), as lines of text.

use super::page::{Cell, Page, varint};
use super::{Database, Encoding};
use airlock_model::field::{be32, narrow};
use std::io::Write;

/// Longest record that is read.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

/// Columns of a record.
const COLUMNS_MAX: usize = 2000;

/// Writes the records of a page, each as a line. A column that repeats the row number is stored
/// as nothing; `row_id` says which one it is.
pub(super) fn write_page(database: &mut Database<'_>, page: &Page, row_id: Option<usize>, out: &mut Vec<u8>) {
    for cell in page.cells() {
        let payload = gather(database, page, &cell);
        write_record(database.encoding, &payload, cell.row.filter(|_| row_id.is_some()), row_id, out);
    }
}

/// Returns the payload of a record, from its page and those that it flows over to (section 1.6).
fn gather(database: &mut Database<'_>, page: &Page, cell: &Cell<'_>) -> Vec<u8> {
    let usable = page.usable();
    let whole = narrow(cell.payload);
    let most = if page.is_table() { usable.saturating_sub(35) } else { share(usable, 64).saturating_sub(23) };
    if whole <= most {
        return cell.rest.get(..whole).unwrap_or(cell.rest).to_vec();
    }
    let least = share(usable, 32).saturating_sub(23);
    let spill = whole.saturating_sub(least).checked_rem(usable.saturating_sub(4)).unwrap_or(0);
    let local = least.saturating_add(spill);
    let local = if local <= most { local } else { least };
    let mut payload = cell.rest.get(..local).unwrap_or(cell.rest).to_vec();
    if cell.payload > PAYLOAD_BYTES_MAX {
        database.limited = true;
    }
    let wanted = narrow(cell.payload.min(PAYLOAD_BYTES_MAX));
    let mut next = be32(cell.rest, local).map_or(0, u64::from);
    while next != 0 && payload.len() < wanted {
        if next > database.pages || database.mark(next) {
            database.damaged = true;
            break;
        }
        let at = next.saturating_sub(1).saturating_mul(database.page_bytes);
        let bytes = crate::source::bytes_at(database.source, at, usable);
        let room = wanted.saturating_sub(payload.len());
        let content = bytes.get(4..).unwrap_or_default();
        payload.extend_from_slice(content.get(..room).unwrap_or(content));
        next = be32(&bytes, 0).map_or(0, u64::from);
    }
    payload
}

/// Returns how much of a page a payload may take, as the format counts it.
fn share(usable: usize, part: usize) -> usize {
    usable.saturating_sub(12).saturating_mul(part).checked_div(255).unwrap_or(0)
}

fn write_record(
    encoding: Encoding,
    payload: &[u8],
    row: Option<i64>,
    row_id: Option<usize>,
    out: &mut Vec<u8>,
) {
    let Some((header_bytes, _)) = varint(payload) else { return };
    let header_bytes = usize::try_from(header_bytes).unwrap_or(usize::MAX).min(payload.len());
    let (header, mut body) = payload.split_at(header_bytes);
    let Some((_, mut types)) = varint(header) else { return };
    let before = out.len();
    for column in 0..COLUMNS_MAX {
        let Some((kind, rest)) = varint(types) else { break };
        types = rest;
        if column > 0 {
            out.push(b'\t');
        }
        let length = length_of(kind);
        let (value, behind) = body.split_at(length.min(body.len()));
        body = behind;
        match (row, row_id) {
            (Some(row), Some(place)) if place == column && kind == 0 => {
                let _ = write!(out, "{row}");
            }
            _ => write_value(encoding, kind, value, out),
        }
    }
    if out.len() > before {
        out.push(b'\n');
    }
}

/// Returns the bytes of a value of this type.
fn length_of(kind: i64) -> usize {
    match kind {
        1..=4 => usize::try_from(kind).unwrap_or(0),
        5 => 6,
        6 | 7 => 8,
        12.. => usize::try_from((kind.saturating_sub(12)) / 2).unwrap_or(usize::MAX),
        _ => 0,
    }
}

fn write_value(encoding: Encoding, kind: i64, value: &[u8], out: &mut Vec<u8>) {
    match kind {
        1..=6 => {
            let negative = value.first().is_some_and(|byte| byte & 0x80 != 0);
            let number = value.iter().fold(if negative { -1_i64 } else { 0 }, |number, byte| {
                number.wrapping_shl(8) | i64::from(*byte)
            });
            let _ = write!(out, "{number}");
        }
        7 => {
            let bits = value.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
            let _ = write!(out, "{}", f64::from_bits(bits));
        }
        8 | 9 => out.push(if kind == 8 { b'0' } else { b'1' }),
        12.. => {
            let text = kind % 2 == 1 && encoding != Encoding::Utf8;
            if text {
                write_utf16(encoding, value, out);
            } else {
                write_clean(value, out);
            }
        }
        _ => {}
    }
}

/// Writes text so that it stays in its column.
fn write_clean(text: &[u8], out: &mut Vec<u8>) {
    let clean = |byte: &u8| if matches!(byte, b'\t' | b'\n' | b'\r' | 0) { b' ' } else { *byte };
    out.extend(text.iter().map(clean));
}

fn write_utf16(encoding: Encoding, value: &[u8], out: &mut Vec<u8>) {
    let (pairs, _) = value.as_chunks::<2>();
    let units = pairs.iter().map(|pair| match encoding {
        Encoding::Utf16Be => u16::from_be_bytes(*pair),
        _ => u16::from_le_bytes(*pair),
    });
    let mut text = String::new();
    text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
    write_clean(text.as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_in_their_columns() {
        let mut out = Vec::new();
        // A header of five bytes: nothing, an integer of two bytes, text of three bytes, one.
        let payload = b"\x05\x00\x02\x13\x09\x01\x00a\tb";
        write_record(Encoding::Utf8, payload, Some(7), Some(0), &mut out);
        assert_eq!(out, b"7\t256\ta b\t1\n");
        assert_eq!(length_of(i64::MAX), (1 << 62) - 7);
    }
}
