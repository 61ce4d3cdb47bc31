use crate::fixture::{check_reads, data_bytes, write_sparse};
use airlock_disk::{BlockSource, Error, Format, OpenOptions, Probe, RawFile, open, probe};

#[test]
fn a_sparse_file_is_read_with_its_holes() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("disk.raw");
    let mut disk = vec![0; (8 << 20) + 777];
    disk[1 << 20..2 << 20].fill(7);
    *disk.last_mut().expect("last") = 9;
    write_sparse(&path, &disk);
    let source = RawFile::open(&path).expect("open");
    check_reads(&source, &disk);
    assert!(data_bytes(&source) < 2 << 20);
    assert_eq!(source.format(), Format::Raw);
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let directory = tempfile::tempdir().expect("temporary directory");
    assert!(matches!(RawFile::open(directory.path()), Err(Error::Io { .. })));
    let fifo = directory.path().join("fifo");
    crate::fixture::run("mkfifo", &[crate::fixture::text(&fifo)]);
    assert!(matches!(RawFile::open(&fifo), Err(Error::Io { .. })));
    assert!(probe(&fifo).is_err());
}

#[test]
fn an_image_of_another_format_is_not_taken_for_raw_bytes() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for (format, name) in [("qed", "QED"), ("qcow", "qcow")] {
        let path = directory.path().join(format);
        let path_text = crate::fixture::text(&path);
        crate::fixture::run("qemu-img", &["create", "-q", "-f", format, path_text, "8M"]);
        assert_eq!(probe(&path).expect("probe"), Probe::Foreign(name));
        let error = open(&path, &OpenOptions::default()).expect_err("refused");
        assert!(error.to_string().contains(name), "{error}");
        let raw = OpenOptions { format: Some(Format::Raw), ..OpenOptions::default() };
        assert!(!open(&path, &raw).expect("pinned").probed);
    }
}
