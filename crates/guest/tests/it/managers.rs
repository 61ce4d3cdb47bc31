//! Volumes on several disks: LVM2 written by its own tools, md arrays by their format.

use crate::fixture::{Random, bytes_of, check_tree, file, read_place, run, text};
use crate::mutate::Memory;
use airlock_guest::{Survey, survey_space};
use airlock_model::{Member, MemberKind, PlaceKind, Space, invariant};
use std::path::Path;
use std::process::Command;

const MIB: usize = 1 << 20;
/// Where `pvcreate` puts the first extent, and the size of an extent.
const FIRST_EXTENT: usize = MIB;
const EXTENT: usize = 4 * MIB;

/// Returns a disk that is several others, and its space.
fn several(disks: &[Vec<u8>]) -> (Memory, Space) {
    let member = |(number, disk): (usize, &Vec<u8>)| Member {
        id: format!("disk{number}"),
        size: u64::try_from(disk.len()).expect("small"),
        kind: MemberKind::Disk { format: "raw".into(), name: String::new() },
    };
    let space = Space::new(disks.iter().enumerate().map(member).collect()).expect("a space");
    (Memory(disks.concat()), space)
}

fn survey_of(disks: &[Vec<u8>]) -> (Memory, Survey) {
    let (disk, space) = several(disks);
    let survey = survey_space(&disk, &space).expect("survey");
    assert_eq!(invariant::places_tile(&survey.map), Ok(()));
    (disk, survey)
}

/// Block devices over files, for as long as it lives.
struct Loops(Vec<String>);

impl Loops {
    fn new(files: &[&Path]) -> Self {
        let attach = |file: &&Path| run("losetup", &["-f", "--show", text(file)]).trim().to_owned();
        Self(files.iter().map(attach).collect())
    }

    /// Runs a command of LVM that sees these devices alone, without the kernel's device-mapper.
    fn lvm(&self, arguments: &[&str]) {
        let accept: Vec<_> = self.0.iter().map(|device| format!("\"a|^{device}$|\"")).collect();
        let accept = accept.join(",");
        let config = format!(
            "devices{{global_filter=[{accept},\"r|.*|\"] use_devicesfile=0}} activation{{monitoring=0}} \
             backup{{backup=0 archive=0}}"
        );
        let [command, rest @ ..] = arguments else { panic!("a command") };
        run("lvm", &[&[*command, "--driverloaded", "n", "--config", &config], rest].concat());
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.0 {
            let _ = Command::new("losetup").args(["-d", device]).status();
        }
    }
}

/// Makes a file system with a few files; returns its bytes.
fn file_system(directory: &Path, name: &str, bytes: usize) -> Vec<u8> {
    let (tree, image) = (directory.join(name), directory.join(format!("{name}.image")));
    std::fs::create_dir(&tree).expect("directory");
    let mut random = Random(77);
    for size in [1, 5000, 300_000, 1_000_000] {
        std::fs::write(tree.join(format!("{name}-{size}")), random.bytes(size)).expect("write");
    }
    let size = format!("{}K", bytes / 1024);
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", text(&tree), text(&image), &size]);
    std::fs::read(&image).expect("read")
}

fn label_of<'s>(survey: &'s Survey, content: &str) -> Vec<&'s str> {
    let volumes = survey.map.volumes().iter().filter(|volume| volume.content == content);
    volumes.map(|volume| volume.label.as_str()).collect()
}

