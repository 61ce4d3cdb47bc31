use crate::fixture::{allowing, check_reads, data_bytes, disk_bytes, run, text, write_sparse};
use crate::mutate::check_mutants;
use airlock_disk::{Error, Format, OpenOptions, Probe, SpanKind, open, probe};
use std::path::Path;

fn convert(raw: &Path, image: &Path, options: &str) {
    run("qemu-img", &["convert", "-f", "raw", "-O", "vpc", "-o", options, text(raw), text(image)]);
}

#[test]
fn fixed_and_dynamic_disks_are_read() {
    for size in [(24 << 20) + 1536, 65_536, 512] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let raw = directory.path().join("disk.raw");
        let image = directory.path().join("disk.vhd");
        let mut disk = disk_bytes(size);
        write_sparse(&raw, &disk);
        for options in ["subformat=fixed", "subformat=dynamic", "subformat=fixed,force_size", "force_size"] {
            convert(&raw, &image, options);
            // A fixed disk begins like whatever the guest wrote, and is recognised nevertheless.
            assert_eq!(probe(&image).expect("probe"), Probe::Image(Format::Vhd));
            let opened = open(&image, &OpenOptions::default()).expect("open");
            assert!(opened.probed);
            assert_eq!(opened.source.format(), Format::Vhd);
            // QEMU rounds the size up to whole cylinders.
            assert!(opened.source.size() >= size as u64);
            disk.resize(opened.source.size() as usize, 0);
            check_reads(&*opened.source, &disk);
            disk.truncate(size);
        }
    }
}

#[test]
fn a_huge_sparse_disk_costs_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for (subformat, size) in [("dynamic", "2000G"), ("fixed", "2000G")] {
        let image = directory.path().join(subformat);
        let options = format!("subformat={subformat},force_size");
        run("qemu-img", &["create", "-q", "-f", "vpc", "-o", &options, text(&image), size]);
        let opened = open(&image, &OpenOptions::default()).expect("open");
        assert_eq!(opened.source.size(), 2000 << 30);
        assert!(data_bytes(&*opened.source) <= 64 << 10);
    }
}

/// Sets the checksum at `at` of a header.
fn seal(header: &mut [u8], at: usize) {
    header[at..at + 4].fill(0);
    let sum = header.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(u32::from(byte)));
    header[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

fn footer(size: u64, disk_type: u32, id: u8) -> Vec<u8> {
    let mut footer = b"conectix".to_vec();
    footer.extend(2_u32.to_be_bytes());
    footer.extend(0x0001_0000_u32.to_be_bytes());
    footer.extend(if disk_type == 2 { u64::MAX } else { 512 }.to_be_bytes());
    footer.extend(*b"\0\0\0\0test\0\x01\0\0Wi2k");
    footer.extend(size.to_be_bytes());
    footer.extend(size.to_be_bytes());
    footer.extend([0; 4]);
    footer.extend(disk_type.to_be_bytes());
    footer.extend([0; 4]);
    footer.extend([id; 16]);
    footer.resize(512, 0);
    seal(&mut footer, 64);
    footer
}

/// Returns a dynamic (3) or differencing (4) disk that has the sectors for which `has` is true.
fn dynamic(disk: &[u8], disk_type: u32, ids: (u8, u8), parent: &str, has: &dyn Fn(usize) -> bool) -> Vec<u8> {
    const BLOCK: usize = 512 << 10;
    let blocks = disk.len().div_ceil(BLOCK);
    let table_bytes = (blocks * 4).next_multiple_of(512);
    let mut header = b"cxsparse".to_vec();
    header.extend(u64::MAX.to_be_bytes());
    header.extend(2048_u64.to_be_bytes());
    header.extend(0x0001_0000_u32.to_be_bytes());
    header.extend((blocks as u32).to_be_bytes());
    header.extend((BLOCK as u32).to_be_bytes());
    header.extend([0; 4]);
    header.extend([ids.1; 16]);
    header.extend([0; 8]);
    let last = parent.rsplit('\\').next().unwrap_or_default();
    header.extend(last.encode_utf16().flat_map(u16::to_be_bytes));
    header.resize(576, 0);
    let locator: Vec<u8> = parent.encode_utf16().flat_map(u16::to_le_bytes).collect();
    header.extend(b"W2ru");
    header.extend(512_u32.to_be_bytes());
    header.extend((locator.len() as u32).to_be_bytes());
    header.extend([0; 4]);
    header.extend(1536_u64.to_be_bytes());
    header.resize(1024, 0);
    seal(&mut header, 36);
    let mut bytes = footer(disk.len() as u64, disk_type, ids.0);
    bytes.extend(header);
    bytes.extend(locator);
    bytes.resize(2048, 0);
    let mut table = Vec::new();
    let mut data = Vec::new();
    for block in 0..blocks {
        let sectors = block * BLOCK / 512..(disk.len().min((block + 1) * BLOCK)).div_ceil(512);
        if !sectors.clone().any(has) {
            table.extend([0xff; 4]);
            continue;
        }
        table.extend((((2048 + table_bytes + data.len()) / 512) as u32).to_be_bytes());
        let mut bitmap = vec![0_u8; 512];
        for (index, sector) in sectors.enumerate() {
            bitmap[index / 8] |= u8::from(has(sector)) << (7 - index % 8);
        }
        data.extend(bitmap);
        data.extend(&disk[block * BLOCK..disk.len().min((block + 1) * BLOCK)]);
        data.resize(data.len().next_multiple_of(512), 0);
    }
    table.resize(table_bytes, 0xff);
    bytes.extend(table);
    bytes.extend(data);
    bytes.extend(footer(disk.len() as u64, disk_type, ids.0));
    bytes
}

fn some(sector: usize) -> bool {
    sector / 5 % 3 == 1 && sector / 1024 % 4 != 2
}

#[test]
fn differencing_disks_show_the_parent_they_were_made_from() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("base")).expect("directory");
    let base = disk_bytes(5 << 20);
    let file = [base.clone(), footer(base.len() as u64, 2, 1)].concat();
    std::fs::write(path("base/Parent.vhd"), file).expect("write");
    let size = (6 << 20) + 512;
    let middle = dynamic(&vec![0xd1; size], 4, (2, 1), r"..\elsewhere\Parent.vhd", &some);
    std::fs::write(path("base/mid.vhd"), middle).expect("write");
    let newest = dynamic(&vec![0xe2; size], 4, (3, 2), r".\base\mid.vhd", &|sector| sector % 97 < 9);
    std::fs::write(path("top.vhd"), newest).expect("write");
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
    let opened = open(&path("top.vhd"), &allowed).expect("open");
    assert_eq!(opened.files.len(), 3);
    check_reads(&*opened.source, &disk);
    let closed = open(&path("top.vhd"), &OpenOptions::default());
    assert!(matches!(closed, Err(Error::Reference { .. })), "{closed:?}");
    check_mutants(&path("top.vhd"), &path("top.vhd"), &[0..100, 512..1600, 2048..3000], 0..0);
    let other = [vec![0; 5 << 20], footer(5 << 20, 2, 9)].concat();
    std::fs::write(path("base/Parent.vhd"), other).expect("write");
    let error = open(&path("top.vhd"), &allowed).expect_err("another parent");
    assert!(matches!(error, Error::WrongParent { .. }), "{error}");
    std::fs::remove_file(path("base/Parent.vhd")).expect("remove");
    let error = open(&path("top.vhd"), &allowed).expect_err("no parent");
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn sectors_that_were_never_written_are_zeros() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.vhd");
    let mut disk = vec![7; 3 << 20];
    std::fs::write(&image, dynamic(&disk, 3, (1, 0), "", &some)).expect("write");
    for (sector, bytes) in disk.chunks_mut(512).enumerate().filter(|(sector, _)| !some(*sector)) {
        bytes.fill(sector as u8 & u8::from(some(sector)));
    }
    let opened = open(&image, &OpenOptions::default()).expect("open");
    check_reads(&*opened.source, &disk);
    assert_eq!(opened.source.span_at(0).expect("span").kind, SpanKind::Zero);
}

