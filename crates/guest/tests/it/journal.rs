//! Logs that were not empty: what the kernel shows after it has replayed them, we list and read.

use crate::debugfs::{Image, said};
use crate::fixture::{Random, check_tree, make_tree, open, references, run, survey_checked, text};
use crate::mount::{Mount, work};
use crate::mutate::mutate_and_mend;
use crate::partition::{get, put};
use std::path::Path;
use std::sync::OnceLock;

/// Makes an image and copies it while the kernel has it mounted and has worked on it.
/// Returns one copy as it was, mounted on `root` another one.
fn copied(directory: &Path, options: &[&str], mount_options: &str) -> (std::path::PathBuf, Mount) {
    let (image, tree) = (directory.join("image"), directory.join("tree"));
    if !tree.exists() {
        make_tree(&tree, false);
    }
    let mut arguments = vec!["-q", "-F", "-d", text(&tree)];
    arguments.extend(options);
    arguments.extend([text(&image), "96M"]);
    let _ = std::fs::remove_file(&image);
    run("mke2fs", &arguments);
    let mounted = Mount::new(&image, &directory.join("mounted"), mount_options);
    work(&mounted.root, 400);
    let (copy, other) = (directory.join("copy"), directory.join("other"));
    std::fs::copy(&image, &copy).expect("copy");
    std::fs::copy(&copy, &other).expect("copy");
    mounted.end();
    (copy, Mount::new(&other, &directory.join("replayed"), "noatime"))
}

fn check(options: &[&str], mount_options: &str) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (copy, mounted) = copied(directory.path(), options, mount_options);
    let disk = open(&copy);
    let survey = survey_checked(&disk);
    let replays: Vec<_> = survey.replays.iter().map(|replay| (&*replay.volume, replay.log)).collect();
    assert_eq!(replays, [("whole", "jbd2")], "{options:?} {:?}", survey.oddities);
    assert!(survey.replays[0].transactions > 5, "{:?}", survey.replays);
    assert_eq!(survey.oddities, [], "{options:?}");
    check_tree(&disk, &survey, "whole", &mounted.root);
}

#[test]
fn ext4_as_it_comes() {
    check(&["-t", "ext4"], "commit=600");
}

#[test]
fn ext4_of_small_blocks() {
    check(&["-t", "ext4", "-b", "1024"], "commit=600");
}

#[test]
fn ext4_without_checksums() {
    check(&["-t", "ext4", "-O", "^metadata_csum"], "commit=600");
    check(&["-t", "ext4", "-O", "^64bit"], "commit=600");
    check(&["-t", "ext4", "-O", "^metadata_csum,^64bit"], "commit=600");
}

#[test]
fn ext4_with_other_journals() {
    check(&["-t", "ext4", "-O", "^metadata_csum"], "commit=600,journal_checksum");
    check(&["-t", "ext4"], "commit=600,data=writeback,journal_checksum,journal_async_commit");
    check(
        &["-t", "ext4", "-O", "^metadata_csum"],
        "commit=600,data=writeback,journal_checksum,journal_async_commit",
    );
    check(&["-t", "ext4", "-O", "orphan_file"], "commit=600");
}

#[test]
fn ext3() {
    check(&["-t", "ext3", "-b", "1024"], "commit=600");
    check(&["-t", "ext3", "-b", "4096"], "commit=600");
}

#[test]
fn data_in_the_journal() {
    check(&["-t", "ext4", "-J", "size=32"], "commit=600,data=journal");
    check(&["-t", "ext3", "-J", "size=32"], "commit=600,data=journal");
}

#[test]
fn a_log_that_goes_round() {
    check(&["-t", "ext4", "-b", "1024", "-J", "size=1"], "commit=600");
}

/// Returns the blocks of a file, and of the file system's journal.
fn blocks(image: &Image, file: &str) -> Vec<u64> {
    let listed = run("debugfs", &["-R", &format!("blocks {file}"), text(&image.path)]);
    listed.split_whitespace().map(|block| block.parse().expect("number")).collect()
}

/// An image with a file of three blocks of 1 KiB and a journal that `debugfs` wrote, whose
/// first transaction changes the second block and whose second one forgets the third.
fn written(features: &str, how: &str) -> (Image, Vec<u8>) {
    let image = Image::new("16M", &["-t", "ext4", "-b", "1024", "-O", features]);
    let mut random = Random(5);
    let mut content = random.bytes(3000);
    let source = image.source("note", &content);
    image.change(&[format!("write {source} note")]);
    let (second, third) = (blocks(&image, "note")[1], blocks(&image, "note")[2]);
    // It begins with the magic number of the journal's own blocks.
    let changed = [&b"\xc0\x3b\x39\x98"[..], &random.bytes(1020)].concat();
    let (changed, older) = (image.source("changed", &changed), image.source("older", &[1; 1024]));
    image.change(&[
        format!("jo {how}"),
        format!("jw -b {second} {changed}"),
        format!("jw -b {third} {older}"),
        format!("jw -r {third}"),
        "jc".to_owned(),
    ]);
    content[1024..2048].copy_from_slice(&std::fs::read(changed).expect("read"));
    (image, content)
}

