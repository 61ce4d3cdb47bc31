//! The table of tables (section 2.6).

use super::{Database, TABLES_MAX, Tree, record};

/// A table or an index.
pub(super) struct Table {
    pub(super) name: Vec<u8>,
    pub(super) root: u64,
    columns: Vec<Vec<u8>>,
    /// The column that stands for the row number.
    pub(super) row_id: Option<usize>,
}

impl Table {
    /// Writes the names of the columns.
    pub(super) fn write_header(&self, out: &mut Vec<u8>) {
        for (place, column) in self.columns.iter().enumerate() {
            if place > 0 {
                out.push(b'\t');
            }
            out.extend_from_slice(column);
        }
        if !self.columns.is_empty() {
            out.push(b'\n');
        }
    }
}

/// Reads which tables there are.
pub(super) fn read(database: &mut Database<'_>) -> Vec<Table> {
    let mut tree = Tree::new(1);
    let mut tables = Vec::new();
    while let Some(page) = tree.next(database) {
        let mut lines = Vec::new();
        record::write_page(database, &page, None, &mut lines);
        for line in lines.split(|byte| *byte == b'\n') {
            // Its columns are type, name, table, root page and statement.
            let mut columns = line.splitn(5, |byte| *byte == b'\t');
            let mut next = || columns.next().unwrap_or_default();
            let (kind, name, _, root, sql) = (next(), next(), next(), next(), next());
            let root = std::str::from_utf8(root).ok().and_then(|root| root.parse().ok()).unwrap_or(0);
            if root == 0 {
                continue;
            }
            if tables.len() >= TABLES_MAX {
                database.limited = true;
                return tables;
            }
            let (columns, row_id) = if kind == b"table" { columns_of(sql) } else { (Vec::new(), None) };
            tables.push(Table { name: name.to_vec(), root, columns, row_id });
        }
    }
    tables
}

/// What a part of a statement begins with that is no column.
const CONSTRAINTS: [&[u8]; 5] = [b"PRIMARY", b"UNIQUE", b"CHECK", b"FOREIGN", b"CONSTRAINT"];

/// Returns the names of the columns that a statement creates.
fn columns_of(sql: &[u8]) -> (Vec<Vec<u8>>, Option<usize>) {
    let open = sql.iter().position(|byte| *byte == b'(').unwrap_or(sql.len());
    let body = sql.get(open.saturating_add(1)..).unwrap_or_default();
    let (mut depth, mut quote, mut part) = (0_u32, None, Vec::new());
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for &byte in body {
        match (quote, byte) {
            (Some(end), _) if byte == end => quote = None,
            (None, b'"' | b'\'' | b'`') => quote = Some(byte),
            (None, b'[') => quote = Some(b']'),
            (None, b'(') => depth = depth.saturating_add(1),
            (None, b')') if depth == 0 => break,
            (None, b')') => depth = depth.saturating_sub(1),
            (None, b',') if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(byte);
    }
    parts.push(part);
    let (mut columns, mut row_id) = (Vec::new(), None);
    for part in parts {
        let part = part.trim_ascii();
        let name = match part.first() {
            Some(quote @ (b'"' | b'`' | b'\'')) => {
                part.get(1..).unwrap_or_default().split(|byte| byte == quote).next()
            }
            Some(b'[') => part.get(1..).unwrap_or_default().split(|byte| *byte == b']').next(),
            _ => part.split(u8::is_ascii_whitespace).next(),
        };
        let name = name.unwrap_or_default().to_vec();
        let upper = part.to_ascii_uppercase();
        if name.is_empty() || CONSTRAINTS.contains(&name.to_ascii_uppercase().as_slice()) {
            continue;
        }
        let integer = memchr::memmem::find(&upper, b"INTEGER").is_some();
        if integer && memchr::memmem::find(&upper, b"PRIMARY KEY").is_some() {
            row_id = Some(columns.len());
        }
        columns.push(name);
    }
    (columns, row_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &[&str], row_id: Option<usize>) {
        let (columns, row) = columns_of(sql.as_bytes());
        let columns: Vec<&str> =
            columns.iter().map(|name| std::str::from_utf8(name).expect("text")).collect();
        assert_eq!((columns.as_slice(), row), (expected, row_id));
    }

    #[test]
    fn columns_are_read_from_a_statement() {
        check("CREATE TABLE a(id INTEGER PRIMARY KEY, card TEXT)", &["id", "card"], Some(0));
        check("CREATE TABLE \"a\" (\"x, y\" NUMERIC(3,4), [b c], PRIMARY KEY (b))", &["x, y", "b c"], None);
        check("CREATE TABLE broken", &[], None);
    }
}
