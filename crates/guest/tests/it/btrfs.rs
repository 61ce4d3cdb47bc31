//! btrfs: trees that `mkfs.btrfs` and the kernel wrote, subvolumes, and logs that were not empty.

use crate::fixture::{
    Random, Reference, bytes_of, check_tree, count, file, make_tree, open, read_place, references, run,
    spares, survey_checked, text,
};
use crate::mount::{Mount, work};
use crate::partition::put;
use airlock_disk::BlockSource;
use airlock_guest::Survey;
use airlock_model::{Escaped, Place, PlaceKind};
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(crate) fn make_image(image: &Path, size: &str, options: &[&str]) {
    let _ = std::fs::remove_file(image);
    std::fs::File::create(image).expect("create");
    run("truncate", &["-s", size, text(image)]);
    let mut arguments = vec!["-q", "-f"];
    arguments.extend(options);
    arguments.push(text(image));
    run("mkfs.btrfs", &arguments);
}

/// Compares what is in use with what the superblock counts, where nothing is there twice.
fn check_used(survey: &Survey, image: &Path) {
    let dump = run("btrfs", &["inspect-internal", "dump-super", text(image)]);
    let line = dump.lines().find(|line| line.starts_with("bytes_used")).expect("bytes_used");
    let used: u64 = line.split_whitespace().last().and_then(|used| used.parse().ok()).expect("bytes_used");
    let kinds = [PlaceKind::File, PlaceKind::Slack, PlaceKind::Metadata];
    let found: u64 = kinds.iter().map(|kind| bytes_of(survey, *kind)).sum();
    // The first megabyte is kept free, and a superblock is behind it.
    assert_eq!(found, used + (1 << 20) + 4096);
}

fn check_image(options: &[&str]) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    make_tree(&tree, true);
    make_image(&image, "300M", &[options, &["--rootdir", text(&tree)]].concat());
    let disk = open(&image);
    let survey = survey_checked(&disk);
    assert_eq!((survey.oddities.as_slice(), survey.replays.as_slice()), (&[][..], &[][..]), "{options:?}");
    assert_eq!(survey.map.volumes()[0].content, "btrfs");
    check_tree(&disk, &survey, "whole", &tree);
    assert_eq!(bytes_of(&survey, PlaceKind::Raw), 0);
    if options.contains(&"single") {
        check_used(&survey, &image);
    }
}

#[test]
fn trees_that_mkfs_wrote() {
    check_image(&[]);
    check_image(&["-m", "single", "-d", "single"]);
    check_image(&["-m", "dup", "-d", "dup"]);
    check_image(&["-n", "4096", "-m", "single"]);
    check_image(&["-n", "65536", "-O", "^no-holes,^extref"]);
    check_image(&["--mixed"]);
}

/// The devices of a larger file system are told by name and inspected as they are.
#[test]
fn one_of_several_devices_is_told() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let paths = ["first", "second"].map(|name| directory.path().join(name));
    for path in &paths {
        std::fs::File::create(path).and_then(|file| file.set_len(300 << 20)).expect("create");
    }
    run("mkfs.btrfs", &["-q", "-d", "raid1", text(&paths[0]), text(&paths[1])]);
    for path in &paths {
        let survey = survey_checked(&open(path));
        assert_eq!(survey.map.volumes()[0].content, "btrfs");
        assert_eq!(bytes_of(&survey, PlaceKind::Raw), 300 << 20);
        let told = survey.oddities.iter().any(|oddity| oddity.what.contains("several devices"));
        assert!(told, "{:?}", survey.oddities);
    }
}

/// Every kind of checksum is checked: a block with a wrong one is told.
#[test]
fn every_checksum() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("image");
    for kind in ["crc32c", "xxhash", "sha256", "blake2"] {
        check_image(&["--csum", kind]);
        make_image(&image, "120M", &["--csum", kind, "-m", "single"]);
        let mut bytes = std::fs::read(&image).expect("read");
        let damaged = |bytes: &[u8]| {
            std::fs::write(&image, bytes).expect("write");
            let survey = survey_checked(&open(&image));
            let told = |what: &str| survey.oddities.iter().any(|oddity| oddity.what.starts_with(what));
            [told("blocks of trees with a wrong checksum: 1"), told("superblock damaged; a copy is used")]
        };
        assert_eq!(damaged(&bytes), [false, false], "{kind}");
        let superblock = 64 << 10;
        bytes[superblock + 300] ^= 1;
        assert_eq!(damaged(&bytes), [false, true], "{kind}");
        bytes[superblock + 300] ^= 1;
        // The end of the free room of a leaf of the tree of extents.
        let uuid = bytes[superblock + 32..superblock + 48].to_vec();
        let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
        let leaves = (1 << 20..bytes.len() - 16_384)
            .step_by(4096)
            .filter(|at| bytes[at + 32..at + 48] == uuid && field(at + 88) == 2 && bytes[at + 100] == 0);
        let leaf = leaves.max_by_key(|at| field(at + 80)).expect("a leaf");
        bytes[leaf + 4000] ^= 1;
        assert_eq!(damaged(&bytes), [true, false], "{kind}");
    }
}

