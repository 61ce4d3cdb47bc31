//! Bombs, nests and splits.

use crate::record::{Seen, layers, layers_within, sh, text};
use airlock_decode::{Limits, ReadAt};
use airlock_model::Reason;
use proptest::prelude::*;
use std::fs;

/// A source that gives out a few bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl ReadAt for Slow<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> usize {
        let mut whole = self.0;
        let had = whole.read_at(offset, into);
        // Only the end gives fewer bytes than asked for, so this asks for less.
        had.min(into.len()).min(self.1.max(1).max(if into.len() > 64 << 10 { 0 } else { had }))
    }
}

#[test]
fn a_bomb_ends_in_a_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let file = sh(folder.path(), "head -c 200000000 /dev/zero | gzip -9 | gzip -9", b"");
    let (layers, reasons) = layers(&file);
    assert_eq!(reasons, [Reason::Limit]);
    let made: u64 = layers.iter().map(|layer| layer.bytes.len() as u64).sum();
    assert!(made <= Limits::BYTES_MIN);
}

#[test]
fn overlapping_members_end_in_a_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let script = r"
import zipfile, io, struct, sys
b = io.BytesIO()
z = zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED)
z.writestr('a', b'0' * 10_000_000)
z.close()
b = b.getvalue()
at = b.index(b'PK\x01\x02')
end = b.rindex(b'PK\x05\x06')
entry = b[at:end]
n = 2000
entries = b''.join(entry[:20] + struct.pack('<I', 9000 + i) + entry[24:] for i in range(n))
end = struct.pack('<4sHHHHIIH', b'PK\x05\x06', 0, 0, n, n, len(entries), at, 0)
sys.stdout.buffer.write(b[:at] + entries + end)";
    let file = sh(folder.path(), "python3 -", script.as_bytes());
    let (layers, reasons) = layers(&file);
    assert_eq!(reasons, [Reason::Limit]);
    let made: u64 = layers.iter().map(|layer| layer.bytes.len() as u64).sum();
    assert!(made <= Limits::BYTES_MIN, "{made} of {} layers of {} bytes", layers.len(), file.len());
}

#[test]
fn a_nest_that_is_too_deep_ends_in_a_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let mut file = text(100);
    let depth = Limits::for_file(0).depth;
    for _ in 0..depth {
        file = sh(folder.path(), "gzip -n", &file);
    }
    assert_eq!(layers(&file).1, []);
    let file = sh(folder.path(), "gzip -n", &file);
    let (seen, reasons) = layers(&file);
    assert_eq!((seen.len(), reasons), (depth, vec![Reason::Limit]));
}

#[test]
fn a_dictionary_that_is_too_large_ends_in_a_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let file = sh(folder.path(), "xz --lzma2=dict=512MiB", &text(1000));
    assert_eq!(layers(&file), (vec![], vec![Reason::Limit]));
    let file = sh(folder.path(), "head -c 40000000 /dev/zero | zstd -1 --zstd=wlog=27", b"");
    let (_, reasons) = layers(&file);
    assert_eq!(reasons, [Reason::Limit]);
}

fn files() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    fs::write(path.join("a"), text(9000)).expect("file");
    fs::write(path.join("b"), text(3000)).expect("file");
    let tools = [
        "gzip -c a",
        "bzip2 -c a",
        "xz -c a",
        "zstd -qc a",
        "lz4 -qc a",
        "tar c a b",
        "tar cz a b",
        "zip -q - a b",
        "rm -f x.zip; zip -q -Z bzip2 x.zip a b; cat x.zip",
        "cat a; base64 b",
        "ar rc x.a a b; cat x.a",
    ];
    tools.iter().map(|tool| sh(path, tool, b"")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Damage makes no panic, and no budget is passed.
    #[test]
    fn damaged_files_are_opened_within_limits(
        which in 0..11_usize,
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        end in any::<prop::sample::Index>(),
    ) {
        thread_local!(static FILES: Vec<Vec<u8>> = files());
        let mut file = FILES.with(|files| files[which].clone());
        for (at, byte) in cuts {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(end.index(file.len()) + 1);
        let limits = Limits { bytes: 1 << 20, ..Limits::for_file(0) };
        let (seen, _) = layers_within(&mut file.as_slice(), &limits);
        let made: usize = seen.iter().map(|layer: &Seen| layer.bytes.len()).sum();
        prop_assert!(made <= 1 << 20);
        let (again, _) = layers_within(&mut Slow(&file, 1), &limits);
        prop_assert_eq!(seen, again);
    }
}
