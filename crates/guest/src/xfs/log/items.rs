//! Changes that transactions make: to buffers, to inodes, and to what is there to be one.

use super::super::inode::{MAGIC as INODE_MAGIC, core_bytes, data_end};
use super::transaction::Item;
use super::{BASIC_BYTES, Refusal, read, write};
use crate::field::{be16, be32, be64, le16, le32, le64, narrow, u8_at, wide};
use crate::overlay::Overlay;
use crate::xfs::Fs;
use std::collections::{BTreeMap, HashSet};

const BUFFER: u16 = 0x123c;
const INODE: u16 = 0x123b;
const CREATE: u16 = 0x123f;
/// Intents of an operation and what says that it is done, in turns: extents to free, owners,
/// counts of sharers, maps, attributes, exchanges.
const INTENTS: [(u16, u16); 6] = [
    (0x1236, 0x1237),
    (0x1240, 0x1241),
    (0x1242, 0x1243),
    (0x1244, 0x1245),
    (0x1246, 0x1247),
    (0x1248, 0x1249),
];
/// Inodes that are unlinked, quotas, and quotas being off.
const OTHERS: [u16; 3] = [0x1238, 0x123d, 0x123e];

const BUFFER_INODES: u16 = 1;
const BUFFER_CANCEL: u16 = 2;
const BUFFER_CHUNK: usize = 128;

const DATA: u32 = 2;
const DATA_EXTENTS: u32 = 4;
const DATA_ROOT: u32 = 8;
const DEVICE: u32 = 0x10;
const ATTRIBUTES: u32 = 0x40;
const ATTRIBUTE_EXTENTS: u32 = 0x80;
const ATTRIBUTE_ROOT: u32 = 0x100;

/// Most buffers that are given up, and most unfinished operations.
const NOTES_MAX: usize = 1 << 20;

/// What is done with items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Buffers that were given up are noted: what was logged of them before is void.
    Cancels,
    Replay,
}

/// What a replay came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) overlay: Overlay,
    pub(crate) transactions: u64,
    pub(crate) unfinished: u64,
}

/// Replays items.
#[derive(Debug)]
pub(crate) struct Items<'f, 'd> {
    fs: &'f Fs<'d>,
    pass: Pass,
    /// Buffers that are given up later, by first block and length, and how often.
    cancelled: BTreeMap<(u64, u32), u32>,
    /// Operations that are not finished.
    intents: HashSet<(u16, u64)>,
    overlay: Overlay,
    transactions: u64,
}

impl<'f, 'd> Items<'f, 'd> {
    pub(crate) fn new(fs: &'f Fs<'d>) -> Self {
        Self {
            fs,
            pass: Pass::Cancels,
            cancelled: BTreeMap::new(),
            intents: HashSet::new(),
            overlay: Overlay::new(BASIC_BYTES),
            transactions: 0,
        }
    }

    pub(crate) fn begin(&mut self, pass: Pass) {
        self.pass = pass;
    }

    pub(crate) fn finish(self) -> Done {
        let unfinished = wide(self.intents.len());
        Done { overlay: self.overlay, transactions: self.transactions, unfinished }
    }

    /// Replays the items of a transaction that started at `lsn`: buffers first, then inodes,
    /// then what is given up.
    pub(crate) fn commit(&mut self, lsn: u64, items: Vec<Item>) -> Result<(), Refusal> {
        if self.pass == Pass::Cancels {
            return items.iter().try_for_each(|item| self.note(item));
        }
        self.transactions = self.transactions.saturating_add(1);
        let mut items = items;
        items.sort_by_key(|item| {
            let format = item.format();
            let flags = le16(format, 4);
            match le16(format, 0) {
                BUFFER if flags & BUFFER_CANCEL != 0 => 3,
                BUFFER if flags & BUFFER_INODES != 0 => 2,
                BUFFER | CREATE => 0,
                _ => 1,
            }
        });
        items.iter().try_for_each(|item| self.replay(lsn, item))
    }