/// Makes files that are hard to read right.
pub(crate) fn hard_files(root: &Path) {
    let mut random = Random(11);
    let create = |name: &str| std::fs::File::create(root.join(name)).expect("create");
    let line = |number: u64| format!("{number:>12} a line of text that is like the others, {number}\n");
    let text_of = |lines: u64| (0..lines).map(line).collect::<String>().into_bytes();
    create("text").write_all_at(&text_of(20_000), 0).expect("write");
    create("small text").write_all_at(&text_of(30), 0).expect("write");
    create("zeros").write_all_at(&vec![0; 500_000], 0).expect("write");
    let mixed = create("mixed");
    for index in 0..40 {
        let part = if index % 3 == 0 { random.bytes(60_000) } else { text_of(900) };
        mixed.write_all_at(&part, index * 70_000).expect("write");
    }
    mixed.sync_all().expect("fsync");
    // Parts of older extents stay in use.
    let patched = create("patched");
    patched.write_all_at(&text_of(12_000), 0).expect("write");
    patched.sync_all().expect("fsync");
    for index in 0..12 {
        patched.write_all_at(&random.bytes(5000), index * 50_001).expect("write");
        patched.sync_all().expect("fsync");
    }
    let fragments = create("fragments");
    for index in 0..600 {
        fragments.write_all_at(&random.bytes(4096), index * 12_288).expect("write");
        if index % 100 == 0 {
            fragments.sync_all().expect("fsync");
        }
    }
    run("fallocate", &["-l", "3000000", text(&root.join("preallocated"))]);
    let preallocated = std::fs::File::options().write(true).open(root.join("preallocated")).expect("open");
    preallocated.write_all_at(&random.bytes(100_000), 400_000).expect("write");
    create("short").write_all_at(b"short", 0).expect("write");
    run("fallocate", &["-n", "-l", "100000", text(&root.join("short"))]);
    std::fs::File::open(root).and_then(|root| root.sync_all()).expect("fsync");
    run("sync", &["-f", text(root)]);
    for name in ["text", "patched", "fragments", "preallocated"] {
        let clone = root.join(format!("{name} cloned"));
        run("cp", &["--reflink=always", text(&root.join(name)), text(&clone)]);
        let clone = std::fs::File::options().write(true).open(clone).expect("open");
        clone.write_all_at(&[7; 5000], 100_000).expect("write");
    }
}

fn check_mounted(make: &[&str], options: &str) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    make_image(&path("image"), "400M", make);
    let mounted = Mount::new(&path("image"), &path("mounted"), &format!("noatime,{options}"));
    make_tree(&mounted.root.join("tree"), true);
    hard_files(&mounted.root);
    let kept = keep(&mounted.root, &path("kept"));
    mounted.end();
    let disk = open(&path("image"));
    let survey = survey_checked(&disk);
    assert_eq!((survey.oddities.as_slice(), survey.replays.as_slice()), (&[][..], &[][..]), "{options}");
    compare(&disk, &survey, &kept, |_| false);
    let packed = survey.map.iter().filter(|place| !place.packed.is_empty()).count();
    assert_eq!(packed > 5, options.contains("compress"), "{packed} files are packed with {options}");
}

/// Copies a tree away.
fn keep(root: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir(to).expect("directory");
    run("cp", &["-a", "--sparse=always", text(&root.join(".")), text(to)]);
    to.to_owned()
}

#[test]
fn plain_trees_that_the_kernel_wrote() {
    check_mounted(&["-m", "single", "-d", "single"], "ssd");
    check_mounted(&["-d", "dup"], "nodatacow");
}

