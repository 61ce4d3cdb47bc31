use crate::fixture::{run, text};
use airlock_disk::{BitmapState, QcowExtras};

#[test]
fn internal_snapshots_are_listed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.qcow2");
    for version in ["compat=0.10", "compat=1.1"] {
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", version, text(&image), "16M"]);
        assert!(QcowExtras::read(&image).expect("read").snapshots.is_empty());
        for name in ["before", "a longer name"] {
            run("qemu-img", &["snapshot", "-c", name, text(&image)]);
        }
        let extras = QcowExtras::read(&image).expect("read");
        let listed: Vec<_> =
            extras.snapshots.iter().map(|one| (&*one.id, &*one.name, one.disk_bytes)).collect();
        let expected: [(&[u8], &[u8], u64); 2] =
            [(b"1", b"before", 16 << 20), (b"2", b"a longer name", 16 << 20)];
        assert_eq!(listed, expected);
        assert!(extras.snapshots.iter().all(|one| one.vm_state_bytes == 0));
    }
    // The disk grew since then; only version 3 allows it.
    run("qemu-img", &["resize", "-q", text(&image), "32M"]);
    run("qemu-img", &["snapshot", "-c", "grown", text(&image)]);
    let extras = QcowExtras::read(&image).expect("read");
    let sizes: Vec<_> = extras.snapshots.iter().map(|one| one.disk_bytes >> 20).collect();
    assert_eq!(sizes, [16, 16, 32]);
}

#[test]
fn dirty_bitmaps_are_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", text(&image), "300M"]);
    run("qemu-img", &["bitmap", "--add", "-g", "512", text(&image), "fine"]);
    run("qemu-img", &["bitmap", "--add", "-g", "1M", text(&image), "coarse"]);
    run("qemu-img", &["bitmap", "--add", "--disable", text(&image), "asleep"]);
    for write in ["write 1M 512", "write 5M 20M", "write 299M 1M", "write 2M 1024"] {
        run("qemu-io", &["-c", write, text(&image)]);
    }
    let extras = QcowExtras::read(&image).expect("read");
    let names: Vec<_> =
        extras.bitmaps.iter().map(|one| (&*one.name, one.granularity_bytes, one.enabled)).collect();
    let expected: [(&[u8], u64, bool); 3] =
        [(b"fine", 512, true), (b"coarse", 1 << 20, true), (b"asleep", 4 << 10, false)];
    assert_eq!(names, expected);
    assert!(extras.bitmaps.iter().all(|one| one.state == BitmapState::Consistent));
    let mib = 1_u64 << 20;
    let fine = [mib..mib + 512, 2 * mib..2 * mib + 1024, 5 * mib..25 * mib, 299 * mib..300 * mib];
    assert_eq!(extras.extents(&extras.bitmaps[0], 0, 100).expect("extents"), fine);
    assert_eq!(
        extras.extents(&extras.bitmaps[0], 6 * mib + 7, 1).expect("extents"),
        vec![6 * mib + 7..25 * mib]
    );
    assert_eq!(extras.extents(&extras.bitmaps[0], 0, 2).expect("extents"), fine[..2]);
    let coarse = [mib..3 * mib, 5 * mib..25 * mib, 299 * mib..300 * mib];
    assert_eq!(extras.extents(&extras.bitmaps[1], 0, 100).expect("extents"), coarse);
    assert!(extras.extents(&extras.bitmaps[2], 0, 100).expect("extents").is_empty());

    // Autoclear bit 0: something changed the image that knows no bitmaps.
    let intact = std::fs::read(&image).expect("read");
    let mut bytes = intact.clone();
    bytes[95] &= !1;
    std::fs::write(&image, &bytes).expect("write");
    let extras = QcowExtras::read(&image).expect("read");
    assert!(extras.bitmaps.iter().all(|one| one.state == BitmapState::Outdated));
    assert!(extras.extents(&extras.bitmaps[0], 0, 100).is_err());
    // The flag that QEMU sets while it has the image open.
    let mut bytes = intact;
    // Directories that are no longer used may still be in the file.
    let names: Vec<_> =
        (24..bytes.len() - 4).filter(|&at| &bytes[at..at + 4] == b"fine" && bytes[at - 8] == 1).collect();
    for name in names {
        bytes[name - 24 + 15] |= 1;
    }
    std::fs::write(&image, &bytes).expect("write");
    let extras = QcowExtras::read(&image).expect("read");
    assert_eq!(extras.bitmaps[0].state, BitmapState::InUse);
    assert!(extras.extents(&extras.bitmaps[0], 0, 100).is_err());
}
