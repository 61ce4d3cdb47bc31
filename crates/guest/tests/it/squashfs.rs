//! squashfs: trees that `mksquashfs` wrote, with every compression.

use crate::fixture::{
    Random, bytes_of, check_tree, count, make_tree, open, run, spares, survey_checked, text,
};
use crate::mutate::mutate;
use airlock_model::PlaceKind;
use std::path::Path;

fn make_image(image: &Path, tree: &Path, options: &[&str]) {
    let _ = std::fs::remove_file(image);
    let mut arguments = vec![text(tree), text(image), "-noappend", "-quiet", "-no-progress"];
    arguments.extend(options);
    run("mksquashfs", &arguments);
}

/// Makes the usual tree, and files that compress well.
fn make_squashed_tree(tree: &Path) {
    make_tree(tree, true);
    let line = |number: u64| format!("{number:>12} a line of text that is like the others, {number}\n");
    for (name, lines) in [("text", 20_000), ("small text", 30), ("two blocks", 4_500)] {
        let text: String = (0..lines).map(line).collect();
        std::fs::write(tree.join(name), text).expect("write");
    }
    std::fs::copy(tree.join("text"), tree.join("the same text")).expect("copy");
}

fn check(tree: &Path, image: &Path, options: &[&str]) {
    make_image(image, tree, options);
    let disk = open(image);
    let survey = survey_checked(&disk);
    assert_eq!((survey.oddities.as_slice(), survey.limits.as_slice()), (&[][..], &[][..]), "{options:?}");
    assert_eq!(survey.map.volumes()[0].content, "squashfs");
    check_tree(&disk, &survey, "whole", tree);
    assert_eq!((bytes_of(&survey, PlaceKind::Raw), bytes_of(&survey, PlaceKind::Free)), (0, 0));
}

#[test]
fn every_compression() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    make_squashed_tree(&tree);
    for codec in ["gzip", "lzma", "lzo", "xz", "lz4", "zstd"] {
        check(&tree, &image, &["-comp", codec]);
    }
    check(&tree, &image, &["-comp", "xz", "-Xbcj", "x86,arm"]);
    check(&tree, &image, &["-comp", "lz4", "-Xhc"]);
}

#[test]
fn every_shape() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    make_squashed_tree(&tree);
    check(&tree, &image, &["-no-fragments"]);
    check(&tree, &image, &["-always-use-fragments", "-b", "1M"]);
    check(&tree, &image, &["-b", "4096", "-no-duplicates"]);
    check(&tree, &image, &["-noI", "-noD", "-noF", "-noX"]);
    check(&tree, &image, &["-noD", "-no-sparse", "-no-exports"]);
}

#[test]
fn many_small_files() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    let mut random = Random(41);
    for index in 0..5000 {
        let inner = tree.join(format!("directory {}", index % 40));
        std::fs::create_dir_all(&inner).expect("directory");
        let size = random.below(700);
        let text = format!("{index} {}", "words and more words ".repeat(size / 20));
        std::fs::write(inner.join(format!("file {index}")), text).expect("write");
    }
    check(&tree, &image, &["-comp", "zstd"]);
}

/// A file of which the inode says less than it had: what it had is in the fragment.
#[test]
fn what_no_file_shows_of_a_fragment() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    std::fs::create_dir(&tree).expect("directory");
    for name in ["a", "b", "c"] {
        std::fs::write(tree.join(name), format!("{name} has card 4539 1488 0343 6467\n")).expect("write");
    }
    for options in [&["-noI"][..], &["-noI", "-noF"]] {
        make_image(&image, &tree, options);
        let mut bytes = std::fs::read(&image).expect("read");
        let disk = open(&image);
        let all = spares(&disk, &survey_checked(&disk));
        assert!(all.iter().all(|byte| *byte == 0), "all of the fragment is shown");
        let inodes = usize::try_from(u64::from_le_bytes(bytes[64..72].try_into().expect("eight")));
        let inodes = inodes.expect("small") + 2;
        let size = (inodes..bytes.len()).find(|at| bytes[*at..].starts_with(&[31, 0, 0, 0]));
        bytes[size.expect("a file of 31 bytes")] = 10;
        std::fs::write(&image, &bytes).expect("write");
        let disk = open(&image);
        let survey = survey_checked(&disk);
        assert_eq!((count(&spares(&disk, &survey), b"4539 1488 0343 6467"), survey.oddities.len()), (1, 0));
    }
}

#[test]
fn damaged_squashfs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    make_squashed_tree(&tree);
    // Plain tables, whose fields can be changed, and compressed ones.
    for (seed, options) in
        [(51, &["-noI", "-noF", "-noX"][..]), (52, &["-comp", "xz"]), (53, &["-comp", "lzo"])]
    {
        make_image(&image, &tree, options);
        let intact = std::fs::read(&image).expect("read");
        let field = |at: usize| u64::from_le_bytes(intact[at..at + 8].try_into().expect("eight"));
        let place = |at: usize| usize::try_from(field(at)).expect("small");
        let (inodes, directories, fragments) = (place(64), place(72), place(80));
        let targets =
            [0..96, 8..96, inodes..directories, directories..fragments, fragments..intact.len(), 30..90];
        mutate(&intact, &targets, 120, seed);
    }
}
