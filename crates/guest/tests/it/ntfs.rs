//! NTFS: trees that `mkntfs` and ntfs-3g wrote.

use crate::fixture::{
    Random, bytes_of, check_tree, file, make_tree, open, read_place, run, survey_checked, text,
};
use crate::mutate::mutate;
use airlock_guest::Survey;
use airlock_model::{Codec, PlaceKind, Reason};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// An image that ntfs-3g serves through FUSE; unmounted at the end.
pub(crate) struct Fuse {
    pub(crate) root: PathBuf,
    server: Option<Child>,
}

impl Fuse {
    pub(crate) fn new(image: &Path, root: &Path) -> Self {
        std::fs::create_dir_all(root).expect("directory");
        let device = |path: &Path| std::fs::metadata(path).expect("metadata").dev();
        let outside = device(root);
        let server = Command::new("ntfs-3g")
            .args(["-o", "no_detach,compression,streams_interface=windows", text(image), text(root)])
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("ntfs-3g (Debian package ntfs-3g)");
        let mut fuse = Self { root: root.to_owned(), server: Some(server) };
        for _ in 0..200 {
            if device(root) != outside {
                return fuse;
            }
            let ended = fuse.server.as_mut().and_then(|server| server.try_wait().ok()?);
            assert!(ended.is_none(), "this test mounts by FUSE, which needs root and /dev/fuse: {ended:?}");
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("ntfs-3g did not mount in five seconds");
    }

    /// Unmounts, and waits until all is written.
    pub(crate) fn end(self) {
        drop(self);
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        for _ in 0..50 {
            if Command::new("umount").arg(&self.root).status().is_ok_and(|status| status.success()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        if let Some(mut server) = self.server.take() {
            for _ in 0..200 {
                if server.try_wait().is_ok_and(|ended| ended.is_some()) {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(25));
            }
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

pub(crate) fn make_image(image: &Path, bytes: u64, options: &[&str]) {
    let _ = std::fs::remove_file(image);
    File::create(image).and_then(|file| file.set_len(bytes)).expect("create");
    let mut arguments = vec!["-q", "-Q", "-F"];
    arguments.extend(options);
    arguments.push(text(image));
    run("mkntfs", &arguments);
}

/// The usual tree but for links and names that are not UTF-8, which ntfs-3g does not take.
pub(crate) fn plain_tree(root: &Path) {
    make_tree(root, true);
    std::fs::remove_file(root.join(std::ffi::OsStr::from_bytes(b"b\xffd n\x1bme"))).expect("remove");
    std::fs::remove_file(root.join("short link")).expect("remove");
    std::fs::remove_file(root.join("long link")).expect("remove");
    std::fs::write(root.join("srv/größe €uro 😀 名前"), b"odd").expect("write");
    std::fs::write(root.join("a name of 8.3 needs none~1.text"), b"short").expect("write");
}

/// Copies a tree into a mounted image, and adds files that are hard to map.
fn fill(tree: &Path, root: &Path) {
    run("cp", &["-r", "--sparse=always", text(&tree.join(".")), text(root)]);
    std::fs::hard_link(root.join("size-1025"), root.join("srv/another")).expect("link");
}

fn free_bytes(image: &Path) -> u64 {
    let report = run("ntfsinfo", &["-m", text(image)]);
    let number = |name: &str| -> u64 {
        let line = report.lines().find(|line| line.trim().starts_with(name)).expect(name);
        let number = line.split(':').nth(1).and_then(|rest| rest.split_whitespace().next());
        number.expect(name).parse().expect(name)
    };
    number("Free Clusters:") * number("Cluster Size:")
}

/// Checks that a survey has nothing odd, and all that the mounted image has.
fn check_image(image: &Path, scratch: &Path) -> Survey {
    let mounted = Fuse::new(image, &scratch.join("mounted"));
    let copy = scratch.join("copy");
    let _ = std::fs::remove_dir_all(&copy);
    run("cp", &["-a", "--no-preserve=ownership,xattr", text(&mounted.root), text(&copy)]);
    mounted.end();
    let disk = open(image);
    let survey = survey_checked(&disk);
    assert_eq!(survey.oddities, []);
    assert_eq!(survey.limits, []);
    let volume = &survey.map.volumes()[0];
    assert_eq!((volume.label.as_str(), volume.content.as_str()), ("whole", "ntfs"));
    check_tree(&disk, &survey, "whole", &copy);
    assert_eq!(bytes_of(&survey, PlaceKind::Free), free_bytes(image));
    assert_eq!(bytes_of(&survey, PlaceKind::Raw), 0);
    survey
}

fn check(bytes: u64, options: &[&str]) {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| scratch.path().join(name);
    plain_tree(&path("tree"));
    make_image(&path("image"), bytes, options);
    let mounted = Fuse::new(&path("image"), &path("mounted"));
    fill(&path("tree"), &mounted.root);
    mounted.end();
    let survey = check_image(&path("image"), scratch.path());
    // Nothing was lost on the way.
    let files = survey.map.iter().filter(|place| place.kind == PlaceKind::File).count();
    assert_eq!(files, 16 + 600 + 5 + 2);
}

#[test]
fn ntfs_of_every_cluster_size() {
    for cluster in ["512", "1024", "2048", "4096", "8192", "16384"] {
        check(64 << 20, &["-c", cluster]);
    }
}

#[test]
fn ntfs_of_large_clusters() {
    for cluster in ["32768", "65536", "131072", "524288", "1048576", "2097152"] {
        check(1600 << 20, &["-c", cluster]);
    }
}

#[test]
fn ntfs_of_large_sectors() {
    check(64 << 20, &["-s", "1024"]);
    check(64 << 20, &["-s", "4096"]);
    check(256 << 20, &["-s", "4096", "-c", "65536"]);
}

/// Fragmented, sparse, preallocated and many files, deep directories and streams.
#[test]
fn ntfs_with_hard_files() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| scratch.path().join(name);
    make_image(&path("image"), 300 << 20, &[]);
    let mounted = Fuse::new(&path("image"), &path("mounted"));
    let inner = |name: &str| mounted.root.join(name);
    let mut random = Random(5);
    let (first, second) = (File::create(inner("first")), File::create(inner("second")));
    let (first, second) = (first.expect("create"), second.expect("create"));
    for index in 0..1500 {
        first.write_all_at(&random.bytes(4096), index * 4096 * 3).expect("write");
        second.write_all_at(&random.bytes(3000), index * 4096).expect("write");
    }
    let many = inner("many small files");
    std::fs::create_dir(&many).expect("directory");
    for index in 0..10_000 {
        let size = [0, 1, 10, 300, 700, 5000][random.below(6)];
        std::fs::write(many.join(format!("file {index}")), random.bytes(size)).expect("write");
    }
    for index in (0..10_000).step_by(3) {
        std::fs::remove_file(many.join(format!("file {index}"))).expect("remove");
    }
    let deep = inner(&"directory/".repeat(100));
    std::fs::create_dir_all(&deep).expect("directories");
    std::fs::write(deep.join("end"), b"the end").expect("write");
    // Names in many directories: the record of the file overflows.
    std::fs::write(inner("linked"), random.bytes(5000)).expect("write");
    for index in 0..40 {
        let name = format!("another name of the same file, which is rather long, {index}");
        std::fs::hard_link(inner("linked"), inner(&name)).expect("link");
    }
    std::fs::write(inner("host"), b"the host").expect("write");
    let named = [10, 700, 90_000].map(|size| (format!("host:stream of {size}"), size));
    let numbered = (0..60).map(|index| (format!("host:one of many {index}"), 100));
    let on_directory = [("directory:Zone.Identifier".to_owned(), 40)];
    let streams = named.into_iter().chain(numbered).chain(on_directory);
    let streams: Vec<_> = streams.map(|(name, size)| (name, random.bytes(size))).collect();
    for (name, bytes) in &streams {
        std::fs::write(inner(name), bytes).expect("write");
    }
    drop((first, second));
    mounted.end();
    // Streams are listed by no directory, so the tree is compared without them.
    let disk = open(&path("image"));
    let survey = survey_checked(&disk);
    assert_eq!(survey.oddities, []);
    for (name, bytes) in &streams {
        let place = file(&survey, "whole", format!("/{name}").as_bytes()).unwrap_or_else(|| panic!("{name}"));
        assert!(read_place(&disk, &place) == *bytes, "{name}");
    }
    assert!(!file(&survey, "whole", b"/host:stream of 90000").expect("stream").view);
    assert!(file(&survey, "whole", b"/host").expect("file").view);
    let mounted = Fuse::new(&path("image"), &path("mounted"));
    for (name, _) in &streams {
        std::fs::remove_file(mounted.root.join(name)).expect("remove");
    }
    mounted.end();
    check_image(&path("image"), scratch.path());
}

#[test]
fn compressed_files_are_unpacked() {
    for cluster in ["512", "1024", "4096"] {
        let scratch = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| scratch.path().join(name);
        make_image(&path("image"), 100 << 20, &["-c", cluster]);
        let mounted = Fuse::new(&path("image"), &path("mounted"));
        let inner = mounted.root.join("packed");
        std::fs::create_dir(&inner).expect("directory");
        run("setfattr", &["-h", "-n", "system.ntfs_attrib_be", "-v", "0x00000800", text(&inner)]);
        let mut random = Random(6);
        plain_tree(&path("tree"));
        run("cp", &["-r", "--sparse=always", text(&path("tree")), text(&inner)]);
        let lines = (0..60_000).map(|line| format!("line {line} of a text\n")).collect::<Vec<_>>().concat();
        std::fs::write(inner.join("text"), &lines).expect("write");
        std::fs::write(inner.join("zeros"), vec![0; 500_000]).expect("write");
        std::fs::write(inner.join("runs"), [vec![7; 100_000], vec![9; 131_072]].concat()).expect("write");
        let mixed = File::create(inner.join("mixed")).expect("create");
        for index in 0..12_u64 {
            let part = if index % 3 == 0 { random.bytes(150_000) } else { vec![b'x'; 150_000] };
            mixed.write_all_at(&part, index * 200_000).expect("write");
        }
        drop(mixed);
        mounted.end();
        let survey = check_image(&path("image"), scratch.path());
        let text = file(&survey, "whole", b"/packed/text").expect("place");
        assert!(text.packed.iter().any(|piece| piece.codec == Codec::Lznt1));
        let stored: u64 = text.runs.iter().map(|run| run.length).sum();
        assert!(stored < text.size / 2, "{stored} of {}", text.size);
        let mixed = file(&survey, "whole", b"/packed/mixed").expect("place");
        assert!(mixed.packed.iter().any(|piece| piece.codec == Codec::Stored));
    }
}

/// What is behind the valid part of a file reads as zeros, and is slack.
#[test]
fn a_file_is_read_up_to_its_valid_part() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| scratch.path().join(name);
    make_image(&path("image"), 32 << 20, &[]);
    let mounted = Fuse::new(&path("image"), &path("mounted"));
    std::fs::write(mounted.root.join("old"), vec![b'o'; 3_000_000]).expect("write");
    std::fs::remove_file(mounted.root.join("old")).expect("remove");
    std::fs::write(mounted.root.join("grown"), vec![b'g'; 10_000]).expect("write");
    mounted.end();
    run("ntfsfallocate", &["-f", "-l", "1000000", text(&path("image")), "grown"]);
    let survey = check_image(&path("image"), scratch.path());
    let grown = file(&survey, "whole", b"/grown").expect("place");
    assert_eq!(grown.runs.iter().map(|run| run.length).sum::<u64>(), 10_000);
    assert!(grown.size >= 1_000_000);
    let slack = survey.map.iter().find(|place| place.kind == PlaceKind::Slack).expect("slack");
    assert_eq!(slack.path, b"/grown");
    assert!(slack.size > 980_000);
}

#[test]
fn a_huge_volume_takes_no_time() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| scratch.path().join(name);
    make_image(&path("image"), 4 << 40, &[]);
    let mounted = Fuse::new(&path("image"), &path("mounted"));
    std::fs::write(mounted.root.join("small"), b"small").expect("write");
    let huge = File::create(mounted.root.join("huge")).expect("create");
    huge.write_all_at(b"the end", 3 << 40).expect("write");
    drop(huge);
    mounted.end();
    let disk = open(&path("image"));
    let start = std::time::Instant::now();
    let survey = survey_checked(&disk);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    assert_eq!(survey.oddities, []);
    let huge = file(&survey, "whole", b"/huge").expect("place");
    assert_eq!((huge.size, huge.runs.len()), ((3 << 40) + 7, 1));
    assert_eq!(bytes_of(&survey, PlaceKind::Free), free_bytes(&path("image")));
}

/// The volume in use, a torn record, a lost boot sector and a lost first record.
#[test]
fn damage_is_told() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let image = scratch.path().join("image");
    make_image(&image, 16 << 20, &["-c", "4096"]);
    let mounted = Fuse::new(&image, &scratch.path().join("mounted"));
    std::fs::write(mounted.root.join("note"), b"a note").expect("write");
    mounted.end();
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
    let mft = 4096 * usize::from(intact[48]);
    check(&|_| (), &[]);
    check(&|bytes| bytes[..512].fill(0), &["boot sector read from its copy: 1"]);
    check(
        &|bytes| {
            let behind = bytes.len() - 512;
            bytes[behind + 64] = 0xf4;
        },
        &["boot sector and its copy say different things: 1"],
    );
    // The cluster that says which records are in use has its attribute there.
    check(
        &|bytes| bytes[mft..mft + 4].fill(0),
        &["allocated blocks that nothing owns: 1", "first record of the MFT read from its copy: 1"],
    );
    let volume = mft + 3 * 1024;
    check(
        &|bytes| {
            let information = [0x70, 0, 0, 0];
            let at = bytes[volume..].windows(4).position(|four| four == information).expect("attribute");
            bytes[volume + at + 24 + 10] |= 1;
        },
        &["the volume is marked dirty: it was in use, or waits for a check: 1"],
    );
    check(
        &|bytes| {
            let torn = volume + 1022;
            bytes[torn] ^= 0xff;
        },
        &["records of the MFT that were not written as a whole: 1"],
    );
}

/// What filters of Windows pack, its memory while it sleeps, and a log that was in use.
#[test]
fn what_is_recognised_and_not_read_is_unscannable() {
    const CHUNKS: &str = "System Volume Information/Dedup/ChunkStore/00000001.ccc";
    let scratch = tempfile::tempdir().expect("temporary directory");
    let image = scratch.path().join("image");
    make_image(&image, 32 << 20, &["-c", "4096"]);
    let mounted = Fuse::new(&image, &scratch.path().join("mounted"));
    let mut random = Random(8);
    let inner = |name: &str| mounted.root.join(name);
    std::fs::create_dir_all(inner(CHUNKS).parent().expect("a folder")).expect("directory");
    for (name, bytes) in [
        ("packed", 0),
        ("packed:WofCompressedData", 50_000),
        ("small", 0),
        ("small:WofCompressedData", 100),
        ("shared", 0),
        (CHUNKS, 9000),
        ("System Volume Information/other", 9000),
        ("plain", 9000),
    ] {
        std::fs::write(inner(name), random.bytes(bytes)).expect("write");
    }
    std::fs::write(inner("Hiberfil.sys"), [b"HIBR", random.bytes(20_000).as_slice()].concat())
        .expect("write");
    // Deduplication: tag, four bytes, and those.
    let tag = "0x130000800400000001020304";
    run("setfattr", &["-h", "-n", "system.ntfs_reparse_data", "-v", tag, text(&inner("shared"))]);
    mounted.end();
    let check = |log: bool| {
        let disk = open(&image);
        let survey = survey_checked(&disk);
        let mut found: Vec<_> = survey
            .map
            .iter()
            .filter(|place| place.unscannable.is_some() && place.kind != PlaceKind::Slack)
            .map(|place| {
                assert_eq!(place.unscannable, Some(Reason::Unsupported));
                (String::from_utf8_lossy(place.path).into_owned(), place.kind, place.size)
            })
            .collect();
        found.sort();
        let file = |path: &str, size| (path.to_owned(), PlaceKind::File, size);
        let mut expected = vec![
            file("/Hiberfil.sys", 20_004),
            file(&format!("/{CHUNKS}"), 9000),
            file("/packed:WofCompressedData", 50_000),
            file("/small:WofCompressedData", 100),
        ];
        let log_bytes = found.iter().find(|(path, ..)| path.is_empty()).map_or(0, |(.., bytes)| *bytes);
        if log {
            expected.insert(0, (String::new(), PlaceKind::Metadata, log_bytes));
            assert!(log_bytes > 1 << 20);
        }
        assert_eq!(found, expected);
        let replays: Vec<_> = survey.replays.iter().map(|replay| (replay.log, replay.done)).collect();
        let expected = [("ntfs", false), ("hiberfil", false)];
        assert_eq!(replays, expected[usize::from(!log)..]);
    };
    check(false);
    let mut bytes = std::fs::read(&image).expect("read");
    // An empty log is filled with ones. This restart area has a client, and no mark of an unmount.
    let at = (0..bytes.len() - (1 << 20)).step_by(4096);
    let at = at.clone().find(|at| bytes[*at..at + (1 << 20)].iter().all(|byte| *byte == 0xff));
    let page = &mut bytes[at.expect("an empty log")..][..4096];
    page.fill(0);
    page[..4].copy_from_slice(b"RSTR");
    page[16..20].copy_from_slice(&4096_u32.to_le_bytes());
    page[24] = 48;
    page[48] = 1;
    std::fs::write(&image, &bytes).expect("write");
    check(true);
}

#[test]
fn damaged_ntfs() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let image = scratch.path().join("image");
    plain_tree(&scratch.path().join("tree"));
    for (seed, options) in (31..).zip([&["-c", "1024"][..], &["-c", "4096"], &["-c", "512", "-s", "512"]]) {
        make_image(&image, 24 << 20, options);
        let mounted = Fuse::new(&image, &scratch.path().join("mounted"));
        let packed = mounted.root.join("packed");
        std::fs::create_dir(&packed).expect("directory");
        run("setfattr", &["-h", "-n", "system.ntfs_attrib_be", "-v", "0x00000800", text(&packed)]);
        let lines = (0..20_000).map(|line| format!("line {line} of a text\n")).collect::<Vec<_>>().concat();
        std::fs::write(packed.join("text"), &lines).expect("write");
        fill(&scratch.path().join("tree"), &mounted.root);
        for index in 0..60 {
            std::fs::write(mounted.root.join(format!("size-1:stream {index}")), [7; 100]).expect("write");
        }
        mounted.end();
        let intact = std::fs::read(&image).expect("read");
        let cluster = usize::from(intact[11]) + (usize::from(intact[12]) << 8);
        let mft =
            cluster * usize::from(intact[13]) * (usize::from(intact[48]) + 256 * usize::from(intact[49]));
        let (own, files) = (mft..mft + 16 * 1024, mft + 64 * 1024..mft + 160 * 1024);
        mutate(&intact, &[0..96, own, files.clone(), files], 100, seed);
    }
}
