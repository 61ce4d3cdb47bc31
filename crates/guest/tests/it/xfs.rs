//! XFS: trees that `mkfs.xfs` and the kernel wrote, and logs that were not empty.

use crate::fixture::{Random, bytes_of, check_tree, make_tree, open, run, survey_checked, text};
use crate::mount::{Mount, work};
use crate::mutate_xfs::make_small;
use crate::partition::put;
use airlock_model::PlaceKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Returns a description of the tree below `root` that `mkfs.xfs -p` reads. Its words end at
/// blanks, so files with odd names are left out.
pub(crate) fn prototype(root: &Path) -> Vec<u8> {
    let mut text = b"/\n0 0\nd--755 0 0\n".to_vec();
    describe(root, &mut text);
    text.extend_from_slice(b"$\n");
    text
}

fn describe(directory: &Path, into: &mut Vec<u8>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().expect("name").as_bytes();
        let kind = std::fs::symlink_metadata(&path).expect("metadata");
        into.extend_from_slice(name);
        if kind.is_dir() {
            into.extend_from_slice(b" d--755 0 0\n");
            describe(&path, into);
            into.extend_from_slice(b"$\n");
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).expect("link");
            into.extend_from_slice(&[b" l--777 0 0 ", target.as_os_str().as_bytes(), b"\n"].concat());
        } else {
            into.extend_from_slice(&[b" ---644 0 0 ", path.as_os_str().as_bytes(), b"\n"].concat());
        }
    }
}

/// Gives every file a name without blanks.
pub(crate) fn make_plain(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("directory") {
        let path = entry.expect("entry").path();
        if std::fs::symlink_metadata(&path).expect("metadata").is_dir() {
            make_plain(&path);
        }
        let name = path.file_name().expect("name").as_bytes();
        let plain: Vec<u8> =
            name.iter().map(|byte| if matches!(byte, b' ' | b'\x1b') { b'_' } else { *byte }).collect();
        if plain != name {
            std::fs::rename(&path, directory.join(std::ffi::OsStr::from_bytes(&plain))).expect("rename");
        }
    }
}

struct Trees(tempfile::TempDir);

impl Trees {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let tree = directory.path().join("tree");
        make_tree(&tree, true);
        make_plain(&tree);
        // mkfs makes a file of its own of each name.
        std::fs::remove_file(tree.join("srv/linked")).expect("remove");
        std::fs::write(directory.path().join("prototype"), prototype(&tree)).expect("write");
        Self(directory)
    }

    fn image(&self, options: &[&str]) -> PathBuf {
        let (image, prototype) = (self.0.path().join("image"), self.0.path().join("prototype"));
        let _ = std::fs::remove_file(&image);
        std::fs::File::create(&image).and_then(|file| file.set_len(400 << 20)).expect("create");
        let mut arguments = vec!["-q", "-f", "-p", text(&prototype)];
        arguments.extend(options);
        arguments.push(text(&image));
        run("mkfs.xfs", &arguments);
        image
    }

    fn check(&self, options: &[&str]) {
        let image = self.image(options);
        let disk = open(&image);
        let survey = survey_checked(&disk);
        assert_eq!(
            (survey.oddities.as_slice(), survey.replays.as_slice()),
            (&[][..], &[][..]),
            "{options:?}"
        );
        check_tree(&disk, &survey, "whole", &self.0.path().join("tree"));
        check_free(&survey, &image);
    }
}

/// Compares what is free with what the allocation groups count, but for their own lists.
fn check_free(survey: &airlock_guest::Survey, image: &Path) {
    let superblock = run("xfs_db", &["-r", "-c", "sb 0", "-c", "p agcount blocksize", text(image)]);
    let number = |text: &str, name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).expect(name);
        line.split('=').nth(1).expect(name).trim().parse().expect(name)
    };
    let mut free = 0;
    for group in 0..number(&superblock, "agcount") {
        let header = run("xfs_db", &["-r", "-c", &format!("agf {group}"), "-c", "p freeblks", text(image)]);
        free += number(&header, "freeblks");
    }
    assert_eq!(bytes_of(survey, PlaceKind::Free), free * number(&superblock, "blocksize"));
}

#[test]
fn version_5_of_every_block_size() {
    let trees = Trees::new();
    trees.check(&[]);
    trees.check(&["-b", "size=1024"]);
    trees.check(&["-b", "size=1024", "-n", "size=8192"]);
    trees.check(&["-b", "size=2048", "-i", "size=1024"]);
    trees.check(&["-b", "size=8192", "-d", "agcount=4"]);
    trees.check(&["-b", "size=65536", "-l", "size=64m"]);
    trees.check(&["-s", "size=4096"]);
}

#[test]
fn version_5_with_and_without_features() {
    let trees = Trees::new();
    trees.check(&["-m", "reflink=0,rmapbt=0"]);
    trees.check(&["-m", "reflink=0,rmapbt=1"]);
    trees.check(&["-m", "finobt=0,inobtcount=0,reflink=0,bigtime=0"]);
    trees.check(&["-m", "rmapbt=1", "-i", "nrext64=1,sparse=0"]);
    trees.check(&["-l", "version=2,su=65536", "-d", "agsize=80m"]);
}

