//! FAT12, FAT16 and FAT32: trees that `mkfs.fat` and mtools wrote.

use crate::fixture::{Random, bytes_of, check_tree, file, open, read_place, run, survey_checked, text};
use crate::mutate::mutate;
use crate::ntfs::plain_tree;
use airlock_guest::Survey;
use airlock_model::{PlaceKind, Run};
use std::fs::File;
use std::path::Path;
use std::process::Command;

pub(crate) fn make_image(image: &Path, bytes: u64, options: &[&str]) {
    let _ = std::fs::remove_file(image);
    File::create(image).and_then(|file| file.set_len(bytes)).expect("create");
    let mut arguments = options.to_vec();
    arguments.push(text(image));
    run("mkfs.fat", &arguments);
}

/// Runs one of the mtools, which take names in the encoding of the locale.
fn mtool(program: &str, image: &Path, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(["-i", text(image)]).args(arguments).env("LC_ALL", "C.UTF-8").env("MTOOLS_SKIP_CHECK", "1");
    let output = command.output().expect("mtools (Debian package mtools)");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn copy_tree(tree: &Path, image: &Path) {
    let entries = std::fs::read_dir(tree).expect("directory");
    let mut paths: Vec<_> = entries.map(|entry| text(&entry.expect("entry").path()).to_owned()).collect();
    paths.sort();
    let mut arguments = vec!["-s", "-Q", "-o"];
    arguments.extend(paths.iter().map(String::as_str));
    arguments.push("::/");
    mtool("mcopy", image, &arguments);
}

/// The tree, without hard links, which FAT does not have.
fn tree(root: &Path) {
    plain_tree(root);
    std::fs::remove_file(root.join("srv/linked")).expect("remove");
    // mtools write no surrogates.
    let names = ["srv/größe €uro 😀 名前", "srv/größe €uro 名前"].map(|name| root.join(name));
    std::fs::rename(&names[0], &names[1]).expect("rename");
    std::fs::write(root.join("UPPER.TXT"), b"a short name alone").expect("write");
}

/// Returns the free bytes that `fsck.fat` counts.
fn free_bytes(image: &Path, cluster_bytes: u32) -> u64 {
    let report = run("fsck.fat", &["-n", text(image)]);
    let line = report.lines().find(|line| line.ends_with(" clusters")).expect("a summary");
    let numbers = line.split_whitespace().rev().nth(1).expect("numbers");
    let (used, all) = numbers.split_once('/').expect("two numbers");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    (number(all) - number(used)) * u64::from(cluster_bytes)
}

fn check_image(image: &Path, tree: &Path) -> Survey {
    let disk = open(image);
    let survey = survey_checked(&disk);
    assert_eq!((survey.oddities.as_slice(), survey.limits.as_slice()), (&[][..], &[][..]));
    let volume = &survey.map.volumes()[0];
    assert_eq!((volume.label.as_str(), volume.content.as_str()), ("whole", "vfat"));
    check_tree(&disk, &survey, "whole", tree);
    assert_eq!(bytes_of(&survey, PlaceKind::Free), free_bytes(image, volume.block_bytes));
    assert_eq!(bytes_of(&survey, PlaceKind::Raw), 0);
    survey
}

fn check(scratch: &Path, bytes: u64, options: &[&str]) {
    let image = scratch.join("image");
    make_image(&image, bytes, options);
    copy_tree(&scratch.join("tree"), &image);
    check_image(&image, &scratch.join("tree"));
}

#[test]
fn fat_of_every_width_and_cluster_size() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let scratch = scratch.path();
    tree(&scratch.join("tree"));
    for (cluster, mebibytes) in [("16", 30), ("32", 60), ("64", 100), ("128", 100)] {
        check(scratch, mebibytes << 20, &["-F", "12", "-s", cluster]);
    }
    for cluster in ["8", "16", "64"] {
        check(scratch, 200 << 20, &["-F", "16", "-s", cluster]);
    }
    // mtools take a FAT32 of fewer clusters for something else.
    for (cluster, mebibytes) in [("1", 100), ("2", 200), ("8", 300), ("32", 1200), ("128", 4400)] {
        check(scratch, mebibytes << 20, &["-F", "32", "-s", cluster]);
    }
}

