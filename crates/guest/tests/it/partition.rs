use crate::fixture::{
    Random, bytes_of, check_tree, file, make_tree, open, read_place, run, survey_checked, text,
};
use airlock_guest::Survey;
use airlock_model::{PlaceKind, Run};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;

fn create(path: &Path, bytes: u64) {
    let file = File::create(path).expect("create");
    file.set_len(bytes).expect("truncate");
}

/// Lets `sfdisk` write a table.
fn sfdisk(image: &Path, script: &str) {
    let mut child = Command::new("sfdisk")
        .args(["--quiet", text(image)])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run sfdisk (Debian package fdisk): {error}"));
    let mut input = child.stdin.take().expect("piped");
    input.write_all(script.as_bytes()).expect("write");
    drop(input);
    assert!(child.wait().expect("wait").success(), "sfdisk: {script}");
}

/// Copies the content of a volume to an offset of a disk.
pub(crate) fn put(image: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(image).expect("open");
    file.write_all_at(bytes, offset).expect("write");
}

pub(crate) fn get(image: &Path, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let file = File::open(image).expect("open");
    file.read_exact_at(&mut bytes, offset).expect("read");
    bytes
}

fn volumes(survey: &Survey) -> Vec<String> {
    let describe = |volume: &airlock_model::Volume| {
        let (start, length) = (volume.extent.offset, volume.extent.length);
        format!("{} {} {start}+{length}", volume.label, volume.content)
    };
    survey.map.volumes().iter().map(describe).collect()
}

fn oddities(survey: &Survey) -> Vec<String> {
    let describe = |oddity: &airlock_guest::Oddity| format!("{}: {}", oddity.volume, oddity.what);
    survey.oddities.iter().map(describe).collect()
}

#[test]
fn gpt_with_a_file_system() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("disk"), directory.path().join("tree"));
    let part = directory.path().join("part");
    make_tree(&tree, true);
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", text(&tree), text(&part), "48M"]);
    create(&image, 100 * MIB);
    run("sgdisk", &["-n", "1:2048:+1M", "-n", "3:8192:+48M", "-n", "7:0:+8M", text(&image)]);
    put(&image, 4 * MIB, &std::fs::read(&part).expect("read"));
    let disk = open(&image);
    let survey = survey_checked(&disk);
    assert_eq!(survey.oddities, []);
    assert_eq!(
        volumes(&survey),
        [
            "disk gpt 0+104857600",
            "p1 unknown 1048576+1048576",
            "p3 ext4 4194304+50331648",
            "p7 unknown 54525952+8388608",
        ]
    );
    check_tree(&disk, &survey, "p3", &tree);
    // Protective MBR, header and entries, and the copies at the end.
    assert_eq!(bytes_of(&survey, PlaceKind::PartitionTable), 512 * 67);
    assert_eq!(bytes_of(&survey, PlaceKind::Raw), 9 * MIB);
}

#[test]
fn mbr_with_logical_partitions() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk");
    create(&image, 64 * MIB);
    sfdisk(
        &image,
        "label: dos\nstart=2048,size=8192\nstart=12288,type=5\nstart=14336,size=4096\n\
         start=20480,size=4096\nstart=26624,size=4096\n",
    );
    let swap = directory.path().join("swap");
    create(&swap, 2 * MIB);
    run("mkswap", &["-q", text(&swap)]);
    put(&image, 20_480 * 512, &std::fs::read(&swap).expect("read"));
    let disk = open(&image);
    let survey = survey_checked(&disk);
    assert_eq!(survey.oddities, []);
    assert_eq!(
        volumes(&survey),
        [
            "disk mbr 0+67108864",
            "p1 unknown 1048576+4194304",
            "p5 unknown 7340032+2097152",
            "p6 swap 10485760+2097152",
            "p7 unknown 13631488+2097152",
        ]
    );
    assert_eq!(bytes_of(&survey, PlaceKind::Swap), 2 * MIB);
    assert_eq!(bytes_of(&survey, PlaceKind::PartitionTable), 512 * 4);
}

/// Patches a GPT disk and returns the survey's oddities and number of partitions.
fn gpt_oddities(patch: impl Fn(&Path)) -> (usize, Vec<String>) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk");
    create(&image, 16 * MIB);
    run("sgdisk", &["-n", "1:2048:+4M", "-n", "2:0:+4M", text(&image)]);
    patch(&image);
    let disk = open(&image);
    let survey = survey_checked(&disk);
    (survey.map.volumes().len(), oddities(&survey))
}

