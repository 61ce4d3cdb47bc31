//! Microsoft cabinets ([MS-CAB]): stored, MSZIP ([MS-MCI]) and LZX ([MS-PATCH] and the cabinet
//! SDK). Quantum, and folders that begin or go on in another cabinet, are not opened.

use crate::layer::Relation;
use crate::rewrite::Ready;
use crate::source::{ReadAt, bytes_at};
use crate::walk::Walk;
use airlock_model::field::{le16, le32, narrow, wide};
use airlock_model::{Escaped, Reason};
use flate2::{Decompress, FlushDecompress};
use lzxd::{Lzxd, WindowSize};
use std::io::{self, Read};

/// Section 2.1.
pub(crate) const MAGIC: &[u8] = b"MSCF\0\0\0\0";

const HEADER_BYTES: usize = 36;
const FOLDER_BYTES: usize = 8;
const FILE_BYTES: usize = 16;
const DATA_BYTES: usize = 8;

/// Longest name, with its zero byte (section 2.3).
const NAME_BYTES_MAX: usize = 257;

/// Bytes that a block unpacks to at most, and of which it may copy (section 2.4).
const BLOCK_BYTES_MAX: usize = 32 << 10;

/// Memory of a decoder besides its window, in KiB.
const DECODER_KIB: u32 = 256;

/// What the header says.
struct Header {
    folders_at: u64,
    folders: u16,
    folder_reserve: u8,
    files_at: u64,
    files: u16,
    data_reserve: u8,
}

impl Header {
    fn read(source: &mut dyn ReadAt) -> Option<Self> {
        const PREVIOUS: u16 = 1;
        const NEXT: u16 = 2;
        const RESERVE: u16 = 4;
        let fixed = bytes_at(source, 0, HEADER_BYTES);
        let flags = le16(&fixed, 30)?;
        let mut at = wide(HEADER_BYTES);
        let (mut folder_reserve, mut data_reserve) = (0, 0);
        if flags & RESERVE != 0 {
            let sizes = bytes_at(source, at, 4);
            (folder_reserve, data_reserve) = (*sizes.get(2)?, *sizes.get(3)?);
            at = at.checked_add(4)?.checked_add(u64::from(le16(&sizes, 0)?))?;
        }
        let strings = [PREVIOUS, NEXT].into_iter().filter(|flag| flags & flag != 0).count();
        for _ in 0..strings.saturating_mul(2) {
            let text = bytes_at(source, at, NAME_BYTES_MAX);
            let end = text.iter().position(|byte| *byte == 0)?;
            at = at.checked_add(wide(end))?.checked_add(1)?;
        }
        Some(Self {
            folders_at: at,
            folders: le16(&fixed, 26)?,
            folder_reserve,
            files_at: u64::from(le32(&fixed, 16)?),
            files: le16(&fixed, 28)?,
            data_reserve,
        })
    }
}

/// A file, where in its folder it lies.
struct Entry {
    folder: u16,
    offset: u32,
    size: u32,
    name: Vec<u8>,
}

/// Opens every file.
pub(crate) fn open(walk: &Walk<'_>, depth: usize, source: &mut dyn ReadAt) {
    let Some(header) = Header::read(source) else {
        walk.note(Reason::Unsupported);
        return;
    };
    let mut entries = Vec::new();
    let mut at = header.files_at;
    for _ in 0..header.files {
        let Some((entry, next)) = entry_at(source, at) else {
            walk.note(Reason::Unsupported);
            break;
        };
        entries.push(entry);
        at = next;
    }
    // Numbers from 0xfffd on stand for folders in other cabinets.
    walk.note_if(entries.iter().any(|entry| entry.folder >= header.folders), Reason::Unsupported);
    entries.sort_by_key(|entry| (entry.folder, entry.offset));
    for number in 0..header.folders {
        let step = FOLDER_BYTES.saturating_add(usize::from(header.folder_reserve));
        let at = header.folders_at.saturating_add(wide(step.saturating_mul(usize::from(number))));
        let folder = bytes_at(source, at, FOLDER_BYTES);
        let entries = entries.iter().filter(|entry| entry.folder == number);
        let fields = (le32(&folder, 0), le16(&folder, 4), le16(&folder, 6));
        let (Some(start), Some(blocks), Some(method)) = fields else {
            walk.note(Reason::Unsupported);
            return;
        };
        let place = (u64::from(start), blocks, header.data_reserve);
        open_folder(walk, depth, source, place, method, entries);
    }
}

fn entry_at(source: &mut dyn ReadAt, at: u64) -> Option<(Entry, u64)> {
    let bytes = bytes_at(source, at, FILE_BYTES.saturating_add(NAME_BYTES_MAX));
    let name = bytes.get(FILE_BYTES..)?.split(|byte| *byte == 0).next()?;
    let entry = Entry {
        size: le32(&bytes, 0)?,
        offset: le32(&bytes, 4)?,
        folder: le16(&bytes, 8)?,
        name: name.to_vec(),
    };
    let next = at.checked_add(wide(FILE_BYTES))?.checked_add(wide(name.len()))?.checked_add(1)?;
    Some((entry, next))
}

