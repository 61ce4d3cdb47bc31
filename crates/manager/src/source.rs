//! What is to be scanned or moved.

use crate::files::{Files, Listed};
use airlock_disk::{BlockSource, Format, OpenOptions, Probe};
use airlock_guest::Survey;
use airlock_model::Space;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a path turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A disk image.
    Disk,
    /// A folder of files, or one file that is no disk image.
    Files,
}

/// How a source is to be opened.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    /// The image format; found out when absent.
    pub format: Option<Format>,
    /// Take the path as a plain file, whatever it looks like.
    pub plain_file: bool,
    /// Take a file of unknown content as a raw disk.
    pub disk: bool,
    /// The only folder that a backing file may be opened in.
    pub allow_backing: Option<PathBuf>,
}

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is nothing at the path.
    #[error("there is no {0:?}")]
    NotFound(PathBuf),
    /// The operating system refused.
    #[error("cannot read {path:?}")]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The image cannot be read.
    #[error("cannot read the disk image {path:?}")]
    Image {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: airlock_disk::Error,
    },
    /// The path is a disk image of a format that is not read.
    #[error("{path:?} is a {format} image, which is not supported")]
    Foreign {
        /// The path.
        path: PathBuf,
        /// The format.
        format: &'static str,
    },
    /// What is there makes no bundle.
    #[error("cannot take {path:?} as a bundle")]
    Bundle {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: airlock_model::SpaceError,
    },
    /// The disk cannot be surveyed.
    #[error("cannot survey the disk {path:?}")]
    Survey {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: airlock_guest::Error,
    },
}

/// Something that can be scanned and, if it is a disk, moved.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    kind: SourceKind,
    format: Option<Format>,
    probed: bool,
    disk: Arc<dyn BlockSource>,
    space: Space,
    survey: Survey,
}

impl Source {
    /// Opens a path and surveys what is there.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, SourceError> {
        let io = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => SourceError::NotFound(path.to_path_buf()),
            _ => SourceError::Io { path: path.to_path_buf(), source },
        };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if metadata.is_dir() {
            return Self::of_files(path, Files::of_folder(path).map_err(io)?);
        }
        let image = |source| SourceError::Image { path: path.to_path_buf(), source };
        if options.plain_file || (options.format.is_none() && metadata.is_file() && !is_disk(path, options)?)
        {
            return Self::of_files(path, Files::of_file(path).map_err(io)?);
        }
        let open = OpenOptions { format: options.format, allow_backing: options.allow_backing.clone() };
        let opened = airlock_disk::open(path, &open).map_err(image)?;
        let space = Space::of_disk(opened.source.size(), opened.source.format().name());
        let survey = survey(path, &*opened.source, &space)?;
        Ok(Self {
            path: path.to_path_buf(),
            kind: SourceKind::Disk,
            format: Some(opened.source.format()),
            probed: opened.probed,
            disk: opened.source,
            space,
            survey,
        })
    }

    fn of_files(path: &Path, listed: Listed) -> Result<Self, SourceError> {
        let Listed { files, member, oddities } = listed;
        let space = Space::new(vec![member])
            .map_err(|error| SourceError::Bundle { path: path.to_path_buf(), source: error })?;
        let mut survey = survey(path, &files, &space)?;
        survey.oddities.extend(oddities);
        Ok(Self {
            path: path.to_path_buf(),
            kind: SourceKind::Files,
            format: None,
            probed: false,
            disk: Arc::new(files),
            space,
            survey,
        })
    }

    /// Returns the path that was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what it is.
    pub fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Returns the image format, for a disk.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Returns whether the format was found out by looking at bytes that a guest may have written.
    pub fn was_probed(&self) -> bool {
        self.probed
    }

    /// Returns its content.
    pub fn disk(&self) -> &dyn BlockSource {
        &*self.disk
    }

    /// Returns its places.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Returns its address space.
    pub fn space(&self) -> &Space {
        &self.space
    }
}

fn survey(path: &Path, disk: &dyn BlockSource, space: &Space) -> Result<Survey, SourceError> {
    airlock_guest::survey_space(disk, space)
        .map_err(|source| SourceError::Survey { path: path.to_path_buf(), source })
}

/// Endings of file names that say that the content is a disk.
const DISK_ENDINGS: [&str; 4] = ["raw", "img", "dd", "qcow2"];

/// Tells whether a file is to be taken as a disk. A file of unknown content is one if it
/// is called like one.
fn is_disk(path: &Path, options: &SourceOptions) -> Result<bool, SourceError> {
    let image = |source| SourceError::Image { path: path.to_path_buf(), source };
    match airlock_disk::probe(path).map_err(image)? {
        Probe::Image(_) | Probe::Disk => Ok(true),
        Probe::Foreign(format) => Err(SourceError::Foreign { path: path.to_path_buf(), format }),
        Probe::Unknown => {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            Ok(options.disk || DISK_ENDINGS.contains(&ending))
        }
    }
}