#[test]
fn damaged_and_contradicting_tables() {
    let check = |patch: &dyn Fn(&Path), partitions: usize, expected: &[&str]| {
        assert_eq!(gpt_oddities(patch), (partitions + 1, expected.iter().map(ToString::to_string).collect()));
    };
    check(&|image| put(image, 512 + 20, &[1]), 2, &["disk: the primary GPT is damaged, the backup is used"]);
    check(&|image| put(image, 1024 + 32, &[1]), 2, &["disk: the primary GPT is damaged, the backup is used"]);
    check(&|image| put(image, 16 * MIB - 512, &[0; 8]), 2, &["disk: the backup GPT is damaged"]);
    check(&|image| put(image, 0, &[0; 512]), 2, &["disk: GPT without a protective MBR"]);
    let entry = |kind: u8, first: u32, sectors: u32| {
        let mut bytes = vec![0, 0, 0, 0, kind, 0, 0, 0];
        bytes.extend(first.to_le_bytes());
        bytes.extend(sectors.to_le_bytes());
        bytes
    };
    // A hybrid record: one partition of the GPT is fine, another one is not.
    check(&|image| put(image, 462, &entry(0x83, 2048, 8192)), 2, &[]);
    check(
        &|image| put(image, 462, &entry(0x83, 4096, 8192)),
        2,
        &["disk: MBR and GPT disagree about a partition"],
    );
    // The kernel does not look for a GPT behind a plain MBR. What the GPT says has a file system
    // and is inspected as well.
    check(
        &|image| put(image, 446, &entry(0x83, 4096, 8192)),
        1,
        &["disk: GPT ignored behind an MBR of its own"],
    );
    check(
        &|image| {
            put(image, 512, &[0; 512]);
            put(image, 16 * MIB - 512, &[0; 512]);
        },
        0,
        &["disk: protective MBR without a valid GPT"],
    );
}

#[test]
fn overlapping_partitions_and_chains_without_end() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk");
    let check = |entries: &[(u8, u32, u32)], labels: &[&str], expected: &[&str]| {
        create(&image, 8 * MIB);
        for (index, (kind, first, sectors)) in (0..).zip(entries) {
            let mut bytes = vec![0, 0, 0, 0, *kind, 0, 0, 0];
            bytes.extend(first.to_le_bytes());
            bytes.extend(sectors.to_le_bytes());
            put(&image, 446 + 16 * index, &bytes);
        }
        put(&image, 510, b"\x55\xaa");
        let disk = open(&image);
        let survey = survey_checked(&disk);
        let found = survey.map.volumes().iter().map(|volume| volume.label.as_str());
        assert_eq!(found.collect::<Vec<_>>(), labels);
        assert_eq!(oddities(&survey), expected);
    };
    let overlap = "partition overlaps another one or a partition table";
    check(&[(0x83, 64, 64), (0x83, 100, 64)], &["disk", "p1", "p2"], &[&format!("p2: {overlap}")]);
    check(&[(0x83, 0, 64)], &["disk", "p1"], &[&format!("p1: {overlap}")]);
    check(&[(0x83, 64, u32::MAX)], &["disk", "p1"], &["p1: partition reaches behind the end of the disk"]);
    check(&[(0x83, 64, 64), (0x83, u32::MAX, 64)], &["disk", "p1"], &["p2: partition is not on the disk"]);
    check(
        &[(5, 64, 64), (0x0f, 640, 64)],
        &["disk"],
        &[
            "disk: a second extended partition is not followed",
            "disk: the chain of extended records is damaged",
        ],
    );
    // An extended record that names itself as the next one.
    create(&image, 8 * MIB);
    put(&image, 446, &[0, 0, 0, 0, 5, 0, 0, 0, 64, 0, 0, 0, 64, 0, 0, 0]);
    put(&image, 510, b"\x55\xaa");
    put(&image, 64 * 512 + 446, &[0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0]);
    put(&image, 64 * 512 + 462, &[0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0]);
    put(&image, 64 * 512 + 510, b"\x55\xaa");
    let disk = open(&image);
    let survey = survey_checked(&disk);
    assert_eq!(oddities(&survey), ["disk: the chain of extended records is damaged"]);
}

#[test]
fn a_file_system_in_an_overlapping_partition_is_inspected_as_well() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("disk"), directory.path().join("tree"));
    std::fs::create_dir(&tree).expect("directory");
    std::fs::write(tree.join("note"), b"in both readings").expect("write");
    create(&image, 8 * MIB);
    run("mke2fs", &["-q", "-F", "-b", "1024", "-d", text(&tree), "-E", "offset=51200", text(&image), "4M"]);
    for (index, first) in [(0, 64_u32), (1, 100)] {
        let mut bytes = vec![0, 0, 0, 0, 0x83, 0, 0, 0];
        bytes.extend(first.to_le_bytes());
        bytes.extend(8192_u32.to_le_bytes());
        put(&image, 446 + 16 * index, &bytes);
    }
    put(&image, 510, b"\x55\xaa");
    let disk = open(&image);
    let survey = survey_checked(&disk);
    let note = file(&survey, "p2", b"/note").expect("a view");
    assert!(note.view);
    assert_eq!(read_place(&disk, &note), b"in both readings");
    assert_eq!(bytes_of(&survey, PlaceKind::Raw), (8192 + 36) * 512);
}