#[test]
fn journals_by_debugfs() {
    for (features, how) in [
        ("metadata_csum,64bit", "-c -v 3"),
        ("metadata_csum,64bit", "-c -v 2"),
        ("metadata_csum,^64bit", "-c -v 3"),
        ("^metadata_csum,^64bit", ""),
        ("^metadata_csum,64bit", ""),
    ] {
        let (image, content) = written(features, how);
        let disk = open(&image.path);
        let survey = survey_checked(&disk);
        assert_eq!(survey.oddities, [], "{features} {how}");
        assert_eq!((survey.replays[0].transactions, survey.replays[0].blocks), (3, 1), "{features} {how}");
        // The journal cannot hold its own magic number: what escapes it is in the overlay only.
        let place = survey.map.iter().find(|place| place.view && place.path == b"/note").expect("view");
        let mut seen = crate::fixture::read_place(&disk, &place);
        assert_eq!(seen[1024..1028], [0; 4]);
        seen[1024..1028].copy_from_slice(&content[1024..1028]);
        assert!(seen == content, "{features} {how}");
    }
}

/// What cannot be replayed is not read as if it were.
#[test]
fn journals_that_cannot_be_replayed() {
    let refused = |damage: &dyn Fn(&Image, u64), why: &str| {
        let (image, _) = written("metadata_csum,64bit", "-c -v 3");
        damage(&image, blocks(&image, "<8>")[0] * 1024);
        let disk = open(&image.path);
        let survey = survey_checked(&disk);
        let replays: Vec<_> = survey.replays.iter().map(|replay| (replay.log, replay.done)).collect();
        assert_eq!(replays, [("jbd2", false)]);
        assert!(said(&survey, why), "{why}: {:?}", survey.oddities);
        assert_eq!(survey.map.len(), 1);
    };
    refused(&|image, at| put(&image.path, at, &[0]), "has no magic number");
    refused(&|image, at| put(&image.path, at + 0x50, &[9]), "its superblock has a wrong checksum");
    refused(&|image, at| put(&image.path, at + 0x28, &[1]), "unknown features 0x1000000");
    refused(&|image, at| put(&image.path, at + 2048, &[9]), "a block of it has a wrong checksum");
    refused(&|image, _| image.change(&["sif <8> links_count 0".to_owned()]), "its inode is no file");
    refused(&|image, _| image.change(&["sif <8> block[0] 0".to_owned()]), "a block that is nowhere");
    refused(&|image, _| image.change(&["ssv journal_inum 0".to_owned()]), "is on another device");
}

/// A log ends where a transaction was not committed.
#[test]
fn a_log_ends_before_a_transaction_that_was_interrupted() {
    let (image, _) = written("metadata_csum,64bit", "-c -v 3");
    let journal = blocks(&image, "<8>");
    // Descriptor, data, commit; descriptor, data, commit; revoke, commit.
    let commit = journal[6] * 1024;
    assert_eq!(get(&image.path, commit + 7, 1), [2]);
    put(&image.path, commit, &[0]);
    let disk = open(&image.path);
    let survey = survey_checked(&disk);
    assert_eq!(survey.oddities, []);
    assert_eq!((survey.replays[0].transactions, survey.replays[0].blocks), (1, 1));
    // The checksum of a commit block is another matter: a mount refuses.
    put(&image.path, commit, &[0xc0]);
    put(&image.path, commit + 16, b"wrong");
    assert!(said(&survey_checked(&open(&image.path)), "a transaction has a wrong checksum"));
}

/// Continues a CRC-32C.
pub(crate) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    static TABLE: OnceLock<[u32; 256]> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        std::array::from_fn(|byte| {
            let byte = u32::try_from(byte).expect("a byte");
            (0..8).fold(byte, |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
        })
    });
    bytes.iter().fold(crc, |crc, byte| (crc >> 8) ^ table[usize::from(crc.to_le_bytes()[0] ^ byte)])
}

