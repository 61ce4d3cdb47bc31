//! File systems that `debugfs` changed: deleted, fragmented, preallocated and hostile files.

use crate::fixture::{Random, bytes_of, file, open, read_place, run, survey_checked, text};
use airlock_guest::Survey;
use airlock_model::{Place, PlaceKind};
use std::path::{Path, PathBuf};

pub(crate) struct Image {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Image {
    pub(crate) fn new(size: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("image");
        let mut arguments = vec!["-q", "-F"];
        arguments.extend(options);
        arguments.extend([text(&path), size]);
        run("mke2fs", &arguments);
        Self { directory, path }
    }

    /// Lets `debugfs` run commands.
    pub(crate) fn change(&self, commands: &[String]) {
        let script = self.directory.path().join("commands");
        std::fs::write(&script, commands.join("\n")).expect("write");
        run("debugfs", &["-w", "-f", text(&script), text(&self.path)]);
    }

    /// Puts bytes into a file next to the image.
    pub(crate) fn source(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, bytes).expect("write");
        text(&path).to_owned()
    }

    /// Returns what `debugfs` calls the content of a file.
    pub(crate) fn dump(&self, path: &str) -> Vec<u8> {
        let target = self.directory.path().join("dumped");
        let command = format!("dump \"{path}\" {}", text(&target));
        run("debugfs", &["-R", &command, text(&self.path)]);
        std::fs::read(&target).expect("dumped")
    }
}

fn slack<'m>(survey: &'m Survey, path: &[u8]) -> Option<Place<'m>> {
    let is = |place: &Place<'_>| place.kind == PlaceKind::Slack && place.path == path;
    survey.map.iter().find(is)
}

fn check_file(image: &Image, survey: &Survey, path: &str, expected: &[u8]) {
    let disk = open(&image.path);
    let place = file(survey, "whole", path.as_bytes()).unwrap_or_else(|| panic!("no {path}"));
    assert!(read_place(&disk, &place) == expected, "content of {path}");
}

pub(crate) fn said(survey: &Survey, what: &str) -> bool {
    survey.oddities.iter().any(|oddity| oddity.what.contains(what))
}

#[test]
fn fragmented_and_deleted_files() {
    for options in [
        &["-t", "ext4", "-b", "1024"][..],
        &["-t", "ext2", "-b", "1024"],
        &["-t", "ext3", "-b", "4096"],
        &["-t", "ext4", "-b", "4096", "-O", "inline_data"],
    ] {
        let image = Image::new("24M", options);
        let mut random = Random(9);
        // Fills the disk with small files, deletes every other one, and writes into the holes.
        let filler = random.bytes(3000);
        let small = image.source("small", &filler);
        let mut commands: Vec<_> = (0..900).map(|index| format!("write {small} f{index}")).collect();
        commands.extend((0..450).map(|index| format!("rm f{}", index * 2)));
        let large = random.bytes(1_200_000);
        commands.push(format!("write {} large", image.source("large", &large)));
        commands.push("mkdir sub".to_owned());
        commands.push(format!("write {small} sub/inner"));
        commands.push("ln f1 sub/other".to_owned());
        commands.push("symlink sub/link /f3".to_owned());
        image.change(&commands);
        let disk = open(&image.path);
        let survey = survey_checked(&disk);
        assert_eq!(survey.oddities, [], "{options:?}");
        check_file(&image, &survey, "/large", &large);
        check_file(&image, &survey, "/f899", &filler);
        check_file(&image, &survey, "/sub/inner", &filler);
        assert!(file(&survey, "whole", b"/f0").is_none());
        let place = file(&survey, "whole", b"/large").expect("large");
        assert!(place.runs.len() > 10, "{} runs", place.runs.len());
        let files = survey.map.iter().filter(|place| place.kind == PlaceKind::File);
        assert_eq!(files.count(), 450 + 2, "{options:?}");
        // Deleted content is in free space.
        let free = survey.map.iter().find(|place| place.kind == PlaceKind::Free);
        let free = read_place(&disk, &free.expect("free"));
        assert!(free.windows(500).any(|part| part == &filler[..500]), "{options:?}");
    }
}

#[test]
fn slack_is_exact() {
    let image = Image::new("8M", &["-t", "ext4", "-b", "4096"]);
    let source = image.source("source", &[7; 5000]);
    image.change(&[format!("write {source} note")]);
    let disk = open(&image.path);
    let survey = survey_checked(&disk);
    let note = file(&survey, "whole", b"/note").expect("note");
    let rest = slack(&survey, b"/note").expect("slack");
    assert_eq!((note.size, rest.size), (5000, 8192 - 5000));
    assert_eq!(note.runs[0].disk + 5000, rest.runs[0].disk);
}

#[test]
fn preallocated_blocks_are_slack_and_read_as_zeros() {
    let image = Image::new("16M", &["-t", "ext4", "-b", "4096"]);
    let source = image.source("source", &[7; 10_000]);
    image.change(&[
        format!("write {source} note"),
        "fallocate note 10 19".to_owned(),
        "sif note size 50000".to_owned(),
    ]);
    let disk = open(&image.path);
    let survey = survey_checked(&disk);
    assert_eq!(survey.oddities, []);
    check_file(&image, &survey, "/note", &image.dump("note"));
    let rest = slack(&survey, b"/note").expect("slack");
    assert_eq!(rest.size, 10 * 4096);
    // The tail of the third block lies before the new end, so it is file.
    let note = file(&survey, "whole", b"/note").expect("note");
    assert_eq!(note.runs.iter().map(|run| run.length).sum::<u64>(), 3 * 4096);
}

