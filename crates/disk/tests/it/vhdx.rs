use crate::fixture::{allowing, check_reads, data_bytes, disk_bytes, run, text, write_sparse};
use crate::mutate::check_mutants;
use airlock_disk::{Error, Format, OpenOptions, Probe, SpanKind, open, probe};
use std::path::Path;

const MIB: usize = 1 << 20;
/// The log of an image by [`vhdx`], its metadata and its BAT.
const LOG: usize = MIB;
const METADATA: usize = 2 * MIB;
const BAT: usize = 3 * MIB;

fn convert(raw: &Path, image: &Path, options: &str) {
    run("qemu-img", &["convert", "-f", "raw", "-O", "vhdx", "-o", options, text(raw), text(image)]);
}

#[test]
fn fixed_and_dynamic_disks_are_read() {
    for size in [(24 << 20) + 1536, 65_536, 512, 0] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let raw = directory.path().join("disk.raw");
        let image = directory.path().join("disk.vhdx");
        let disk = disk_bytes(size);
        write_sparse(&raw, &disk);
        // QEMU fails to write some disks of no sectors.
        for options in ["subformat=fixed", "subformat=dynamic", "block_size=1M", "block_size=256M"] {
            if size == 0 && ["subformat=fixed", "block_size=256M"].contains(&options) {
                continue;
            }
            convert(&raw, &image, options);
            assert_eq!(probe(&image).expect("probe"), Probe::Image(Format::Vhdx));
            let opened = open(&image, &OpenOptions::default()).expect("open");
            assert_eq!(opened.source.format(), Format::Vhdx);
            check_reads(&*opened.source, &disk);
        }
    }
}