#[test]
fn version_4() {
    let trees = Trees::new();
    trees.check(&["-m", "crc=0"]);
    trees.check(&["-m", "crc=0", "-b", "size=512", "-n", "size=4096"]);
    trees.check(&["-m", "crc=0", "-n", "ftype=1", "-i", "size=256", "-l", "version=1"]);
}

/// Makes an image and copies it while the kernel has it mounted and has worked on it, and
/// compares what we read with what the kernel shows of the copy.
fn check_log(options: &[&str], changes: impl Fn(&Path)) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    let image = path("image");
    std::fs::File::create(&image).and_then(|file| file.set_len(400 << 20)).expect("create");
    let mut arguments = vec!["-q", "-f"];
    arguments.extend(options);
    arguments.push(text(&image));
    run("mkfs.xfs", &arguments);
    let mounted = Mount::new(&image, &path("mounted"), "noatime");
    make_tree(&mounted.root.join("tree"), true);
    changes(&mounted.root);
    work(&mounted.root, 400);
    std::fs::copy(&image, path("copy")).expect("copy");
    std::fs::copy(path("copy"), path("other")).expect("copy");
    mounted.end();
    let replayed = Mount::new(&path("other"), &path("replayed"), "noatime");
    let disk = open(&path("copy"));
    let survey = survey_checked(&disk);
    // A file may be deleted in the log and its blocks not free yet.
    let odd = survey.oddities.iter().filter(|oddity| !oddity.what.starts_with("deleted files that were"));
    assert_eq!(odd.count(), 0, "{options:?} {:?}", survey.oddities);
    let replays: Vec<_> = survey.replays.iter().map(|replay| (&*replay.volume, replay.log)).collect();
    assert_eq!(replays, [("whole", "xfs")], "{options:?}");
    check_tree(&disk, &survey, "whole", &replayed.root);
    // After it was unmounted, the copy of the kernel's is clean and has the same files.
    let root = path("kept");
    std::fs::create_dir(&root).expect("directory");
    run("cp", &["-a", text(&replayed.root.join(".")), text(&root)]);
    replayed.end();
    let disk = open(&path("other"));
    let survey = survey_checked(&disk);
    assert_eq!((survey.oddities.as_slice(), survey.replays.as_slice()), (&[][..], &[][..]), "{options:?}");
    check_tree(&disk, &survey, "whole", &root);
    check_free(&survey, &path("other"));
}

/// Fragmented, preallocated and sparse files, attributes, a large directory, and an open file.
fn hard_files(root: &Path) {
    let mut random = Random(3);
    let create = |name: &str| std::fs::File::create(root.join(name)).expect("create");
    let (first, second) = (create("fragments"), create("others"));
    for index in 0..1500 {
        first.write_all_at(&random.bytes(4096), index * 12_288).expect("write");
        second.write_all_at(&random.bytes(100), index * 8192).expect("write");
        if index % 200 == 0 {
            first.sync_all().expect("fsync");
            second.sync_all().expect("fsync");
        }
    }
    run("fallocate", &["-l", "3000000", text(&root.join("preallocated"))]);
    create("short").write_all_at(b"short", 0).expect("write");
    run("fallocate", &["-n", "-l", "100000", text(&root.join("short"))]);
    let many = root.join("many more");
    std::fs::create_dir(&many).expect("directory");
    for index in 0..5000 {
        std::fs::write(many.join(format!("a name that takes some room {index}")), b"").expect("write");
    }
    for index in (0..5000).step_by(3) {
        std::fs::remove_file(many.join(format!("a name that takes some room {index}"))).expect("remove");
    }
    let long = "x".repeat(1000);
    std::os::unix::fs::symlink(&long, root.join("far link")).expect("link");
    run("sync", &[]);
}

/// Files that have blocks together.
fn shared_files(root: &Path) {
    hard_files(root);
    let path = |name: &str| root.join(name);
    run("cp", &["--reflink=always", text(&path("others")), text(&path("clone"))]);
    let clone = std::fs::File::options().write(true).open(path("clone")).expect("open");
    FileExt::write_all_at(&clone, &[7; 5000], 100_000).expect("write");
    clone.sync_all().expect("fsync");
}

#[test]
fn a_log_is_replayed() {
    check_log(&[], shared_files);
    check_log(&["-m", "reflink=0,rmapbt=1"], hard_files);
}

#[test]
fn a_log_of_small_blocks_is_replayed() {
    check_log(&["-b", "size=1024", "-n", "size=8192"], shared_files);
    check_log(&["-b", "size=1024", "-m", "rmapbt=1"], |_| ());
}

#[test]
fn a_log_of_other_shapes_is_replayed() {
    check_log(&["-l", "version=2,su=262144", "-i", "size=1024"], |_| ());
    check_log(&["-i", "sparse=0,nrext64=1", "-m", "finobt=0,inobtcount=0,reflink=0"], |_| ());
}

