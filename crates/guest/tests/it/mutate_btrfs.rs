//! Damaged btrfs file systems and logs, with the checksums mended that would give them away.

use crate::btrfs::{change, hard_files, make_image};
use crate::fixture::{make_tree, open, run, survey_checked, text};
use crate::journal::crc32c;
use crate::mount::Mount;
use crate::mutate::mutate_and_mend;
use std::ops::Range;

/// Finds the superblock and the blocks of trees.
fn structures(bytes: &[u8], node: usize) -> Vec<Range<usize>> {
    const SUPERBLOCK: usize = 64 << 10;
    let superblock = SUPERBLOCK..SUPERBLOCK + 4096;
    let mut found: Vec<_> = std::iter::once(superblock).collect();
    let uuid = &bytes[SUPERBLOCK + 32..SUPERBLOCK + 48];
    for start in (1 << 20..bytes.len() - node).step_by(4096) {
        if &bytes[start + 32..start + 48] == uuid && start != 64 << 20 {
            found.push(start..start + node);
        }
    }
    found
}

fn mend(bytes: &mut [u8], structures: &[Range<usize>]) {
    for range in structures {
        let crc = !crc32c(u32::MAX, &bytes[range.start + 32..range.end]);
        bytes[range.start..range.start + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Where the fields are: headers, keys, pointers, and items at the end.
fn targets(structures: &[Range<usize>]) -> Vec<Range<usize>> {
    let superblock = structures[0].start;
    let mut targets = vec![superblock + 48..superblock + 240, superblock + 811..superblock + 1100];
    for range in structures {
        targets.extend([range.start + 48..range.start + 400, range.end - 1200..range.end]);
    }
    targets
}

#[test]
fn damaged_btrfs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    make_tree(&tree, true);
    for (seed, node, options) in [
        (1, 4096, &["-n", "4096"][..]),
        (2, 16_384, &["-m", "single"]),
        (3, 4096, &["--mixed", "-n", "4096"]),
    ] {
        make_image(&image, "114M", &[options, &["--rootdir", text(&tree), "--shrink"]].concat());
        let intact = std::fs::read(&image).expect("read");
        let all = structures(&intact, node);
        assert!(all.len() > 20, "{} structures", all.len());
        mutate_and_mend(&intact, &targets(&all), 120, seed, |bytes| mend(bytes, &all));
    }
}

#[test]
fn damaged_logs_of_btrfs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    make_image(&path("image"), "128M", &["-n", "4096", "-m", "single"]);
    let mounted = Mount::new(&path("image"), &path("mounted"), "noatime,commit=300,compress-force=lzo");
    make_tree(&mounted.root.join("tree"), true);
    hard_files(&mounted.root);
    run("btrfs", &["subvolume", "snapshot", text(&mounted.root), text(&mounted.root.join("snapshot"))]);
    run("sync", &["-f", text(&mounted.root)]);
    change(&mounted.root);
    std::fs::copy(path("image"), path("copy")).expect("copy");
    mounted.end();
    let survey = survey_checked(&open(&path("copy")));
    assert_eq!(survey.replays.len(), 1, "{:?}", survey.oddities);
    let intact = std::fs::read(path("copy")).expect("read");
    let all = structures(&intact, 4096);
    mutate_and_mend(&intact, &targets(&all), 150, 4, |bytes| mend(bytes, &all));
    // The log alone: its blocks are newer than the superblock.
    let field = |at: usize| u64::from_le_bytes(intact[at..at + 8].try_into().expect("eight"));
    let newest = field((64 << 10) + 72);
    let mut log: Vec<_> = all.iter().filter(|range| field(range.start + 80) > newest).cloned().collect();
    assert!(log.len() > 2, "{} blocks", log.len());
    log.insert(0, all[0].clone());
    mutate_and_mend(&intact, &targets(&log), 150, 5, |bytes| mend(bytes, &all));
}