    fn note(&mut self, item: &Item) -> Result<(), Refusal> {
        let format = item.format();
        if le16(format, 0) == BUFFER && le16(format, 4) & BUFFER_CANCEL != 0 {
            let count = self.cancelled.entry(buffer_key(format)).or_insert(0);
            *count = count.saturating_add(1);
            if self.cancelled.len() > NOTES_MAX {
                return Err(Refusal::Budget);
            }
        }
        Ok(())
    }

    fn replay(&mut self, lsn: u64, item: &Item) -> Result<(), Refusal> {
        let format = item.format();
        let kind = le16(format, 0);
        match kind {
            BUFFER => self.buffer(lsn, item),
            INODE => self.inode(lsn, item),
            CREATE => self.create(format),
            _ if OTHERS.contains(&kind) => Ok(()),
            _ => {
                let intent = INTENTS.iter().find(|(intent, done)| *intent == kind || *done == kind);
                let (intent, _) = intent.ok_or(Refusal::Damaged("an item is of an unknown kind"))?;
                let key = (*intent, le64(format, 8));
                if *intent != kind {
                    self.intents.remove(&key);
                } else if self.intents.len() < NOTES_MAX {
                    self.intents.insert(key);
                } else {
                    return Err(Refusal::Budget);
                }
                Ok(())
            }
        }
    }

