//! `Packages` of Berkeley DB: a hash table (Berkeley DB 5.3, `dbinc/db_page.h`), of either byte order.
//!
//! Every page of the file is looked at by itself, in order: where a bucket begins does not matter for who wants all
//! records. Keys and values of a page alternate; a value longer than a page lies on a chain of others.

use super::{HEADER_BYTES_MAX, Headers};
use airlock_model::field::{be16, be32, le16, le32, narrow};

const META_BYTES: u64 = 72;
const PAGE_HEAD_BYTES: u64 = 26;
/// Magic number of a hash table, at byte 12 of the first page.
const MAGIC: u32 = 0x0006_1561;
/// Kinds of pages: a bucket, in order or not, and a part of a long value.
const HASH_UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const HASH: u8 = 13;
/// Kinds of values: inside of the page, and on other pages.
const KEYDATA: u8 = 1;
const OFFPAGE: u8 = 3;

struct Table {
    big: bool,
    page_bytes: u64,
}

impl Table {
    fn long(&self, bytes: &[u8], at: usize) -> Option<u32> {
        if self.big { be32(bytes, at) } else { le32(bytes, at) }
    }

    fn short(&self, bytes: &[u8], at: usize) -> Option<u16> {
        if self.big { be16(bytes, at) } else { le16(bytes, at) }
    }

    /// Returns the bytes of an item of a page. Items are packed from the end of the page on.
    fn item<'p>(&self, page: &'p [u8], index: usize) -> Option<&'p [u8]> {
        let at = |index: usize| self.short(page, narrow(PAGE_HEAD_BYTES) + index * 2).map(usize::from);
        let end = if index == 0 { page.len() } else { at(index - 1)? };
        page.get(at(index)?..end)
    }
}

/// Reads all packages; nothing if not all could be.
pub(super) fn read(headers: &mut Headers<'_>) -> Option<()> {
    let meta = headers.part(0, META_BYTES)?;
    let big = be32(&meta, 12)? == MAGIC;
    if !big && le32(&meta, 12)? != MAGIC {
        return None;
    }
    let table = Table { big, page_bytes: 0 };
    let page_bytes =
        table.long(&meta, 20).filter(|bytes| (512..=65_536).contains(bytes) && bytes.is_power_of_two())?;
    let table = Table { page_bytes: u64::from(page_bytes), ..table };
    let last = u64::from(table.long(&meta, 32)?);
    for number in 1..=last {
        let page = headers.part(number.checked_mul(table.page_bytes)?, table.page_bytes)?;
        if matches!(page.get(25), Some(&(HASH | HASH_UNSORTED))) {
            bucket(headers, &table, number, &page)?;
        }
    }
    Some(())
}

fn bucket(headers: &mut Headers<'_>, table: &Table, number: u64, page: &[u8]) -> Option<()> {
    let count = usize::from(table.short(page, 20)?).min(page.len() / 2);
    // Key 0 is of the counter of packages.
    let of_package =
        |key: &[u8]| key.first() == Some(&KEYDATA) && key.get(1..).is_some_and(|key| key != [0; 4]);
    for index in (1..count).step_by(2) {
        let (Some(key), Some(value)) = (table.item(page, index - 1), table.item(page, index)) else {
            headers.skip();
            continue;
        };
        if !of_package(key) {
            continue;
        }
        let bytes = match value.first() {
            Some(&KEYDATA) => value.get(1..).map(<[u8]>::to_vec),
            Some(&OFFPAGE) => chain(headers, table, value),
            _ => None,
        };
        match bytes {
            Some(bytes) => headers.add(number * table.page_bytes, &bytes)?,
            None => headers.skip(),
        }
    }
    Some(())
}

/// Reads a value that lies on other pages. The budget of bytes ends a chain that is a circle.
fn chain(headers: &mut Headers<'_>, table: &Table, value: &[u8]) -> Option<Vec<u8>> {
    let mut next = table.long(value, 4)?;
    let length = u64::from(table.long(value, 8)?);
    if length > HEADER_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    while next != 0 && bytes.len() < narrow(length) {
        let page = headers.part(u64::from(next).checked_mul(table.page_bytes)?, table.page_bytes)?;
        if page.get(25) != Some(&OVERFLOW) {
            return None;
        }
        let used = usize::from(table.short(&page, 22)?);
        bytes.extend(page.get(narrow(PAGE_HEAD_BYTES)..)?.get(..used).filter(|part| !part.is_empty())?);
        next = table.long(&page, 16)?;
    }
    (bytes.len() == narrow(length)).then_some(bytes)
}
