//! A folder of files, or one file, as a block source: all files one behind the other.

use airlock_disk::{BlockSource, Error, Format, Span, SpanKind};
use airlock_guest::Oddity;
use airlock_model::{Extent, Member, MemberFile, MemberKind};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Most files of a folder.
const FILES_MAX: usize = 50_000_000;
/// Most folders inside each other.
const DEPTH_MAX: usize = 4096;

/// Files, and what a survey is to know of them.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) files: Files,
    pub(crate) member: Member,
    /// What was left out.
    pub(crate) oddities: Vec<Oddity>,
}

/// Files in one address space.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    starts: Vec<u64>,
    names: Vec<OsString>,
    size: u64,
}

impl Files {
    /// Lists a folder. Symbolic links are not followed, and special files are not read; both are reported.
    pub(crate) fn of_folder(root: &Path) -> Result<Listed, std::io::Error> {
        let mut found: Vec<(OsString, u64)> = Vec::new();
        let mut oddities = Vec::new();
        let mut links = 0_u64;
        let mut special = 0_u64;
        let mut folders = vec![(PathBuf::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            for entry in std::fs::read_dir(root.join(&folder))? {
                let entry = entry?;
                let name = folder.join(entry.file_name());
                let metadata = entry.metadata()?;
                if metadata.is_symlink() {
                    links += 1;
                } else if metadata.is_dir() {
                    if depth >= DEPTH_MAX {
                        return Err(std::io::Error::other(format!("{DEPTH_MAX} folders inside each other")));
                    }
                    folders.push((name, depth + 1));
                } else if metadata.is_file() {
                    if found.len() >= FILES_MAX {
                        return Err(std::io::Error::other(format!("more than {FILES_MAX} files")));
                    }
                    found.push((name.into_os_string(), metadata.len()));
                } else {
                    special += 1;
                }
            }
        }
        found.sort();
        for (count, what) in [(links, "symbolic links, not followed"), (special, "special files, not read")] {
            if count > 0 {
                let what = format!("{count} {what}");
                oddities.push(Oddity { volume: "files".into(), what, extent: Extent::new(0, 0) });
            }
        }
        Ok(Self::assemble(root.to_path_buf(), found, oddities))
    }

    /// Takes one file.
    pub(crate) fn of_file(path: &Path) -> Result<Listed, std::io::Error> {
        let size = std::fs::metadata(path)?.len();
        let name = path.file_name().map(OsString::from).unwrap_or_default();
        let root = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self::assemble(root, vec![(name, size)], Vec::new()))
    }

    fn assemble(root: PathBuf, found: Vec<(OsString, u64)>, oddities: Vec<Oddity>) -> Listed {
        let mut starts = Vec::with_capacity(found.len());
        let mut names = Vec::with_capacity(found.len());
        let mut files = Vec::with_capacity(found.len());
        let mut at = 0;
        for (name, size) in found {
            files.push(MemberFile { path: [b"/", name.as_bytes()].concat(), size });
            starts.push(at);
            names.push(name);
            at += size;
        }
        let member = Member { id: "files".into(), size: at, kind: MemberKind::Files(files) };
        Listed { files: Self { root, starts, names, size: at }, member, oddities }
    }
}

impl BlockSource for Files {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let length = buffer.len() as u64;
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let end = end.ok_or(Error::OutOfRange { offset, length, size: self.size })?;
        let mut index = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let mut at = offset;
        while at < end {
            let stop = self.starts.get(index + 1).copied().unwrap_or(self.size).min(end);
            if stop > at {
                let failed = |source| Error::Io { what: "read a file", offset: at, source };
                let to_usize = |value: u64| usize::try_from(value).expect("inside a buffer in memory");
                let part = &mut buffer[to_usize(at - offset)..to_usize(stop - offset)];
                let file = File::open(self.root.join(&self.names[index])).map_err(failed)?;
                file.read_exact_at(part, at - self.starts[index]).map_err(failed)?;
                at = stop;
            }
            index += 1;
        }
        Ok(())
    }

    fn span_at(&self, offset: u64) -> Result<Span, Error> {
        if offset >= self.size {
            return Err(Error::OutOfRange { offset, length: 1, size: self.size });
        }
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
    fn files_stand_one_behind_the_other() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("a"), b"first").unwrap();
        std::fs::write(folder.path().join("b/empty"), b"").unwrap();
        std::fs::write(folder.path().join("b/last"), b"second").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let Listed { files, member, oddities } = Files::of_folder(folder.path()).unwrap();
        let mut bytes = vec![0; 11];
        files.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, b"firstsecond");
        files.read_at(4, &mut bytes[..3]).unwrap();
        assert_eq!(&bytes[..3], b"tse");
        let MemberKind::Files(list) = &member.kind else { panic!("files") };
        let list: Vec<_> = list.iter().map(|file| (file.path.as_slice(), file.size)).collect();
        assert_eq!(list, [(b"/a".as_slice(), 5), (b"/b/empty", 0), (b"/b/last", 6)]);
        assert_eq!(oddities[0].what, "1 symbolic links, not followed");
    }
}
