use crate::fixture::{Random, check_reads, data_bytes, disk_bytes, run, text, write_sparse};
use airlock_disk::{Error, Format, OpenOptions, Probe, open, probe};
use std::path::Path;

/// Converts `disk` with the options and compares what is read.
fn check(options: &[&str], compressed: bool, disk: &[u8]) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let raw = directory.path().join("disk.raw");
    let image = directory.path().join("disk.qcow2");
    write_sparse(&raw, disk);
    let mut arguments = vec!["convert", "-f", "raw", "-O", "qcow2"];
    let joined = options.join(",");
    if !options.is_empty() {
        arguments.extend(["-o", &joined]);
    }
    if compressed {
        arguments.push("-c");
    }
    arguments.extend([text(&raw), text(&image)]);
    run("qemu-img", &arguments);
    let opened = open(&image, &OpenOptions::default()).expect(&joined);
    assert!(opened.probed);
    assert_eq!(opened.files, std::slice::from_ref(&image));
    assert_eq!(opened.source.format(), Format::Qcow2);
    assert_eq!(probe(&image).expect("probe"), Probe::Image(Format::Qcow2));
    check_reads(&*opened.source, disk);
}

#[test]
fn every_cluster_size_is_read() {
    let disk = disk_bytes((3 << 20) + 512);
    for bits in 9..=21 {
        let size = format!("cluster_size={}", 1 << bits);
        check(&[&size], false, &disk);
        check(&[&size], true, &disk);
    }
}

#[test]
fn every_variant_is_read() {
    let disk = disk_bytes((24 << 20) + 1536);
    check(&["compat=0.10"], false, &disk);
    check(&["compat=0.10"], true, &disk);
    check(&["compression_type=zstd"], true, &disk);
    check(&["compression_type=zstd", "cluster_size=2M"], true, &disk);
    check(&["compression_type=zstd", "cluster_size=4k"], true, &disk);
    check(&["extended_l2=on"], false, &disk);
    check(&["extended_l2=on", "cluster_size=16k"], false, &disk);
    check(&["extended_l2=on", "compression_type=zstd"], true, &disk);
    check(&["refcount_bits=1"], false, &disk);
    check(&["refcount_bits=64"], false, &disk);
    check(&["lazy_refcounts=on"], false, &disk);
    check(&["preallocation=metadata"], false, &disk);
    check(&["preallocation=falloc"], false, &disk);
}

/// Lets `qemu-io` change an image in small pieces and compares with what `qemu-img` reads.
fn check_after_writes(options: &str, commands: &[&str]) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.qcow2");
    let raw = directory.path().join("disk.raw");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&image), "16M"]);
    let mut arguments = Vec::new();
    for command in commands {
        arguments.extend(["-c", command]);
    }
    arguments.push(text(&image));
    run("qemu-io", &arguments);
    run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", text(&image), text(&raw)]);
    let disk = std::fs::read(&raw).expect("read");
    let opened = open(&image, &OpenOptions::default()).expect(options);
    check_reads(&*opened.source, &disk);
}

#[test]
fn zero_clusters_and_scattered_writes_are_read() {
    let commands = [
        "write -P 1 0 8M",
        "write -P 2 5M 12k",
        "write -z 1M 1M",
        "write -z -u 3M 256k",
        "discard 4M 512k",
        "write -P 3 15M 1M",
        "write -P 4 14M 3k",
        "write -P 5 13M 1k",
        "write -P 6 12M 64k",
        "write -z 12M 4k",
    ];
    check_after_writes("cluster_size=64k", &commands);
    check_after_writes("cluster_size=512", &commands);
    check_after_writes("cluster_size=2M", &commands);
    check_after_writes("cluster_size=64k,extended_l2=on", &commands);
    check_after_writes("cluster_size=32k,extended_l2=on", &commands);
}

#[test]
fn a_huge_sparse_image_is_one_zero_span() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&image), "64T"]);
    let opened = open(&image, &OpenOptions::default()).expect("open");
    assert_eq!(opened.source.span_at(512).expect("span").length, (64 << 40) - 512);
    assert_eq!(data_bytes(&*opened.source), 0);
}

