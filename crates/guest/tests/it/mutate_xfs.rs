//! Damaged XFS file systems and logs, with the checksums mended that would give them away.

use crate::fixture::{Random, make_tree, open, survey_checked, text};
use crate::journal::crc32c;
use crate::mount::{Mount, work};
use crate::mutate::mutate_and_mend;
use crate::xfs::{make_plain, prototype};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// Makes a small file system, which `mkfs.xfs` only does for its own tests.
pub(crate) fn make_small(image: &Path, options: &[&str]) {
    let _ = std::fs::remove_file(image);
    std::fs::File::create(image).and_then(|file| file.set_len(32 << 20)).expect("create");
    let output = Command::new("mkfs.xfs")
        .args(["-q", "-f"])
        .args(options)
        .arg(image)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .envs([("TEST_DIR", "yes"), ("TEST_DEV", "yes"), ("QA_CHECK_FS", "yes")])
        .output()
        .expect("mkfs.xfs (Debian package xfsprogs)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A structure and where its checksum is.
type Structure = (Range<usize>, Option<usize>);

/// Finds structures by their magic numbers.
fn structures(bytes: &[u8], block: usize) -> Vec<Structure> {
    let mut found = Vec::new();
    for start in (0..bytes.len()).step_by(512) {
        let sector = start..start + 512;
        let field = |magic: &[u8], at| bytes[start..].starts_with(magic).then_some(at);
        let header =
            field(b"XFSB", 224).or(field(b"XAGF", 216)).or(field(b"XAGI", 312)).or(field(b"XAFL", 32));
        let inode = field(b"IN", 100).filter(|_| bytes[start + 4] == 3);
        if let Some(at) = header.or(inode) {
            found.push((sector.clone(), Some(at)));
        } else if bytes[start..].starts_with(b"IN") {
            found.push((sector.clone(), None));
        }
        let inside = start % block == 0 && start + block <= bytes.len();
        let trees: [(&[u8], usize); 9] = [
            (b"AB3B", 52),
            (b"AB3C", 52),
            (b"IAB3", 52),
            (b"FIB3", 52),
            (b"RMB3", 52),
            (b"R3FC", 52),
            (b"BMA3", 64),
            (b"XDB3", 4),
            (b"XDD3", 4),
        ];
        let tree = trees.iter().find_map(|(magic, at)| field(magic, *at));
        if let Some(at) = tree.filter(|_| inside) {
            found.push((start..start + block, Some(at)));
        }
        let plain: [&[u8]; 6] = [b"ABTB", b"ABTC", b"IABT", b"BMAP", b"XD2B", b"XD2D"];
        if inside && plain.iter().any(|magic| bytes[start..].starts_with(magic)) {
            found.push((start..start + block, None));
        }
    }
    found
}

/// Mends the checksums of structures.
fn mend(bytes: &mut [u8], structures: &[Structure]) {
    for (range, field) in structures {
        if let Some(field) = field {
            let at = range.start + field;
            bytes[at..at + 4].fill(0);
            let crc = !crc32c(u32::MAX, &bytes[range.clone()]);
            bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        }
    }
}

#[test]
fn damaged_xfs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    make_tree(&path("tree"), true);
    make_plain(&path("tree"));
    std::fs::write(path("prototype"), prototype(&path("tree"))).expect("write");
    for (seed, block, options) in [
        (1, 4096, &["-m", "rmapbt=1"][..]),
        (2, 1024, &["-b", "size=1024", "-n", "size=4096"]),
        (3, 4096, &["-m", "crc=0"]),
    ] {
        let prototype = path("prototype");
        make_small(&path("image"), &[&["-p", text(&prototype)], options].concat());
        let intact = std::fs::read(path("image")).expect("read");
        let mut all = structures(&intact, block);
        assert!(all.len() > 100, "{} structures", all.len());
        // Fewer inodes, so that others have their share.
        let mut inodes = 0;
        all.retain(|(range, _)| {
            let inode = intact[range.start..].starts_with(b"IN");
            inodes += usize::from(inode);
            !inode || inodes <= 24
        });
        // Where the fields are: at the start, and in an inode and a group header everywhere.
        let targets: Vec<_> =
            all.iter().map(|(range, _)| range.start..range.end.min(range.start + 512)).collect();
        mutate_and_mend(&intact, &targets, 120, seed, |bytes| {
            if seed != 3 {
                mend(bytes, &all);
            }
        });
    }
}

/// Mends the checksums of records of a log.
fn mend_records(bytes: &mut [u8], records: &[usize]) {
    for &at in records {
        let field = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"));
        let length = usize::try_from(field(bytes, at + 12)).expect("small");
        let headers = usize::try_from(field(bytes, at + 320)).expect("small").div_ceil(32_768).clamp(1, 8);
        let data = at + 512 * headers;
        if data + length > bytes.len() {
            continue;
        }
        bytes[at + 32..at + 36].fill(0);
        let mut crc = crc32c(u32::MAX, &bytes[at..at + 328]);
        for header in 1..headers {
            crc = crc32c(crc, &bytes[at + 512 * header..at + 512 * header + 260]);
        }
        crc = crc32c(crc, &bytes[data..data + length]);
        bytes[at + 32..at + 36].copy_from_slice(&(!crc).to_le_bytes());
    }
}

#[test]
fn damaged_logs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    make_small(&path("image"), &["-m", "rmapbt=1"]);
    let mounted = Mount::new(&path("image"), &path("mounted"), "noatime");
    work(&mounted.root, 60);
    std::fs::copy(path("image"), path("copy")).expect("copy");
    mounted.end();
    let survey = survey_checked(&open(&path("copy")));
    assert_eq!(survey.replays.len(), 1, "{:?}", survey.oddities);
    let intact = std::fs::read(path("copy")).expect("read");
    let records: Vec<usize> = (0..intact.len())
        .step_by(512)
        .filter(|at| intact[*at..].starts_with(&[0xfe, 0xed, 0xba, 0xbe]))
        .collect();
    assert!(records.len() > 10, "{} records", records.len());
    let mut random = Random(8);
    let mut targets = Vec::new();
    for &at in &records {
        targets.extend([at..at + 64, at + 300..at + 328]);
        // Headers of operations and of items.
        let length = u32::from_be_bytes(intact[at + 12..at + 16].try_into().expect("four"));
        let length = usize::try_from(length).expect("small").min(intact.len() - at - 1024);
        for _ in 0..8 {
            let start = at + 512 + random.below(length.max(128)) / 64 * 64;
            targets.push(start..start + 64);
        }
    }
    mutate_and_mend(&intact, &targets, 250, 9, |bytes| mend_records(bytes, &records));
}
