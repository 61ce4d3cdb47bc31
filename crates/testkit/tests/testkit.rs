//! The images hold what they claim, and the same build gives the same bytes.

use airlock_testkit::{
    CleanFile, Document, Encoding, Ext4Image, Ext4Options, Fragmented, Kind, PartitionTable, PartitionedDisk,
    PlantedDisk, PocketVm, Spot, Tool, Tree, debian_root, residue,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn digest(path: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(path).expect("image")))
}

fn bytes_at(path: &Path, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).expect("small")];
    fs::File::open(path).expect("open").read_exact_at(&mut bytes, offset).expect("read");
    bytes
}

/// Every planted value lies where the list says: on the disk, and in its file.
fn check_planted(disk: &PlantedDisk) {
    assert_eq!(disk.planted().len(), 200);
    let files: BTreeSet<&str> = disk.planted().iter().map(|value| value.path.as_str()).collect();
    assert_eq!(files.len(), 40);
    for spot in [Spot::File, Spot::Straddling, Spot::Slack, Spot::Deleted] {
        assert!(disk.planted().iter().any(|value| value.spot == spot), "{spot:?}");
    }
    for encoding in Encoding::ALL {
        assert!(disk.planted().iter().any(|value| value.encoding == encoding), "{encoding:?}");
    }
    let fs = disk.file_system();
    let block = u64::from(fs.block_bytes());
    for value in disk.planted() {
        let what = format!("{:?} at {}@{}", value.spot, value.path, value.offset);
        let Some(on_disk) = value.disk_offset else {
            assert!(fs.size(&value.path).expect("size") < 150, "{what} has no offset on the disk");
            continue;
        };
        // A value may cross into the next block, which need not be the next on the disk.
        let whole = value.spot == Spot::Slack || value.offset % block + value.length <= block;
        let length = if whole { value.length } else { block - value.offset % block };
        let found = bytes_at(disk.image(), on_disk, length);
        let wanted = value.bytes();
        assert!(found == wanted[..found.len()], "{what}: other bytes on the disk");
        match value.spot {
            Spot::File | Spot::Straddling => {
                let content = fs.cat(&value.path).expect("cat");
                let start = usize::try_from(value.offset).expect("small");
                assert!(content[start..start + wanted.len()] == wanted, "{what}: other content");
            }
            Spot::Slack => assert!(value.offset > fs.size(&value.path).expect("size"), "{what}"),
            Spot::Deleted => assert!(fs.cat(&value.path).is_err(), "{what} still exists"),
        }
        if value.spot == Spot::Straddling {
            let last = value.offset + value.length - 1;
            let end = fs.disk_offset(&value.path, last).expect("bmap").expect("mapped");
            let start = on_disk - disk.partition_offset();
            assert!(end - start > 16 * block, "{what} does not straddle");
        }
    }
    for CleanFile { path, size, sha256 } in disk.clean_files() {
        let content = fs.cat(path).expect("cat");
        assert_eq!((content.len() as u64, &hex::encode(Sha256::digest(&content))), (*size, sha256), "{path}");
    }
    fs.check().expect("the file system is sound");
}

#[test]
fn a_planted_disk_holds_every_value_where_it_says() {
    let dir = scratch();
    let disk = PlantedDisk::builder(dir.path(), 7).build().expect("build");
    check_planted(&disk);
    let hits = residue::find(disk.image(), disk.planted()).expect("residue");
    let seen: BTreeSet<usize> = hits.iter().map(|hit| hit.value).collect();
    // Values that lie in two pieces cannot be found as raw bytes; all others are.
    for (index, value) in disk.planted().iter().enumerate() {
        assert_eq!(seen.contains(&index), value.spot != Spot::Straddling, "{value:?}");
    }
}

#[test]
fn partitions_and_small_and_large_blocks_hold_as_well() {
    let dir = scratch();
    let small = Ext4Options::new(48 << 20).block_bytes(1024).feature("inline_data");
    let disk = PlantedDisk::builder(dir.path().join("gpt"), 8).ext4(small).gpt().build().expect("build");
    assert_eq!(disk.partition_offset(), 1 << 20);
    check_planted(&disk);

    let large = Ext4Options::new(192 << 20).block_bytes(65_536);
    let disk = PlantedDisk::builder(dir.path().join("mbr"), 9).ext4(large).mbr().build().expect("build");
    check_planted(&disk);
    assert_eq!(bytes_at(disk.image(), 510, 2), [0x55, 0xaa]);
}

