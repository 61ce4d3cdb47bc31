//! What the fuzz targets do with their bytes.
//!
//! A disk image of a real file system is large and mostly zeros, so an input is not an
//! image but a list of its sectors that are not zero:
//!
//! ```text
//! u16  size of the disk in MiB, 1 to 1024
//! then records: u24 first sector, u8 number of sectors less one, 512 bytes for each
//! ```
//!
//! All numbers are little-endian; what is cut off or behind the end is left out.
//! `make-seeds.sh` makes such inputs from images that the real tools make.
#![forbid(unsafe_code)]

use airlock_decode::{Layer, Limits, Sink};
use airlock_disk::{BlockSource, Error, Format, OpenOptions, Span, SpanKind};
use airlock_guest::survey;
use airlock_model::{Codec, invariant};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

const SECTOR: usize = 512;

/// A disk of which only some sectors are not zero.
#[derive(Debug)]
pub struct Sparse {
    size: u64,
    sectors: BTreeMap<u64, [u8; SECTOR]>,
}

impl Sparse {
    /// Unpacks an input; nothing if it is too short to be one.
    pub fn unpack(input: &[u8]) -> Option<Self> {
        let (size, mut rest) = input.split_first_chunk::<2>()?;
        let size = u64::from(u16::from_le_bytes(*size).clamp(1, 1024)) << 20;
        let mut sectors = BTreeMap::new();
        while let Some((&[a, b, c, count], behind)) = rest.split_first_chunk::<4>() {
            let first = u64::from(u32::from_le_bytes([a, b, c, 0]));
            let (bytes, behind) = behind.split_at(behind.len().min((usize::from(count) + 1) * SECTOR));
            for (number, bytes) in (first..).zip(bytes.chunks(SECTOR)) {
                let mut sector = [0; SECTOR];
                sector[..bytes.len()].copy_from_slice(bytes);
                if number < size / SECTOR as u64 {
                    sectors.insert(number, sector);
                }
            }
            rest = behind;
        }
        Some(Self { size, sectors })
    }

    /// Packs the sectors of an image that are not zero, and not the filling of an empty log either.
    pub fn pack(image: &[u8]) -> Vec<u8> {
        let mib = image.len().div_ceil(1 << 20).clamp(1, 1024);
        let mut out = u16::try_from(mib).unwrap_or(1024).to_le_bytes().to_vec();
        let mut run: Option<(usize, Vec<u8>)> = None;
        let mut flush = |run: &mut Option<(usize, Vec<u8>)>| {
            if let Some((first, bytes)) = run.take() {
                out.extend_from_slice(&u32::try_from(first).unwrap_or(0).to_le_bytes()[..3]);
                out.push(u8::try_from(bytes.len() / SECTOR - 1).unwrap_or(0));
                out.extend(bytes);
            }
        };
        for (number, sector) in image.chunks_exact(SECTOR).enumerate() {
            let full = run.as_ref().is_some_and(|(_, bytes)| bytes.len() >= 256 * SECTOR);
            let blank = [0, 0xff].iter().any(|fill| sector.iter().all(|byte| byte == fill));
            if full || blank {
                flush(&mut run);
            }
            if !blank {
                run.get_or_insert_with(|| (number, Vec::new())).1.extend_from_slice(sector);
            }
        }
        flush(&mut run);
        out
    }
}

impl BlockSource for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let end = offset + buffer.len() as u64;
        assert!(end <= self.size, "a survey reads inside the disk");
        buffer.fill(0);
        let first = offset / SECTOR as u64;
        for (number, sector) in self.sectors.range(first..end.div_ceil(SECTOR as u64)) {
            let start = number * SECTOR as u64;
            let from = start.max(offset);
            let until = (start + SECTOR as u64).min(end);
            let part = usize::try_from(from - start).unwrap()..usize::try_from(until - start).unwrap();
            let at = usize::try_from(from - offset).unwrap();
            buffer[at..at + part.len()].copy_from_slice(&sector[part]);
        }
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        assert!(offset < self.size, "a survey asks inside the disk");
        let number = offset / SECTOR as u64;
        if self.sectors.contains_key(&number) {
            return Ok(Span { kind: SpanKind::Data, length: (number + 1) * SECTOR as u64 - offset });
        }
        let next = self.sectors.range(number..).next().map_or(self.size, |(next, _)| next * SECTOR as u64);
        Ok(Span { kind: SpanKind::Zero, length: next - offset })
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}

