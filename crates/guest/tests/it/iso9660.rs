//! ISO 9660: trees that `xorriso` wrote, with names of every kind, and discs that are disks, too.

use crate::fixture::{
    Random, bytes_of, check_tree, file, make_tree, open, read_place, run, survey_checked, text,
};
use crate::mutate::mutate;
use airlock_guest::Survey;
use airlock_model::PlaceKind;
use std::path::Path;

fn make_image(image: &Path, tree: &Path, options: &[&str]) {
    let _ = std::fs::remove_file(image);
    let mut arguments = vec!["-as", "mkisofs", "-quiet", "-o", text(image)];
    arguments.extend(options);
    arguments.push(text(tree));
    run("xorriso", &arguments);
}

/// Makes the usual tree, with deep directories and without links: a disc may have two copies of a file.
fn make_disc_tree(tree: &Path) {
    make_tree(tree, true);
    std::fs::remove_file(tree.join("srv/linked")).expect("remove");
    let deep = (1..14).fold(tree.to_owned(), |path, level| path.join(format!("level {level}")));
    std::fs::create_dir_all(&deep).expect("directory");
    std::fs::write(deep.join("deep"), b"deep").expect("write");
    let long = "a name that is so long that it is not in one record but goes on elsewhere ".repeat(3);
    std::fs::write(tree.join(long), b"long").expect("write");
}

fn check_clean(survey: &Survey) {
    assert_eq!((survey.oddities.as_slice(), survey.limits.as_slice()), (&[][..], &[][..]));
    assert_eq!(survey.map.volumes()[0].content, "iso9660");
    assert_eq!(bytes_of(survey, PlaceKind::Raw), 0);
}

#[test]
fn names_of_rock_ridge() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    make_disc_tree(&tree);
    for options in
        [&["-R"][..], &["-J", "-R"], &["-R", "-J", "-joliet-long", "-iso-level", "3"], &["-r", "-D"]]
    {
        make_image(&image, &tree, options);
        let disk = open(&image);
        let survey = survey_checked(&disk);
        check_clean(&survey);
        check_tree(&disk, &survey, "whole", &tree);
    }
}

/// A file of several extents (ECMA-119, 6.5.1), as one of more than 4 GiB has them: records of the same
/// name, of which all but the last say that it goes on. Two files are made one.
#[test]
fn a_file_of_several_extents() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    std::fs::create_dir(&tree).expect("directory");
    let mut random = Random(6);
    let (first, between, last) = (random.bytes(3 * 2048), random.bytes(100), random.bytes(5000));
    for (name, bytes) in [("PART1", &first), ("PART0", &between), ("PART2", &last)] {
        std::fs::write(tree.join(name), bytes).expect("write");
    }
    make_image(&image, &tree, &["--norock"]);
    let mut bytes = std::fs::read(&image).expect("read");
    // The flags are seven bytes before the length of the name; `xorriso` writes names with versions.
    let at = |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).position(|found| found == name);
    let one = at(&bytes, b"PART1.;1").or_else(|| at(&bytes, b"PART1;1")).expect("a record");
    let two = at(&bytes, b"PART2.;1").or_else(|| at(&bytes, b"PART2;1")).expect("a record");
    bytes[one - 8] |= 0x80;
    bytes[two + 4] = b'1';
    std::fs::write(&image, &bytes).expect("write");
    let disk = open(&image);
    let survey = survey_checked(&disk);
    check_clean(&survey);
    let place = file(&survey, "whole", b"/PART1").expect("one file");
    assert!(read_place(&disk, &place) == [first, last].concat());
    assert!(file(&survey, "whole", b"/PART0").is_some() && file(&survey, "whole", b"/PART2").is_none());
}

#[test]
fn names_of_joliet_and_plain_ones() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    std::fs::create_dir_all(tree.join("Möbel und mehr")).expect("directory");
    let mut random = Random(5);
    for (name, size) in [("Möbel und mehr/Preise €.txt", 5000), ("a file with blanks", 2048), ("empty", 0)]
    {
        std::fs::write(tree.join(name), random.bytes(size)).expect("write");
    }
    make_image(&image, &tree, &["-J", "--norock", "-input-charset", "utf-8"]);
    let disk = open(&image);
    let survey = survey_checked(&disk);
    check_clean(&survey);
    check_tree(&disk, &survey, "whole", &tree);
    make_image(&image, &tree, &["--norock"]);
    let disk = open(&image);
    let survey = survey_checked(&disk);
    check_clean(&survey);
    let place = file(&survey, "whole", b"/A_FILE_W").or_else(|| file(&survey, "whole", b"/A_FILE_W.___"));
    let place = place.expect("a short name");
    assert!(read_place(&disk, &place) == std::fs::read(tree.join("a file with blanks")).expect("read"));
}

#[test]
fn a_disc_that_is_a_disk_too() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    let (image, tree) = (path("image"), path("tree"));
    make_disc_tree(&tree);
    make_tree(&path("other"), true);
    run("mke2fs", &["-q", "-F", "-d", text(&path("other")), text(&path("partition")), "24M"]);
    std::fs::write(tree.join("boot.img"), [0x90; 2048]).expect("write");
    let partition = path("partition");
    let boot = ["-b", "boot.img", "-no-emul-boot", "-boot-load-size", "4"];
    for table in [&[][..], &["-appended_part_as_gpt"]] {
        let append = ["-R", "-append_partition", "2", "0x83", text(&partition)];
        make_image(&image, &tree, &[&append[..], &boot, table].concat());
        let disk = open(&image);
        let survey = survey_checked(&disk);
        // What lists the boot images is a file as well.
        let catalogue = file(&survey, "whole", b"/boot.catalog").expect("a boot catalogue");
        std::fs::write(tree.join("boot.catalog"), read_place(&disk, &catalogue)).expect("write");
        check_tree(&disk, &survey, "whole", &tree);
        std::fs::remove_file(tree.join("boot.catalog")).expect("remove");
        // The partition is read as well; its bytes are the disc's.
        check_tree(&disk, &survey, "p2", &path("other"));
        assert!(survey.map.iter().filter(|place| place.volume.label == "p2").all(|place| place.view));
    }
}

#[test]
fn damaged_discs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    make_disc_tree(&tree);
    for name in ["srv/sparse", "srv/hole", "srv/large"] {
        std::fs::remove_file(tree.join(name)).expect("remove");
    }
    make_image(&image, &tree, &["-R", "-J"]);
    let intact = std::fs::read(&image).expect("read");
    let mut targets =
        vec![(16 << 11) + 80..(16 << 11) + 200, (17 << 11) + 80..(17 << 11) + 200, (17 << 11)..(20 << 11)];
    // Directories begin with a record of themselves.
    let sectors = (20 << 11..intact.len().min(2 << 20)).step_by(2048);
    let directories = sectors.filter(|at| intact[at + 32..].starts_with(&[1, 0]) && intact[at + 25] == 2);
    targets.extend(directories.flat_map(|at| [at..at + 2048, at..at + 300]));
    assert!(targets.len() > 20, "{} targets", targets.len());
    mutate(&intact, &targets, 300, 31);
}
