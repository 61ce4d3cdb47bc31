//! Files as a block source: one behind the other.

use airlock_disk::{BlockSource, Error, Format, Span, SpanKind, check_range};
use airlock_model::{Member, MemberFile, MemberKind};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A file of a bundle that is no disk.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Path within the bundle as bytes, with a leading slash.
    pub(crate) path: Vec<u8>,
    pub(crate) size: u64,
    /// The file that has it, and where in that it begins.
    pub(crate) host: PathBuf,
    pub(crate) start: u64,
}

/// Files in one address space.
#[derive(Debug)]
pub(crate) struct Files {
    /// Where each begins; the end is `size`.
    starts: Vec<u64>,
    hosts: Vec<(PathBuf, u64)>,
    size: u64,
}

impl Files {
    /// Puts files one behind the other, in the order of their paths.
    pub(crate) fn new(mut entries: Vec<Entry>) -> (Self, Member) {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut files = Self { starts: Vec::new(), hosts: Vec::new(), size: 0 };
        let mut list = Vec::with_capacity(entries.len());
        for entry in entries {
            files.starts.push(files.size);
            files.size = files.size.saturating_add(entry.size);
            files.hosts.push((entry.host, entry.start));
            list.push(MemberFile { path: entry.path, size: entry.size });
        }
        let member = Member { id: "files".into(), size: files.size, kind: MemberKind::Files(list) };
        (files, member)
    }
}

impl BlockSource for Files {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        check_range(self.size, offset, buffer)?;
        let end = offset.saturating_add(buffer.len() as u64);
        let mut index = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let mut at = offset;
        while at < end {
            let stop = self.starts.get(index + 1).copied().unwrap_or(self.size).min(end);
            if stop > at {
                let failed = |source| Error::Io { what: "read a file", offset: at, source };
                let to_usize = |value: u64| usize::try_from(value).expect("inside a buffer in memory");
                let part = &mut buffer[to_usize(at - offset)..to_usize(stop - offset)];
                let (host, start) = &self.hosts[index];
                let file = File::open(host).map_err(failed)?;
                file.read_exact_at(part, start.saturating_add(at - self.starts[index])).map_err(failed)?;
                at = stop;
            }
            index += 1;
        }
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        check_range(self.size, offset, &[0])?;
        let next = self.starts.partition_point(|start| *start <= offset);
        let end = self.starts.get(next).copied().unwrap_or(self.size);
        Ok(Span { kind: SpanKind::Data, length: end - offset })
    }

    fn format(&self) -> Format {
        Format::Raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_one_behind_the_other_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("host");
        std::fs::write(&host, b"..second.first").unwrap();
        let entry = |path: &[u8], size, start| Entry { path: path.to_vec(), size, host: host.clone(), start };
        let (files, member) = Files::new(vec![entry(b"/b", 6, 2), entry(b"/a", 5, 9), entry(b"/aa", 0, 0)]);
        let mut bytes = vec![0; 11];
        files.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, b"firstsecond");
        files.read_at(4, &mut bytes[..3]).unwrap();
        assert_eq!(&bytes[..3], b"tse");
        let MemberKind::Files(list) = &member.kind else { panic!("files") };
        let list: Vec<_> = list.iter().map(|file| (file.path.as_slice(), file.size)).collect();
        assert_eq!(list, [(b"/a".as_slice(), 5), (b"/aa", 0), (b"/b", 6)]);
    }
}