/// Surveys a disk whose sectors carry these bytes at these offsets, whatever the input says.
pub fn survey_with(input: &[u8], magic: &[(usize, &[u8])]) {
    let Some(mut disk) = Sparse::unpack(input) else { return };
    for (at, bytes) in magic {
        let sector = disk.sectors.entry((at / SECTOR) as u64).or_insert([0; SECTOR]);
        sector[at % SECTOR..at % SECTOR + bytes.len()].copy_from_slice(bytes);
    }
    let survey = survey(&disk).expect("a source that does not fail");
    invariant::places_tile(&survey.map).expect("I2");
    // What files unpack to, too.
    let mut unpacked = Vec::new();
    for place in survey.map.iter().filter(|place| !place.packed.is_empty()).take(64) {
        let mut stored = Vec::new();
        for run in place.runs.iter().take(64) {
            let mut part = vec![0; usize::try_from(run.length.min(1 << 20)).unwrap()];
            disk.read_at(run.disk, &mut part).expect("inside");
            stored.extend(part);
        }
        for piece in place.packed.iter().take(64) {
            let from = usize::try_from(piece.stored).unwrap_or(usize::MAX).min(stored.len());
            let end = from.saturating_add(usize::try_from(piece.stored_bytes).unwrap_or(usize::MAX));
            let part = &stored[from..end.min(stored.len())];
            let _ = airlock_guest::unpack(piece.codec, part, piece.unpacked, &mut unpacked);
        }
    }
}

/// Opens an image of a format and reads from it.
pub fn image(input: &[u8], format: Format) {
    let file = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
    let mut file = std::fs::File::from(file);
    file.write_all(input).expect("memory");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let options = OpenOptions { format: Some(format), allow_backing: None };
    let Ok(opened) = airlock_disk::open(&path, &options) else { return };
    let size = opened.source.size();
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
    for _ in 0..64 {
        if at >= size {
            break;
        }
        let Ok(span) = opened.source.span_at(at) else { break };
        assert!(span.length > 0 && at + span.length <= size, "a span lies on the disk");
        let count = usize::try_from(span.length.min(buffer.len() as u64)).unwrap();
        let read = opened.source.read_at(at, &mut buffer[..count]);
        if read.is_ok() && span.kind == SpanKind::Zero {
            assert!(buffer[..count].iter().all(|byte| *byte == 0), "zeros are zeros");
        }
        at += span.length;
    }
}

/// Unpacks with every codec.
pub fn codecs(input: &[u8]) {
    let Some((&[choice, low, high], stored)) = input.split_first_chunk::<3>() else { return };
    let all = [
        Codec::Stored,
        Codec::Lznt1,
        Codec::Zlib,
        Codec::Zstd,
        Codec::BtrfsLzo,
        Codec::Lzo,
        Codec::Lz4,
        Codec::Xz,
        Codec::Lzma,
    ];
    let codec = all[usize::from(choice) % all.len()];
    let unpacked = u64::from(u16::from_le_bytes([low, high])) * 4;
    let mut into = Vec::new();
    if let Ok(used) = airlock_guest::unpack(codec, stored, unpacked, &mut into) {
        assert!(used <= stored.len() && into.len() as u64 == unpacked);
    }
}

/// Opens a descriptor of this name.
pub fn descriptor(input: &[u8], name: &str) {
    let folder = std::env::temp_dir().join(format!("airlock-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join(name);
    std::fs::write(&path, input).expect("a temporary file");
    let _ = airlock_bundle::open(&path, &airlock_bundle::Options::default());
    std::fs::remove_dir_all(&folder).expect("a temporary folder");
}

/// Opens content and what is in it, as a file and as what is left of one.
pub fn layers(input: &[u8]) {
    const BYTES: u64 = 4 << 20;
    let limits = Limits { bytes: BYTES, ..Limits::for_file(0) };
    for carved in [false, true] {
        let mut count = Count::default();
        let mut source = input;
        if carved {
            airlock_decode::carve(input, (0, 512), &limits, &mut count);
        } else {
            airlock_decode::open(&mut source, &limits, &mut count);
        }
        assert!(count.bytes <= BYTES && count.depth == 0, "within limits, and every layer closed");
    }
}

/// Counts layers and bytes.
#[derive(Default)]
struct Count {
    depth: usize,
    bytes: u64,
}

impl Sink for Count {
    fn open(&mut self, layer: &Layer<'_>) {
        self.depth += 1;
        assert!(layer.depth == self.depth && self.depth <= Limits::for_file(0).depth);
    }

    fn feed(&mut self, depth: usize, bytes: &[u8]) {
        assert!((1..=self.depth).contains(&depth), "a layer that is open");
        self.bytes += bytes.len() as u64;
    }

    fn close(&mut self) {
        self.depth -= 1;
    }
}

/// Opens content that begins with these bytes, whatever the input says.
pub fn layers_with(input: &[u8], magic: &[u8]) {
    let mut bytes = input.to_vec();
    bytes.iter_mut().zip(magic).for_each(|(byte, magic)| *byte = *magic);
    layers(&bytes);
}
