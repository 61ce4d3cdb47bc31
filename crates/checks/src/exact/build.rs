//! Makes lists.

use super::shape::{RUNS_MAX, Shapes, VALUE_BYTES, normalised};
use super::{
    COLUMN_BITS, COLUMNS_MAX, Column, ENTRIES_MAX, ENTRY_BYTES, Entry, ExactError, Head, Keys, MAGIC,
    key_check,
};
use zeroize::Zeroizing;

/// Gathers the values of a table: 16 bytes in memory for each.
pub struct ExactBuilder {
    name: String,
    columns: Vec<Column>,
    key: Zeroizing<[u8; 32]>,
    keys: Keys,
    shapes: Shapes,
    entries: Vec<Entry>,
    rows: u32,
    passed_over: u64,
}

impl std::fmt::Debug for ExactBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExactBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ExactBuilder {
    /// Begins a list of values of these columns.
    ///
    /// # Errors
    ///
    /// If there are no columns, none that counts alone, or too many.
    pub fn new(name: &str, columns: Vec<Column>, key: &[u8; 32]) -> Result<Self, ExactError> {
        let wrong = |why: String| Err(ExactError::Input(why));
        if columns.len() > COLUMNS_MAX {
            return wrong(format!("more than {COLUMNS_MAX} columns"));
        }
        if !columns.iter().any(|column| column.alone) {
            return wrong("no column whose values count alone".into());
        }
        if name.len() > 256 || columns.iter().any(|column| column.name.len() > 256) {
            return wrong("a name of more than 256 bytes".into());
        }
        Ok(Self {
            name: name.to_owned(),
            columns,
            key: Zeroizing::new(*key),
            keys: Keys::new(key),
            shapes: Shapes::default(),
            entries: Vec::new(),
            rows: 0,
            passed_over: 0,
        })
    }

    /// Adds a row: a value for each column. Empty ones do not count; those that cannot be told from
    /// others are passed over.
    ///
    /// # Errors
    ///
    /// If there are too many rows or values.
    pub fn add<'v>(&mut self, values: impl IntoIterator<Item = &'v [u8]>) -> Result<(), ExactError> {
        if self.rows >= 1 << (32 - COLUMN_BITS) || self.entries.len() + COLUMNS_MAX > ENTRIES_MAX {
            return Err(ExactError::Input(format!("more than {ENTRIES_MAX} values")));
        }
        for (column, value) in (0..).zip(values).take(self.columns.len()) {
            let (normal, runs) = normalised(value);
            let normal = Zeroizing::new(normal);
            if normal.is_empty() {
                continue;
            }
            if !VALUE_BYTES.contains(&normal.len()) || runs > RUNS_MAX {
                self.passed_over += 1;
                continue;
            }
            self.shapes.add(&normal, runs);
            let place = self.rows << COLUMN_BITS | column;
            self.entries.push(Entry { tag: self.keys.tag(&normal), check: self.keys.check(&normal), place });
        }
        self.rows += 1;
        Ok(())
    }

    /// Returns how many values were passed over: with fewer than 4 letters and digits, more than 63, or in
    /// more than 12 pieces.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Returns the list as it is stored, with its key unless that is to be kept apart.
    ///
    /// # Errors
    ///
    /// If there are no values.
    pub fn finish(mut self, key_apart: bool) -> Result<Vec<u8>, ExactError> {
        if self.entries.is_empty() {
            return Err(ExactError::Input("there are no values".into()));
        }
        self.entries.sort_unstable();
        let head = Head {
            name: self.name,
            columns: self.columns,
            rows: self.rows.into(),
            entries: self.entries.len() as u64,
            key: (!key_apart).then(|| hex::encode(*self.key)),
            key_check: key_check(&self.key),
            shapes: self.shapes,
        };
        let head = serde_json::to_vec(&head).expect("plain data");
        let length = u32::try_from(head.len()).expect("names are short");
        let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + head.len() + self.entries.len() * ENTRY_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(length.to_le_bytes());
        bytes.extend(head);
        self.entries.iter().for_each(|entry| bytes.extend(entry.to_bytes()));
        Ok(bytes)
    }
}
