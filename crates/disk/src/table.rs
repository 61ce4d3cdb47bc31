//! Tables in an image, read a page at a time: memory does not grow with the disk.

use crate::cache::{Cache, Key};
use crate::field::{narrow, wide};
use crate::file::HostFile;
use crate::{Error, Format};
use std::sync::Arc;

/// How much of a table is read at once.
const PAGE_BYTES: u64 = 64 << 10;

/// Equal entries in a row, somewhere in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    /// Whose table it is.
    pub(crate) format: Format,
    /// What reading it is called, such as `read grain table`.
    pub(crate) what: &'static str,
    /// First byte in the file.
    pub(crate) offset: u64,
    /// Number of entries.
    pub(crate) entries: u64,
    /// Size of an entry, a power of two up to 64 KiB.
    pub(crate) entry_bytes: u64,
}

impl Table {
    /// Returns whether the whole table lies inside a file of `file_bytes`.
    pub(crate) fn is_inside(&self, file_bytes: u64) -> bool {
        let length = self.entries.checked_mul(self.entry_bytes);
        let end = length.and_then(|length| length.checked_add(self.offset));
        end.is_some_and(|end| end <= file_bytes)
    }

    /// Returns a reader of the entries that keeps the page it read last.
    pub(crate) fn cursor<'c>(self, host: &'c HostFile, cache: &'c Cache) -> Cursor<'c> {
        Cursor { table: self, host, cache, page: None }
    }
}

/// Reads entries of a table.
pub(crate) struct Cursor<'c> {
    table: Table,
    host: &'c HostFile,
    cache: &'c Cache,
    page: Option<(u64, Arc<[u8]>)>,
}

impl Cursor<'_> {
    /// Returns a reader of another table in the same file.
    pub(crate) fn beside(&self, table: Table) -> Self {
        table.cursor(self.host, self.cache)
    }

    /// Returns the bytes of entry `index`.
    pub(crate) fn entry(&mut self, index: u64) -> Result<&[u8], Error> {
        let table = self.table;
        let damaged = || table.format.damaged("a table is too short", table.offset);
        if index >= table.entries {
            return Err(damaged());
        }
        let at = index.checked_mul(table.entry_bytes).ok_or_else(damaged)?;
        let number = at.wrapping_div(PAGE_BYTES);
        if self.page.as_ref().is_none_or(|(page, _)| *page != number) {
            self.page = Some((number, self.read(number)?));
        }
        let (_, page) = self.page.as_ref().ok_or_else(damaged)?;
        let within = narrow(at.wrapping_rem(PAGE_BYTES));
        page.get(within..within.saturating_add(narrow(table.entry_bytes))).ok_or_else(damaged)
    }

    fn read(&self, number: u64) -> Result<Arc<[u8]>, Error> {
        let table = self.table;
        let start = number.saturating_mul(PAGE_BYTES);
        let length = table.entries.saturating_mul(table.entry_bytes).saturating_sub(start).min(PAGE_BYTES);
        let offset = table.offset.saturating_add(start);
        let key = Key { file: self.host.number, offset };
        // Hostile tables may overlap: a page of another length is another page.
        if let Some(page) = self.cache.get(key).filter(|page| wide(page.len()) == length) {
            return Ok(page);
        }
        let mut bytes = vec![0; narrow(length)];
        self.host.read(table.what, offset, &mut bytes)?;
        let page: Arc<[u8]> = bytes.into();
        self.cache.put(key, Arc::clone(&page));
        Ok(page)
    }
}
