//! Disks, trees and checks that the tests share.

use airlock_disk::{BlockSource, RawFile};
use airlock_guest::{Survey, survey, unpack};
use airlock_model::{Escaped, Packed, Place, PlaceKind, invariant};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Runs a tool; a missing tool fails the test.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output();
    let output = output.unwrap_or_else(|error| {
        panic!("cannot run {program} (see `TEST` in xtask/src/packages.rs): {error}")
    });
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
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

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).expect("64 bits") % limit.max(1)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        // Never zero, so that nothing is taken for a hole.
        (0..length).map(|_| self.next().to_le_bytes()[3] | 1).collect()
    }
}

/// Makes a tree with files of many sizes, a large directory, links, a sparse file and odd names.
///
/// mke2fs 1.47.0 cuts a hole at the end of a file off under `inline_data`, so a tree for that has none.
pub(crate) fn make_tree(root: &Path, end_holes: bool) {
    use std::os::unix::fs::FileExt;
    let mut random = Random(0x7ee5);
    let path = |name: &str| root.join(name);
    fs::create_dir_all(path("srv/deep/er/and/deeper")).expect("directory");
    fs::create_dir(path("many")).expect("directory");
    for size in [0, 1, 59, 60, 61, 100, 150, 511, 512, 1023, 1024, 1025, 4096, 5000, 65_536, 70_000] {
        fs::write(path(&format!("size-{size}")), random.bytes(size)).expect("write");
    }
    for index in 0..600 {
        let name = format!("many/a rather long file name, number {index:05}");
        let size = random.below(300);
        fs::write(path(&name), random.bytes(size)).expect("write");
    }
    fs::write(path("srv/large"), random.bytes(900_000)).expect("write");
    fs::write(path("srv/deep/er/and/deeper/end"), b"the end\n").expect("write");
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"b\xffd n\x1bme")), b"odd").expect("write");
    let sparse = fs::File::create(path("srv/sparse")).expect("create");
    for offset in [0, 300_000, 5_000_000] {
        sparse.write_all_at(&random.bytes(5000), offset).expect("write");
    }
    if end_holes {
        sparse.set_len(9_000_001).expect("truncate");
    }
    let hole = fs::File::create(path("srv/hole")).expect("create");
    hole.set_len(if end_holes { 123_456 } else { 0 }).expect("truncate");
    std::os::unix::fs::symlink("size-1", path("short link")).expect("link");
    std::os::unix::fs::symlink("x/".repeat(200), path("long link")).expect("link");
    fs::hard_link(path("size-5000"), path("srv/linked")).expect("link");
}

/// A regular file of a tree: paths below its root (hard links have several), and content.
pub(crate) struct Reference {
    pub(crate) paths: Vec<Vec<u8>>,
    pub(crate) bytes: Vec<u8>,
}

/// Returns the regular files of a tree.
pub(crate) fn references(root: &Path) -> Vec<Reference> {
    // Subvolumes of btrfs are devices of their own.
    let mut files: BTreeMap<(u64, u64), Reference> = BTreeMap::new();
    let mut stack = vec![root.to_path_buf()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(&directory).expect("directory") {
            let path = entry.expect("entry").path();
            let metadata = fs::symlink_metadata(&path).expect("metadata");
            if metadata.is_dir() {
                stack.push(path);
            } else if metadata.is_file() {
                let inner = path.strip_prefix(root).expect("inside").as_os_str();
                let inner = [b"/", inner.as_bytes()].concat();
                let reference = files.entry((metadata.dev(), metadata.ino())).or_insert_with(|| Reference {
                    paths: Vec::new(),
                    bytes: fs::read(&path).expect("read"),
                });
                reference.paths.push(inner);
            }
        }
    }
    files.into_values().collect()
}

/// Surveys a disk and checks what must hold for every one.
pub(crate) fn survey_checked(disk: &dyn BlockSource) -> Survey {
    let survey = survey(disk).expect("survey");
    assert_eq!(invariant::places_tile(&survey.map), Ok(()));
    for place in survey.map.iter() {
        let mut logical = 0;
        for run in place.runs {
            assert!(run.length > 0, "an empty run in {place:?}");
            assert!(run.logical >= logical, "runs of {place:?} are out of order");
            logical = run.logical + run.length;
            assert!(run.disk + run.length <= disk.size());
        }
        // Slack counts from the first byte of its file.
        let slack = place.kind == PlaceKind::Slack;
        assert!(
            slack || !place.packed.is_empty() || logical <= place.size,
            "{place:?} is longer than its size"
        );
        if !matches!(place.kind, PlaceKind::File | PlaceKind::Encrypted) {
            assert_eq!(place.runs.iter().map(|run| run.length).sum::<u64>(), place.size);
        }
    }
    survey
}