#[test]
fn a_huge_sparse_disk_costs_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for (options, size) in [("subformat=dynamic", "64T"), ("block_size=1M", "4T"), ("subformat=fixed", "4T")]
    {
        let image = directory.path().join("disk.vhdx");
        run("qemu-img", &["create", "-q", "-f", "vhdx", "-o", options, text(&image), size]);
        let opened = open(&image, &OpenOptions::default()).expect("open");
        assert!(opened.source.size() >= 4 << 40);
        assert!(data_bytes(&*opened.source) <= 64 << 10, "{options}");
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// Sets the checksum of a structure, which is at its byte 4.
fn seal(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let sum = crc32c(bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn guid(text: &str) -> [u8; 16] {
    let mut bytes = u128::from_str_radix(&text.replace('-', ""), 16).expect("GUID").to_be_bytes();
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

fn header(sequence: u64, id: u8, log_id: u8) -> Vec<u8> {
    let mut header = vec![0; 4096];
    put(&mut header, 0, b"head");
    put(&mut header, 8, &sequence.to_le_bytes());
    put(&mut header, 16, &[id; 16]);
    put(&mut header, 32, &[id; 16]);
    put(&mut header, 48, &[log_id; 16]);
    put(&mut header, 66, &1_u16.to_le_bytes());
    put(&mut header, 68, &(MIB as u32).to_le_bytes());
    put(&mut header, 72, &(LOG as u64).to_le_bytes());
    seal(&mut header);
    header
}

/// Returns the parent locator of an image whose parent has the id `id`.
fn locator(id: u8, path: &str) -> Vec<u8> {
    let linkage = format!("{{{0}{0}{0}{0}-{0}{0}-{0}{0}-{0}{0}-{0}{0}{0}{0}{0}{0}}}", format!("{id:02x}"));
    let mut bytes = guid("b04aefb7-d19e-4a81-b789-25b8e9445913").to_vec();
    bytes.extend([0, 0, 2, 0]);
    let mut texts = Vec::new();
    for (key, value) in [("parent_linkage", linkage.as_str()), ("relative_path", path)] {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let (key, value) = (utf16(key), utf16(value));
        let at = 20 + 24 + texts.len();
        bytes.extend((at as u32).to_le_bytes());
        bytes.extend(((at + key.len()) as u32).to_le_bytes());
        bytes.extend((key.len() as u16).to_le_bytes());
        bytes.extend((value.len() as u16).to_le_bytes());
        texts.extend(key);
        texts.extend(value);
    }
    bytes.extend(texts);
    bytes
}

/// Returns an image of blocks of 1 MiB that has the sectors for which `has` is true.
///
/// Without a parent, blocks are present as a whole.
fn vhdx(disk: &[u8], id: u8, parent: Option<(u8, &str)>, has: &dyn Fn(usize) -> bool) -> Vec<u8> {
    const RATIO: usize = 4096;
    let mut file = vec![0; 4 * MIB];
    put(&mut file, 0, b"vhdxfile");
    put(&mut file, 64 << 10, &header(1, id, 0));
    put(&mut file, 128 << 10, &header(2, id, 0));
    let mut regions = vec![0; 64 << 10];
    put(&mut regions, 0, b"regi");
    put(&mut regions, 8, &2_u32.to_le_bytes());
    let known =
        [("2dc27766-f623-4200-9d64-115e9bfd4a08", BAT), ("8b7ca206-4790-4b9a-b8fe-575f050f886e", METADATA)];
    for (index, (id, at)) in known.into_iter().enumerate() {
        put(&mut regions, 16 + index * 32, &guid(id));
        put(&mut regions, 32 + index * 32, &(at as u64).to_le_bytes());
        put(&mut regions, 40 + index * 32, &(MIB as u32).to_le_bytes());
        put(&mut regions, 44 + index * 32, &1_u32.to_le_bytes());
    }
    seal(&mut regions);
    put(&mut file, 192 << 10, &regions);
    put(&mut file, 256 << 10, &regions);
    let flags = if parent.is_some() { 2_u32 } else { 0 };
    let mut items = vec![
        (
            "caa16737-fa36-4d43-b3b6-33f0aa44e76b",
            [(MIB as u32).to_le_bytes(), flags.to_le_bytes()].concat(),
            4_u32,
        ),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", (disk.len() as u64).to_le_bytes().to_vec(), 6),
        ("beca12ab-b2e6-4523-93ef-c309e000c746", vec![id; 16], 6),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", 512_u32.to_le_bytes().to_vec(), 6),
        ("cda348c7-445d-4471-9cc9-e9885251c556", 4096_u32.to_le_bytes().to_vec(), 6),
    ];
    if let Some((id, path)) = parent {
        items.push(("a8d35f2d-b30b-454d-abf7-d3d84834ab0c", locator(id, path), 4));
    }
    put(&mut file, METADATA, b"metadata");
    put(&mut file, METADATA + 10, &(items.len() as u16).to_le_bytes());
    let mut at = 64 << 10;
    for (index, (id, item, flags)) in items.into_iter().enumerate() {
        let entry = METADATA + 32 + index * 32;
        put(&mut file, entry, &guid(id));
        put(&mut file, entry + 16, &(at as u32).to_le_bytes());
        put(&mut file, entry + 20, &(item.len() as u32).to_le_bytes());
        put(&mut file, entry + 24, &flags.to_le_bytes());
        put(&mut file, METADATA + at, &item);
        at += item.len();
    }
    let mut bitmap = vec![0_u8; MIB];
    for block in 0..disk.len().div_ceil(MIB) {
        let sectors = block * 2048..disk.len().min((block + 1) * MIB) / 512;
        let count = sectors.clone().filter(|&sector| has(sector)).count();
        if count == 0 {
            continue;
        }
        let partial = parent.is_some() && count < 2048;
        for sector in sectors.filter(|_| partial) {
            bitmap[sector / 8] |= u8::from(has(sector)) << (sector % 8);
        }
        let entry = file.len() as u64 | if partial { 7 } else { 6 };
        put(&mut file, BAT + block * 8, &entry.to_le_bytes());
        file.extend(&disk[block * MIB..disk.len().min((block + 1) * MIB)]);
        file.resize(file.len().next_multiple_of(MIB), 0);
    }
    if parent.is_some() {
        let entry = file.len() as u64 | 6;
        put(&mut file, BAT + RATIO * 8, &entry.to_le_bytes());
        file.extend(bitmap);
    }
    file
}

fn some(sector: usize) -> bool {
    sector / 5 % 3 == 1 && sector / 2048 % 4 != 2 || sector / 2048 % 4 == 3
}

#[test]
fn differencing_disks_show_the_parent_they_were_made_from() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    let base = disk_bytes(9 * MIB + 512);
    std::fs::write(path("Parent.vhdx"), vhdx(&base, 1, None, &|_| true)).expect("write");
    // QEMU reads what the tests write, if there is no parent.
    run("qemu-img", &["convert", "-O", "raw", text(&path("Parent.vhdx")), text(&path("by-qemu"))]);
    assert!(std::fs::read(path("by-qemu")).expect("read") == base);
    let size = 10 * MIB;
    let middle = vhdx(&vec![0xd1; size], 2, Some((1, r"C:\VMs\Parent.vhdx")), &some);
    std::fs::write(path("mid.vhdx"), middle).expect("write");
    let newest = vhdx(&vec![0xe2; size], 3, Some((2, r".\mid.vhdx")), &|sector| sector % 97 < 9);
    std::fs::write(path("top.vhdx"), &newest).expect("write");
    let mut disk = base;
    disk.resize(size, 0);
    for (sector, bytes) in disk.chunks_mut(512).enumerate() {
        if sector % 97 < 9 {
            bytes.fill(0xe2);
        } else if some(sector) {
            bytes.fill(0xd1);
        }
    }
    let allowed = allowing(directory.path());
    let opened = open(&path("top.vhdx"), &allowed).expect("open");
    assert_eq!(opened.files.len(), 3);
    check_reads(&*opened.source, &disk);
    let closed = open(&path("top.vhdx"), &OpenOptions::default());
    assert!(matches!(closed, Err(Error::Reference { what: "parent", .. })), "{closed:?}");
    // A block that the guest gave back shows nothing of the parent.
    for state in [1_u64, 2, 3] {
        let mut file = newest.clone();
        put(&mut file, BAT + 8, &state.to_le_bytes());
        std::fs::write(path("top.vhdx"), file).expect("write");
        let opened = open(&path("top.vhdx"), &allowed).expect("open");
        assert_eq!(opened.source.span_at(MIB as u64).expect("span").kind, SpanKind::Zero);
    }
    std::fs::write(path("top.vhdx"), &newest[..newest.len() - 4 * MIB]).expect("write");
    std::fs::write(path("top.vhdx"), newest).expect("write");
    std::fs::write(path("Parent.vhdx"), vhdx(&disk, 9, None, &|_| true)).expect("write");
    let error = open(&path("top.vhdx"), &allowed).expect_err("another parent");
    assert!(matches!(error, Error::WrongParent { .. }), "{error}");
}

/// What a log entry says of the file: a sector of data, or so many zeros.
enum Change<'b> {
    Data(u64, &'b [u8]),
    Zero(u64, u64),
}

fn log_entry(sequence: u64, tail: u32, file_bytes: u64, changes: &[Change<'_>]) -> Vec<u8> {
    let mut entry = vec![0; 4096];
    put(&mut entry, 0, b"loge");
    put(&mut entry, 12, &tail.to_le_bytes());
    put(&mut entry, 16, &sequence.to_le_bytes());
    put(&mut entry, 24, &(changes.len() as u32).to_le_bytes());
    put(&mut entry, 32, &[0x77; 16]);
    put(&mut entry, 48, &file_bytes.to_le_bytes());
    put(&mut entry, 56, &file_bytes.to_le_bytes());
    for (index, change) in changes.iter().enumerate() {
        let mut descriptor = vec![0; 32];
        match change {
            Change::Data(offset, bytes) => {
                put(&mut descriptor, 0, b"desc");
                put(&mut descriptor, 4, &bytes[4092..]);
                put(&mut descriptor, 8, &bytes[..8]);
                put(&mut descriptor, 16, &offset.to_le_bytes());
                let mut sector = bytes.to_vec();
                put(&mut sector, 0, b"data");
                put(&mut sector, 4, &((sequence >> 32) as u32).to_le_bytes());
                put(&mut sector, 4092, &(sequence as u32).to_le_bytes());
                entry.extend(sector);
            }
            Change::Zero(offset, length) => {
                put(&mut descriptor, 0, b"zero");
                put(&mut descriptor, 8, &length.to_le_bytes());
                put(&mut descriptor, 16, &offset.to_le_bytes());
            }
        }
        put(&mut descriptor, 24, &sequence.to_le_bytes());
        put(&mut entry, 64 + index * 32, &descriptor);
    }
    let length = entry.len() as u32;
    put(&mut entry, 8, &length.to_le_bytes());
    seal(&mut entry);
    entry
}

/// Writes an entry into the ring of the log.
fn log(file: &mut [u8], at: usize, entry: &[u8]) {
    for (index, sector) in entry.chunks(4096).enumerate() {
        put(file, LOG + (at + index * 4096) % MIB, sector);
    }
}

/// Returns an image whose BAT is only in the log, from `tail` on, and what the disk is.
fn dirty(tail: usize) -> (Vec<u8>, Vec<u8>) {
    let mut disk = disk_bytes(6 * MIB);
    disk[MIB..2 * MIB].fill(7);
    let mut file = vhdx(&disk, 1, None, &|_| true);
    let length = file.len() as u64;
    let bat = file[BAT..BAT + 4096].to_vec();
    file[BAT..BAT + 4096].fill(0);
    // The second block of the disk is the sixth of the file.
    let zeros = Change::Zero(5 * MIB as u64 + 8192, 3 * 4096);
    disk[MIB + 8192..MIB + 8192 + 3 * 4096].fill(0);
    let nonsense = [0x5a; 4096];
    let outdated = log_entry(4, 8192, length, &[Change::Data(METADATA as u64, &nonsense)]);
    log(&mut file, 8192 * 4, &outdated);
    // What the oldest entry says is changed by the newest.
    let first = log_entry(7, tail as u32, length, &[Change::Data(BAT as u64, &nonsense), zeros]);
    log(&mut file, tail, &first);
    let second = log_entry(8, tail as u32, length, &[Change::Data(BAT as u64, &bat)]);
    log(&mut file, tail + first.len(), &second);
    put(&mut file, 64 << 10, &header(3, 1, 0x77));
    (file, disk)
}

#[test]
fn a_dirty_log_is_replayed_in_memory() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.vhdx");
    // The oldest entry lies across the end of the ring; QEMU passes over such a one.
    let (file, disk) = dirty(MIB - 4096);
    std::fs::write(&image, &file).expect("write");
    check_reads(&*open(&image, &OpenOptions::default()).expect("open").source, &disk);
    let (file, disk) = dirty(64 << 10);
    std::fs::write(&image, &file).expect("write");
    check_reads(&*open(&image, &OpenOptions::default()).expect("open").source, &disk);
    assert!(std::fs::read(&image).expect("read") == file, "the file was written to");
    // QEMU replays into the file.
    let replayed = directory.path().join("replayed.vhdx");
    std::fs::write(&replayed, &file).expect("write");
    run("qemu-img", &["check", "-q", "-r", "all", text(&replayed)]);
    let raw = directory.path().join("raw");
    run("qemu-img", &["convert", "-O", "raw", text(&replayed), text(&raw)]);
    assert!(std::fs::read(&raw).expect("read") == disk);

    let check = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut file = file.clone();
        change(&mut file);
        std::fs::write(&image, file).expect("write");
        let error = open(&image, &OpenOptions::default()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error} and not {expected}");
    };
    check(&|file| file[LOG + (64 << 10) + 100] ^= 1, "the log has to be replayed and is damaged");
    check(&|file| file.truncate(9 * MIB), "shorter than its log says");
    let unknown = |file: &mut Vec<u8>| {
        let mut header = header(3, 1, 0x77);
        put(&mut header, 64, &1_u16.to_le_bytes());
        seal(&mut header);
        put(file, 64 << 10, &header);
    };
    check(&unknown, "a log of version 1");
}

#[test]
fn damaged_disks_are_refused_or_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let raw = directory.path().join("disk.raw");
    let image = directory.path().join("disk.vhdx");
    write_sparse(&raw, &disk_bytes(1 << 20));
    convert(&raw, &image, "block_size=1M");
    let metadata = 2 * MIB..2 * MIB + 300;
    let items = 2 * MIB + 65_536..2 * MIB + 65_636;
    check_mutants(&image, &image, &[65_536..65_700, metadata, items, 3 * MIB..3 * MIB + 64], 0..0);
    std::fs::write(directory.path().join("parent.vhdx"), vhdx(&disk_bytes(MIB), 1, None, &|_| true))
        .expect("write");
    let child = vhdx(&vec![9; 2 * MIB], 2, Some((1, "parent.vhdx")), &some);
    std::fs::write(&image, child).expect("write");
    assert!(open(&image, &allowing(directory.path())).is_ok());
    let items = METADATA + 65_536..METADATA + 65_900;
    check_mutants(
        &image,
        &image,
        &[METADATA..METADATA + 250, items, BAT..BAT + 32, BAT + 32_760..BAT + 32_780],
        0..0,
    );
}

/// Damage behind sound checksums: what a hostile writer would do.
#[test]
fn sealed_damage_is_refused_or_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.vhdx");
    let (file, _) = dirty(MIB - 4096);
    let mut random = crate::fixture::Random(0x5ea1);
    for _ in 0..60 {
        let mut file = file.clone();
        for (start, length) in
            [(64 << 10, 4096), (192 << 10, 64 << 10), (LOG + MIB - 4096, 4096), (LOG + 8192, 8192)]
        {
            let at = start + 8 + 4 * random.below(24) as usize;
            let value = [0, 1, 0x1000, 0x10_0000, 0x7fff_f000, u32::MAX][random.below(6) as usize];
            put(&mut file, at, &value.to_le_bytes());
            if start != LOG + MIB - 4096 {
                seal(&mut file[start..start + length]);
            }
        }
        std::fs::write(&image, file).expect("write");
        crate::mutate::read_everything(&image);
    }
}