#[test]
fn a_tree_of_many_extents_is_followed() {
    let image = Image::new("48M", &["-t", "ext4", "-b", "1024"]);
    let path = image.directory.path().join("sparse");
    let sparse = std::fs::File::create(&path).expect("create");
    let mut random = Random(11);
    for index in 0..2000 {
        use std::os::unix::fs::FileExt;
        sparse.write_all_at(&random.bytes(1024), index * 8192).expect("write");
    }
    image.change(&[format!("write {} sparse", text(&path))]);
    let disk = open(&image.path);
    let survey = survey_checked(&disk);
    assert_eq!(survey.oddities, []);
    check_file(&image, &survey, "/sparse", &std::fs::read(&path).expect("read"));
}

#[test]
fn an_encrypted_file_is_encrypted_to_its_last_block() {
    let image = Image::new("8M", &["-t", "ext4", "-b", "4096", "-O", "encrypt"]);
    let source = image.source("source", &[7; 5000]);
    image.change(&[format!("write {source} secret"), "sif secret flags 0x80800".to_owned()]);
    let disk = open(&image.path);
    let survey = survey_checked(&disk);
    assert_eq!(bytes_of(&survey, PlaceKind::Encrypted), 8192);
    assert!(file(&survey, "whole", b"/secret").is_none());
}

#[test]
fn inode_flags_and_states() {
    let image = Image::new("8M", &["-t", "ext4", "-b", "1024"]);
    let source = image.source("source", &[7; 3000]);
    image.change(&[
        format!("write {source} lost"),
        format!("write {source} orphan"),
        format!("write {source} kept"),
        "unlink lost".to_owned(),
        "sif orphan links_count 0".to_owned(),
        "feature needs_recovery".to_owned(),
    ]);
    let disk = open(&image.path);
    let survey = survey_checked(&disk);
    check_file(&image, &survey, "/kept", &[7; 3000]);
    check_file(&image, &survey, "/lost+found/#12", &[7; 3000]);
    // An empty journal needs no replay.
    assert!(survey.replays.is_empty());
    assert!(said(&survey, "allocated blocks that nothing owns: 3"));
}

#[test]
fn two_files_that_claim_one_block_are_both_inspected() {
    let image = Image::new("8M", &["-t", "ext2", "-b", "1024"]);
    let (first, second) = ([7; 3000], [9; 3000]);
    let (a, b) = (image.source("a", &first), image.source("b", &second));
    image.change(&[format!("write {a} a"), format!("write {b} b")]);
    let blocks = run("debugfs", &["-R", "blocks a", text(&image.path)]);
    let middle = blocks.split_whitespace().nth(1).expect("three blocks").to_owned();
    image.change(&[format!("sif b block[1] {middle}")]);
    let disk = open(&image.path);
    let survey = survey_checked(&disk);
    assert!(said(&survey, "claimed twice: 1"), "{:?}", survey.oddities);
    check_file(&image, &survey, "/a", &first);
    let view = survey.map.iter().find(|place| place.view && place.path == b"/b");
    assert_eq!(read_place(&disk, &view.expect("view")), image.dump("b"));
}

#[test]
fn a_file_cannot_hide_in_inodes_that_are_called_unused() {
    let image = Image::new("16M", &["-t", "ext4", "-b", "1024"]);
    let source = image.source("source", &[7; 3000]);
    image.change(&[
        "mkdir hidden".to_owned(),
        format!("write {source} hidden/note"),
        "set_bg 0 itable_unused 2037".to_owned(),
        "set_bg 1 itable_unused 2048".to_owned(),
    ]);
    let disk = open(&image.path);
    let survey = survey_checked(&disk);
    check_file(&image, &survey, "/hidden/note", &[7; 3000]);
    assert!(said(&survey, "called unused"), "{:?}", survey.oddities);
}

#[test]
fn a_file_cannot_hide_as_the_file_systems_own() {
    let image = Image::new("16M", &["-t", "ext4", "-b", "1024", "-O", "quota,project"]);
    let source = image.source("source", &[7; 3000]);
    image.change(&[
        format!("write {source} attribute"),
        format!("write {source} quota"),
        format!("write {source} early"),
        "sif attribute flags 0x280000".to_owned(),
    ]);
    let inode = |name: &str| -> String {
        let stat = run("debugfs", &["-R", &format!("stat {name}"), text(&image.path)]);
        stat.split_whitespace().nth(1).expect("number").to_owned()
    };
    let quota = inode("quota");
    image.change(&[format!("ssv prj_quota_inum {quota}"), "ssv first_ino 1000".to_owned()]);
    let disk = open(&image.path);
    let survey = survey_checked(&disk);
    for path in ["/attribute", "/quota", "/early"] {
        check_file(&image, &survey, path, &[7; 3000]);
    }
    assert!(said(&survey, "itself that a directory names: 2"), "{:?}", survey.oddities);
}

#[test]
fn a_huge_sparse_file_system_takes_little_time() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path: &Path = &directory.path().join("image");
    std::fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("create");
    run("mke2fs", &["-q", "-F", "-t", "ext4", text(path)]);
    let disk = open(path);
    let start = std::time::Instant::now();
    let survey = survey_checked(&disk);
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    assert_eq!(survey.oddities, []);
    assert!(survey.map.len() < 10);
}
