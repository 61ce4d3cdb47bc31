//! Damaged tables and file systems: no panic, no hang, and the places tile.

use crate::fixture::{Random, make_tree, run, survey_checked, text};
use crate::partition::crc32;
use airlock_disk::{BlockSource, Error, Format, Span, SpanKind};
use std::path::Path;
use std::time::{Duration, Instant};

/// A disk in memory.
#[derive(Debug)]
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl BlockSource for Memory {
    fn size(&self) -> u64 {
        u64::try_from(self.0.len()).expect("small")
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let start = usize::try_from(offset).expect("small");
        let bytes = self.0.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.expect("a survey reads inside the disk"));
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        assert!(offset < self.size(), "a survey asks inside the disk");
        Ok(Span { kind: SpanKind::Data, length: self.size() - offset })
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}

/// Damages bytes of the parts of a disk that `targets` names, and surveys it.
pub(crate) fn mutate(intact: &[u8], targets: &[std::ops::Range<usize>], mutants: usize, seed: u64) {
    mutate_and_mend(intact, targets, mutants, seed, |_| ());
}

/// Damages a disk likewise, and mends the checksums that would give it away.
pub(crate) fn mutate_and_mend(
    intact: &[u8],
    targets: &[std::ops::Range<usize>],
    mutants: usize,
    seed: u64,
    mend: impl Fn(&mut [u8]),
) {
    let mut random = Random(seed);
    let mut disk = Memory(intact.to_vec());
    for mutant in 0..mutants {
        disk.0.copy_from_slice(intact);
        let bytes = &mut disk.0;
        for _ in 0..=random.below(16) {
            let target = targets[random.below(targets.len())].clone();
            let at = (target.start + random.below(target.len())).min(bytes.len() - 8) & !3;
            let byte = at + random.below(4);
            match random.below(5) {
                0 => bytes[byte] = 0xff,
                1 => bytes[byte] = 0,
                2 => bytes[byte] ^= 1 << random.below(8),
                3 => bytes[at..at + 4].fill(0xff),
                _ => {
                    // A field from elsewhere makes a plausible wrong one.
                    let from = targets[random.below(targets.len())].start;
                    let from = (from + 4 * random.below(64)).min(bytes.len() - 8);
                    bytes.copy_within(from..from + 4, at);
                }
            }
        }
        mend(bytes);
        let start = Instant::now();
        survey_checked(&disk);
        let spent = start.elapsed();
        assert!(spent < Duration::from_secs(5), "mutant {mutant} of {seed} took {spent:?}");
    }
    let peak_kib = crate::fixture::peak_kib();
    // The intact disk and the damaged one are in memory, too; the largest has 120 MiB.
    let disks_kib = 2 * intact.len() as u64 / 1024;
    assert!(peak_kib < (256 << 10) + disks_kib, "{peak_kib} KiB of memory in mutants of {seed}");
}

/// Returns the parts of a file system that hold its structure.
fn structure(image: &Path) -> Vec<std::ops::Range<usize>> {
    let report = run("dumpe2fs", &[text(image)]);
    let header = report.lines().find(|line| line.starts_with("Block size:"));
    let block: usize =
        header.and_then(|line| line.split_whitespace().last()?.parse().ok()).expect("block size");
    let mut targets = vec![1024..1200, 1024..2048];
    for line in report.lines().map(str::trim) {
        for word in ["Group descriptors at ", "Block bitmap at ", "Inode table at "] {
            let number = line
                .strip_prefix(word)
                .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok());
            if let Some(number) = number {
                let length = if word.starts_with("Inode") { 8 * block } else { block.min(2048) };
                targets.push(number * block..number * block + length);
            }
        }
    }
    // Directories and extent trees: wherever the root directory and a fragmented file are.
    for path in ["/", "/many", "/srv/sparse"] {
        let blocks = run("debugfs", &["-R", &format!("blocks {path}"), text(image)]);
        for number in blocks.split_whitespace().take(4) {
            let number: usize = number.parse().expect("block number");
            targets.push(number * block..number * block + block.min(4096));
        }
    }
    targets
}

