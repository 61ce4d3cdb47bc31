//! Damages images in many ways; a reader may refuse, and must neither panic nor hang,
//! nor take much memory, nor open what it may not.

use crate::fixture::{Random, disk_bytes, run, text, write_sparse};
use airlock_disk::{OpenOptions, QcowExtras, SpanKind, open};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// Mutants of each image.
const MUTANTS: u64 = 200;

/// What a field is set to, besides noise.
const EXTREMES: [u64; 10] =
    [0, 1, 2, 511, 512, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX, 1 << 40];

/// Damages one file of an image many times; `hot` are headers and tables, and `keep` stays as it is.
pub(crate) fn check_mutants(image: &Path, damaged: &Path, hot: &[Range<usize>], keep: Range<usize>) {
    let intact = std::fs::read(damaged).expect("read");
    let mut random = Random(0xa11_0c8);
    for mutant in 0..MUTANTS {
        let mut bytes = intact.clone();
        for _ in 0..=random.below(6) {
            mutate(&mut bytes, hot, &mut random);
        }
        if let (Some(to), Some(from)) = (bytes.get_mut(keep.clone()), intact.get(keep.clone())) {
            to.copy_from_slice(from);
        }
        std::fs::write(damaged, &bytes).expect("write");
        let start = Instant::now();
        read_everything(image);
        let spent = start.elapsed();
        assert!(spent < Duration::from_secs(10), "mutant {mutant} took {spent:?}");
    }
    std::fs::write(damaged, &intact).expect("write");
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("peak memory");
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("number");
    assert!(peak_kib < 256 << 10, "{peak_kib} KiB of memory");
}

/// Changes one place of an image.
fn mutate(bytes: &mut Vec<u8>, hot: &[Range<usize>], random: &mut Random) {
    if bytes.len() < 16 {
        return;
    }
    // Headers and tables more often than everything else.
    let pick = random.below(hot.len() as u64 + 1) as usize;
    let range = hot.get(pick).cloned().unwrap_or(0..bytes.len());
    let end = range.end.min(bytes.len() - 8);
    let start = range.start.min(end.saturating_sub(1));
    let at = start + random.below((end - start) as u64) as usize;
    let field = at & !3;
    let extreme = EXTREMES[random.below(EXTREMES.len() as u64) as usize];
    match random.below(9) {
        0 => bytes[at] = 0xff,
        1 => bytes[at] = 0,
        2 => bytes[at] ^= 1 << random.below(8),
        3 => bytes[at] = random.next() as u8,
        4 => bytes[field..field + 4].copy_from_slice(&(extreme as u32).to_le_bytes()),
        5 => bytes[field..field + 8].copy_from_slice(&extreme.to_le_bytes()),
        6 => bytes[field..field + 8].copy_from_slice(&extreme.to_be_bytes()),
        // A reference to another place, perhaps to itself.
        7 => {
            let from = (start + random.below((end - start) as u64) as usize) & !3;
            bytes.copy_within(from..from + 8, field);
        }
        _ if random.below(8) == 0 => bytes.truncate(at.max(16)),
        _ => bytes[at] = b"0123456789abcdef\n\"= "[random.below(20) as usize],
    }
}

pub(crate) fn read_everything(image: &Path) {
    let directory = image.parent().expect("directory");
    let options = OpenOptions { allow_backing: Some(directory.to_path_buf()), ..OpenOptions::default() };
    if let Ok(extras) = QcowExtras::read(image) {
        for bitmap in extras.bitmaps.iter().take(100) {
            let _ = extras.extents(bitmap, 0, 1000);
        }
    }
    let Ok(opened) = open(image, &options) else {
        return;
    };
    assert!(opened.files.iter().all(|file| file.starts_with(directory)), "{:?}", opened.files);
    let mut part = vec![0; 1 << 20];
    let mut at = 0;
    for _ in 0..64 {
        if at >= opened.source.size() {
            break;
        }
        let Ok(span) = opened.source.span_at(at) else {
            at += 4096;
            continue;
        };
        assert!(span.length > 0 && span.length <= opened.source.size() - at);
        let length = span.length.min(part.len() as u64);
        let part = &mut part[..length as usize];
        part.fill(1);
        if opened.source.read_at(at, part).is_ok() && span.kind == SpanKind::Zero {
            assert!(part.iter().all(|&byte| byte == 0), "zeros at {at:#x}");
        }
        at += span.length;
    }
}

#[test]
fn damaged_qcow2_images_are_refused_or_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let raw = directory.path().join("disk.raw");
    let image = directory.path().join("disk.qcow2");
    write_sparse(&raw, &disk_bytes(1 << 20));
    for (options, compress) in [
        ("cluster_size=4k", false),
        ("cluster_size=4k", true),
        ("cluster_size=4k,compression_type=zstd", true),
        ("cluster_size=16k,extended_l2=on", false),
    ] {
        let mut arguments = vec!["convert", "-O", "qcow2", "-o", options];
        if compress {
            arguments.push("-c");
        }
        arguments.extend([text(&raw), text(&image)]);
        run("qemu-img", &arguments);
        if !compress {
            run("qemu-img", &["bitmap", "--add", "-g", "4k", text(&image), "changes"]);
            run("qemu-io", &["-c", "write -P 3 64k 64k", text(&image)]);
            run("qemu-img", &["snapshot", "-c", "before", text(&image)]);
        }
        check_mutants(&image, &image, &[0..112, 0..112, 0..64 << 10], 0..4);
        std::fs::remove_file(&image).expect("remove");
    }
}