    fn buffer(&mut self, lsn: u64, item: &Item) -> Result<(), Refusal> {
        let format = item.format();
        let flags = le16(format, 4);
        let key = buffer_key(format);
        if let Some(count) = self.cancelled.get_mut(&key) {
            if flags & BUFFER_CANCEL != 0 {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.cancelled.remove(&key);
                }
            }
            return Ok(());
        }
        if flags & (BUFFER_CANCEL | BUFFER_INODES) != 0 {
            // Buffers of inodes only log lists of inodes that are to be deleted.
            return Ok(());
        }
        let (block, blocks) = key;
        let at = block.saturating_mul(BASIC_BYTES);
        let bytes = u64::from(blocks).saturating_mul(BASIC_BYTES);
        if self.fs.superblock.checksums && self.is_newer(lsn, at, bytes)? {
            return Ok(());
        }
        let map_words = narrow(u64::from(le32(format, 16)));
        let map = format.get(20..).unwrap_or_default().as_chunks::<4>().0;
        let is_set = |bit: usize| {
            let word = map.get(bit / 32).filter(|_| bit / 32 < map_words);
            word.is_some_and(|word| u32::from_le_bytes(*word) >> (bit % 32) & 1 != 0)
        };
        let (mut bit, mut part) = (0_usize, 1);
        let bits = narrow(bytes) / BUFFER_CHUNK;
        while bit < bits {
            if !is_set(bit) {
                bit = bit.saturating_add(1);
                continue;
            }
            let run = (bit..bits).take_while(|bit| is_set(*bit)).count();
            let logged = item.part(part);
            let run = run.min(logged.len() / BUFFER_CHUNK);
            if run == 0 {
                return Err(Refusal::Damaged("a buffer has too few parts"));
            }
            let logged = logged.get(..run.saturating_mul(BUFFER_CHUNK)).unwrap_or_default();
            let within = wide(bit.saturating_mul(BUFFER_CHUNK));
            write(self.fs, &mut self.overlay, at.saturating_add(within), logged)?;
            bit = bit.saturating_add(run);
            part = part.saturating_add(1);
        }
        Ok(())
    }

    /// Returns whether a buffer has reached the volume as it was at `lsn` or later.
    fn is_newer(&self, lsn: u64, at: u64, bytes: u64) -> Result<bool, Refusal> {
        let mut head = vec![0; narrow(bytes.min(BASIC_BYTES))];
        read(self.fs, &self.overlay, at, &mut head)?;
        let (lsn_at, uuid_at) = match head.first_chunk::<4>() {
            Some(b"AB3B" | b"AB3C" | b"IAB3" | b"FIB3" | b"RMB3" | b"R3FC") => (24, 32),
            Some(b"BMA3") => (32, 40),
            Some(b"XAGF") => (208, 64),
            Some(b"XAFL") => (24, 8),
            Some(b"XAGI") => (320, 296),
            Some(b"XSLM") => (48, 16),
            Some(b"XDB3" | b"XDD3" | b"XDF3") => (16, 24),
            Some(b"XFSB") => (240, if be32(&head, 216) & 4 != 0 { 248 } else { 32 }),
            _ => match be16(&head, 8) {
                0x3df1 | 0x3dff | 0x3bee | 0x3ebe => (24, 32),
                _ => return Ok(false),
            },
        };
        let there = be64(&head, lsn_at);
        let ours = head.get(uuid_at..).is_some_and(|rest| rest.starts_with(&self.fs.superblock.uuid));
        Ok(ours && there != 0 && there != u64::MAX && there >= lsn)
    }

    /// Initialises inodes that were allocated together.
    fn create(&mut self, format: &[u8]) -> Result<(), Refusal> {
        const WRONG: Refusal = Refusal::Damaged("inodes are created where none can be");
        let superblock = &self.fs.superblock;
        let (group, block) = (u64::from(be32(format, 4)), u64::from(be32(format, 8)));
        let (count, blocks) = (u64::from(be32(format, 12)), u64::from(be32(format, 20)));
        let generation = format.get(24..28).unwrap_or_default().to_vec();
        let inode_bytes = superblock.inode_bytes;
        let place = superblock.in_group(group, block).ok_or(WRONG)?;
        let right = u64::from(be32(format, 16)) == inode_bytes
            && count.saturating_mul(inode_bytes) <= superblock.to_bytes(blocks)
            && count <= 1024
            && blocks <= superblock.left_in_group(place);
        if !right {
            return Err(WRONG);
        }
        let at = superblock.to_bytes(place);
        let first = at / BASIC_BYTES;
        let behind = at.saturating_add(superblock.to_bytes(blocks)) / BASIC_BYTES;
        if self.cancelled.range((first, 0)..(behind, 0)).next().is_some() {
            return Ok(());
        }
        let mut bytes = vec![0; narrow(inode_bytes)];
        for index in 0..count {
            let within = block.checked_shl(superblock.inode_bits).unwrap_or(0).saturating_add(index);
            let number = superblock.inode_number(group, within);
            let fields: [(usize, &[u8]); 6] = [
                (0, &INODE_MAGIC.to_be_bytes()),
                (4, &[3]),
                (92, &generation),
                (96, &[0xff; 4]),
                (152, &number.to_be_bytes()),
                (160, &superblock.uuid),
            ];
            for (field, value) in fields {
                put(&mut bytes, field, value);
            }
            let at = at.saturating_add(index.saturating_mul(inode_bytes));
            write(self.fs, &mut self.overlay, at, &bytes)?;
        }
        Ok(())
    }

    fn inode(&mut self, lsn: u64, item: &Item) -> Result<(), Refusal> {
        let format = item.format();
        // Machines of 32 bits have no gap in it.
        let base = if format.len() >= 56 { 40 } else { 36 };
        let fields = le32(format, 4);
        let buffer = (le64(format, base), le32(format, base.saturating_add(8)));
        if self.cancelled.contains_key(&buffer) {
            return Ok(());
        }
        let within = u64::from(le32(format, base.saturating_add(12)));
        let at = buffer.0.saturating_mul(BASIC_BYTES).saturating_add(within);
        let mut bytes = vec![0; narrow(self.fs.superblock.inode_bytes)];
        read(self.fs, &self.overlay, at, &mut bytes)?;
        if be16(&bytes, 0) != INODE_MAGIC {
            return Err(Refusal::Damaged("an inode is changed where none is"));
        }
        let core = item.part(1);
        if le16(core, 0) != INODE_MAGIC {
            return Err(Refusal::Damaged("an inode of it is none"));
        }
        if is_inode_newer(&bytes, core, lsn) {
            return Ok(());
        }
        put_core(&mut bytes, core);
        let mut part = 2;
        if fields & DEVICE != 0 {
            let device = le32(format, base.saturating_sub(16)).to_be_bytes();
            let at = core_bytes(&bytes);
            put(&mut bytes, at, &device);
        }
        let (start, end) = (core_bytes(&bytes), data_end(&bytes));
        if fields & (DATA | DATA_EXTENTS | DATA_ROOT) != 0 {
            let fork = bytes.get_mut(start..end).unwrap_or_default();
            self.fork(fork, item.part(part), fields & DATA_ROOT != 0)?;
            part = part.saturating_add(1);
        }
        if fields & (ATTRIBUTES | ATTRIBUTE_EXTENTS | ATTRIBUTE_ROOT) != 0 {
            let fork = bytes.get_mut(end..).unwrap_or_default();
            self.fork(fork, item.part(part), fields & ATTRIBUTE_ROOT != 0)?;
        }
        write(self.fs, &mut self.overlay, at, &bytes)
    }

    /// Puts what was logged of a fork into an inode.
    fn fork(&self, fork: &mut [u8], logged: &[u8], root: bool) -> Result<(), Refusal> {
        const WRONG: Refusal = Refusal::Damaged("a fork does not fit into its inode");
        if !root {
            let into = fork.get_mut(..logged.len()).ok_or(WRONG)?;
            into.copy_from_slice(logged);
            return Ok(());
        }
        // A root is logged as a block of a tree, whose header is longer.
        let header = if self.fs.superblock.checksums { 72 } else { 24 };
        let room = |bytes: usize, header: usize| bytes.saturating_sub(header) / 16;
        let (from, to) = (room(logged.len(), header), room(fork.len(), 4));
        let count = usize::from(be16(logged, 6));
        if count > from || count > to {
            return Err(WRONG);
        }
        let length = count.saturating_mul(8);
        let piece = |start: usize| logged.get(start..start.saturating_add(length)).unwrap_or_default();
        let keys = piece(header);
        let pointers = piece(header.saturating_add(from.saturating_mul(8)));
        put(fork, 0, logged.get(4..8).unwrap_or_default());
        put(fork, 4, keys);
        put(fork, to.saturating_mul(8).saturating_add(4), pointers);
        Ok(())
    }
}