#[test]
fn fat_of_other_shapes() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let scratch = scratch.path();
    tree(&scratch.join("tree"));
    check(scratch, 100 << 20, &["-F", "16", "-f", "1", "-R", "7", "-r", "1024"]);
    check(scratch, 100 << 20, &["-F", "32", "-f", "2", "-R", "101", "-a"]);
    check(scratch, 300 << 20, &["-F", "32", "-S", "4096", "-s", "1"]);
    check(scratch, 100 << 20, &["-F", "16", "-S", "2048", "-n", "A LABEL"]);
    check(scratch, 100 << 20, &["-F", "32", "--mbr=yes"]);
}

/// Fragmented and deleted files, and many small ones. mtools take a step for each pair of
/// names in a directory, so there are many directories.
#[test]
fn fat_with_hard_files() {
    for (width, bytes, directories) in [("12", 30 << 20, 10), ("16", 120 << 20, 50), ("32", 120 << 20, 100)] {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| scratch.path().join(name);
        let image = path("image");
        make_image(&image, bytes, &["-F", width]);
        let mut random = Random(9);
        for index in 0..directories * 100 {
            let directory = path(&format!("tree/small {}", index / 100));
            std::fs::create_dir_all(&directory).expect("directory");
            let name = directory.join(format!("a small file, {index}"));
            std::fs::write(name, random.bytes(random_size(index))).expect("write");
        }
        copy_tree(&path("tree"), &image);
        for index in (0..directories * 100).filter(|index| index % 100 < 40) {
            let name = format!("small {}/a small file, {index}", index / 100);
            std::fs::remove_file(path("tree").join(name)).expect("remove");
        }
        for directory in 0..directories {
            let names: Vec<_> = (0..40)
                .map(|index| format!("::/small {directory}/a small file, {}", directory * 100 + index))
                .collect();
            mtool("mdel", &image, &names.iter().map(String::as_str).collect::<Vec<_>>());
        }
        std::fs::create_dir(path("more")).expect("directory");
        std::fs::write(path("more/large"), random.bytes(3_000_000)).expect("write");
        let deep = path("more").join("directory/".repeat(20));
        std::fs::create_dir_all(&deep).expect("directories");
        std::fs::write(deep.join("end"), b"the end").expect("write");
        copy_tree(&path("more"), &image);
        run("cp", &["-a", text(&path("more/.")), text(&path("tree"))]);
        let survey = check_image(&image, &path("tree"));
        let large = file(&survey, "whole", b"/large").expect("place");
        assert!(width != "12" || large.runs.len() > 10, "{}", large.runs.len());
        let slack = survey.map.iter().filter(|place| place.kind == PlaceKind::Slack).count();
        assert!(slack > directories * 40, "{slack}");
    }
}

fn random_size(index: usize) -> usize {
    index.wrapping_mul(7919) % 2500
}