/// Mends the checksums of a journal of 1 KiB blocks, as far as its blocks have them.
fn mend(bytes: &mut [u8], journal: &[u64]) {
    let place = |block: u64| usize::try_from(block * 1024).expect("small");
    let superblock = place(journal[0]);
    let seed = crc32c(u32::MAX, &bytes[superblock + 48..superblock + 64]);
    let mut set = |at: usize, field: usize, seed: u32| {
        bytes[at + field..at + field + 4].fill(0);
        let crc = crc32c(seed, &bytes[at..at + 1024]);
        bytes[at + field..at + field + 4].copy_from_slice(&crc.to_be_bytes());
    };
    set(superblock, 252, u32::MAX);
    for &block in &journal[1..16] {
        let at = place(block);
        match (bytes[at], bytes[at + 7]) {
            (0xc0, 1 | 5) => {
                bytes[at + 1020..at + 1024].fill(0);
                let crc = crc32c(seed, &bytes[at..at + 1024]);
                bytes[at + 1020..at + 1024].copy_from_slice(&crc.to_be_bytes());
            }
            (0xc0, 2) => {
                bytes[at + 16..at + 20].fill(0);
                let crc = crc32c(seed, &bytes[at..at + 1024]);
                bytes[at + 16..at + 20].copy_from_slice(&crc.to_be_bytes());
            }
            _ => {}
        }
    }
}

#[test]
fn damaged_journals() {
    for (seed, (features, how)) in (500..).zip([
        ("^metadata_csum,^64bit", ""),
        ("^metadata_csum,64bit", ""),
        ("metadata_csum,64bit", "-c -v 3"),
    ]) {
        let (image, _) = written(features, how);
        let journal = blocks(&image, "<8>");
        let place = |block: u64, from: usize, until: usize| {
            let at = usize::try_from(block * 1024).expect("small");
            at + from..at + until
        };
        let mut targets = vec![place(journal[0], 0, 96)];
        targets.extend(journal[1..10].iter().map(|block| place(*block, 0, 64)));
        let intact = std::fs::read(&image.path).expect("read");
        mutate_and_mend(&intact, &targets, 120, seed, |bytes| {
            if how.ends_with('3') {
                mend(bytes, &journal);
            }
        });
    }
}

#[test]
fn the_superblock_is_read_from_a_copy() {
    for (size, options) in [
        ("24M", &["-t", "ext4", "-b", "1024"][..]),
        ("300M", &["-t", "ext4", "-b", "4096"]),
        ("24M", &["-t", "ext2", "-b", "1024", "-O", "^sparse_super,^resize_inode"]),
    ] {
        let image = Image::new(size, options);
        let source = image.source("note", &[7; 3000]);
        image.change(&["mkdir sub".to_owned(), format!("write {source} sub/note")]);
        for damage in [vec![0; 3072], vec![0xff; 1100]] {
            put(&image.path, 0, &damage);
            let disk = open(&image.path);
            let survey = survey_checked(&disk);
            let what = "the superblock is damaged, a copy of it is used: 1";
            assert!(said(&survey, what), "{options:?} {:?}", survey.oddities);
            let note = crate::fixture::file(&survey, "whole", b"/sub/note").expect("note");
            assert_eq!(crate::fixture::read_place(&disk, &note), [7; 3000]);
        }
    }
}

/// Mends the checksums of fast commits in these blocks.
fn mend_fast_commits(bytes: &mut [u8], blocks: &[usize], block_bytes: usize) {
    for block in blocks {
        let (mut at, mut crc) = (*block, 0);
        while at + 4 <= block + block_bytes {
            let field = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
            let (kind, end) = (field(at), at + 4 + field(at + 2));
            if end > block + block_bytes {
                break;
            }
            if kind == 8 && end >= at + 12 {
                let sum = crc32c(crc, &bytes[at..at + 8]);
                bytes[at + 8..at + 12].copy_from_slice(&sum.to_le_bytes());
                crc = 0;
            } else {
                crc = crc32c(crc, &bytes[at..end]);
            }
            at = end;
        }
    }
}