#[test]
fn compressed_by_zlib() {
    check_mounted(&[], "compress-force=zlib");
}

#[test]
fn compressed_by_lzo() {
    check_mounted(&[], "compress-force=lzo");
}

#[test]
fn compressed_by_zstd() {
    check_mounted(&[], "compress-force=zstd:3");
    check_mounted(&["-d", "dup", "-n", "4096"], "compress=zstd:1");
}

fn reference_size(reference: &Reference) -> u64 {
    u64::try_from(reference.bytes.len()).expect("small")
}

/// Compares all files of the tree with the map; those for which `may_lack` answers may be left out.
/// Files that are not in the tree are `lost+found`.
fn compare(disk: &dyn BlockSource, survey: &Survey, root: &Path, may_lack: impl Fn(&Reference) -> bool) {
    let mut places: HashMap<Vec<u8>, Vec<_>> = HashMap::new();
    let shown = |place: &Place<'_>| place.packed.is_empty() || place.packed.iter().any(|piece| !piece.spare);
    for place in survey.map.iter().filter(|place| place.kind == PlaceKind::File && shown(place)) {
        places.entry(place.path.to_vec()).or_default().push(place);
    }
    for reference in references(root) {
        let name = Escaped(&reference.paths[0]).to_string();
        let Some(found) = reference.paths.iter().find_map(|path| places.remove(path)) else {
            assert!(may_lack(&reference), "no place for {name}");
            continue;
        };
        // A file that lost blocks to another one has a view beside its place; so has one whose data is
        // there twice.
        let views = found.iter().any(|place| place.view);
        for place in found.iter().filter(|place| place.view || !views) {
            assert_eq!(place.size, reference_size(&reference), "{name}");
            assert!(read_place(disk, place) == reference.bytes, "content of {name}");
        }
    }
    for path in places.keys() {
        assert!(path.starts_with(b"/lost+found/"), "{} is not in the tree", Escaped(path));
    }
}

/// An extent that was overwritten in part keeps what it had; one that all files together show is
/// unpacked for them and for nobody else.
#[test]
fn what_no_file_shows_of_an_extent() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    make_image(&path("image"), "200M", &["-m", "single"]);
    let mounted = Mount::new(&path("image"), &path("mounted"), "noatime,compress-force=zstd");
    let root = mounted.root.as_path();
    let line = |number: u64| format!("{number:>12} a line of text that is like the others\n");
    let mut old: String = (0..2000).map(line).collect();
    old.replace_range(5000..5019, "4539 1488 0343 6467");
    old.replace_range(61_430..61_449, "4539 1488 0343 6467");
    let write = |name: &str, bytes: &[u8], offset: u64| {
        let file = std::fs::File::options().write(true).create(true).truncate(false).open(root.join(name));
        let file = file.expect("open");
        file.write_all_at(bytes, offset).and_then(|()| file.sync_all()).expect("write");
        run("sync", &["-f", text(root)]);
    };
    run("btrfs", &["subvolume", "create", text(&root.join("data"))]);
    for name in ["overwritten", "cut", "data/kept"] {
        write(name, old.as_bytes(), 0);
    }
    run("btrfs", &["subvolume", "snapshot", text(&root.join("data")), text(&root.join("before"))]);
    write("overwritten", &vec![b'x'; 61_440], 0);
    write("data/kept", &vec![b'x'; 61_440], 0);
    run("truncate", &["-s", "4096", text(&root.join("cut"))]);
    run("sync", &["-f", text(root)]);
    mounted.end();
    let disk = open(&path("image"));
    let survey = survey_checked(&disk);
    assert_eq!(survey.oddities, []);
    // `overwritten` has lost one number and half of the other, `cut` both; the snapshot shows all.
    assert_eq!(count(&spares(&disk, &survey), b"4539 1488 0343 6467"), 3);
    assert_eq!(count(&spares(&disk, &survey), b"4539 1488"), 4);
    for place in survey.map.iter().filter(|place| place.path.ends_with(b"kept")) {
        assert!(place.packed.iter().all(|piece| !piece.spare || piece.length < 4096), "{place:?}");
    }
}