/// Directories lead to the files, too.
#[test]
fn files_are_found_without_the_tree_of_inodes() {
    let trees = Trees::new();
    let image = trees.image(&[]);
    // The header of the group that has the root directory.
    put(&image, 1024, b"gone");
    let disk = open(&image);
    let survey = survey_checked(&disk);
    let said = |what: &str| survey.oddities.iter().any(|oddity| oddity.what.starts_with(what));
    assert!(said("damaged headers of allocation groups"), "{:?}", survey.oddities);
    assert!(said("inodes in use that are called unused"), "{:?}", survey.oddities);
    check_tree(&disk, &survey, "whole", &trees.0.path().join("tree"));
}

/// Returns the records of a log: round and block, and where each is in the image.
fn records(bytes: &[u8]) -> Vec<(u64, usize)> {
    let mut found: Vec<_> = (0..bytes.len())
        .step_by(512)
        .filter(|at| bytes[*at..].starts_with(&[0xfe, 0xed, 0xba, 0xbe]))
        .map(|at| (u64::from_be_bytes(bytes[at + 16..at + 24].try_into().expect("eight")), at))
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn a_log_that_goes_round_and_ends_in_a_torn_record() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    make_small(&path("image"), &["-l", "size=6m"]);
    let mounted = Mount::new(&path("image"), &path("mounted"), "noatime");
    for round in 0..60 {
        let inner = mounted.root.join(format!("round {round}"));
        std::fs::create_dir(&inner).expect("directory");
        work(&inner, 60);
        if round % 4 != 3 && round < 58 {
            std::fs::remove_dir_all(&inner).expect("remove");
            run("sync", &[]);
        }
    }
    std::fs::copy(path("image"), path("whole")).expect("copy");
    mounted.end();
    let bytes = std::fs::read(path("whole")).expect("read");
    let records = records(&bytes);
    let (last, at) = *records.last().expect("records");
    assert!(last >> 32 > 1, "the log did not go round: {last:#x}");
    // As it is, and with a last record that did not arrive whole.
    for torn in [None, Some(at + 1024 + 100), Some(at + 512)] {
        std::fs::copy(path("whole"), path("copy")).expect("copy");
        if let Some(torn) = torn {
            put(&path("copy"), u64::try_from(torn).expect("small"), &[bytes[torn] ^ 0x55]);
        }
        std::fs::copy(path("copy"), path("other")).expect("copy");
        let disk = open(&path("copy"));
        let survey = survey_checked(&disk);
        assert_eq!(survey.replays.len(), 1, "{torn:?} {:?}", survey.oddities);
        let replayed = Mount::new(&path("other"), &path("replayed"), "noatime");
        check_tree(&disk, &survey, "whole", &replayed.root);
        replayed.end();
    }
}

/// Damages the first superblock; nothing may be lost but what was damaged.
fn check_copy(trees: &Trees, options: &[&str], damage: impl Fn(&mut [u8]), expected: &str) {
    let image = trees.image(options);
    let mut bytes = vec![0; 4096];
    let file = std::fs::File::options().read(true).write(true).open(&image).expect("open");
    file.read_exact_at(&mut bytes, 0).expect("read");
    damage(&mut bytes);
    file.write_all_at(&bytes, 0).expect("write");
    let disk = open(&image);
    let survey = survey_checked(&disk);
    let said: Vec<_> = survey.oddities.iter().map(|oddity| oddity.what.as_str()).collect();
    assert!(said.iter().any(|what| what.contains(expected)), "{options:?}: {said:?}");
    check_tree(&disk, &survey, "whole", &trees.0.path().join("tree"));
}

#[test]
fn a_copy_of_the_superblock_is_used() {
    let trees = Trees::new();
    let copy = "the superblock is damaged, a copy of it is used";
    let old = ["-m", "crc=0,finobt=0,reflink=0,rmapbt=0"];
    // Magic number, block size, blocks per group, number of groups, version, inode size, log.
    for at in [0, 6, 86, 91, 101, 104, 124] {
        check_copy(&trees, &[], |bytes| bytes[at] ^= 0x11, copy);
        check_copy(&trees, &old, |bytes| bytes[at] ^= 0x11, copy);
    }
    for at in [55, 63, 99, 219] {
        check_copy(&trees, &[], |bytes| bytes[at] ^= 0x10, copy);
    }
    // With the headers of the first group: files are found by directories.
    check_copy(&trees, &[], |bytes| bytes.fill(0), copy);
    check_copy(&trees, &old, |bytes| bytes.fill(0), copy);
    check_copy(&trees, &["-b", "size=1024"], |bytes| bytes.fill(0), copy);
    check_copy(&trees, &["-s", "size=4096"], |bytes| bytes.fill(0), copy);
    // Not as mkfs divides by itself: the header of the first group says how.
    check_copy(&trees, &["-d", "agsize=83m"], |bytes| bytes[..512].fill(0), copy);
}
