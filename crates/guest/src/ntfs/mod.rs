//! NTFS (the layout as `ntfs-3g`'s `layout.h` and the Linux-NTFS documentation describe it).
//!
//! The MFT is read once from end to end. A record has the names of its file and the
//! streams of its data, each of which becomes a node: no directory is read. What a record
//! has no room for is in further records, which name the one that they continue; those
//! are put together at the end, so no list of attributes is followed.
//!
//! The data of a small stream lies in the record itself, and is a view. What belongs to
//! the file system (the files below record 16, those in `$Extend`, directories, attributes
//! that are not data) is metadata; so is all of the MFT, with what deleted records hold.
//!
//! `$LogFile` is not replayed. A volume that was not unmounted is read as it is on the disk;
//! that no replay was done is told, and a log with changes is unscannable. So are files that
//! filters of Windows pack (WOF, deduplication), and the memory of a Windows that sleeps.

mod boot;
mod late;
mod logfile;
mod opaque;
mod record;
mod runs;
mod scan;
mod units;

use crate::bits::{is_set, next_change};
use crate::field::{narrow, wide};
use crate::fs::{Allocation, Failure, FileSystem, Reader, Stretch};
use crate::window::Window;
use crate::{Error, Replay};
use airlock_model::Extent;
use boot::Boot;
use logfile::State;
use runs::Stream;

/// What the modules of a survey read from.
#[derive(Debug)]
pub(crate) struct Fs<'d> {
    pub(crate) window: Window<'d>,
    pub(crate) boot: Boot,
}

const _: Reader = read;

/// Reads an NTFS file system.
pub(crate) fn read<'d>(window: &Window<'d>, runs_max: usize) -> Result<FileSystem<'d>, Failure> {
    let failed = |error| Failure::raw("ntfs", error);
    let found = Boot::read(window).map_err(failed)?;
    let Some((boot, copied)) = found else {
        return Err(Failure::raw("ntfs", "the boot sector is damaged"));
    };
    let fs = Fs { window: window.clone(), boot };
    let Some((mft, mirrored)) = scan::find_mft(&fs).map_err(failed)? else {
        return Err(Failure::raw("ntfs", "the MFT cannot be found"));
    };
    let mut scan = scan::scan(&fs, mft, runs_max).map_err(failed)?;
    let at_boot = Extent::new(0, boot.sector_bytes);
    scan.tally.count("boot sector read from its copy", u64::from(copied), at_boot);
    scan.tally.count("first record of the MFT read from its copy", u64::from(mirrored), at_boot);
    let missing = boot.clusters_claimed.saturating_sub(boot.clusters);
    scan.tally.count("clusters behind the end of the volume", missing, at_boot);
    if !copied && missing == 0 && boot.copy_at() < window.bytes() {
        let (first, copy) = both_sectors(&fs).map_err(failed)?;
        let what = "boot sector and its copy say different things";
        scan.tally.count(what, u64::from(first != copy), at_boot);
    }
    let replays = logged(&fs, &mut scan);
    Ok(FileSystem { replays, ..finish(fs, scan) })
}

/// Returns whether there is a copy of a boot sector, where the first one is none.
pub(crate) fn has_copy(window: &Window<'_>) -> bool {
    Boot::copy(window).is_ok_and(|copy| copy.is_some())
}

/// Returns what the boot sector and its copy say.
fn both_sectors(fs: &Fs<'_>) -> Result<(Option<Boot>, Option<Boot>), Error> {
    let copy = fs.window.bytes_at("the NTFS boot sector", fs.boot.copy_at(), 512)?;
    Ok((Some(fs.boot), Boot::parse(&copy, fs.window.bytes())))
}