#[test]
fn subvolumes_and_snapshots() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    make_image(&path("image"), "400M", &[]);
    let mounted = Mount::new(&path("image"), &path("mounted"), "noatime,compress=zstd");
    let root = mounted.root.as_path();
    let subvolume = |arguments: &[&str]| run("btrfs", &[&["subvolume"], arguments].concat());
    std::fs::create_dir_all(root.join("srv/deep")).expect("directory");
    subvolume(&["create", text(&root.join("srv/deep/data"))]);
    subvolume(&["create", text(&root.join("srv/deep/data/inner"))]);
    let data = root.join("srv/deep/data");
    make_tree(&data.join("tree"), true);
    hard_files(&data.join("inner"));
    subvolume(&["snapshot", "-r", text(&data), text(&root.join("before"))]);
    for name in ["size-100", "size-4096", "srv/large"] {
        let changed = std::fs::File::options().write(true).open(data.join("tree").join(name)).expect("open");
        changed.write_all_at(b"changed", 20).expect("write");
    }
    std::fs::rename(data.join("tree/size-5000"), data.join("renamed")).expect("rename");
    std::fs::remove_file(data.join("tree/size-1024")).expect("remove");
    std::fs::write(data.join("new"), b"new").expect("write");
    subvolume(&["snapshot", text(&data), text(&root.join("srv/after"))]);
    subvolume(&["create", text(&root.join("gone"))]);
    std::fs::write(root.join("gone/file"), b"gone").expect("write");
    run("sync", &["-f", text(root)]);
    subvolume(&["delete", text(&root.join("gone"))]);
    subvolume(&["set-default", text(&data)]);
    let kept = keep(root, &path("kept"));
    mounted.end();
    let disk = open(&path("image"));
    let survey = survey_checked(&disk);
    assert_eq!((survey.oddities.as_slice(), survey.replays.as_slice()), (&[][..], &[][..]));
    // What is the same in a snapshot is inspected once.
    let same: HashSet<Vec<u8>> =
        references(&kept.join("srv/deep/data")).into_iter().map(|file| file.bytes).collect();
    let old = references(&kept.join("before")).into_iter();
    let old: HashSet<Vec<u8>> = old.map(|file| file.bytes).collect();
    let in_snapshot = |reference: &Reference| {
        reference.paths.iter().any(|path| path.starts_with(b"/before/") || path.starts_with(b"/srv/after/"))
    };
    compare(&disk, &survey, &kept, |reference| {
        in_snapshot(reference) && (same.contains(&reference.bytes) || old.contains(&reference.bytes))
    });
    // What changed is there in both.
    for name in ["size-100", "size-4096", "srv/large", "size-1024"] {
        let path = format!("/before/tree/{name}");
        assert!(file(&survey, "whole", path.as_bytes()).is_some(), "{path}");
    }
    let count = survey.map.iter().filter(|place| place.path.starts_with(b"/srv/after/")).count();
    assert_eq!(count, 0, "the last snapshot has nothing of its own");
}

/// Copies an image while the kernel has it mounted, and compares with what a mount of the copy shows.
fn check_log(make: &[&str], options: &str, before: impl Fn(&Path), after: impl Fn(&Path)) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| directory.path().join(name);
    make_image(&path("image"), "400M", make);
    let mounted = Mount::new(&path("image"), &path("mounted"), &format!("noatime,commit=300,{options}"));
    before(&mounted.root);
    run("sync", &["-f", text(&mounted.root)]);
    after(&mounted.root);
    std::fs::copy(path("image"), path("copy")).expect("copy");
    std::fs::copy(path("copy"), path("other")).expect("copy");
    mounted.end();
    // The copies have one UUID, so that the kernel takes one of them at a time.
    let replayed = Mount::new(&path("other"), &path("replayed"), "noatime");
    let disk = open(&path("copy"));
    let survey = survey_checked(&disk);
    let replays: Vec<_> = survey.replays.iter().map(|replay| (&*replay.volume, replay.log)).collect();
    assert_eq!(replays, [("whole", "btrfs")], "{options:?} {:?}", survey.oddities);
    let odd = survey.oddities.iter().filter(|oddity| !oddity.what.starts_with("deleted files that were"));
    assert_eq!(odd.count(), 0, "{options:?} {:?}", survey.oddities);
    compare(&disk, &survey, &replayed.root, |_| false);
    let kept = keep(&replayed.root, &path("kept"));
    replayed.end();
    let disk = open(&path("other"));
    let survey = survey_checked(&disk);
    assert_eq!((survey.oddities.as_slice(), survey.replays.as_slice()), (&[][..], &[][..]));
    check_tree(&disk, &survey, "whole", &kept);
}

