//! Prints the SHA-256 and the length of every file on a disk image, to compare with what other
//! tools read; writes the bytes that no file has, and the remains of files, to a second file.
//!
//! `cargo run --release -p airlock-guest --example contents -- IMAGE [REST]`
//!
//! A line is `VOLUME-START SHA256 LENGTH PATH`: the start of the volume in bytes, the path in hex.

use airlock_disk::{BlockSource, OpenOptions, open};
use airlock_guest::{survey, unpack};
use airlock_model::{Place, PlaceKind};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Longest file that is read; of longer ones `long` stands where the sum would.
const FILE_BYTES_MAX: u64 = 1 << 30;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which image?")?;
    let mut rest = arguments.next().map(File::create).transpose()?.map(BufWriter::new);
    let disk = open(path.as_ref(), &OpenOptions::default())?.source;
    let survey = survey(&*disk)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for place in survey.map.iter() {
        if place.kind == PlaceKind::File {
            let name = hex(place.path);
            writeln!(out, "{} {} {} {name}", place.volume.extent.offset, sum(&*disk, &place)?, place.size)?;
        } else if let Some(rest) = &mut rest {
            for run in place.runs {
                copy(&*disk, run.disk, run.length, |part| rest.write_all(part))?;
            }
        }
    }
    Ok(out.flush()?)
}

/// Returns the sum of a file as its reader sees it.
fn sum(disk: &dyn BlockSource, place: &Place<'_>) -> Result<String, Failure> {
    if place.size > FILE_BYTES_MAX {
        return Ok("long".into());
    }
    if place.unscannable.is_some() {
        return Ok("unscannable".into());
    }
    let mut sum = Sha256::new();
    if place.packed.is_empty() {
        let mut at = 0;
        for run in place.runs {
            zeros(&mut sum, run.logical - at)?;
            copy(disk, run.disk, run.length, |part| {
                sum.update(part);
                Ok(())
            })?;
            at = run.logical + run.length;
        }
        zeros(&mut sum, place.size - at)?;
    } else {
        unpacked(disk, place, &mut sum)?;
    }
    Ok(hex(&sum.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unpacked(disk: &dyn BlockSource, place: &Place<'_>, sum: &mut Sha256) -> Result<(), Failure> {
    let mut stored = Vec::new();
    for run in place.runs {
        copy(disk, run.disk, run.length, |part| stored.write_all(part))?;
    }
    let (mut at, mut bytes) = (0, Vec::new());
    for piece in place.packed.iter().filter(|piece| !piece.spare) {
        zeros(sum, piece.logical - at)?;
        let start = usize::try_from(piece.stored)?;
        let part = stored.get(start..start + usize::try_from(piece.stored_bytes)?).ok_or("a short stream")?;
        unpack(piece.codec, part, piece.unpacked, &mut bytes)?;
        let skip = usize::try_from(piece.skip)?;
        sum.update(bytes.get(skip..skip + usize::try_from(piece.length)?).ok_or("a short piece")?);
        at = piece.logical + piece.length;
    }
    zeros(sum, place.size - at)
}

/// Gives the bytes of a run to `take`, a part at a time.
fn copy(
    disk: &dyn BlockSource,
    start: u64,
    length: u64,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    while done < length {
        let part = &mut buffer[..usize::try_from((length - done).min(1 << 16))?];
        disk.read_at(start + done, part)?;
        take(part)?;
        done += u64::try_from(part.len())?;
    }
    Ok(())
}

fn zeros(sum: &mut Sha256, mut length: u64) -> Result<(), Failure> {
    let block = [0; 4096];
    while length > 0 {
        let part = &block[..usize::try_from(length.min(4096))?];
        sum.update(part);
        length -= u64::try_from(part.len())?;
    }
    Ok(())
}