/// Chains by hand: fragments in any order, bad clusters, and what is wrong about them.
#[test]
fn chains_lead_anywhere() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let (image, note) = (scratch.path().join("image"), scratch.path().join("note"));
    make_image(&image, 16 << 20, &["-F", "16", "-s", "4"]);
    let mut random = Random(10);
    let content = random.bytes(7000);
    std::fs::write(&note, &content).expect("write");
    mtool("mcopy", &image, &[text(&note), "::/NOTE"]);
    std::fs::write(&note, &content[..2048]).expect("write");
    mtool("mcopy", &image, &[text(&note), "::/OTHER"]);
    let intact = std::fs::read(&image).expect("read");
    let fat_bytes = 512 * (usize::from(intact[22]) + 256 * usize::from(intact[23]));
    let first = 512 * usize::from(intact[14]);
    let check = |links: &[(usize, u16)], lengths: [u64; 2], expected: &[&str]| {
        let mut bytes = intact.clone();
        for &(cluster, next) in links {
            for fat in [first, first + fat_bytes] {
                bytes[fat + 2 * cluster..][..2].copy_from_slice(&next.to_le_bytes());
            }
        }
        std::fs::write(&image, &bytes).expect("write");
        let disk = open(&image);
        let survey = survey_checked(&disk);
        let found: Vec<_> = survey.oddities.iter().map(|oddity| oddity.what.as_str()).collect();
        assert_eq!(found, expected, "{links:?}");
        for (path, length) in [b"/NOTE".as_slice(), b"/OTHER"].into_iter().zip(lengths) {
            let places = survey.map.iter().filter(|place| place.path == path);
            let place = places.filter(|place| place.kind == PlaceKind::File).max_by_key(|place| place.view);
            let runs: Vec<Run> = place.expect("a place").runs.to_vec();
            assert_eq!(runs.iter().map(|run| run.length).sum::<u64>(), length, "{links:?}");
        }
        survey
    };
    check(&[], [7000, 2048], &[]);
    let moved = [(2, 100), (100, 50), (50, 101), (101, 0xffff), (3, 0), (4, 0), (5, 0)];
    let survey = check(&moved, [7000, 2048], &[]);
    let runs = file(&survey, "whole", b"/NOTE").expect("note").runs.len();
    assert_eq!(runs, 4);
    check(&[(7, 0xfff7)], [7000, 2048], &["clusters marked as bad: 1"]);
    let short = "files with fewer clusters than their size needs: 1";
    let cycle = "chains of clusters that lead back into themselves: 1";
    check(&[(3, 2)], [4096, 2048], &["allocated blocks that nothing owns: 8", cycle, short]);
    let broken = "chains of clusters that end in a free or impossible one: 1";
    check(&[(4, 60)], [6144, 2048], &["allocated blocks that nothing owns: 4", broken, short]);
    let crossed = "chains of clusters that lead into another one: 1";
    let twice = "file blocks that are claimed twice: 4";
    let lost = "allocated blocks that nothing owns: 4";
    check(&[(4, 6)], [7000, 2048], &[lost, crossed, twice]);
    let number = "entries of the FAT that name no cluster: 1";
    check(&[(6, 9000)], [7000, 2048], &[number]);
}

/// Many files of the same clusters: each is a view, until too many bytes were inspected.
#[test]
fn views_that_are_left_out_are_limits() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let (image, large) = (scratch.path().join("image"), scratch.path().join("LARGE"));
    make_image(&image, 8 << 20, &["-F", "16", "-s", "1"]);
    std::fs::write(&large, vec![b'x'; 3 << 20]).expect("write");
    mtool("mcopy", &image, &[text(&large), "::/"]);
    let mut bytes = std::fs::read(&image).expect("read");
    let at = bytes.windows(11).position(|name| name == b"LARGE      ").expect("an entry");
    for copy in 1..5_u8 {
        let entry = at + 32 * usize::from(copy);
        bytes.copy_within(at..at + 32, entry);
        bytes[entry] = b'L' + copy;
    }
    std::fs::write(&image, &bytes).expect("write");
    let survey = survey_checked(&open(&image));
    let files = survey.map.iter().filter(|place| place.kind == PlaceKind::File && !place.runs.is_empty());
    let (views, places): (Vec<_>, Vec<_>) = files.partition(|place| place.view);
    assert_eq!((places.len(), views.len()), (1, 2));
    let extent: Vec<_> = places[0].runs.iter().map(Run::extent).collect();
    assert_eq!(survey.limits, extent);
}