/// Changes files in all the ways that a log has to tell of.
pub(crate) fn change(root: &Path) {
    let mut random = Random(21);
    let open = |name: &str| std::fs::File::options().write(true).open(root.join(name)).expect("open");
    let large = open("tree/srv/large");
    large.write_all_at(&random.bytes(10_000), 123_456).expect("write");
    large.sync_all().expect("fsync");
    let shrunk = open("text");
    shrunk.set_len(300_001).expect("truncate");
    shrunk.sync_all().expect("fsync");
    shrunk.set_len(900_000).expect("truncate");
    shrunk.write_all_at(b"far", 800_000).expect("write");
    shrunk.sync_all().expect("fsync");
    let punched = root.join("fragments");
    run("fallocate", &["-p", "-o", "1000000", "-l", "500000", text(&punched)]);
    open("fragments").sync_all().expect("fsync");
    let small = open("tree/size-100");
    small.write_all_at(b"now larger than it was before, and not in the leaf", 4000).expect("write");
    small.sync_all().expect("fsync");
    std::fs::rename(root.join("tree/size-511"), root.join("tree/size-512")).expect("rename");
    open("tree/size-512").sync_all().expect("fsync");
    std::fs::rename(root.join("tree/size-1023"), root.join("moved")).expect("rename");
    open("moved").sync_all().expect("fsync");
    std::fs::hard_link(root.join("tree/size-1025"), root.join("linked again")).expect("link");
    open("tree/size-1025").sync_all().expect("fsync");
    std::fs::remove_file(root.join("tree/many/a rather long file name, number 00007")).expect("remove");
    std::fs::write(root.join("tree/many/new"), random.bytes(9000)).expect("write");
    std::fs::File::open(root.join("tree/many")).and_then(|many| many.sync_all()).expect("fsync");
    open("tree/many/new").sync_all().expect("fsync");
}

#[test]
fn a_log_is_replayed() {
    let before = |root: &Path| {
        make_tree(&root.join("tree"), true);
        hard_files(root);
    };
    check_log(&[], "ssd", before, change);
    check_log(&[], "compress-force=zstd", before, change);
    check_log(&["-O", "^no-holes"], "compress=lzo", before, change);
}

#[test]
fn a_log_of_much_work_is_replayed() {
    check_log(&[], "ssd", |root| make_tree(&root.join("tree"), true), |root| work(root, 200));
    check_log(
        &[],
        "compress-force=zlib",
        |root| {
            run("btrfs", &["subvolume", "create", text(&root.join("inner"))]);
            make_tree(&root.join("tree"), true);
        },
        |root| {
            for index in 0..50 {
                let path = root.join("inner").join(format!("file {index}"));
                std::fs::write(&path, format!("number {index}\n").repeat(500)).expect("write");
                std::fs::File::open(&path).and_then(|file| file.sync_all()).expect("fsync");
            }
        },
    );
}

/// What is there twice is read from the copy that is not damaged.
#[test]
fn second_copies_are_used() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    make_tree(&tree, true);
    make_image(&image, "300M", &["-m", "dup", "--rootdir", text(&tree)]);
    let bytes = std::fs::read(&image).expect("read");
    let uuid = &bytes[(64 << 10) + 32..(64 << 10) + 48];
    let is_block = |at: usize| at != 64 << 20 && &bytes[at + 32..at + 48] == uuid;
    let mut seen = HashSet::new();
    let blocks = (1 << 20..bytes.len() - 4096).step_by(4096).filter(|at| is_block(*at));
    // The first copy of each block lies before the second one.
    let first: Vec<usize> = blocks.filter(|at| seen.insert(bytes[at + 48..at + 56].to_vec())).collect();
    for &at in first.iter().step_by(2) {
        put(&image, u64::try_from(at + 200).expect("small"), b"damaged");
    }
    put(&image, (64 << 10) + 72, b"damaged");
    let disk = open(&image);
    let survey = survey_checked(&disk);
    let said = |what: &str| survey.oddities.iter().any(|oddity| oddity.what.starts_with(what));
    assert!(said("blocks of trees whose first copy is damaged"), "{:?}", survey.oddities);
    assert!(said("superblock damaged; a copy is used"), "{:?}", survey.oddities);
    assert!(!said("blocks of trees with a wrong checksum"), "{:?}", survey.oddities);
    compare(&disk, &survey, &tree, |_| false);
}
