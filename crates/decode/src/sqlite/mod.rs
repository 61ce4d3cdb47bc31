//! `SQLite` databases: records as lines, values apart from each other.
//!
//! In a page the values of a record lie side by side, so no rule about the surroundings of a
//! number holds there. Each table becomes a layer with the names of its columns in the first line
//! and a record in each other; the records of pages that no table reaches (deleted ones, and those
//! of indexes without a name) become a last one. A write-ahead log becomes a layer of the records
//! of its pages.
//!
//! Numbers of sections are those of "Database File Format" at sqlite.org.

mod page;
mod record;
mod schema;

use crate::layer::Relation;
use crate::made::Made;
use crate::source::{ReadAt, bytes_at};
use crate::walk::Walk;
use airlock_model::field::{be16, be32, narrow};
use airlock_model::{Escaped, Reason};
use page::Page;
use schema::Table;

/// Section 1.3.
pub(crate) const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Tables and indexes that are read.
const TABLES_MAX: usize = 10_000;

/// Depth of a tree; pages of 512 bytes with two children each reach every page in 32.
const DEPTH_MAX: usize = 40;

/// Pages of a database whose place in it is kept: a bit for each in 32 MiB.
const PAGES_MAX: u64 = 1 << 28;

/// Whether content begins with a write-ahead log (section 4.1).
pub(crate) fn is_log(head: &[u8]) -> bool {
    matches!(be32(head, 0), Some(0x377f_0682 | 0x377f_0683)) && be32(head, 4) == Some(3_007_000)
}

/// How text is stored (section 1.3.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

/// A database, or a log of its pages.
struct Database<'s> {
    source: &'s mut dyn ReadAt,
    page_bytes: u64,
    /// Bytes of a page that hold content.
    usable: usize,
    encoding: Encoding,
    pages: u64,
    /// Pages that were read as part of a tree or of a record.
    seen: Vec<u64>,
    /// Whether a limit was hit, or something made no sense.
    limited: bool,
    damaged: bool,
}

impl<'s> Database<'s> {
    /// Reads the header (section 1.3).
    fn open(source: &'s mut dyn ReadAt) -> Option<Self> {
        let head = bytes_at(source, 0, 100);
        let page_bytes = match be16(&head, 16)? {
            1 => 65_536,
            bytes if bytes >= 512 && bytes.is_power_of_two() => u64::from(bytes),
            _ => return None,
        };
        let encoding = match be32(&head, 56)? {
            2 => Encoding::Utf16Le,
            3 => Encoding::Utf16Be,
            _ => Encoding::Utf8,
        };
        let usable = narrow(page_bytes).checked_sub(usize::from(*head.get(20)?))?;
        let pages = source.size().div_ceil(page_bytes);
        let limited = pages > PAGES_MAX;
        let pages = pages.min(PAGES_MAX);
        let seen = vec![0; narrow(pages.div_ceil(64).saturating_add(1))];
        Some(Self { source, page_bytes, usable, encoding, pages, seen, limited, damaged: false })
    }

    /// Reads a page. Pages are counted from one.
    fn page(&mut self, number: u64) -> Option<Page> {
        if number == 0 || number > self.pages {
            self.damaged = true;
            return None;
        }
        let at = number.checked_sub(1)?.checked_mul(self.page_bytes)?;
        let mut bytes = bytes_at(self.source, at, narrow(self.page_bytes));
        bytes.truncate(self.usable);
        Page::new(bytes, if number == 1 { 100 } else { 0 })
    }

    /// Marks a page as read, and returns whether it was already.
    fn mark(&mut self, number: u64) -> bool {
        let Some(word) = self.seen.get_mut(narrow(number / 64)) else { return true };
        let bit = 1_u64 << (number % 64);
        let before = *word & bit != 0;
        *word |= bit;
        before
    }
}

/// A walk over the leaves of a tree, in order.
struct Tree {
    /// Pages that are still to be read, the next one last, with their depth.
    waiting: Vec<(u64, usize)>,
}

impl Tree {
    fn new(root: u64) -> Self {
        Self { waiting: vec![(root, 0)] }
    }