#[test]
fn a_guest_cannot_change_what_its_fixed_disk_is() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.vhd");
    let inner = dynamic(&vec![7; 1 << 20], 3, (1, 0), "", &some);
    let mut disk = vec![0; 4 << 20];
    disk[..inner.len()].copy_from_slice(&inner);
    std::fs::write(&image, [disk.clone(), footer(4 << 20, 2, 1)].concat()).expect("write");
    check_reads(&*open(&image, &OpenOptions::default()).expect("open").source, &disk);
    disk[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    std::fs::write(&image, [disk.clone(), footer(4 << 20, 2, 1)].concat()).expect("write");
    assert_eq!(probe(&image).expect("probe"), Probe::Image(Format::Vhd));
    check_reads(&*open(&image, &OpenOptions::default()).expect("open").source, &disk);
    // QEMU cannot open a fixed disk of no bytes.
    std::fs::write(&image, footer(0, 2, 1)).expect("write");
    check_reads(&*open(&image, &OpenOptions::default()).expect("open").source, &[]);
    std::fs::write(&image, [disk, footer(4 << 20, 2, 1)].concat()).expect("write");
    // A raw disk whose last sector looks like a footer is taken for a VHD, and stays raw where it is pinned.
    let raw = OpenOptions { format: Some(Format::Raw), ..OpenOptions::default() };
    assert_eq!(open(&image, &raw).expect("open").source.size(), (4 << 20) + 512);
}

#[test]
fn damaged_disks_are_refused_or_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let raw = directory.path().join("disk.raw");
    let image = directory.path().join("disk.vhd");
    write_sparse(&raw, &disk_bytes(1 << 20));
    for options in ["subformat=fixed", "subformat=dynamic"] {
        convert(&raw, &image, options);
        let length = std::fs::metadata(&image).expect("metadata").len() as usize;
        check_mutants(&image, &image, &[length - 512..length, 0..100, 512..600, 1536..1600], 0..0);
    }
    // Damage behind sound checksums.
    let intact = dynamic(&vec![7; 1 << 20], 3, (1, 0), "", &some);
    for (at, patch) in [(512 + 16, [0xff; 8]), (512 + 28, [0xff; 8]), (512 + 32, [0; 8]), (48, [0xff; 8])] {
        let mut bytes = intact.clone();
        bytes[at..at + 8].copy_from_slice(&patch);
        let length = bytes.len();
        bytes.copy_within(0..512, length - 512);
        seal(&mut bytes[..512], 64);
        seal(&mut bytes[length - 512..], 64);
        seal(&mut bytes[512..1536], 36);
        std::fs::write(&image, bytes).expect("write");
        let error = open(&image, &OpenOptions::default()).expect_err("damaged");
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}
