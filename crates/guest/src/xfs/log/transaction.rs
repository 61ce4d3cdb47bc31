//! Puts transactions together, whose parts lie among those of others and in several records.

use super::Refusal;
use super::items::Items;
use super::record::Header;
use crate::field::{be32, le16, le32, narrow, u8_at, wide};
use std::collections::HashMap;

const OPERATION_BYTES: usize = 12;
const TRANSACTION: u8 = 0x69;

const FLAG_START: u8 = 1;
const FLAG_COMMIT: u8 = 2;
const FLAG_CONTINUE: u8 = 4;
const FLAG_WAS_CONTINUED: u8 = 8;
const FLAG_END: u8 = 0x10;
const FLAG_UNMOUNT: u8 = 0x20;

const HEADER_MAGIC: u32 = 0x5452_414e;
const HEADER_BYTES: usize = 16;

/// Bytes that unfinished transactions may have together, with what keeps their parts apart.
const BYTES_MAX: u64 = 96 << 20;

/// Bytes that a part costs beside its own.
const PART_COST: u64 = 48;

/// Most parts of an item; the kernel allows as many.
const PARTS_MAX: usize = 1 << 16;

/// A change: its first part says what it is and how many parts it has.
#[derive(Debug, Default)]
pub(crate) struct Item {
    total: usize,
    pub(crate) parts: Vec<Vec<u8>>,
}

impl Item {
    /// Returns the part that says what it is.
    pub(crate) fn format(&self) -> &[u8] {
        self.part(0)
    }

    pub(crate) fn part(&self, number: usize) -> &[u8] {
        self.parts.get(number).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A transaction whose end has not come yet.
#[derive(Debug, Default)]
struct Transaction {
    /// Where in the log it started.
    lsn: u64,
    header: Vec<u8>,
    items: Vec<Item>,
    bytes: u64,
}

/// Transactions that have started, by their number.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    open: HashMap<u32, Transaction>,
    bytes: u64,
}

impl Transactions {
    /// Reads the operations of a record.
    pub(crate) fn read(
        &mut self,
        header: &Header,
        data: &[u8],
        items: &mut Items<'_, '_>,
    ) -> Result<(), Refusal> {
        let mut rest = data;
        for _ in 0..header.operations {
            if rest.is_empty() {
                break;
            }
            let bytes = narrow(u64::from(be32(rest, 4)));
            let (client, flags, number) = (u8_at(rest, 8), u8_at(rest, 9), be32(rest, 0));
            let end = OPERATION_BYTES.saturating_add(bytes);
            let Some(part) = rest.get(OPERATION_BYTES..end) else {
                return Err(Refusal::Damaged("an operation does not fit into its record"));
            };
            rest = rest.get(end..).unwrap_or_default();
            if client == TRANSACTION {
                self.operation(header.lsn, number, flags, part, items)?;
            }
        }
        Ok(())
    }

    fn operation(
        &mut self,
        lsn: u64,
        number: u32,
        flags: u8,
        part: &[u8],
        items: &mut Items<'_, '_>,
    ) -> Result<(), Refusal> {
        if flags & FLAG_START != 0 {
            if let Some(old) = self.open.insert(number, Transaction { lsn, ..Transaction::default() }) {
                self.bytes = self.bytes.saturating_sub(old.bytes);
            }
            return Ok(());
        }
        // One that started before the tail was finished before.
        let Some(transaction) = self.open.get_mut(&number) else {
            return Ok(());
        };
        let flags = flags & !FLAG_END;
        let flags = if flags & FLAG_WAS_CONTINUED != 0 { flags & !FLAG_CONTINUE } else { flags };
        match flags {
            0 | FLAG_CONTINUE | FLAG_WAS_CONTINUED => {
                let cost = wide(part.len()).saturating_add(PART_COST);
                transaction.bytes = transaction.bytes.saturating_add(cost);
                self.bytes = self.bytes.saturating_add(cost);
                if self.bytes > BYTES_MAX {
                    return Err(Refusal::Budget);
                }
                transaction.add(part, flags == FLAG_WAS_CONTINUED)
            }
            FLAG_COMMIT => {
                if let Some(done) = self.open.remove(&number) {
                    self.bytes = self.bytes.saturating_sub(done.bytes);
                    items.commit(done.lsn, done.items)?;
                }
                Ok(())
            }
            FLAG_UNMOUNT => {
                self.open.remove(&number);
                Ok(())
            }
            _ => Err(Refusal::Damaged("an operation is of an unknown kind")),
        }
    }
}

impl Transaction {
    /// Adds a part, or what continues the last one.
    fn add(&mut self, part: &[u8], continues: bool) -> Result<(), Refusal> {
        if part.is_empty() {
            return Ok(());
        }
        if self.header.len() < HEADER_BYTES {
            // The first part of a transaction tells it, and may itself be cut in two.
            self.header.extend_from_slice(part);
            let magic = self.header.len() < 4 || le32(&self.header, 0) == HEADER_MAGIC;
            if self.header.len() > HEADER_BYTES || !magic {
                return Err(Refusal::Damaged("a transaction has no header"));
            }
            return Ok(());
        }
        if continues {
            let last = self.items.last_mut().and_then(|item| item.parts.last_mut());
            let last = last.ok_or(Refusal::Damaged("a part continues nothing"))?;
            last.extend_from_slice(part);
            return Ok(());
        }
        let whole = |item: &Item| item.parts.len() >= item.total;
        if self.items.last().is_none_or(whole) {
            let total = usize::from(le16(part, 2));
            if total == 0 || total > PARTS_MAX {
                return Err(Refusal::Damaged("an item has an impossible number of parts"));
            }
            self.items.push(Item { total, parts: Vec::new() });
        }
        if let Some(item) = self.items.last_mut() {
            item.parts.push(part.to_vec());
        }
        Ok(())
    }
}