/// A lost boot sector, FATs that differ, a volume in use.
#[test]
fn damage_is_told() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let (image, note) = (scratch.path().join("image"), scratch.path().join("note"));
    make_image(&image, 64 << 20, &["-F", "32", "-s", "1"]);
    std::fs::write(&note, b"a note").expect("write");
    mtool("mcopy", &image, &[text(&note), "::/"]);
    let intact = std::fs::read(&image).expect("read");
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: &[&str]| {
        let mut bytes = intact.clone();
        change(&mut bytes);
        std::fs::write(&image, &bytes).expect("write");
        let disk = open(&image);
        let survey = survey_checked(&disk);
        let found: Vec<_> = survey.oddities.iter().map(|oddity| oddity.what.as_str()).collect();
        assert_eq!(found, expected);
        let note = file(&survey, "whole", b"/note").expect("note");
        assert_eq!(read_place(&disk, &note), b"a note");
    };
    check(&|_| (), &[]);
    check(&|bytes| bytes[..512].fill(0), &["boot sector read from its copy: 1"]);
    check(&|bytes| bytes[11] = 7, &["boot sector read from its copy: 1"]);
    let fat = 512 * usize::from(intact[14]);
    let second = fat + 512 * (usize::from(intact[36]) + 256 * usize::from(intact[37]));
    check(&|bytes| bytes[second + 4000] = 9, &["FATs that differ from the one that counts: 1"]);
    // The second FAT counts, and the first does not.
    check(
        &|bytes| {
            bytes[fat + 8..fat + 512].fill(0);
            bytes[40] = 0x81;
        },
        &["FATs that differ from the one that counts: 1"],
    );
    check(
        &|bytes| {
            bytes[fat + 7] &= 0xf7;
            bytes[second + 7] &= 0xf7;
        },
        &["the volume is marked dirty: it was in use, or waits for a check: 1"],
    );
    // The name in a boot sector is for people, and the FAT may look like a superblock of ext4.
    check(&|bytes| bytes[82..90].fill(b'x'), &[]);
    let reserved = ["-F", "16", "-R", "1", "-s", "1"];
    make_image(&image, 8 << 20, &reserved);
    mtool("mcopy", &image, &[text(&note), "::/"]);
    let mut bytes = std::fs::read(&image).expect("read");
    bytes[1080..1082].copy_from_slice(b"\x53\xef");
    std::fs::write(&image, &bytes).expect("write");
    let survey = survey_checked(&open(&image));
    assert_eq!(survey.map.volumes()[0].content, "vfat");
    assert!(file(&survey, "whole", b"/note").is_some());
}

#[test]
fn damaged_fat() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let image = scratch.path().join("image");
    tree(&scratch.path().join("tree"));
    for (seed, options) in
        (51..).zip([&["-F", "12", "-s", "32"][..], &["-F", "16", "-s", "4"], &["-F", "32", "-s", "1"]])
    {
        make_image(&image, 40 << 20, options);
        copy_tree(&scratch.path().join("tree"), &image);
        let intact = std::fs::read(&image).expect("read");
        let number = |at: usize| usize::from(intact[at]) + 256 * usize::from(intact[at + 1]);
        let fat = 512 * number(14);
        let fat_bytes = 512 * if number(22) == 0 { number(36) } else { number(22) };
        let data = fat + 2 * fat_bytes;
        mutate(&intact, &[0..90, fat..fat + 2000, data..data + 8192, fat..fat + fat_bytes], 120, seed);
    }
}

/// A boot sector and a partition table are in the same place and have the same signature.
#[test]
fn a_boot_sector_is_no_partition_table() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let (image, note) = (scratch.path().join("image"), scratch.path().join("note"));
    make_image(&image, 16 << 20, &["-F", "16", "-s", "2"]);
    std::fs::write(&note, b"a note").expect("write");
    mtool("mcopy", &image, &[text(&note), "::/"]);
    let bare = std::fs::read(&image).expect("read");
    let volumes = |bytes: &[u8]| {
        std::fs::write(&image, bytes).expect("write");
        let survey = survey_checked(&open(&image));
        let volumes = survey.map.volumes().iter();
        volumes.map(|volume| format!("{} {}", volume.label, volume.content)).collect::<Vec<_>>()
    };
    assert_eq!(volumes(&bare), ["whole vfat"]);
    // Boot code that looks like partitions: none of them is inside the disk.
    let mut coded = bare.clone();
    coded[446..462].copy_from_slice(&[0x80, 1, 2, 3, 0x44, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    assert_eq!(volumes(&coded), ["whole vfat"]);
    // A partition table in a sector that also has the parameters of a FAT.
    let mut disk = vec![0; 1 << 20];
    disk.extend_from_slice(&bare);
    disk[..446].copy_from_slice(&bare[..446]);
    let entry = [0x80, 0, 0, 0, 6, 0, 0, 0, 0, 8, 0, 0, 0, 0x80, 0, 0];
    disk[446..462].copy_from_slice(&entry);
    disk[510..512].copy_from_slice(b"\x55\xaa");
    assert_eq!(volumes(&disk), ["disk mbr", "p1 vfat"]);
}
