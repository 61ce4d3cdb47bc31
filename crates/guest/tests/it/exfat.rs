//! exFAT: trees that `mkfs.exfat` and exfat-fuse wrote.

use crate::fixture::{Random, bytes_of, check_tree, file, open, read_place, run, survey_checked, text};
use crate::mutate::mutate;
use crate::ntfs::plain_tree;
use airlock_guest::Survey;
use airlock_model::PlaceKind;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An image that exfat-fuse serves, which takes only a block device; unmounted at the end.
pub(crate) struct Fuse {
    pub(crate) root: PathBuf,
    device: String,
    mounted: bool,
}

impl Fuse {
    pub(crate) fn new(image: &Path, root: &Path) -> Self {
        std::fs::create_dir_all(root).expect("directory");
        let device = run("losetup", &["--find", "--show", text(image)]).trim().to_owned();
        let mut fuse = Self { root: root.to_owned(), device, mounted: false };
        run("mount.exfat-fuse", &[&fuse.device, text(root)]);
        fuse.mounted = true;
        fuse
    }

    pub(crate) fn end(self) {
        drop(self);
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        for _ in 0..50 {
            let ended = Command::new("umount").arg(&self.root).status();
            if !self.mounted || ended.is_ok_and(|status| status.success()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // The server of a block device has ended when its mount has; what it wrote is in the device's cache.
        let _ = Command::new("sync").arg("-f").arg(&self.device).status();
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

pub(crate) fn make_image(image: &Path, bytes: u64, options: &[&str]) {
    let _ = std::fs::remove_file(image);
    File::create(image).and_then(|file| file.set_len(bytes)).expect("create");
    let mut arguments = options.to_vec();
    arguments.push(text(image));
    run("mkfs.exfat", &arguments);
}

/// The tree, without what exFAT and its driver do not take: hard links and holes.
fn tree(root: &Path) {
    plain_tree(root);
    for name in ["srv/linked", "srv/sparse", "srv/hole"] {
        std::fs::remove_file(root.join(name)).expect("remove");
    }
}

fn check_image(image: &Path, tree: &Path) -> Survey {
    let report = run("dump.exfat", &[text(image)]);
    let line = report.lines().find(|line| line.starts_with("Free Clusters:")).expect("a count");
    let free: u64 = line.split_whitespace().last().and_then(|number| number.parse().ok()).expect("a number");
    let disk = open(image);
    let survey = survey_checked(&disk);
    assert_eq!((survey.oddities.as_slice(), survey.limits.as_slice()), (&[][..], &[][..]));
    let volume = &survey.map.volumes()[0];
    assert_eq!((volume.label.as_str(), volume.content.as_str()), ("whole", "exfat"));
    check_tree(&disk, &survey, "whole", tree);
    assert_eq!(bytes_of(&survey, PlaceKind::Free), free * u64::from(volume.block_bytes));
    assert_eq!(bytes_of(&survey, PlaceKind::Raw), 0);
    survey
}

#[test]
fn exfat_of_every_cluster_size() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| scratch.path().join(name);
    tree(&path("tree"));
    for (cluster, mebibytes) in
        [("512", 40), ("1K", 40), ("4K", 64), ("32K", 128), ("128K", 256), ("1M", 1500), ("4M", 4000)]
    {
        make_image(&path("image"), mebibytes << 20, &["-c", cluster]);
        let mounted = Fuse::new(&path("image"), &path("mounted"));
        run("cp", &["-r", text(&path("tree/.")), text(&mounted.root)]);
        mounted.end();
        check_image(&path("image"), &path("tree"));
    }
}

/// Fragmented, deleted and many files, and deep directories.
#[test]
fn exfat_with_hard_files() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| scratch.path().join(name);
    make_image(&path("image"), 100 << 20, &["-c", "512"]);
    let mut random = Random(12);
    std::fs::create_dir_all(path("tree/many")).expect("directory");
    for index in 0..3000 {
        let size = random.below(3000);
        std::fs::write(path(&format!("tree/many/file {index}")), random.bytes(size)).expect("write");
    }
    let deep = path("tree").join("directory/".repeat(60));
    std::fs::create_dir_all(&deep).expect("directories");
    std::fs::write(deep.join("end"), b"the end").expect("write");
    let mounted = Fuse::new(&path("image"), &path("mounted"));
    run("cp", &["-r", text(&path("tree/.")), text(&mounted.root)]);
    for index in (0..3000).step_by(3) {
        for root in [&path("tree"), &mounted.root] {
            std::fs::remove_file(root.join(format!("many/file {index}"))).expect("remove");
        }
    }
    for root in [&path("tree"), &mounted.root] {
        let mut random = Random(13);
        let files = ["first", "second"].map(|name| File::create(root.join(name)).expect("create"));
        for index in 0..300 {
            for file in &files {
                file.write_all_at(&random.bytes(3000), index * 3000).expect("write");
            }
        }
    }
    mounted.end();
    let survey = check_image(&path("image"), &path("tree"));
    let first = file(&survey, "whole", b"/first").expect("place");
    assert!(first.runs.len() > 50, "{}", first.runs.len());
}

/// Returns the checksum of a set of entries.
fn checksum(set: &[u8]) -> u16 {
    let bytes = set.iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
    bytes.fold(0, |sum: u16, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)))
}