/// Tells whether the volume was in use, and what of it is not in its files.
fn logged(fs: &Fs<'_>, scan: &mut scan::Scan) -> Vec<Replay> {
    let (state, at) = scan.log.unwrap_or((State::Damaged, 0));
    let extent = Extent::new(at, fs.boot.cluster_bytes);
    let scan::Signs { dirty, sleeps, .. } = scan.signs;
    let tally = &mut scan.tally;
    let what = "the volume is marked dirty: it was in use, or waits for a check";
    tally.count(what, u64::from(dirty), extent);
    let what = "$LogFile was in use and is not replayed: the last changes may be missing";
    tally.count(what, u64::from(state == State::InUse), extent);
    tally.count("$LogFile cannot be read", u64::from(state == State::Damaged), extent);
    let what = "Windows sleeps: the last changes are in its memory";
    tally.count(what, u64::from(sleeps), extent);
    let log = (dirty || state != State::Clean).then(|| Replay::not_done("ntfs"));
    log.into_iter().chain(sleeps.then(|| Replay::not_done("hiberfil"))).collect()
}

/// Puts together what a scan found.
fn finish(fs: Fs<'_>, scan: scan::Scan) -> FileSystem<'_> {
    let scan::Scan {
        nodes, names, claims, views, packs, valid, reasons, tally, limited, root, bitmap, ..
    } = scan;
    let behind = claims.len();
    let bitmap = bitmap.unwrap_or_default();
    FileSystem {
        content: "ntfs",
        block_bytes: fs.boot.cluster_bytes,
        unit_bytes: fs.boot.cluster_bytes,
        units: fs.boot.clusters,
        root,
        shares: false,
        nodes,
        names,
        claims,
        rests: behind..behind,
        views,
        packs,
        valid,
        tally,
        limited,
        reasons,
        replays: Vec::new(),
        window: fs.window.clone(),
        allocation: Box::new(Bitmap { fs, stream: bitmap, bytes: Vec::new(), start: 0 }),
    }
}

/// Bytes of `$Bitmap` that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// Reads `$Bitmap` in ascending order.
#[derive(Debug)]
struct Bitmap<'d> {
    fs: Fs<'d>,
    stream: Stream,
    /// Some of its bytes, and where they start.
    bytes: Vec<u8>,
    start: u64,
}

impl Bitmap<'_> {
    /// Returns how many bytes from `at` on are known to be zero.
    fn zeros(&self, at: u64) -> Result<u64, Error> {
        let (place, follow) = self.stream.locate(&self.fs.boot, at);
        let Some(place) = place else { return Ok(0) };
        let end = place.saturating_add(follow.min(self.stream.size.saturating_sub(at)));
        let data = self.fs.window.skip_zeros("$Bitmap", place, end)?;
        Ok(data.saturating_sub(place))
    }
}

impl Allocation for Bitmap<'_> {
    fn stretch(&mut self, unit: u64, end: u64) -> Result<Stretch, Error> {
        let (at, size) = (unit >> 3, self.stream.size.min(self.stream.mapped(&self.fs.boot)));
        if at >= size {
            return Ok(Stretch { end, free: false });
        }
        let loaded = self.start.saturating_add(wide(self.bytes.len()));
        if at < self.start || at >= loaded {
            let zeros = self.zeros(at)?;
            if zeros > 1 {
                let behind = at.saturating_add(zeros).saturating_mul(8);
                return Ok(Stretch { end: behind.min(end), free: true });
            }
            self.bytes.resize(narrow(size.saturating_sub(at).min(READ_BYTES)), 0);
            self.start = at;
            let Fs { window, boot } = &self.fs;
            self.stream.read(window, boot, "$Bitmap", at, &mut self.bytes)?;
        }
        let base = self.start.saturating_mul(8);
        let first = unit.saturating_sub(base);
        let last = end.saturating_sub(base).min(wide(self.bytes.len()).saturating_mul(8));
        let free = !is_set(&self.bytes, first);
        let change = next_change(&self.bytes, first, last, !free);
        Ok(Stretch { end: base.saturating_add(change).min(end), free })
    }
}