fn open_folder<'e>(
    walk: &Walk<'_>,
    depth: usize,
    source: &mut dyn ReadAt,
    (start, blocks, reserve): (u64, u16, u8),
    method: u16,
    entries: impl Iterator<Item = &'e Entry>,
) {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return;
    }
    let Some((codec, need)) = Codec::of(method) else {
        walk.note(Reason::Unsupported);
        return;
    };
    // A cabinet may have many folders; each one clears its window.
    if !pay(walk, u64::from(need) << 10) || !walk.take_memory(need) {
        return;
    }
    let mut folder = Folder { source, at: start, blocks, reserve, codec, ready: Ready::default(), offset: 0 };
    for entry in entries {
        let skipped = u64::from(entry.offset).checked_sub(folder.offset);
        let reached = skipped.is_some_and(|count| {
            pay(walk, count)
                && io::copy(&mut Read::take(&mut folder, count), &mut io::sink())
                    .is_ok_and(|had| had == count)
        });
        // Files that overlap are no files of an honest writer.
        if !reached {
            walk.note(Reason::Unsupported);
            continue;
        }
        let name = format!("cab:{}", Escaped(&entry.name));
        let size = u64::from(entry.size);
        let mut member = Read::take(&mut folder, size);
        if size > 0 {
            walk.open(depth, (&name, start), Relation::Decoded, Box::new(&mut member));
        }
        walk.note_if(member.limit() > 0, Reason::Unsupported);
    }
    walk.give_back(need);
}

/// Takes bytes that are unpacked, and not shown, from the budget.
fn pay(walk: &Walk<'_>, bytes: u64) -> bool {
    let bytes = narrow(bytes);
    let enough = walk.bytes_left(bytes) == bytes;
    walk.note_if(!enough, Reason::Limit);
    walk.spend(bytes);
    enough
}

/// How blocks are compressed (section 2.2).
enum Codec {
    Stored,
    /// Deflate; a block may copy out of the one before.
    Zip(Vec<u8>),
    Lzx(Box<Lzxd>),
}

impl Codec {
    /// Returns the codec of a number, and the memory that it takes, in KiB.
    fn of(method: u16) -> Option<(Self, u32)> {
        match (method & 0xf, method >> 8 & 0x1f) {
            (0, _) => Some((Self::Stored, DECODER_KIB)),
            (1, _) => Some((Self::Zip(Vec::new()), DECODER_KIB)),
            (3, bits) => {
                let window = match bits {
                    15 => WindowSize::KB32,
                    16 => WindowSize::KB64,
                    17 => WindowSize::KB128,
                    18 => WindowSize::KB256,
                    19 => WindowSize::KB512,
                    20 => WindowSize::MB1,
                    21 => WindowSize::MB2,
                    _ => return None,
                };
                let need = (1_u32 << bits >> 10).saturating_add(DECODER_KIB);
                Some((Self::Lzx(Box::new(Lzxd::new(window))), need))
            }
            _ => None,
        }
    }

    /// Unpacks a block.
    fn unpack(&mut self, packed: Vec<u8>, size: usize) -> Option<Vec<u8>> {
        match self {
            Self::Stored => (packed.len() == size).then_some(packed),
            Self::Lzx(decoder) => decoder.decompress_next(&packed, size).ok().map(<[u8]>::to_vec),
            Self::Zip(last) => {
                let packed = packed.strip_prefix(b"CK")?;
                *last = inflate_behind(last, packed, size)?;
                Some(last.clone())
            }
        }
    }
}

/// Inflates a block that may copy out of the `last` one: that is put in front as a stored block of
/// deflate (RFC 1951, section 3.2.4).
fn inflate_behind(last: &[u8], packed: &[u8], size: usize) -> Option<Vec<u8>> {
    let length = u16::try_from(last.len()).ok()?;
    let [low, high] = length.to_le_bytes();
    let stored = [&[0, low, high, !low, !high], last].concat();
    let mut out = Vec::with_capacity(last.len().checked_add(size)?);
    let mut inflate = Decompress::new(false);
    inflate.decompress_vec(&stored, &mut out, FlushDecompress::None).ok()?;
    inflate.decompress_vec(packed, &mut out, FlushDecompress::Finish).ok()?;
    let block = out.split_off(last.len().min(out.len()));
    (block.len() == size).then_some(block)
}

/// The blocks of a folder, unpacked and behind each other.
struct Folder<'s> {
    source: &'s mut dyn ReadAt,
    /// Where the next block is.
    at: u64,
    blocks: u16,
    reserve: u8,
    codec: Codec,
    ready: Ready,
    /// Bytes that were read.
    offset: u64,
}

impl Folder<'_> {
    fn next_block(&mut self) -> Option<Vec<u8>> {
        let head = bytes_at(self.source, self.at, DATA_BYTES);
        let (packed, size) = (le16(&head, 4)?, usize::from(le16(&head, 6)?));
        if size > BLOCK_BYTES_MAX {
            return None;
        }
        let start = self.at.checked_add(wide(DATA_BYTES))?.checked_add(u64::from(self.reserve))?;
        let bytes = bytes_at(self.source, start, usize::from(packed));
        self.at = start.checked_add(u64::from(packed))?;
        self.codec.unpack(bytes, size)
    }
}

impl Read for Folder<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            let Some(left) = self.blocks.checked_sub(1) else { return Ok(0) };
            self.blocks = left;
            let block = self.next_block().ok_or(io::ErrorKind::InvalidData)?;
            *self.ready.refill() = block;
        }
        let count = self.ready.take(into)?;
        self.offset = self.offset.saturating_add(wide(count));
        Ok(count)
    }
}