/// Reads a place as its inspector does.
pub(crate) fn read_place(disk: &dyn BlockSource, place: &Place<'_>) -> Vec<u8> {
    let index = |offset: u64| usize::try_from(offset).expect("small");
    if !place.packed.is_empty() {
        return unpack_place(disk, place);
    }
    let mut bytes = vec![0; index(place.size)];
    for run in place.runs {
        let part = &mut bytes[index(run.logical)..index(run.logical + run.length)];
        disk.read_at(run.disk, part).expect("read");
    }
    bytes
}

fn stored_of(disk: &dyn BlockSource, place: &Place<'_>) -> Vec<u8> {
    let index = |offset: u64| usize::try_from(offset).expect("small");
    let mut stored = Vec::new();
    for run in place.runs {
        let mut part = vec![0; index(run.length)];
        disk.read_at(run.disk, &mut part).expect("read");
        assert_eq!(index(run.logical), stored.len(), "a stored stream has no gaps");
        stored.extend(part);
    }
    stored
}

fn unpack_place(disk: &dyn BlockSource, place: &Place<'_>) -> Vec<u8> {
    let index = |offset: u64| usize::try_from(offset).expect("small");
    let stored = stored_of(disk, place);
    let mut bytes = vec![0; index(place.size)];
    for piece in place.packed.iter().filter(|piece| !piece.spare) {
        let into = &mut bytes[index(piece.logical)..index(piece.logical + piece.length)];
        into.copy_from_slice(&unpack_piece(&stored, piece));
    }
    bytes
}

fn unpack_piece(stored: &[u8], piece: &Packed) -> Vec<u8> {
    let index = |offset: u64| usize::try_from(offset).expect("small");
    let part = &stored[index(piece.stored)..index(piece.stored + piece.stored_bytes)];
    let mut unpacked = Vec::new();
    unpack(piece.codec, part, piece.unpacked, &mut unpacked).expect("a piece that unpacks");
    unpacked[index(piece.skip)..index(piece.skip + piece.length)].to_vec()
}

/// Returns what comes out of the pieces of all files and no file shows.
pub(crate) fn spares(disk: &dyn BlockSource, survey: &Survey) -> Vec<u8> {
    let mut spares = Vec::new();
    for place in survey.map.iter() {
        let pieces: Vec<_> = place.packed.iter().filter(|piece| piece.spare).collect();
        let stored = if pieces.is_empty() { Vec::new() } else { stored_of(disk, &place) };
        spares.extend(pieces.into_iter().flat_map(|piece| unpack_piece(&stored, piece)));
    }
    spares
}

/// Returns how often some bytes are in others.
pub(crate) fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).filter(|window| *window == wanted).count()
}

/// Returns the file of a path on a volume: a place or a view.
pub(crate) fn file<'m>(survey: &'m Survey, volume: &str, path: &[u8]) -> Option<Place<'m>> {
    survey
        .map
        .iter()
        .find(|place| place.kind == PlaceKind::File && place.path == path && place.volume.label == volume)
}

/// Compares every file of the tree below `root` with what the map of the volume says.
pub(crate) fn check_tree(disk: &dyn BlockSource, survey: &Survey, volume: &str, root: &Path) {
    let mut places = BTreeMap::new();
    for place in survey.map.iter() {
        if place.kind == PlaceKind::File && place.volume.label == volume {
            let path = place.path.to_vec();
            // A view of a file that has a place, too, is how its reader sees it.
            let other = places.insert(path.clone(), place);
            if let Some(other) = other {
                assert!(other.view != place.view, "{}", Escaped(place.path));
                places.insert(path, if other.view { other } else { place });
            }
        }
    }
    for reference in references(root) {
        let mut found = reference.paths.iter().filter_map(|path| places.remove(path));
        let first = found.next();
        let name = Escaped(&reference.paths[0]).to_string();
        let place = first.unwrap_or_else(|| panic!("no place for {name}"));
        assert!(found.next().is_none(), "two places for {name}");
        assert_eq!(place.size, u64::try_from(reference.bytes.len()).expect("small"), "{name}");
        assert!(read_place(disk, &place) == reference.bytes, "content of {name}");
    }
    assert_eq!(
        places.keys().map(|path| Escaped(path)).collect::<Vec<_>>().len(),
        0,
        "{:?}",
        places.keys().map(|path| Escaped(path).to_string()).collect::<Vec<_>>()
    );
}

pub(crate) fn open(path: &Path) -> RawFile {
    RawFile::open(path).expect("open")
}

/// Returns the bytes of all places of a kind.
pub(crate) fn bytes_of(survey: &Survey, kind: PlaceKind) -> u64 {
    survey
        .map
        .iter()
        .filter(|place| place.kind == kind && !place.view)
        .flat_map(|place| place.runs.iter().map(|run| run.length))
        .sum()
}

/// Returns the most memory that this process has had at once, in KiB.
pub(crate) fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("peak memory");
    peak.trim().trim_end_matches(" kB").parse().expect("number")
}