#[test]
fn damage_is_told() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| scratch.path().join(name);
    let image = path("image");
    make_image(&image, 16 << 20, &["-c", "4096"]);
    let mounted = Fuse::new(&image, &path("mounted"));
    std::fs::write(mounted.root.join("note"), vec![b'n'; 9000]).expect("write");
    mounted.end();
    let intact = std::fs::read(&image).expect("read");
    let name = [0xc1, 0, b'n', 0, b'o', 0, b't', 0, b'e', 0];
    let set = intact.windows(name.len()).position(|bytes| bytes == name).expect("the name") - 64;
    let check = |change: &dyn Fn(&mut Vec<u8>), valid: usize, expected: &[&str]| {
        let mut bytes = intact.clone();
        change(&mut bytes);
        std::fs::write(&image, &bytes).expect("write");
        let disk = open(&image);
        let survey = survey_checked(&disk);
        let found: Vec<_> = survey.oddities.iter().map(|oddity| oddity.what.as_str()).collect();
        assert_eq!(found, expected);
        let note = file(&survey, "whole", b"/note").expect("note");
        assert!(read_place(&disk, &note) == [vec![b'n'; valid], vec![0; 9000 - valid]].concat());
        assert_eq!(note.runs.iter().map(|run| run.length).sum::<u64>(), u64::try_from(valid).expect("small"));
        let slack = survey.map.iter().find(|place| place.kind == PlaceKind::Slack).expect("slack");
        assert_eq!(slack.size, 12_288 - u64::try_from(valid).expect("small"));
    };
    check(&|_| (), 9000, &[]);
    check(&|bytes| bytes[..512].fill(0), 9000, &["boot region read from its copy: 1"]);
    check(&|bytes| bytes[200] ^= 1, 9000, &["boot region with a wrong checksum: 1"]);
    let dirty = "the volume is marked dirty: it was in use, or waits for a check: 1";
    check(&|bytes| bytes[106] |= 2, 9000, &[dirty]);
    check(&|bytes| bytes[set + 2] ^= 1, 9000, &["sets of directory entries with a wrong checksum: 1"]);
    // Only some of it was written.
    check(
        &|bytes| {
            bytes[set + 40..set + 48].copy_from_slice(&1234_u64.to_le_bytes());
            let sum = checksum(&bytes[set..set + 96]);
            bytes[set + 2..set + 4].copy_from_slice(&sum.to_le_bytes());
        },
        1234,
        &[],
    );
}

#[test]
fn damaged_exfat() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| scratch.path().join(name);
    tree(&path("tree"));
    for (seed, cluster) in (71..).zip(["512", "4096"]) {
        make_image(&path("image"), 24 << 20, &["-c", cluster]);
        let mounted = Fuse::new(&path("image"), &path("mounted"));
        run("cp", &["-r", text(&path("tree/.")), text(&mounted.root)]);
        mounted.end();
        let intact = std::fs::read(path("image")).expect("read");
        let number = |at: usize| 512 * (usize::from(intact[at]) + 256 * usize::from(intact[at + 1]));
        let (fat, heap) = (number(80), number(88));
        let name = [0xc1, 0, b'm', 0, b'a', 0, b'n', 0, b'y', 0];
        let root = intact.windows(name.len()).position(|bytes| bytes == name).expect("the name") & !511;
        let many =
            intact.windows(6).position(|bytes| bytes == [0xc1, 0, b'a', 0, b' ', 0]).expect("a name") & !511;
        let targets = [64..120, fat..fat + 4000, heap..heap + 600, root..root + 512, many..many + 8192];
        mutate(&intact, &targets, 130, seed);
    }
}