#[test]
fn gpt_of_4096_byte_sectors() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk");
    create(&image, 64 * MIB);
    let script = "label: gpt\nsector-size: 4096\nstart=256,size=1024\nstart=2048,size=1024\n";
    let mut child = Command::new("sfdisk")
        .args(["--quiet", "--sector-size", "4096", text(&image)])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sfdisk (Debian package fdisk)");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(script.as_bytes()).expect("write");
    drop(input);
    if !child.wait().expect("wait").success() {
        // sfdisk before 2.40 knows no sector size of files; a table made by hand stands in.
        put(&image, 0, &gpt_4096(64 * MIB));
    }
    let disk = open(&image);
    let survey = survey_checked(&disk);
    let found = volumes(&survey);
    assert_eq!(found[1..], ["p1 unknown 1048576+4194304", "p2 unknown 8388608+4194304"]);
}

/// CRC-32 as GPT uses it.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// Returns the start of a disk with two partitions and sectors of 4096 bytes.
fn gpt_4096(bytes: u64) -> Vec<u8> {
    let mut disk = vec![0; 3 * 4096];
    disk[450] = 0xee;
    disk[454] = 1;
    disk[458..462].fill(0xff);
    disk[510..512].copy_from_slice(b"\x55\xaa");
    for (index, first) in [256_u64, 2048].into_iter().enumerate() {
        let at = 8192 + 128 * index;
        disk[at..at + 16].fill(7);
        disk[at + 32..at + 40].copy_from_slice(&first.to_le_bytes());
        disk[at + 40..at + 48].copy_from_slice(&(first + 1023).to_le_bytes());
    }
    let array_crc = crc32(&disk[8192..8192 + 256]);
    let header = &mut disk[4096..4096 + 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[12] = 92;
    header[24] = 1;
    header[32..40].copy_from_slice(&(bytes / 4096 - 1).to_le_bytes());
    header[72] = 2;
    header[80] = 2;
    header[84] = 128;
    header[88..92].copy_from_slice(&array_crc.to_le_bytes());
    let crc = crc32(header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    disk
}

#[test]
fn volumes_are_named_by_their_magic() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk");
    let check = |patches: &[(u64, &[u8])], content: &str, kind: PlaceKind| {
        create(&image, 2 * MIB);
        for (at, bytes) in patches {
            put(&image, *at, bytes);
        }
        let disk = open(&image);
        let survey = survey_checked(&disk);
        assert_eq!(volumes(&survey), [format!("whole {content} 0+2097152")]);
        let place = survey.map.get(0).expect("one place");
        let run = Run { logical: 0, disk: 0, length: 2 * MIB };
        assert_eq!((place.kind, place.runs), (kind, &[run][..]), "{content}");
    };
    check(&[], "unknown", PlaceKind::Raw);
    check(&[(0, b"LUKS\xba\xbe\0\x01")], "luks", PlaceKind::Encrypted);
    check(&[(0, b"\xeb\x58\x90-FVE-FS-"), (510, b"\x55\xaa")], "bitlocker", PlaceKind::Encrypted);
    check(&[(4086, b"SWAPSPACE2")], "swap", PlaceKind::Swap);
    check(&[(65_526, b"SWAPSPACE2")], "swap", PlaceKind::Swap);
    check(&[(0, b"XFSB")], "xfs", PlaceKind::Raw);
    check(
        &[(3, b"NTFS    "), (510, b"\x55\xaa"), (446, &[0x80, 1, 2, 3, 7, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9])],
        "ntfs",
        PlaceKind::Raw,
    );
    check(&[(82, b"FAT32   "), (510, b"\x55\xaa")], "vfat", PlaceKind::Raw);
    check(&[(65_600, b"_BHRfS_M")], "btrfs", PlaceKind::Raw);
    check(&[(512, b"LABELONE"), (536, b"LVM2 001")], "lvm2", PlaceKind::Raw);
    check(&[(4096, b"\xfc\x4e\x2b\xa9")], "md", PlaceKind::Raw);
    check(&[(2 * MIB - 8192, b"\xfc\x4e\x2b\xa9")], "md", PlaceKind::Raw);
    check(&[(32_769, b"CD001")], "iso9660", PlaceKind::Raw);
    check(
        &[(131_072, b"\x0c\xb1\xba\0\0\0\0\0"), (132_096, b"\x0c\xb1\xba\0\0\0\0\0")],
        "zfs",
        PlaceKind::Raw,
    );
    check(&[(0, b"hsqs")], "squashfs", PlaceKind::Raw);
}

#[test]
fn odd_sizes_tile() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("disk");
    for bytes in [0, 1, 511, 512, 1023, 1081, 4095, 70_001] {
        let mut random = Random(bytes + 1);
        std::fs::write(&image, random.bytes(usize::try_from(bytes).expect("small"))).expect("write");
        survey_checked(&open(&image));
    }
}