    /// Returns the next page that has records.
    fn next(&mut self, database: &mut Database<'_>) -> Option<Page> {
        while let Some((number, depth)) = self.waiting.pop() {
            if depth > DEPTH_MAX || database.mark(number) {
                database.damaged = true;
                continue;
            }
            let Some(page) = database.page(number).filter(Page::is_tree) else {
                database.damaged = true;
                continue;
            };
            let children = page.children();
            self.waiting.extend(children.into_iter().rev().map(|child| (child, depth.saturating_add(1))));
            if page.has_records() {
                return Some(page);
            }
        }
        None
    }
}

/// Opens a database.
pub(crate) fn open(walk: &Walk<'_>, depth: usize, source: &mut dyn ReadAt) {
    let Some(mut database) = Database::open(source) else {
        walk.note(Reason::Unsupported);
        return;
    };
    let tables = schema::read(&mut database);
    for table in &tables {
        open_table(walk, depth, &mut database, table);
    }
    open_rest(walk, depth, &mut database);
    walk.note_if(database.limited, Reason::Limit);
    walk.note_if(database.damaged, Reason::Unsupported);
}

fn open_table(walk: &Walk<'_>, depth: usize, database: &mut Database<'_>, table: &Table) {
    let at = table.root.saturating_sub(1).saturating_mul(database.page_bytes);
    let name = format!("sqlite:{}", Escaped(&table.name));
    let mut tree = Tree::new(table.root);
    let mut begun = false;
    let rows = Made::new(|out: &mut Vec<u8>| {
        if !std::mem::replace(&mut begun, true) {
            table.write_header(out);
        }
        let Some(page) = tree.next(database) else { return false };
        record::write_page(database, &page, table.row_id, out);
        true
    });
    walk.open(depth, (&name, at), Relation::Rewritten, Box::new(rows));
}

/// Opens the records of all pages that nothing referred to.
fn open_rest(walk: &Walk<'_>, depth: usize, database: &mut Database<'_>) {
    let mut number = 1_u64;
    let mut next = move |database: &mut Database<'_>| {
        while number <= database.pages {
            let this = number;
            number = number.saturating_add(1);
            if database.mark(this) {
                continue;
            }
            if let Some(page) = database.page(this).filter(|page| page.is_tree() && page.has_records()) {
                return Some((this, page));
            }
        }
        None
    };
    let Some((first, page)) = next(database) else { return };
    let at = first.saturating_sub(1).saturating_mul(database.page_bytes);
    let mut page = Some(page);
    // What is left over may make no sense; nobody reads it any more.
    let damaged = database.damaged;
    let rows = Made::new(|out: &mut Vec<u8>| {
        let Some(this) = page.take() else { return false };
        out.push(b'\n');
        record::write_page(database, &this, None, out);
        page = next(database).map(|(_, page)| page);
        true
    });
    walk.open(depth, ("sqlite:", at), Relation::Rewritten, Box::new(rows));
    database.damaged = damaged;
}

/// Opens a write-ahead log (section 4): every frame is a page behind a header of 24 bytes.
pub(crate) fn open_log(walk: &Walk<'_>, depth: usize, source: &mut dyn ReadAt) {
    const LOG_HEADER: u64 = 32;
    const FRAME_HEADER: u64 = 24;
    let head = bytes_at(source, 0, 32);
    let page_bytes = be32(&head, 8).map_or(0, u64::from);
    if !(512..=65_536).contains(&page_bytes) {
        walk.note(Reason::Unsupported);
        return;
    }
    let usable = narrow(page_bytes);
    let mut database = Database {
        source,
        page_bytes,
        usable,
        encoding: Encoding::Utf8,
        pages: 0,
        seen: Vec::new(),
        limited: false,
        damaged: false,
    };
    let mut at = LOG_HEADER;
    let rows = Made::new(|out: &mut Vec<u8>| {
        let number = be32(&bytes_at(database.source, at, 4), 0);
        let page_at = at.saturating_add(FRAME_HEADER);
        let bytes = bytes_at(database.source, page_at, usable);
        at = page_at.saturating_add(page_bytes);
        if bytes.len() < usable {
            return false;
        }
        if let Some(page) = Page::new(bytes, if number == Some(1) { 100 } else { 0 })
            && page.is_tree()
            && page.has_records()
        {
            out.push(b'\n');
            record::write_page(&mut database, &page, None, out);
        }
        true
    });
    walk.open(depth, ("sqlite-wal", LOG_HEADER), Relation::Rewritten, Box::new(rows));
}
