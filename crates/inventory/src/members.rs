//! Members of archives, and of archives inside of these.

use crate::content::part;
use crate::readers::{Found, Seen};
use airlock_decode::{Layer, Limits, ReadAt, Sink};
use airlock_model::Reason;

/// Longest member that is kept.
const MEMBER_BYTES_MAX: usize = 256 << 10;
/// Bytes of all members of one file that are kept.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Bytes that the archives of one file may unpack to.
const UNPACKED_BYTES_MAX: u64 = 2 << 30;
/// How many archives may lie inside of each other.
const DEPTH_MAX: usize = 5;

/// Says by its name whether a member is kept.
pub(crate) type Wanted = fn(&[u8]) -> bool;

/// A member that was kept.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name in its archive.
    pub(crate) name: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

/// An archive with the members that were kept.
#[derive(Debug)]
pub(crate) struct Archive {
    /// Its path, in the file system or in the archive around it.
    pub(crate) path: Vec<u8>,
    /// Where in the file its record begins, or that of the outermost archive that it lies in.
    pub(crate) at: u64,
    pub(crate) members: Vec<Member>,
}

/// Looks at members as they are unpacked.
pub(crate) struct Members {
    wanted: Wanted,
    /// Layers that are open; the first is the file.
    open: Vec<Open>,
    done: Vec<Archive>,
    kept: usize,
    seen: Seen,
    limited: bool,
}

struct Open {
    archive: Archive,
    /// What is kept of the layer itself.
    bytes: Option<Vec<u8>>,
}

impl Members {
    /// Returns all archives that have members that are wanted, inner ones before those around them. What was found
    /// is yet empty: it tells what was read, and how many members were left out. Nothing if the file cannot be read.
    pub(crate) fn read(path: &[u8], file: &mut dyn ReadAt, wanted: Wanted) -> Option<(Vec<Archive>, Found)> {
        part(file, 0, 4)?;
        let archive = Archive { path: path.to_vec(), at: 0, members: Vec::new() };
        let open = vec![Open { archive, bytes: None }];
        let mut members =
            Self { wanted, open, done: Vec::new(), kept: 0, seen: Seen::default(), limited: false };
        let limits = Limits { depth: DEPTH_MAX, bytes: UNPACKED_BYTES_MAX, ..Limits::for_file(file.size()) };
        let limits = Limits { bytes: limits.bytes.min(Limits::for_file(file.size()).bytes), ..limits };
        let reasons = airlock_decode::open(file, &limits, &mut members);
        members.close();
        let left_out = u64::from(members.limited || reasons.contains(&Reason::Limit));
        Some((members.done, Found { read: members.seen, left_out, ..Found::default() }))
    }
}

impl Sink for Members {
    fn open(&mut self, layer: &Layer<'_>) {
        let name = layer.name.split_once(':').map_or("", |(_, name)| name).as_bytes().to_vec();
        let at = match self.open.as_slice() {
            [_] => layer.at,
            [.., around] => around.archive.at,
            [] => 0,
        };
        let bytes = (self.wanted)(&name).then(Vec::new);
        self.open.push(Open { archive: Archive { path: name, at, members: Vec::new() }, bytes });
    }

    fn feed(&mut self, depth: usize, bytes: &[u8]) {
        let Some(open) = self.open.get_mut(depth) else { return };
        let Some(kept) = &mut open.bytes else { return };
        if kept.len() + bytes.len() > MEMBER_BYTES_MAX || self.kept + bytes.len() > KEPT_BYTES_MAX {
            self.limited = true;
            open.bytes = None;
            return;
        }
        self.kept += bytes.len();
        self.seen.add(bytes);
        kept.extend(bytes);
    }

    fn close(&mut self) {
        let Some(Open { archive, bytes }) = self.open.pop() else { return };
        if let (Some(bytes), Some(around)) = (bytes, self.open.last_mut()) {
            around.archive.members.push(Member { name: archive.path.clone(), bytes });
        }
        if !archive.members.is_empty() {
            self.done.push(archive);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a zip archive of members that are not packed (APPNOTE.TXT, 4.3).
    pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in members {
            let at = u32::try_from(bytes.len()).unwrap().to_le_bytes();
            let length = u32::try_from(content.len()).unwrap().to_le_bytes();
            let name_bytes = u16::try_from(name.len()).unwrap().to_le_bytes();
            let common =
                [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &length[..], &length, &name_bytes, &[0, 0]];
            let common = common.concat();
            bytes.extend([b"PK\x03\x04", &common[..], name.as_bytes(), content].concat());
            let rest = [&[0; 10][..], &at].concat();
            directory.extend([b"PK\x01\x02\x14\0", &common[..], &rest, name.as_bytes()].concat());
        }
        let at = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let length = u32::try_from(directory.len()).unwrap().to_le_bytes();
        let count = u16::try_from(members.len()).unwrap().to_le_bytes();
        bytes.extend(directory);
        bytes.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &length, &at, &[0, 0]].concat());
        bytes
    }

    #[test]
    fn what_is_too_long_is_counted() {
        let long = vec![b'a'; MEMBER_BYTES_MAX + 1];
        let bytes = zip(&[("a/x", b"short"), ("b/x", &long), ("c", b"no")]);
        let (archives, found) =
            Members::read(b"/a.jar", &mut bytes.as_slice(), |name| name.ends_with(b"/x")).unwrap();
        assert_eq!((archives.len(), found.left_out), (1, 1));
        assert_eq!(
            (archives[0].members[0].name.as_slice(), archives[0].members[0].bytes.as_slice()),
            (&b"a/x"[..], &b"short"[..])
        );
    }
}
