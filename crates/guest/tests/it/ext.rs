use crate::fixture::{bytes_of, check_tree, make_tree, open, run, survey_checked, text};
use airlock_model::PlaceKind;
use std::path::Path;

/// The usual trees, made once for a test.
struct Trees(tempfile::TempDir);

impl Trees {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        make_tree(&directory.path().join("tree"), true);
        make_tree(&directory.path().join("inline"), false);
        Self(directory)
    }

    /// Makes a file system with the options, from the usual tree, and compares all files.
    fn check(&self, size: &str, options: &[&str], content: &str) {
        let inline = options.iter().any(|option| option.contains("inline_data"));
        let tree = self.0.path().join(if inline { "inline" } else { "tree" });
        check(&self.0.path().join("image"), &tree, size, options, content);
    }
}

fn check(image: &Path, tree: &Path, size: &str, options: &[&str], content: &str) {
    let _ = std::fs::remove_file(image);
    let mut arguments = vec!["-q", "-F", "-d", text(tree)];
    arguments.extend(options);
    arguments.extend([text(image), size]);
    run("mke2fs", &arguments);
    let disk = open(image);
    let survey = survey_checked(&disk);
    assert_eq!(survey.oddities, [], "{options:?}");
    assert_eq!(survey.limits, []);
    let volume = &survey.map.volumes()[0];
    assert_eq!((volume.label.as_str(), volume.content.as_str()), ("whole", content), "{options:?}");
    check_tree(&disk, &survey, "whole", tree);
    let report = run("dumpe2fs", &["-h", text(image)]);
    let number = |name: &str| -> u64 {
        let line = report.lines().find(|line| line.starts_with(name)).expect(name);
        line.split(':').nth(1).expect(name).trim().parse().expect(name)
    };
    let block_bytes = number("Block size:");
    assert_eq!(u64::from(volume.block_bytes), block_bytes);
    let free = number("Free blocks:") * block_bytes;
    assert_eq!(bytes_of(&survey, PlaceKind::Free), free, "{options:?}");
    assert_eq!(bytes_of(&survey, PlaceKind::Raw), 0);
}

#[test]
fn ext4_of_every_block_size() {
    let trees = Trees::new();
    trees.check("64M", &["-t", "ext4", "-b", "1024"], "ext4");
    trees.check("64M", &["-t", "ext4", "-b", "2048"], "ext4");
    trees.check("128M", &["-t", "ext4", "-b", "4096"], "ext4");
    trees.check("512M", &["-t", "ext4", "-b", "65536"], "ext4");
}

#[test]
fn ext2_and_ext3() {
    let trees = Trees::new();
    trees.check("64M", &["-t", "ext2", "-b", "1024"], "ext2");
    trees.check("64M", &["-t", "ext2", "-b", "4096"], "ext2");
    trees.check("64M", &["-t", "ext2", "-r", "0"], "ext2");
    trees.check("64M", &["-t", "ext3", "-b", "1024"], "ext3");
    trees.check("64M", &["-t", "ext3", "-b", "4096", "-O", "^resize_inode"], "ext3");
}

#[test]
fn ext4_with_and_without_features() {
    let trees = Trees::new();
    let check = |size, features: &str| {
        trees.check(size, &["-t", "ext4", "-O", features], "ext4");
        trees.check(size, &["-t", "ext4", "-b", "1024", "-O", features], "ext4");
    };
    check("64M", "inline_data");
    check("64M", "inline_data,^metadata_csum");
    check("64M", "^extent,^64bit");
    check("64M", "^64bit");
    check("96M", "meta_bg,^resize_inode");
    check("96M", "^flex_bg,^uninit_bg,^metadata_csum");
    check("64M", "^has_journal,^filetype");
    check("96M", "^sparse_super,^resize_inode");
    check("96M", "sparse_super2,^resize_inode");
    check("64M", "quota,project,mmp");
    check("64M", "ea_inode,encrypt,casefold,verity,large_dir");
    check("64M", "orphan_file");
}

#[test]
fn bigalloc() {
    let trees = Trees::new();
    trees.check("128M", &["-t", "ext4", "-O", "bigalloc", "-C", "16384"], "ext4");
    trees.check("128M", &["-t", "ext4", "-O", "bigalloc", "-b", "1024", "-C", "8192"], "ext4");
    trees.check("128M", &["-t", "ext4", "-O", "bigalloc,inline_data", "-C", "65536"], "ext4");
}
