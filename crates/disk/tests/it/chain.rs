use crate::fixture::{allowing, check_reads, disk_bytes, run, text, write_sparse};
use airlock_disk::{Error, Format, OpenOptions, open};
use std::path::Path;

fn create(image: &Path, backing: &str, format: &str, more: &[&str]) {
    let mut arguments = vec!["create", "-q", "-u", "-f", "qcow2", "-b", backing];
    if !format.is_empty() {
        arguments.extend(["-F", format]);
    }
    arguments.push(text(image));
    arguments.extend(more);
    run("qemu-img", &arguments);
}

fn is_reference(path: &Path, options: &OpenOptions) -> bool {
    matches!(open(path, options), Err(Error::Reference { .. }))
}

#[test]
fn a_chain_with_a_larger_overlay_is_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("deep")).expect("directory");
    write_sparse(&path("base.raw"), &disk_bytes((4 << 20) + 512));
    create(&path("deep/mid.qcow2"), "../base.raw", "raw", &["8M"]);
    run("qemu-io", &["-c", "write -P 9 1M 100k", "-c", "write -z 2M 1M", text(&path("deep/mid.qcow2"))]);
    let absolute = path("deep/mid.qcow2");
    create(&path("top.qcow2"), text(&absolute), "qcow2", &["24M"]);
    run("qemu-io", &["-c", "write -P 8 7M 3M", "-c", "discard 8M 64k", text(&path("top.qcow2"))]);
    run("qemu-img", &["convert", "-O", "raw", text(&path("top.qcow2")), text(&path("flat.raw"))]);
    let flat = std::fs::read(path("flat.raw")).expect("read");

    let pinned = OpenOptions { format: Some(Format::Qcow2), ..allowing(directory.path()) };
    let opened = open(&path("top.qcow2"), &pinned).expect("open");
    assert!(!opened.probed);
    assert_eq!(opened.files.len(), 3);
    check_reads(&*opened.source, &flat);
    assert!(is_reference(&path("top.qcow2"), &OpenOptions::default()));
    assert!(is_reference(&path("top.qcow2"), &allowing(&path("deep"))));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let allowed = directory.path().join("allowed");
    std::fs::create_dir(&allowed).expect("directory");
    std::fs::write(directory.path().join("secret"), [7; 4096]).expect("write");
    std::fs::write(allowed.join("fine"), [7; 4096]).expect("write");
    std::os::unix::fs::symlink("../secret", allowed.join("link")).expect("link");
    std::os::unix::fs::symlink("fine", allowed.join("inner-link")).expect("link");
    std::os::unix::fs::symlink("..", allowed.join("up")).expect("link");
    let outside = directory.path().join("secret");
    let dotted = format!("{}/../secret", text(&allowed));
    let image = allowed.join("overlay.qcow2");
    for name in [
        "../secret",
        "link",
        "inner-link",
        "up/secret",
        "sub/../../secret",
        "/etc/passwd",
        text(&outside),
        &dotted,
        "nbd:localhost:10809",
        "nbd://localhost/disk",
        "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
        "file:/etc/passwd",
        "fat:/etc",
    ] {
        create(&image, name, "raw", &["1M"]);
        match open(&image, &allowing(&allowed)) {
            Err(Error::Reference { .. } | Error::Io { .. }) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    for name in ["fine", "./fine", text(&allowed.join("fine"))] {
        create(&image, name, "raw", &["1M"]);
        assert!(open(&image, &allowing(&allowed)).is_ok(), "{name}");
    }
}

#[test]
fn a_backing_file_without_a_format_is_probed_and_said_so() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("overlay.qcow2");
    let base = directory.path().join("base");
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&base), "1M"]);
    let pinned = OpenOptions { format: Some(Format::Qcow2), ..allowing(directory.path()) };
    create(&image, "base", "raw", &["1M"]);
    let opened = open(&image, &pinned).expect("open");
    assert!(!opened.probed);
    let mut magic = [0; 3];
    opened.source.read_at(0, &mut magic).expect("read");
    assert_eq!(&magic, b"QFI");
    // The format extension is the first one; an unknown type makes readers skip it.
    let mut bytes = std::fs::read(&image).expect("read");
    let at = bytes.windows(4).position(|word| word == [0xe2, 0x79, 0x2a, 0xca]);
    bytes[at.expect("extension")] = 0x12;
    std::fs::write(&image, bytes).expect("write");
    let opened = open(&image, &pinned).expect("open");
    assert!(opened.probed);
    opened.source.read_at(0, &mut magic).expect("read");
    assert_eq!(magic, [0; 3]);
}

#[test]
fn chains_end() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    create(&path("a"), "b", "qcow2", &["1M"]);
    create(&path("b"), "a", "qcow2", &["1M"]);
    let error = open(&path("a"), &allowing(directory.path())).expect_err("cycle");
    assert!(error.to_string().contains("back to itself"), "{error}");
    for index in 0..70 {
        let backing = format!("n{}", index + 1);
        std::fs::copy(path("a"), path(&format!("n{index}"))).expect("copy");
        create(&path(&format!("n{index}")), &backing, "qcow2", &["1M"]);
    }
    let error = open(&path("n0"), &allowing(directory.path())).expect_err("depth");
    assert!(error.to_string().contains("64"), "{error}");
}

#[test]
fn an_external_data_file_needs_leave() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    for raw in ["off", "on"] {
        let disk = disk_bytes(4 << 20);
        write_sparse(&path("disk.raw"), &disk);
        let options = format!("data_file={},data_file_raw={raw}", text(&path("data")));
        run(
            "qemu-img",
            &["convert", "-O", "qcow2", "-o", &options, text(&path("disk.raw")), text(&path("image"))],
        );
        assert!(is_reference(&path("image"), &OpenOptions::default()));
        let opened = open(&path("image"), &allowing(directory.path())).expect("open");
        assert_eq!(opened.files.len(), 2);
        check_reads(&*opened.source, &disk);
        std::fs::remove_file(path("image")).expect("remove");
        std::fs::remove_file(path("data")).expect("remove");
    }
}

#[test]
fn a_backing_file_may_be_of_any_format_and_several_threads_may_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    let disk = disk_bytes(4 << 20);
    write_sparse(&path("disk.raw"), &disk);
    for (format, options) in [
        ("vmdk", "subformat=streamOptimized"),
        ("vpc", "force_size=on"),
        ("vhdx", "block_size=1M"),
        ("vdi", "static=on"),
    ] {
        let arguments = ["convert", "-f", "raw", "-O", format, "-o", options];
        run("qemu-img", &[&arguments[..], &[text(&path("disk.raw")), text(&path(format))]].concat());
        let image = path("top.qcow2");
        create(&image, format, format, &["6M"]);
        let opened = open(&image, &allowing(directory.path())).expect(format);
        let mut larger = disk.clone();
        larger.resize(6 << 20, 0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| check_reads(&*opened.source, &larger));
            }
        });
    }
}
