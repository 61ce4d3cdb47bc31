use crate::fixture::{Random, disk_bytes, run, text, write_sparse};
use airlock_disk::{OpenOptions, open};
use std::time::{Duration, Instant};

/// Mutants of each variant.
const MUTANTS: u64 = 150;

/// Damages headers and tables in many ways; a reader may refuse, and must neither panic nor hang.
#[test]
fn damaged_images_are_refused_or_read_without_a_panic() {
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
        let intact = std::fs::read(&image).expect("read");
        let mut random = Random(0xa11_0c8);
        for mutant in 0..MUTANTS {
            let mut bytes = intact.clone();
            // The header twice as often as everything else.
            let limit = [112, 112, 64 << 10, bytes.len() as u64][random.below(4) as usize];
            for _ in 0..=random.below(12) {
                let at = random.below(limit.min(bytes.len() as u64)) as usize;
                bytes[at] = match random.below(4) {
                    0 => 0xff,
                    1 => 0,
                    2 => bytes[at] ^ (1 << random.below(8)),
                    _ => random.next() as u8,
                };
            }
            bytes[..4].copy_from_slice(b"QFI\xfb");
            std::fs::write(&image, &bytes).expect("write");
            let start = Instant::now();
            read_everything(&image);
            let spent = start.elapsed();
            assert!(spent < Duration::from_secs(5), "mutant {mutant} took {spent:?}");
        }
        std::fs::remove_file(&image).expect("remove");
    }
}

fn read_everything(image: &std::path::Path) {
    let Ok(opened) = open(image, &OpenOptions::default()) else {
        return;
    };
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
        let _ = opened.source.read_at(at, &mut part[..length as usize]);
        at += span.length;
    }
}