#[test]
fn the_same_seed_builds_the_same_disk() {
    let dir = scratch();
    let build = |name: &str, seed| {
        let disk = PlantedDisk::builder(dir.path().join(name), seed).gpt().build().expect("build");
        digest(disk.image())
    };
    let first = build("a", 7);
    assert_eq!(first, build("b", 7));
    assert_ne!(first, build("c", 8));
}

#[test]
fn tables_are_what_other_programs_read() {
    let dir = scratch();
    let mut tree = Tree::new(dir.path().join("tree"), 1).expect("tree");
    tree.filler("/etc/issue", 5000).expect("filler");
    let one =
        Ext4Image::build(tree.root(), dir.path().join("one"), &Ext4Options::new(16 << 20)).expect("ext4");
    let two = Ext4Image::build(
        tree.root(),
        dir.path().join("two"),
        &Ext4Options::new(8 << 20).block_bytes(1024).feature("^has_journal"),
    )
    .expect("ext4");
    for (table, label) in [(PartitionTable::Mbr, "dos"), (PartitionTable::Gpt, "gpt")] {
        let disk =
            PartitionedDisk::build(dir.path().join(label), table, &[one.path(), two.path()]).expect("disk");
        let listed = Tool::new("sfdisk").expect("sfdisk").arg("-d").arg(&disk.path).run().expect("dump");
        assert!(listed.contains(&format!("label: {label}")), "{listed}");
        for (offset, image) in disk.offsets.iter().zip([&one, &two]) {
            assert!(listed.contains(&format!("start={:>12}", offset / 512)), "{listed}");
            let content = fs::read(image.path()).expect("image");
            assert!(bytes_at(&disk.path, *offset, content.len() as u64) == content);
        }
    }
}

#[test]
fn fragments_are_refused_where_they_would_destroy_evidence() {
    let dir = scratch();
    let mut tree = Tree::new(dir.path().join("tree"), 1).expect("tree");
    tree.filler("/a", 5000).expect("filler");
    let mut image =
        Ext4Image::build(tree.root(), dir.path().join("image"), &Ext4Options::new(16 << 20)).expect("ext4");
    let content = vec![b'x'; 8192];
    let file = |pieces| [Fragmented { path: "/b", content: &content, pieces }];
    assert!(image.write_fragmented(&file(&[1, 2])).is_err(), "pieces must sum");
    let runs = image.write_fragmented(&file(&[1, 1])).expect("fragmented");
    assert_eq!(runs[0].len(), 2);
    assert!(image.write_fragmented(&file(&[1, 1])).is_err(), "there are holes now");
    image.delete("/a").expect("delete");
    assert!(image.delete("/a").is_err(), "it is gone already");
    image.check().expect("sound");
}

/// Where what takes long to build is kept between runs: below the target folder.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("testkit")
}

#[test]
fn a_pocket_vm_boots_and_says_what_it_reads() {
    let dir = scratch();
    let vm = PocketVm::build(&cache(), dir.path(), 5, |tree| {
        tree.plant("/data/pay.csv", Document::Csv, &[Kind::Pan; 3], Encoding::Ascii).map(drop)
    })
    .expect("build");
    vm.root().check().expect("the root is sound");
    let before = digest(vm.image());
    let sums = PocketVm::boot(vm.image(), "raw").expect("boot");
    assert_eq!(before, digest(vm.image()), "a boot leaves the image alone");
    assert_eq!(sums.len(), 7, "{sums:?}");
    for sum in &sums {
        let content = vm.root().cat(&sum.path).expect("cat");
        assert_eq!(sum.size, content.len() as u64, "{}", sum.path);
        assert_eq!(sum.sha256, hex::encode(Sha256::digest(&content)), "{}", sum.path);
    }
}

#[test]
fn debian_is_on_the_bare_image_and_in_the_partition() {
    let images = debian_root(&cache(), 1 << 30).expect("debian");
    let bare = Ext4Image::open(&images.bare).expect("open");
    bare.check().expect("sound");
    let release = bare.cat("/etc/debian_version").expect("cat");
    assert!(release.starts_with(b"12."), "{}", String::from_utf8_lossy(&release));
    let superblock = bare.read_raw(1024, 1024).expect("read");
    assert_eq!(bytes_at(&images.disk, images.partition_offset + 1024, 1024), superblock);
    let again = debian_root(&cache(), 1 << 30).expect("cached");
    assert_eq!(again.bare, images.bare);
}
