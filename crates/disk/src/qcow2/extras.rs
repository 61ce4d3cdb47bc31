//! What else a qcow2 image keeps: internal snapshots and dirty bitmaps (QEMU
//! docs/interop/qcow2.txt, "Snapshots", "Bitmaps extension", "Bitmaps").

use super::header::{Header, damaged, unsupported};
use crate::Error;
use crate::bits::{self, Order};
use crate::cache::Cache;
use crate::field::{array, be32, be64, narrow, wide};
use crate::file::HostFile;
use crate::table::Table;
use std::ops::Range;
use std::path::Path;

/// Most snapshots, the limit of QEMU.
const SNAPSHOTS_MAX: u64 = 65_536;
/// Most bitmaps, the limit of QEMU.
const BITMAPS_MAX: u64 = 65_535;
/// Most bytes of the list of snapshots or bitmaps that are read.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// Longest entry of the list of snapshots: two names, and what QEMU adds at most.
const SNAPSHOT_BYTES_MAX: u64 = 2 * 65_535 + 2048;
/// Most clusters of one bitmap; with clusters of 64 KiB and granules of 64 KiB that is 128 PiB of disk.
const BITMAP_CLUSTERS_MAX: u64 = 1 << 22;
/// Most extents of a bitmap that one call returns.
const EXTENTS_MAX: usize = 1 << 20;

/// Internal snapshots and dirty bitmaps of one qcow2 image.
///
/// [`crate::open()`] reads the active state of a disk only. What a snapshot keeps besides
/// is in the file and in no disk: whoever transports the file as it is transports that, too.
#[derive(Debug)]
pub struct QcowExtras {
    /// Internal snapshots, in the order of the image.
    pub snapshots: Vec<Snapshot>,
    /// Persistent dirty bitmaps, in the order of the image.
    pub bitmaps: Vec<Bitmap>,
    host: HostFile,
    size: u64,
    cluster_bytes: u64,
}

/// An internal snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The id that the image gives it: bytes that are usually a number.
    pub id: Vec<u8>,
    /// Its name; bytes of any kind.
    pub name: Vec<u8>,
    /// Size of the disk when it was made.
    pub disk_bytes: u64,
    /// Size of the state of the running machine that it keeps, or 0.
    pub vm_state_bytes: u64,
}

/// A persistent dirty bitmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    /// Its name; bytes of any kind.
    pub name: Vec<u8>,
    /// How much of the disk one bit tells of.
    pub granularity_bytes: u64,
    /// Whether its bits can be believed.
    pub state: BitmapState,
    /// Whether changes are still recorded when the image is opened.
    pub enabled: bool,
    table_offset: u64,
    table_entries: u64,
}

/// Whether a bitmap can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitmapState {
    /// It was saved as it should be.
    Consistent,
    /// It was not saved since the image was last in use, or is in use now.
    InUse,
    /// The image was changed by something that knows no bitmaps.
    Outdated,
}

impl QcowExtras {
    /// Reads the lists of the image at `path`. No other file is opened.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let host = HostFile::open(path)?;
        let header = Header::read(&host)?;
        let snapshots = snapshots(&host, &header)?;
        let bitmaps = bitmaps(&host, &header)?;
        let cluster_bytes = header.cluster_bytes();
        Ok(Self { snapshots, bitmaps, host, size: header.size, cluster_bytes })
    }

    /// Returns what of the disk is set in `bitmap`, from byte `from` on: at most `count_max` runs.
    ///
    /// Where that many are returned there may be more, from the end of the last one on.
    /// A bitmap that is not [`BitmapState::Consistent`] has no bits to believe: an error.
    pub fn extents(&self, bitmap: &Bitmap, from: u64, count_max: usize) -> Result<Vec<Range<u64>>, Error> {
        if bitmap.state != BitmapState::Consistent {
            return Err(unsupported("a dirty bitmap that was not saved"));
        }
        let cache = Cache::new(1 << 20);
        let cluster_bits = self.cluster_bytes.saturating_mul(8);
        let granules = self.size.div_ceil(bitmap.granularity_bytes.max(1));
        let table = Table {
            format: crate::Format::Qcow2,
            what: "read bitmap table",
            offset: bitmap.table_offset,
            entries: granules.div_ceil(cluster_bits),
            entry_bytes: 8,
        };
        if table.entries > BITMAP_CLUSTERS_MAX {
            return Err(unsupported("a dirty bitmap of more than 4 million clusters"));
        }
        if table.entries > bitmap.table_entries || !table.is_inside(self.host.bytes) {
            return Err(damaged("a bitmap table is too small or not inside the file", bitmap.table_offset));
        }
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut cursor = table.cursor(&self.host, &cache);
        let mut cluster = vec![0; narrow(self.cluster_bytes)];
        let mut loaded = None;
        let mut at = from.checked_div(bitmap.granularity_bytes).unwrap_or(0);
        while at < granules {
            let index = at.checked_div(cluster_bits).unwrap_or(0);
            let within = at.checked_rem(cluster_bits).unwrap_or(0);
            let entry = be64(cursor.entry(index)?, 0).unwrap_or(0);
            let rest = cluster_bits.saturating_sub(within);
            let (set, length) = match entry & 0x00ff_ffff_ffff_fe00 {
                0 => (entry & 1 == 1, rest),
                offset => {
                    if loaded != Some(offset) {
                        if !self.host.holds(offset, self.cluster_bytes) {
                            return Err(damaged("a bitmap is not inside the file", offset));
                        }
                        self.host.read("read bitmap", offset, &mut cluster)?;
                        loaded = Some(offset);
                    }
                    bits::run(&cluster, narrow(within), Order::LowFirst).unwrap_or((false, rest))
                }
            };
            let end = at.saturating_add(length.max(1)).min(granules);
            if set {
                let bytes = |granule: u64| granule.saturating_mul(bitmap.granularity_bytes).min(self.size);
                let run = bytes(at).max(from)..bytes(end);
                let full = found.len() >= count_max.min(EXTENTS_MAX);
                match found.last_mut() {
                    Some(last) if last.end == run.start => last.end = run.end,
                    _ if full => break,
                    _ => found.push(run),
                }
            }
            at = end;
        }
        Ok(found)
    }
}

