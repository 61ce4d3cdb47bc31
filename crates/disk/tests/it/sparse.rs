//! Disks of 4 TiB, or of as much as the format can hold, with a little data at the start, in the
//! middle and at the end: they are read right, at once, and in little memory.

use crate::fixture::{allowing, data_bytes, run, text};
use airlock_disk::{BlockSource, open};
use std::path::Path;
use std::time::{Duration, Instant};

const TIB: u64 = 1 << 40;
const GIB: u64 = 1 << 30;

/// Bytes that are written at each place.
const PIECE: u64 = 64 << 10;

/// Most memory that opening a disk and following its spans may take in this process, in KiB.
const MEMORY_KIB_MAX: u64 = 256 << 10;

/// Where the data is, and the byte it consists of.
fn pieces(size: u64) -> [(u64, u8); 3] {
    [(0, 0x11), (size / 2 - PIECE / 2, 0x22), (size - PIECE, 0x33)]
}

/// Writes the pieces with QEMU and reads them with this crate.
fn check(format: &str, options: &str, size: u64) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join(format!("disk.{format}"));
    let size_text = size.to_string();
    let mut create = vec!["create", "-q", "-f", format];
    if !options.is_empty() {
        create.extend(["-o", options]);
    }
    create.extend([text(&image), &size_text]);
    run("qemu-img", &create);
    let driver = format!("driver={format},file.filename={}", text(&image));
    let writes: Vec<String> =
        pieces(size).iter().map(|(at, byte)| format!("write -q -P {byte} {at} {PIECE}")).collect();
    let mut arguments = vec!["--image-opts", &driver];
    arguments.extend(writes.iter().flat_map(|write| ["-c", write.as_str()]));
    run("qemu-io", &arguments);
    check_pieces(&image, size, &format!("{format} {options}"));
}

fn check_pieces(image: &Path, size: u64, what: &str) {
    let start = Instant::now();
    let opened = open(image, &allowing(image.parent().expect("directory"))).expect(what);
    let source: &dyn BlockSource = &*opened.source;
    assert_eq!(source.size(), size, "{what}");
    // A format keeps data in clusters or blocks of at most 32 MiB; the second piece lies in two.
    let data = data_bytes(source);
    assert!((3 * PIECE..=4 * (32 << 20)).contains(&data), "{what}: {data} bytes of data");
    for (at, byte) in pieces(size) {
        check_piece(source, at, byte, what);
    }
    let spent = start.elapsed();
    assert!(spent < Duration::from_secs(5), "{what}: {spent:?}");
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("peak memory");
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("number");
    assert!(peak_kib < MEMORY_KIB_MAX, "{what}: {peak_kib} KiB of memory");
}

/// Checks a piece, and that there are zeros beside it.
fn check_piece(source: &dyn BlockSource, at: u64, byte: u8, what: &str) {
    let start = at.saturating_sub(PIECE);
    let end = (at + 2 * PIECE).min(source.size());
    let mut bytes = vec![0xff; (end - start) as usize];
    source.read_at(start, &mut bytes).expect(what);
    for (index, &found) in bytes.iter().enumerate() {
        let inside = (at..at + PIECE).contains(&(start + index as u64));
        assert_eq!(found, if inside { byte } else { 0 }, "{what}: byte {index} behind {start:#x}");
    }
}

#[test]
fn raw_of_4_tib() {
    check("raw", "", 4 * TIB);
}

#[test]
fn qcow2_of_4_tib() {
    check("qcow2", "", 4 * TIB);
    check("qcow2", "cluster_size=4k", 4 * TIB);
    check("qcow2", "cluster_size=2M,extended_l2=on", 4 * TIB);
    check("qcow2", "compat=0.10", 4 * TIB);
}

#[test]
fn vmdk_of_its_largest() {
    // A sparse extent that QEMU writes has at most 2 TiB, one of several files 2 GiB.
    check("vmdk", "subformat=monolithicSparse", 2 * TIB);
    check("vmdk", "subformat=twoGbMaxExtentSparse", 128 * GIB);
    check("vmdk", "subformat=twoGbMaxExtentFlat", 128 * GIB);
    check("vmdk", "subformat=monolithicFlat", 4 * TIB);
}

#[test]
fn vhdx_of_4_tib() {
    check("vhdx", "subformat=dynamic", 4 * TIB);
    check("vhdx", "subformat=dynamic,block_size=1M", 4 * TIB);
    check("vhdx", "subformat=fixed", 4 * TIB);
}

#[test]
fn vhd_of_2040_gib() {
    check("vpc", "subformat=dynamic,force_size", 2040 * GIB);
    check("vpc", "subformat=fixed,force_size", 2040 * GIB);
}

#[test]
fn vdi_of_4_tib() {
    check("vdi", "", 4 * TIB);
}