#[test]
fn damaged_fast_commits() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-O", "fast_commit", text(&path("image")), "24M"]);
    let mounted = Mount::new(&path("image"), &path("mounted"), "commit=600");
    std::fs::create_dir(mounted.root.join("directory")).expect("directory");
    run("sync", &["-f", text(&mounted.root)]);
    for index in 0..30 {
        let name = mounted.root.join(format!("directory/note {index}"));
        std::fs::write(&name, vec![b'n'; 1000 * index]).expect("write");
        std::fs::File::open(&name).and_then(|note| note.sync_all()).expect("fsync");
        if index % 3 == 1 {
            std::fs::remove_file(mounted.root.join(format!("directory/note {}", index - 1))).expect("remove");
        }
    }
    std::fs::copy(path("image"), path("copy")).expect("copy");
    mounted.end();
    let intact = std::fs::read(path("copy")).expect("read");
    let block_bytes = 1024 << intact[1024 + 24];
    let head = |at: &usize| intact[*at..].starts_with(&[9, 0, 8, 0, 0, 0, 0, 0]);
    // The first one has a head; the others follow, each in a block of its own or more.
    let first = (0..intact.len()).step_by(block_bytes).find(head).expect("fast commits");
    let blocks: Vec<usize> = (0..30).map(|block| first + block * block_bytes).collect();
    let targets: Vec<_> = blocks.iter().map(|at| at + 12..at + 500).collect();
    mutate_and_mend(&intact, &targets, 300, 91, |bytes| mend_fast_commits(bytes, &blocks, block_bytes));
}

/// Fast commits that the kernel wrote: what is read of a disk that was copied while it was in use is
/// what the kernel makes of it.
#[test]
fn fast_commits_are_replayed() {
    use std::io::{Seek, SeekFrom, Write};
    for block in ["1024", "4096"] {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| scratch.path().join(name);
        run("truncate", &["-s", "96M", text(&path("image"))]);
        run("mkfs.ext4", &["-q", "-b", block, "-O", "fast_commit", text(&path("image"))]);
        let mounted = Mount::new(&path("image"), &path("mounted"), "noatime");
        let root = mounted.root.clone();
        let mut random = Random(21);
        let inner = |name: &str| root.join(name);
        let sync = |name: &str| {
            std::fs::File::open(inner(name)).and_then(|file| file.sync_all()).expect("fsync");
        };
        std::fs::create_dir(inner("old")).expect("directory");
        for index in 0..40 {
            let size = 1 + random.below(60_000);
            std::fs::write(inner(&format!("old/file {index}")), random.bytes(size)).expect("write");
        }
        run("sync", &["-f", text(&root)]);
        let mut write = |name: &str, offset: u64, bytes: usize| {
            let file = std::fs::File::options().write(true).create(true).truncate(false).open(inner(name));
            let mut file = file.expect("open");
            file.seek(SeekFrom::Start(offset)).expect("seek");
            file.write_all(&random.bytes(bytes)).and_then(|()| file.sync_all()).expect("write");
        };
        for index in 0..30_u64 {
            write(&format!("old/new {index}"), 0, 3000);
            write(&format!("old/file {index}"), 30_000 * (index % 5), 9000);
        }
        write("sparse", 2_000_000, 10_000);
        for index in 0..5 {
            let old = |kind: &str| inner(&format!("old/{kind} {index}"));
            std::fs::rename(old("file"), inner(&format!("moved {index}"))).expect("rename");
            std::fs::remove_file(old("new")).expect("remove");
            std::fs::hard_link(inner(&format!("old/file {}", index + 10)), old("linked")).expect("link");
            let file = std::fs::File::options().write(true).open(inner(&format!("old/file {}", index + 20)));
            file.and_then(|file| file.set_len(100)).expect("truncate");
            sync(&format!("moved {index}"));
            sync(&format!("old/file {}", index + 10));
            sync(&format!("old/file {}", index + 20));
        }
        std::fs::create_dir(inner("made")).expect("directory");
        write("made/inside", 0, 5000);
        let commits = |report: &str| -> u64 {
            let line = report.lines().find(|line| line.contains(" commits")).expect("commits");
            line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
        };
        let device = run("findmnt", &["-n", "-o", "SOURCE", text(&root)]);
        let device = device.trim().rsplit('/').next().expect("a device").to_owned();
        let report = std::fs::read_to_string(format!("/proc/fs/ext4/{device}/fc_info")).expect("fc_info");
        assert!(commits(&report) > 20, "{report}");
        std::fs::copy(path("image"), path("copy")).expect("copy");
        mounted.end();
        let disk = open(&path("copy"));
        let survey = survey_checked(&disk);
        std::fs::copy(path("copy"), path("recovered")).expect("copy");
        let recovered = Mount::new(&path("recovered"), &path("recovered root"), "noatime");
        assert!(survey.replays[0].done && survey.replays[0].transactions > 1, "{:?}", survey.replays);
        // Bitmaps are not in fast commits.
        let freed = |what: &str| what.starts_with("allocated blocks that nothing owns");
        assert!(survey.oddities.iter().all(|oddity| freed(&oddity.what)), "{:?}", survey.oddities);
        let references = references(&recovered.root);
        assert!(references.len() > 60, "the kernel has replayed them");
        check_tree(&disk, &survey, "whole", &recovered.root);
        recovered.end();
    }
}