/// Reads a list that begins at `offset`, as much of it as there is up to `bytes_max`.
fn read_list(host: &HostFile, what: &'static str, offset: u64, bytes_max: u64) -> Result<Vec<u8>, Error> {
    let length = host.bytes.saturating_sub(offset).min(bytes_max).min(LIST_BYTES_MAX);
    let mut bytes = vec![0; narrow(length)];
    host.read(what, offset, &mut bytes)?;
    Ok(bytes)
}

/// Returns `length` bytes from `at`, which moves behind them.
fn take<'b>(bytes: &'b [u8], at: &mut usize, length: usize) -> Option<&'b [u8]> {
    let start = *at;
    *at = start.checked_add(length)?;
    bytes.get(start..*at)
}

fn snapshots(host: &HostFile, header: &Header) -> Result<Vec<Snapshot>, Error> {
    let (count, offset) = header.snapshots;
    if count > SNAPSHOTS_MAX {
        return Err(damaged("there are more than 65536 snapshots", 60));
    }
    let bytes_max = count.saturating_mul(SNAPSHOT_BYTES_MAX);
    let list = read_list(host, "read snapshot table", offset, bytes_max)?;
    let mut at = 0;
    let entries = (0..count).map(|_| snapshot(&list, &mut at, header.size));
    let entries: Option<Vec<_>> = entries.collect();
    entries.ok_or_else(|| damaged("the snapshot table is cut off or above 16 MiB", offset))
}

fn snapshot(list: &[u8], at: &mut usize, size: u64) -> Option<Snapshot> {
    let fixed = take(list, at, 40)?;
    let id_bytes = usize::from(u16::from_be_bytes(array(fixed, 12)?));
    let name_bytes = usize::from(u16::from_be_bytes(array(fixed, 14)?));
    let extra = take(list, at, narrow(u64::from(be32(fixed, 36)?)))?;
    let snapshot = Snapshot {
        vm_state_bytes: be64(extra, 0).unwrap_or(u64::from(be32(fixed, 32)?)),
        disk_bytes: be64(extra, 8).unwrap_or(size),
        id: take(list, at, id_bytes)?.to_vec(),
        name: take(list, at, name_bytes)?.to_vec(),
    };
    *at = at.checked_next_multiple_of(8)?;
    Some(snapshot)
}

fn bitmaps(host: &HostFile, header: &Header) -> Result<Vec<Bitmap>, Error> {
    let Some((count, length, offset)) = header.bitmaps else {
        return Ok(Vec::new());
    };
    if count > BITMAPS_MAX || length > LIST_BYTES_MAX {
        return Err(damaged("the bitmap directory is too large", offset));
    }
    if !host.holds(offset, length) {
        return Err(damaged("the bitmap directory is not inside the file", offset));
    }
    let list = read_list(host, "read bitmap directory", offset, length)?;
    let mut at = 0;
    let entries = (0..count).map(|_| bitmap(&list, &mut at, header.bitmaps_are_current));
    let entries: Option<Vec<_>> = entries.collect();
    entries.ok_or_else(|| damaged("the bitmap directory is malformed", offset))
}

fn bitmap(list: &[u8], at: &mut usize, current: bool) -> Option<Bitmap> {
    const IN_USE: u32 = 1;
    const AUTO: u32 = 2;
    /// Type of a dirty tracking bitmap, the only one there is.
    const DIRTY: u8 = 1;
    let fixed = take(list, at, 24)?;
    let flags = be32(fixed, 12)?;
    let &[kind, granularity_bits] = fixed.get(16..18)? else {
        return None;
    };
    if kind != DIRTY || !(9..=31).contains(&granularity_bits) {
        return None;
    }
    let name_bytes = usize::from(u16::from_be_bytes(array(fixed, 18)?));
    let extra_bytes = be32(fixed, 20)?;
    take(list, at, narrow(u64::from(extra_bytes)))?;
    let bitmap = Bitmap {
        name: take(list, at, name_bytes)?.to_vec(),
        granularity_bytes: 1_u64.checked_shl(u32::from(granularity_bits))?,
        state: match (flags & IN_USE != 0, current) {
            (_, false) => BitmapState::Outdated,
            (true, true) => BitmapState::InUse,
            (false, true) => BitmapState::Consistent,
        },
        enabled: flags & AUTO != 0,
        table_offset: be64(fixed, 0)?,
        table_entries: u64::from(be32(fixed, 8)?),
    };
    *at = at.checked_next_multiple_of(8)?;
    (wide(list.len()) >= wide(*at)).then_some(bitmap)
}