#[test]
fn logical_volumes_over_two_disks() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let root = directory.path();
    let files = [root.join("pv0"), root.join("pv1")];
    for file in &files {
        std::fs::write(file, vec![0; 40 * MIB]).expect("write");
    }
    let loops = Loops::new(&[&files[0], &files[1]]);
    let devices: Vec<&str> = loops.0.iter().map(String::as_str).collect();
    loops.lvm(&[&["pvcreate", "-q"], &devices[..]].concat());
    loops.lvm(&[&["vgcreate", "-q", "tvg"], &devices[..]].concat());
    let quiet = ["-q", "-an", "-Zn", "-Wn"];
    let create = |rest: &[&str]| loops.lvm(&[&["lvcreate"], &quiet[..], rest].concat());
    create(&["-n", "linear", "-l", "2", "tvg", devices[0]]);
    create(&["-n", "striped", "-l", "4", "-i", "2", "-I", "64k", "tvg"]);
    // Goes on on the other disk.
    loops.lvm(&["lvextend", "-q", "-l", "+1", "tvg/linear", devices[1]]);
    drop(loops);
    let mut disks: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("read")).collect();
    let linear = file_system(root, "linear", 3 * EXTENT);
    let striped = file_system(root, "striped", 4 * EXTENT);
    let at = |extent: usize| FIRST_EXTENT + extent * EXTENT;
    disks[0][at(0)..at(2)].copy_from_slice(&linear[..2 * EXTENT]);
    disks[1][at(2)..at(3)].copy_from_slice(&linear[2 * EXTENT..]);
    for (number, stripe) in striped.chunks(64 << 10).enumerate() {
        let (disk, first) = if number % 2 == 0 { (0, at(2)) } else { (1, at(0)) };
        let start = first + number / 2 * (64 << 10);
        disks[disk][start..start + stripe.len()].copy_from_slice(stripe);
    }
    let (disk, survey) = survey_of(&disks);
    assert_eq!(survey.oddities, []);
    assert_eq!(label_of(&survey, "ext4"), ["tvg/linear", "tvg/striped"]);
    check_tree(&disk, &survey, "tvg/linear", &root.join("linear"));
    check_tree(&disk, &survey, "tvg/striped", &root.join("striped"));
    assert_eq!(bytes_of(&survey, PlaceKind::Raw), 0);

    // Without the second disk, the volumes are raw and it is said why.
    let (_, survey) = survey_of(&disks[..1]);
    assert_eq!(label_of(&survey, "lvm2-partial"), ["tvg/linear"]);
    assert!(survey.oddities.iter().any(|oddity| oddity.what.contains("is missing")), "{:?}", survey.oddities);
    // What volumes have that are not all there is not free.
    let (from, end) = (u64::try_from(at(0)).expect("small"), u64::try_from(at(4)).expect("small"));
    let free = survey.map.iter().filter(|place| place.kind == PlaceKind::Free);
    let wrong =
        free.flat_map(|place| place.runs).filter(|run| run.disk + run.length > from && run.disk < end);
    assert_eq!(wrong.count(), 0);

    let mut random = Random(5);
    for _ in 0..60 {
        let mut damaged = disks.clone();
        for _ in 0..=random.below(8) {
            let at = [random.below(2048), 4096 + random.below(8192)][random.below(2)];
            damaged[random.below(2)][at] = u8::try_from(random.below(256)).expect("small");
        }
        survey_of(&damaged);
    }
}

/// A physical volume whose metadata says this (lvm2 sources, `lib/format_text/layout.h`).
fn physical(uuid: &[u8; 32], text: &str) -> Vec<u8> {
    let area = 2 * MIB + text.len();
    let mut disk = vec![0; (area / EXTENT + 3) * EXTENT];
    let mut put = |at: usize, bytes: &[u8]| disk[at..at + bytes.len()].copy_from_slice(bytes);
    let number = |number: usize| u64::try_from(number).expect("small").to_le_bytes();
    put(512, b"LABELONE");
    put(520, &number(1));
    put(532, &32_u32.to_le_bytes());
    put(536, b"LVM2 001");
    put(544, uuid);
    // One data area, its end, one metadata area.
    put(584, &number(area));
    put(616, &number(4096));
    put(624, &number(area - 4096));
    put(4100, b" LVM2 x[5A%r0N*>");
    put(4136, &number(512));
    put(4144, &number(text.len()));
    put(4096 + 512, text.as_bytes());
    disk
}

/// A group of one physical volume with these segments.
fn group(uuid: &str, segments: &str) -> String {
    format!(
        "vg {{ id = \"g\" seqno = 1 extent_size = 8 physical_volumes {{ pv0 {{ id = \"{uuid}\" \
         pe_start = 4096 pe_count = 1024 }} }} logical_volumes {{ lv {{ {segments} }} }} }}"
    )
}