#[test]
fn a_file_system_smaller_than_its_partition_leaves_a_gap() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("disk"), directory.path().join("tree"));
    std::fs::create_dir(&tree).expect("directory");
    std::fs::write(tree.join("note"), b"a note").expect("write");
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-b", "1024", "-d", text(&tree), text(&image), "4M"]);
    let grown = File::options().write(true).open(&image).expect("open");
    grown.set_len(4 * MIB + 5000).expect("truncate");
    let disk = open(&image);
    let survey = survey_checked(&disk);
    assert_eq!(bytes_of(&survey, PlaceKind::Gap), 5000);
    // Cut short, it is still read as far as it goes.
    grown.set_len(3 * MIB).expect("truncate");
    let disk = open(&image);
    let survey = survey_checked(&disk);
    assert!(oddities(&survey)[0].contains("blocks behind the end"), "{:?}", oddities(&survey));
    let note = file(&survey, "whole", b"/note").expect("note");
    assert_eq!(read_place(&disk, &note), b"a note");
    assert_eq!(get(&image, 1080, 2), b"\x53\xef");
}

/// A file system that one table knows and the other one does not.
#[test]
fn a_file_system_of_the_table_that_is_not_believed_is_inspected() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("disk"), directory.path().join("tree"));
    std::fs::create_dir(&tree).expect("directory");
    std::fs::write(tree.join("note"), b"only in one table").expect("write");
    create(&image, 8 * MIB);
    run("sgdisk", &["-n", "1:2048:+1M", text(&image)]);
    run("mke2fs", &["-q", "-F", "-b", "1024", "-d", text(&tree), "-E", "offset=3145728", text(&image), "2M"]);
    let mut entry = vec![0, 0, 0, 0, 0x83, 0, 0, 0];
    entry.extend(6144_u32.to_le_bytes());
    entry.extend(4096_u32.to_le_bytes());
    put(&image, 446 + 16, &entry);
    let disk = open(&image);
    let survey = survey_checked(&disk);
    let note = file(&survey, "mbr p2", b"/note").expect("a view");
    assert!(note.view);
    assert_eq!(read_place(&disk, &note), b"only in one table");
}

#[test]
fn partitions_of_a_bsd_disklabel() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("disk"), directory.path().join("tree"));
    std::fs::create_dir(&tree).expect("directory");
    std::fs::write(tree.join("note"), b"on partition d").expect("write");
    // Offsets that count from the slice, and from the disk.
    for base in [0_u32, 64] {
        create(&image, 8 * MIB);
        let mut slice = vec![0, 0, 0, 0, 0xa5, 0, 0, 0];
        slice.extend(64_u32.to_le_bytes());
        slice.extend(16_000_u32.to_le_bytes());
        put(&image, 446, &slice);
        put(&image, 510, b"\x55\xaa");
        let label = 65 * 512;
        for at in [0, 132] {
            put(&image, label + at, b"\x57\x45\x56\x82");
        }
        put(&image, label + 138, &8_u16.to_le_bytes());
        for (number, sectors, first, kind) in
            [(0_u64, 4000, 16, 7_u8), (2, 16_000, 0, 0), (3, 8000, 4032, 17)]
        {
            let mut entry = u32::to_le_bytes(sectors).to_vec();
            entry.extend((base + first).to_le_bytes());
            entry.extend([0, 0, 0, 0, kind, 0, 0, 0]);
            put(&image, label + 148 + 16 * number, &entry);
        }
        let offset = format!("offset={}", (64 + 4032) * 512);
        run("mke2fs", &["-q", "-F", "-b", "1024", "-d", text(&tree), "-E", &offset, text(&image), "3M"]);
        let disk = open(&image);
        let survey = survey_checked(&disk);
        let labels: Vec<_> = survey.map.volumes().iter().map(|volume| volume.label.as_str()).collect();
        assert_eq!(labels, ["disk", "p1", "p1a", "p1d"]);
        let note = file(&survey, "p1d", b"/note").expect("a file");
        assert_eq!(read_place(&disk, &note), b"on partition d");
    }
}
