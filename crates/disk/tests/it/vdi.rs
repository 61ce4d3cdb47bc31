use crate::fixture::{check_reads, data_bytes, disk_bytes, run, text, write_sparse};
use crate::mutate::check_mutants;
use airlock_disk::{Format, OpenOptions, Probe, open, probe};
use std::path::Path;

fn convert(raw: &Path, image: &Path, options: &str) {
    run("qemu-img", &["convert", "-f", "raw", "-O", "vdi", "-o", options, text(raw), text(image)]);
}

#[test]
fn dynamic_and_fixed_images_are_read() {
    for size in [(24 << 20) + 1536, 65_536, 512, 0] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let raw = directory.path().join("disk.raw");
        let image = directory.path().join("disk.vdi");
        let mut disk = disk_bytes(size);
        write_sparse(&raw, &disk);
        for options in ["static=off", "static=on"] {
            convert(&raw, &image, options);
            assert_eq!(probe(&image).expect("probe"), Probe::Image(Format::Vdi));
            let opened = open(&image, &OpenOptions::default()).expect("open");
            assert_eq!(opened.source.format(), Format::Vdi);
            disk.resize(opened.source.size() as usize, 0);
            check_reads(&*opened.source, &disk);
        }
    }
}

#[test]
fn a_huge_sparse_image_costs_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.vdi");
    run("qemu-img", &["create", "-q", "-f", "vdi", text(&image), "4T"]);
    let opened = open(&image, &OpenOptions::default()).expect("open");
    assert_eq!(opened.source.size(), 4 << 40);
    assert_eq!(data_bytes(&*opened.source), 0);
}

/// Changes one field of a fresh image and expects an error that says `expected`.
fn check_refused(at: usize, value: u32, expected: &str) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.vdi");
    run("qemu-img", &["create", "-q", "-f", "vdi", text(&image), "16M"]);
    let mut bytes = std::fs::read(&image).expect("read");
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    std::fs::write(&image, bytes).expect("write");
    let error = open(&image, &OpenOptions::default()).expect_err(expected);
    assert!(error.to_string().contains(expected), "{error} and not {expected}");
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    check_refused(68, 0x0002_0000, "version 2.0");
    check_refused(76, 3, "undo image");
    check_refused(76, 4, "differencing image");
    check_refused(76, 9, "image type 9");
    check_refused(340, u32::MAX, "block map is not inside");
    check_refused(372, 1, "block map is too small");
    check_refused(376, 0, "block size");
    check_refused(376, 3 << 20, "block size");
    check_refused(380, 512, "extra data");
}

#[test]
fn damaged_images_are_refused_or_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let raw = directory.path().join("disk.raw");
    let image = directory.path().join("disk.vdi");
    write_sparse(&raw, &disk_bytes(3 << 20));
    convert(&raw, &image, "static=off");
    check_mutants(&image, &image, &[64..88, 340..400, 512..600], 64..68);
}