#[test]
fn more_segments_than_are_followed_are_a_limit() {
    let uuid = "0123456789abcdefghijklmnopqrstuv";
    let bytes = uuid.as_bytes().try_into().expect("32 bytes");
    let segment = |number: usize| {
        let place = number * 2 % 1024;
        format!(
            "s{number} {{ start_extent={number} extent_count=1 type=\"linear\" stripes=[\"pv0\", {place}] }}\n"
        )
    };
    let check = |segments: usize, limited: bool| {
        let text: String = (0..segments).map(segment).collect();
        let start = std::time::Instant::now();
        let (_, survey) = survey_of(&[physical(bytes, &group(uuid, &text))]);
        assert!(start.elapsed().as_secs() < 10);
        assert_eq!(!survey.limits.is_empty(), limited, "{segments}: {:?}", survey.oddities);
        // What may be in use is not called free.
        assert_eq!(bytes_of(&survey, PlaceKind::Free) == 0, limited, "{segments}");
    };
    check(3, false);
    check(500, false);
    // More segments than are followed; more text than is read.
    check(100_001, true);
    check(200_000, true);
}

/// A superblock of version 1.2 (kernel `include/uapi/linux/raid/md_p.h`).
fn member(level: i32, role: u16, members: u32, chunk_sectors: u32, data: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; MIB];
    let mut put = |at: usize, bytes: &[u8]| disk[4096 + at..4096 + at + bytes.len()].copy_from_slice(bytes);
    let sectors = u64::try_from(data.len() / 512).expect("small").to_le_bytes();
    put(0, &0xa92b_4efc_u32.to_le_bytes());
    put(4, &1_u32.to_le_bytes());
    put(16, &[0xab; 16]);
    put(72, &level.to_le_bytes());
    put(80, &sectors);
    put(88, &chunk_sectors.to_le_bytes());
    put(92, &members.to_le_bytes());
    put(128, &2048_u64.to_le_bytes());
    put(136, &sectors);
    put(144, &8_u64.to_le_bytes());
    put(160, &u32::from(role).to_le_bytes());
    for index in 0..u16::try_from(members).expect("few") {
        put(256 + 2 * usize::from(index), &index.to_le_bytes());
    }
    disk.extend_from_slice(data);
    disk
}

#[test]
fn arrays_of_two_disks() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let bytes = file_system(directory.path(), "array", 8 * MIB);
    let tree = directory.path().join("array");
    let (first, second) = bytes.split_at(4 * MIB);
    let linear = [member(-1, 0, 2, 0, first), member(-1, 1, 2, 0, second)];
    let (disk, survey) = survey_of(&linear);
    assert_eq!((label_of(&survey, "ext4"), survey.oddities.len()), (vec!["md/abababab"], 0));
    check_tree(&disk, &survey, "md/abababab", &tree);

    let stripe = |parity: usize| -> Vec<u8> {
        let own = bytes.chunks(64 << 10).enumerate().filter(|(number, _)| number % 2 == parity);
        own.flat_map(|(_, chunk)| chunk.to_vec()).collect()
    };
    // In whatever order the disks are attached.
    let striped = [member(0, 1, 2, 128, &stripe(1)), member(0, 0, 2, 128, &stripe(0))];
    let (disk, survey) = survey_of(&striped);
    check_tree(&disk, &survey, "md/abababab", &tree);
    let (_, survey) = survey_of(&striped[..1]);
    assert_eq!(label_of(&survey, "md-partial").len(), 1);

    // Every copy is inspected as a copy.
    let mut other = bytes.clone();
    let at = other.windows(20).position(|window| window == &bytes[4 * MIB..4 * MIB + 20]).expect("found");
    other[at] ^= 1;
    let mirror = [member(1, 0, 2, 0, &bytes), member(1, 1, 2, 0, &other)];
    let (disk, survey) = survey_of(&mirror);
    assert_eq!(label_of(&survey, "ext4"), ["md/abababab.0", "md/abababab.1"]);
    check_tree(&disk, &survey, "md/abababab.0", &tree);
    let name = b"/array-1000000";
    let copies = ["md/abababab.0", "md/abababab.1"].map(|label| {
        let place = file(&survey, label, name).expect("a file");
        read_place(&disk, &place)
    });
    assert_eq!(copies[0].len(), copies[1].len());
    let (_, survey) = survey_of(&[member(5, 0, 3, 128, &bytes)]);
    assert_eq!(label_of(&survey, "md-raid"), ["md/abababab.0"]);
}
