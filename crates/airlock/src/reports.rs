//! Reports that are written to files beside what goes to standard output.
//!
//! Files are opened before the work begins, so that a folder that does not exist is told at once and not after an
//! hour; they take their names when they are complete.

use crate::failure::{Code, Failure};
use airlock_report::{Format, Report};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A format of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What `--format table` prints.
    Table,
    /// What `--format json` prints.
    Json,
    /// One of the formats that reports have.
    Of(Format),
}

/// What `-o` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    kind: Kind,
    path: PathBuf,
}

impl std::str::FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').unwrap_or((text, ""));
        let of = |format: &Format| (format.name() == name).then_some(Kind::Of(*format));
        let kind = match name {
            "table" => Some(Kind::Table),
            "json" => Some(Kind::Json),
            _ => Format::ALL.iter().find_map(of),
        };
        match kind {
            None => Err("there is no such format".into()),
            Some(_) if path.is_empty() => Err(format!("write {name}=PATH")),
            Some(kind) => Ok(Self { kind, path: path.into() }),
        }
    }
}

/// Where a report goes.
#[derive(Debug)]
enum Target {
    /// A file beside the one that it will become. Only its owner can read it.
    File(NamedTempFile),
    /// A pipe or a device, which cannot be replaced.
    Stream(File),
}

/// The reports of a run.
#[derive(Debug)]
pub(crate) struct Outputs(Vec<(Kind, PathBuf, Target)>);

impl Outputs {
    /// Opens what will be written.
    pub(crate) fn open(outputs: &[Output]) -> Result<Self, Failure> {
        let mut opened: Vec<(Kind, PathBuf, Target)> = Vec::new();
        for Output { kind, path } in outputs {
            // Through a link, what it points at is replaced.
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            if opened.iter().any(|(_, other, _)| *other == path) {
                return Err(Failure::new(Code::Usage, format!("two reports go to {}", path.display())));
            }
            let target = target(&path).map_err(|error| Failure::io("write report", &path, &error))?;
            opened.push((*kind, path, target));
        }
        Ok(Self(opened))
    }

    /// Returns whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes all of them.
    pub(crate) fn write(
        self,
        report: &Report<'_>,
        json: &impl Serialize,
        table: &dyn Fn() -> String,
    ) -> Result<(), Failure> {
        for (kind, path, target) in self.0 {
            let fill = |out: &mut dyn Write| match kind {
                Kind::Table => out.write_all(table().as_bytes()),
                Kind::Json => {
                    serde_json::to_writer(&mut *out, json)?;
                    out.write_all(b"\n")
                }
                Kind::Of(format) => airlock_report::write(report, format, out),
            };
            finish(target, &path, &fill).map_err(|error| Failure::io("write report", &path, &error))?;
        }
        Ok(())
    }
}

fn target(path: &Path) -> io::Result<Target> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Ok(Target::Stream(File::options().write(true).open(path)?)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map(Target::File)
        }
    }
}

/// Fills a target; a file takes its name when all of it is durable.
fn finish(target: Target, path: &Path, fill: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let filled = |out: &mut dyn Write| {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        fill(&mut out)?;
        out.flush()
    };
    match target {
        Target::Stream(mut stream) => filled(&mut stream),
        Target::File(mut file) => {
            filled(file.as_file_mut())?;
            file.as_file().sync_all()?;
            file.persist(path).map(drop).map_err(|error| error.error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read() {
        let csv = Output { kind: Kind::Of(Format::Csv), path: "a=b.csv".into() };
        assert_eq!("csv=a=b.csv".parse(), Ok(csv));
        for wrong in ["", "csv", "csv=", "=x", "pdf=x"] {
            assert!(wrong.parse::<Output>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_replaced_only_by_a_whole_report() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        std::fs::write(&path, "old").unwrap();
        let failing = |out: &mut dyn Write| {
            out.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        assert!(finish(target(&path).unwrap(), &path, &failing).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        finish(target(&path).unwrap(), &path, &|out| out.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
        assert!(target(folder.path()).is_err());
        assert!(matches!(target(Path::new("/dev/null")), Ok(Target::Stream(_))));
    }
}
