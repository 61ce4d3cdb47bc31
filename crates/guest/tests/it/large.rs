//! Many files, deep directories, and file systems of 4 TiB with little in them: read right, soon,
//! and with a place map in its bounds.

use crate::exfat;
use crate::fat;
use crate::fixture::{check_tree, file, open, peak_kib, run, survey_checked, text};
use crate::mount::Mount;
use crate::ntfs;
use airlock_disk::BlockSource;
use airlock_guest::Survey;
use airlock_model::PlaceKind;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const TIB: u64 = 1 << 40;

/// Small files on the file system that is tried with most …
const FILES_MOST: usize = 100_000;

/// … and on the others: all hold the larger number, and take much longer to be filled with it.
const FILES: usize = 10_000;

/// Levels of directories of [`many`].
const LEVELS: usize = 100;

/// Most memory of a process that surveys one of these disks, in KiB.
const MEMORY_KIB_MAX: u64 = 256 << 10;

/// Makes files of 0 to 299 bytes, 500 to a directory, and one below a hundred directories.
fn many(root: &Path, files: usize) {
    for index in 0..files {
        let directory = root.join(format!("d{:03}", index / 500));
        if index % 500 == 0 {
            fs::create_dir_all(&directory).expect("directory");
        }
        let bytes = format!("{index} ").repeat(150);
        fs::write(directory.join(format!("f{index:06}")), &bytes[..index % 300]).expect("write");
    }
    let deep = root.join("deep/".to_owned() + &"d/".repeat(LEVELS));
    fs::create_dir_all(&deep).expect("directory");
    fs::write(deep.join("end"), b"the end").expect("write");
}

/// Surveys the image, within the bounds.
fn survey_soon(image: &Path) -> Survey {
    let disk = open(image);
    let start = Instant::now();
    let survey = survey_checked(&disk);
    let spent = start.elapsed();
    assert!(spent < Duration::from_secs(10), "{spent:?}");
    assert_eq!((survey.oddities.as_slice(), survey.limits.as_slice()), (&[][..], &[][..]));
    let extents: usize = survey.map.iter().map(|place| place.runs.len()).sum();
    let files = survey.map.iter().filter(|place| place.kind == PlaceKind::File).count();
    let (memory, allowed) = (survey.map.memory_bytes(), 64 * extents + 48 * files);
    // A map of next to nothing has volumes and names that count for more than its files.
    assert!(memory <= allowed + 4096, "{memory} bytes for {extents} extents and {files} files");
    assert!(peak_kib() < MEMORY_KIB_MAX, "{} KiB of memory", peak_kib());
    survey
}

fn check_many(image: &Path, tree: &Path) {
    let survey = survey_soon(image);
    check_tree(&open(image), &survey, "whole", tree);
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary directory"))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Makes a tree of so many files.
    fn with_tree(files: usize) -> Self {
        let scratch = Self::new();
        many(&scratch.path("tree"), files);
        scratch
    }

    /// Makes an empty image.
    fn image(&self, bytes: u64) -> std::path::PathBuf {
        let image = self.path("image");
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("create");
        image
    }

    fn copy_tree(&self, mounted: &Path) {
        let entries = fs::read_dir(self.path("tree")).expect("directory");
        let paths: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
        let mut arguments = vec!["-r"];
        arguments.extend(paths.iter().map(|path| text(path)));
        arguments.push(text(mounted));
        run("cp", &arguments);
    }
}

#[test]
fn a_hundred_thousand_files_on_ext4() {
    let scratch = Scratch::with_tree(FILES_MOST);
    let (image, tree) = (scratch.image(1 << 30), scratch.path("tree"));
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-N", "110000", "-d", text(&tree), text(&image)]);
    check_many(&image, &tree);
}

#[test]
fn many_files_on_btrfs_and_a_disc() {
    let scratch = Scratch::with_tree(FILES);
    let (image, tree) = (scratch.image(2 << 30), scratch.path("tree"));
    run("mkfs.btrfs", &["-q", "-r", text(&tree), text(&image)]);
    check_many(&image, &tree);
    fs::remove_file(&image).expect("remove");
    run("xorriso", &["-as", "mkisofs", "-quiet", "-R", "-J", "-o", text(&image), text(&tree)]);
    check_many(&image, &tree);
}

#[test]
fn many_files_on_xfs() {
    let scratch = Scratch::with_tree(FILES);
    let image = scratch.image(2 << 30);
    run("mkfs.xfs", &["-q", text(&image)]);
    let mounted = Mount::new(&image, &scratch.path("mounted"), "rw");
    scratch.copy_tree(&mounted.root);
    mounted.end();
    check_many(&image, &scratch.path("tree"));
}

