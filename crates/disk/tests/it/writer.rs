use crate::fixture::{Random, check_reads, data_bytes, disk_bytes, run, text, write_sparse};
use airlock_disk::{Error, ImageWriter, OpenOptions, QcowWriter, RawWriter, open};
use std::path::Path;

type Create = fn(&Path, u64) -> Result<Box<dyn ImageWriter>, Error>;

const FORMATS: [(&str, Create); 2] = [
    ("raw", |path, size| Ok(Box::new(RawWriter::create(path, size)?))),
    ("qcow2", |path, size| Ok(Box::new(QcowWriter::create(path, size)?))),
];

/// Writes `disk` in pieces of random lengths up to `piece`, leaving out some zeros.
fn check(disk: &[u8], piece: u64) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let raw = directory.path().join("disk.raw");
    write_sparse(&raw, disk);
    for (format, create) in FORMATS {
        let image = directory.path().join(format!("{piece}.{format}"));
        let mut writer = create(&image, disk.len() as u64).expect("create");
        let (mut random, mut at) = (Random(piece + 1), 0);
        while at < disk.len() {
            let end = disk.len().min(at + 1 + random.below(piece) as usize);
            let bytes = &disk[at..end];
            if bytes.iter().any(|&byte| byte != 0) || random.below(2) == 0 {
                writer.write(at as u64, bytes).expect("write");
            }
            at = end;
        }
        writer.finish().expect("finish");
        assert_eq!(writer.format().name(), format);
        run("qemu-img", &["compare", "-q", "-f", "raw", "-F", format, text(&raw), text(&image)]);
        if format == "qcow2" {
            let report = run("qemu-img", &["check", "--output=json", text(&image)]);
            assert!(!report.contains("leaks") && !report.contains("corruptions"), "{report}");
        }
        let opened = open(&image, &OpenOptions::default()).expect("open");
        let mut disk = disk.to_vec();
        if format == "qcow2" {
            disk.resize(disk.len().next_multiple_of(512), 0);
        }
        check_reads(&*opened.source, &disk);
        assert!(data_bytes(&*opened.source) <= disk.len() as u64);
    }
}

#[test]
fn what_is_written_is_what_qemu_reads() {
    check(&[], 100);
    check(&[1], 100);
    check(&disk_bytes(65_536), 100_000);
    check(&disk_bytes((5 << 20) + 512), 3000);
    check(&disk_bytes((5 << 20) + 1), 300_000);
    check(&disk_bytes(40 << 20), 4 << 20);
    check(&vec![0; 3 << 20], 65_536);
}

#[test]
fn a_large_disk_has_several_tables() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.qcow2");
    let size = 3 << 40;
    let mut writer = QcowWriter::create(&image, size).expect("create");
    let offsets = [0, (512 << 20) - 65_536, (1 << 40) - 7, (2 << 40) + 5, size - 100_000];
    for offset in offsets {
        writer.write(offset, &[offset as u8 | 1; 100_000]).expect("write");
    }
    writer.finish().expect("finish");
    let report = run("qemu-img", &["check", "--output=json", text(&image)]);
    assert!(!report.contains("leaks") && !report.contains("corruptions"), "{report}");
    let opened = open(&image, &OpenOptions::default()).expect("open");
    for offset in offsets {
        let mut bytes = [0; 100_000];
        opened.source.read_at(offset, &mut bytes).expect("read");
        assert!(bytes.iter().all(|&byte| byte == offset as u8 | 1), "{offset:#x}");
    }
    assert!(data_bytes(&*opened.source) < 1 << 20);
}

#[test]
fn writes_out_of_order_behind_the_end_or_over_a_file_are_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for (format, create) in FORMATS {
        let image = directory.path().join(format);
        let mut writer = create(&image, 8192).expect("create");
        writer.write(4096, &[1; 100]).expect("write");
        let error = writer.write(4100, &[1]).expect_err("backwards");
        assert!(matches!(error, Error::Backwards { .. }));
        let error = writer.write(8000, &[1; 193]).expect_err("behind the end");
        assert!(matches!(error, Error::OutOfRange { .. }));
        assert!(create(&image, 8192).is_err());
    }
}

#[test]
fn an_unfinished_qcow2_is_not_an_image() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.qcow2");
    let mut writer = QcowWriter::create(&image, 1 << 20).expect("create");
    writer.write(0, &[1; 200_000]).expect("write");
    drop(writer);
    let qcow2 = OpenOptions { format: Some(airlock_disk::Format::Qcow2), ..OpenOptions::default() };
    assert!(open(&image, &qcow2).is_err());
}
