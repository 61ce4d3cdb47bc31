//! Images and reference bytes that the tests share.

use airlock_disk::{BlockSource, OpenOptions, SpanKind};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// Runs a tool; a missing tool fails the test.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("cannot run {program} (Debian package qemu-utils): {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns options under which files below `directory` may be opened.
pub(crate) fn allowing(directory: &Path) -> OpenOptions {
    OpenOptions { allow_backing: Some(directory.to_path_buf()), ..OpenOptions::default() }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A small generator, so that every run sees the same bytes.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// Returns the bytes of a disk: text, noise, zeros and holes of many lengths.
pub(crate) fn disk_bytes(length: usize) -> Vec<u8> {
    let mut random = Random(0x5eed_5eed);
    let mut disk = vec![0; length];
    let mut at = 0;
    while at < length {
        let run = [512, 4096, 10_000, 65_536, 200_000, 1 << 20][random.below(6) as usize];
        let end = (at + run).min(length);
        match random.below(4) {
            0 => {}
            1 => disk[at..end].fill(b'x'),
            2 => disk[at..end].fill_with(|| random.next() as u8),
            _ => {
                let words = b"the quick brown fox jumps over the lazy dog 0123456789\n";
                let from = random.below(50) as usize;
                let words = words.iter().cycle().skip(from);
                disk[at..end].iter_mut().zip(words).for_each(|(to, from)| *to = *from);
            }
        }
        at = end;
    }
    disk
}

/// Writes a sparse raw file.
pub(crate) fn write_sparse(path: &Path, disk: &[u8]) {
    let file = File::create(path).expect("create");
    file.set_len(disk.len() as u64).expect("truncate");
    for (index, grain) in disk.chunks(4096).enumerate() {
        if grain.iter().any(|&byte| byte != 0) {
            file.write_all_at(grain, index as u64 * 4096).expect("write");
        }
    }
}

/// Checks whole reads, odd reads and spans of `source` against `disk`.
pub(crate) fn check_reads(source: &dyn BlockSource, disk: &[u8]) {
    assert_eq!(source.size(), disk.len() as u64);
    let mut all = vec![1; disk.len()];
    for (index, part) in all.chunks_mut(777_777).enumerate() {
        source.read_at(index as u64 * 777_777, part).expect("read");
    }
    if let Some(wrong) = all.iter().zip(disk).position(|(a, b)| a != b) {
        panic!("byte {wrong:#x} is {} and not {}", all[wrong], disk[wrong]);
    }
    let mut random = Random(42);
    for _ in 0..if disk.is_empty() { 0 } else { 200 } {
        let offset = random.below(disk.len() as u64) as usize;
        let length = (random.below(9000) as usize).min(disk.len() - offset);
        let mut part = vec![1; length];
        source.read_at(offset as u64, &mut part).expect("read");
        assert!(part == disk[offset..offset + length], "{length} bytes at {offset:#x}");
    }
    check_spans(source, disk);
    let mut byte = [0];
    assert!(source.read_at(disk.len() as u64, &mut byte).is_err());
    assert!(source.read_at(u64::MAX, &mut byte).is_err());
    assert!(source.span_at(disk.len() as u64).is_err());
}

/// Checks that spans lead to the end and that zero spans are zeros.
pub(crate) fn check_spans(source: &dyn BlockSource, disk: &[u8]) {
    let mut at = 0;
    while at < source.size() {
        let span = source.span_at(at).expect("span");
        assert!(span.length > 0 && span.length <= source.size() - at);
        let bytes = &disk[at as usize..(at + span.length) as usize];
        if span.kind == SpanKind::Zero {
            assert!(bytes.iter().all(|&byte| byte == 0), "zeros at {at:#x}");
        }
        at += span.length;
    }
}

/// Returns how many bytes the spans of `source` call data.
pub(crate) fn data_bytes(source: &dyn BlockSource) -> u64 {
    let (mut at, mut data) = (0, 0);
    while at < source.size() {
        let span = source.span_at(at).expect("span");
        if span.kind == SpanKind::Data {
            data += span.length;
        }
        at += span.length;
    }
    data
}