/// Returns first block and number of blocks of a buffer.
fn buffer_key(format: &[u8]) -> (u64, u32) {
    (le64(format, 8), u32::from(le16(format, 6)))
}

/// Puts a value into a structure, if it fits.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(into) = bytes.get_mut(at..at.saturating_add(value.len())) {
        into.copy_from_slice(value);
    }
}

/// Returns whether an inode has reached the volume in a newer state than the log has.
fn is_inode_newer(there: &[u8], logged: &[u8], lsn: u64) -> bool {
    const FLUSHES_MAX: u16 = 0xffff;
    if u8_at(there, 4) >= 3 {
        let reached = be64(there, 112);
        return reached != 0 && reached != u64::MAX && reached > lsn;
    }
    let (reached, logged) = (be16(there, 30), le16(logged, 30));
    let round = reached == FLUSHES_MAX && logged < FLUSHES_MAX >> 1;
    logged < reached && !round
}

/// Puts the logged fields of an inode into it; they are in the order of the machine.
fn put_core(bytes: &mut [u8], logged: &[u8]) {
    const SHORT: [usize; 10] = [0, 2, 6, 20, 22, 28, 30, 80, 88, 90];
    const WORDS: [usize; 12] = [8, 12, 16, 32, 36, 40, 44, 48, 52, 72, 76, 92];
    const LONG: [usize; 2] = [56, 64];
    const LONG_3: [usize; 3] = [104, 120, 144];
    let version_3 = u8_at(logged, 4) >= 3;
    let mut put_reversed = |at: usize, length: usize| {
        if let Some(field) = logged.get(at..at.saturating_add(length)) {
            let mut field = field.to_vec();
            field.reverse();
            put(bytes, at, &field);
        }
    };
    for at in SHORT {
        put_reversed(at, 2);
    }
    for at in WORDS {
        put_reversed(at, 4);
    }
    for at in LONG {
        put_reversed(at, 8);
    }
    if version_3 {
        for at in LONG_3 {
            put_reversed(at, 8);
        }
        put_reversed(128, 4);
        put_reversed(24, 8);
    }
    for at in [4, 5, 82, 83] {
        put(bytes, at, &[u8_at(logged, at)]);
    }
    if version_3 {
        put(bytes, 152, &le64(logged, 152).to_be_bytes());
        put(bytes, 160, logged.get(160..176).unwrap_or_default());
    }
}