#[test]
fn many_files_on_ntfs() {
    let scratch = Scratch::with_tree(FILES);
    let image = scratch.path("image");
    ntfs::make_image(&image, 1 << 30, &[]);
    let mounted = ntfs::Fuse::new(&image, &scratch.path("mounted"));
    scratch.copy_tree(&mounted.root);
    mounted.end();
    check_many(&image, &scratch.path("tree"));
}

#[test]
fn many_files_on_exfat() {
    let scratch = Scratch::with_tree(FILES);
    let image = scratch.path("image");
    exfat::make_image(&image, 1 << 30, &["-c", "4K"]);
    let mounted = exfat::Fuse::new(&image, &scratch.path("mounted"));
    scratch.copy_tree(&mounted.root);
    mounted.end();
    check_many(&image, &scratch.path("tree"));
}

#[test]
fn many_files_on_fat32() {
    let scratch = Scratch::with_tree(FILES);
    let image = scratch.path("image");
    fat::make_image(&image, 1 << 30, &["-F", "32", "-s", "8"]);
    fat::copy_tree(&scratch.path("tree"), &image);
    check_many(&image, &scratch.path("tree"));
}

/// Where [`check_huge`] writes into its large file, and what.
fn pieces(size: u64) -> [(u64, u8); 3] {
    [(0, 0x11), (size / 2, 0x22), (size - 5000, 0x33)]
}

/// Writes a small file and a sparse one of `size`, with data at its start, middle and end.
fn write_huge(root: &Path, size: u64) {
    for (name, bytes) in [("empty", &b""[..]), ("one", b"1"), ("small", &[7; 5000])] {
        fs::write(root.join(name), bytes).expect("write");
    }
    let huge = File::create(root.join("huge")).expect("create");
    for (at, byte) in pieces(size) {
        huge.write_all_at(&[byte; 5000], at).expect("write");
    }
    huge.sync_all().expect("sync");
}

fn check_huge(image: &Path, size: u64) {
    let survey = survey_soon(image);
    let disk = open(image);
    for (name, length) in [("/empty", 0), ("/one", 1), ("/small", 5000)] {
        let place = file(&survey, "whole", name.as_bytes()).expect("place");
        assert_eq!(place.size, length, "{name}");
    }
    let huge = file(&survey, "whole", b"/huge").expect("place");
    assert_eq!(huge.size, size);
    for (at, byte) in pieces(size) {
        let mut found = Vec::new();
        for run in huge.runs {
            let (start, end) = (run.logical.max(at), (run.logical + run.length).min(at + 5000));
            if start < end {
                let mut part = vec![0; usize::try_from(end - start).expect("small")];
                disk.read_at(run.disk + start - run.logical, &mut part).expect("read");
                found.extend(part);
            }
        }
        assert!(found == [byte; 5000], "{} bytes at {at:#x}", found.len());
    }
    let data: u64 = huge.runs.iter().map(|run| run.length).sum();
    assert!(data < 1 << 20, "{data} bytes of data");
}

fn check_huge_mounted(program: &str, options: &[&str]) {
    let scratch = Scratch::new();
    let image = scratch.image(4 * TIB);
    run(program, &[options, &[text(&image)]].concat());
    let mounted = Mount::new(&image, &scratch.path("mounted"), "rw");
    write_huge(&mounted.root, 3 * TIB);
    mounted.end();
    check_huge(&image, 3 * TIB);
}

#[test]
fn ext4_of_4_tib() {
    check_huge_mounted("mke2fs", &["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1"]);
}

#[test]
fn xfs_of_4_tib() {
    check_huge_mounted("mkfs.xfs", &["-q"]);
}

#[test]
fn btrfs_of_4_tib() {
    check_huge_mounted("mkfs.btrfs", &["-q"]);
}

/// exFAT has no sparse files: the large one is the size of what is written.
#[test]
fn exfat_of_4_tib() {
    let scratch = Scratch::new();
    let image = scratch.path("image");
    exfat::make_image(&image, 4 * TIB, &[]);
    let mounted = exfat::Fuse::new(&image, &scratch.path("mounted"));
    write_huge(&mounted.root, 700_000);
    mounted.end();
    check_huge(&image, 700_000);
}

#[test]
fn fat32_of_2_tib() {
    let scratch = Scratch::new();
    let image = scratch.path("image");
    fat::make_image(&image, 2 * TIB - 512, &["-F", "32"]);
    fs::create_dir(scratch.path("tree")).expect("directory");
    write_huge(&scratch.path("tree"), 700_000);
    fat::copy_tree(&scratch.path("tree"), &image);
    check_huge(&image, 700_000);
}