#[test]
fn damaged_file_systems() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (image, tree) = (directory.path().join("image"), directory.path().join("tree"));
    make_tree(&tree, true);
    for (seed, options) in (1..).zip([
        &["-t", "ext4", "-b", "1024"][..],
        &["-t", "ext4", "-b", "4096", "-O", "inline_data"],
        &["-t", "ext2", "-b", "1024"],
        &["-t", "ext4", "-O", "bigalloc", "-C", "16384"],
        &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
    ]) {
        let _ = std::fs::remove_file(&image);
        let mut arguments = vec!["-q", "-F", "-d", text(&tree)];
        arguments.extend(options);
        arguments.extend([text(&image), "24M"]);
        run("mke2fs", &arguments);
        let intact = std::fs::read(&image).expect("read");
        mutate(&intact, &structure(&image), 120, seed);
    }
}

#[test]
fn damaged_partition_tables() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("image");
    std::fs::write(&image, vec![0; 4 << 20]).expect("write");
    run("sgdisk", &["-n", "1:2048:+1M", "-n", "2:0:+512K", text(&image)]);
    let gpt = std::fs::read(&image).expect("read");
    let end = gpt.len();
    mutate(&gpt, &[440..512, 512..610, 1024..1300, end - 512..end - 420], 300, 77);

    let mut mbr = vec![0; 1 << 20];
    for (at, next) in [(0, 8), (8, 16), (16, 24), (24, 32)] {
        let record = at * 512;
        let entry = |kind, first: u8| [0, 0, 0, 0, kind, 0, 0, 0, first, 0, 0, 0, 4, 0, 0, 0];
        mbr[record + 446..record + 462].copy_from_slice(&entry(0x83, 2));
        let next = if at == 0 { next } else { next - 8 };
        mbr[record + 462..record + 478].copy_from_slice(&entry(5, next));
        mbr[record + 510..record + 512].copy_from_slice(b"\x55\xaa");
    }
    let records = [446..512, 8 * 512 + 446..9 * 512, 16 * 512 + 446..17 * 512];
    mutate(&mbr, &records, 300, 78);
}

/// Tables whose checksums are right and whose fields are not.
#[test]
fn wrong_partition_tables_with_right_checksums() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = directory.path().join("image");
    std::fs::write(&image, vec![0; 1 << 20]).expect("write");
    run("sgdisk", &["-a", "1", "-n", "1:64:+64K", "-n", "2:0:+64K", "-n", "3:0:0", text(&image)]);
    let intact = std::fs::read(&image).expect("read");
    let mut random = Random(79);
    for _ in 0..500 {
        let mut bytes = intact.clone();
        for _ in 0..=random.below(6) {
            let at = match random.below(3) {
                0 => 512 + 24 + random.below(64),
                1 => 1024 + 32 + random.below(16),
                _ => 1024 + random.below(4 * 128),
            };
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff, random.bytes(1)[0]][random.below(6)];
        }
        let field = |at: usize| usize::from(bytes[at]) | usize::from(bytes[at + 1]) << 8;
        let length = (field(592) * field(596)).min(bytes.len() - 1024);
        let crc = crc32(&bytes[1024..1024 + length]);
        bytes[600..604].copy_from_slice(&crc.to_le_bytes());
        bytes[528..532].fill(0);
        let crc = crc32(&bytes[512..512 + 92]);
        bytes[528..532].copy_from_slice(&crc.to_le_bytes());
        survey_checked(&Memory(bytes));
    }
}

#[test]
fn random_bytes() {
    let mut random = Random(0xdead);
    for length in [512, 4096, 100_000, 1 << 20] {
        for _ in 0..20 {
            let mut bytes = random.bytes(length);
            if length > 2000 {
                bytes[1080..1082].copy_from_slice(b"\x53\xef");
                bytes[1024 + 24..1024 + 28].copy_from_slice(&[0, 0, 0, 0]);
                bytes[1024 + 96..1024 + 104].fill(0);
            }
            survey_checked(&Memory(bytes));
        }
    }
}