/// Patches a fresh image and expects an error that says `expected`.
fn check_refused(patches: &[(usize, &[u8])], expected: &str) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&image), "16M"]);
    patch(&image, patches);
    let error = open(&image, &OpenOptions::default()).expect_err(expected);
    assert!(error.to_string().contains(expected), "{error} and not {expected}");
}

fn patch(image: &Path, patches: &[(usize, &[u8])]) {
    let mut bytes = std::fs::read(image).expect("read");
    for (at, patch) in patches {
        bytes[*at..at + patch.len()].copy_from_slice(patch);
    }
    std::fs::write(image, bytes).expect("write");
}

#[test]
fn impossible_and_unsupported_headers_are_refused() {
    check_refused(&[(4, &[0, 0, 0, 4])], "version 4");
    check_refused(&[(20, &[0, 0, 0, 8])], "cluster size");
    check_refused(&[(20, &[0, 0, 0, 22])], "cluster size");
    check_refused(&[(24, &[0xff; 8])], "L1 table");
    check_refused(&[(24, &[0, 0, 1, 0, 0, 0, 0, 0])], "too small");
    check_refused(&[(32, &[0, 0, 0, 1])], "encrypted (AES)");
    check_refused(&[(32, &[0, 0, 0, 2])], "encrypted (LUKS)");
    check_refused(&[(40, &[0, 0, 0, 1, 0, 0, 0, 0])], "L1 table is not inside");
    check_refused(&[(72, &[0, 0, 0, 0, 0, 0, 0, 2])], "corrupt");
    check_refused(&[(72, &[0, 0, 0, 0, 0, 0, 0, 4])], "external data file");
    check_refused(&[(72, &[0, 0, 1, 0, 0, 0, 0, 0])], "bit 40");
    check_refused(&[(100, &[0, 0, 0, 1])], "header length");
    check_refused(&[(104, &[9])], "compression type 9");
}

#[test]
fn a_dirty_image_is_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&image), "16M"]);
    patch(&image, &[(79, &[1])]);
    assert!(open(&image, &OpenOptions::default()).is_ok());
}

#[test]
fn an_encrypted_image_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.qcow2");
    // qemu-img times its key derivation and gives up where the clock is coarse; the header alone decides.
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&image), "4M"]);
    patch(&image, &[(32, &[0, 0, 0, 2])]);
    let error = open(&image, &OpenOptions::default()).expect_err("encrypted");
    assert!(error.to_string().contains("encrypted"), "{error}");
}

#[test]
fn a_truncated_image_is_damaged_and_not_zeros() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let raw = directory.path().join("disk.raw");
    let image = directory.path().join("disk.qcow2");
    let mut disk = vec![0; 8 << 20];
    let mut random = Random(7);
    disk.fill_with(|| random.next() as u8 | 1);
    write_sparse(&raw, &disk);
    run("qemu-img", &["convert", "-O", "qcow2", text(&raw), text(&image)]);
    let file = std::fs::File::options().write(true).open(&image).expect("open");
    file.set_len(4 << 20).expect("truncate");
    let opened = open(&image, &OpenOptions::default()).expect("open");
    let error = opened.source.read_at(0, &mut disk).expect_err("damaged");
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn a_pinned_raw_image_stays_raw_whatever_the_guest_wrote() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.raw");
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&image), "16M"]);
    let bytes = std::fs::read(&image).expect("read");
    let raw = OpenOptions { format: Some(Format::Raw), ..OpenOptions::default() };
    let opened = open(&image, &raw).expect("open");
    assert!(!opened.probed);
    check_reads(&*opened.source, &bytes);
}

#[test]
fn several_threads_read_one_image() {
    let disk = disk_bytes(16 << 20);
    let directory = tempfile::tempdir().expect("temporary directory");
    let raw = directory.path().join("disk.raw");
    let image = directory.path().join("disk.qcow2");
    write_sparse(&raw, &disk);
    run("qemu-img", &["convert", "-c", "-O", "qcow2", text(&raw), text(&image)]);
    let opened = open(&image, &OpenOptions::default()).expect("open");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| check_reads(&*opened.source, &disk));
        }
    });
}
