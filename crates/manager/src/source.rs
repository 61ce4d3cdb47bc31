//! What is to be scanned or moved.

use airlock_bundle::{Bundle, Kind};
use airlock_disk::BlockSource;
use airlock_guest::{Oddity, Survey};
use airlock_model::{Extent, Machine, MemberKind, Space};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use airlock_bundle::Options as SourceOptions;

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The path is nothing that can be read as a bundle.
    #[error(transparent)]
    Bundle(#[from] airlock_bundle::Error),
    /// The disks cannot be surveyed.
    #[error("cannot survey {path:?}")]
    Survey {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: airlock_guest::Error,
    },
}

/// Something that can be scanned and moved.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    bundle: Bundle,
    survey: Survey,
}

impl Source {
    /// Opens a path and surveys what is there.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self, SourceError> {
        Self::of(path, airlock_bundle::open(path, options)?)
    }

    /// Takes a disk that is there already, and surveys it; `name` is what it is called.
    pub fn of_disk(name: &Path, disk: Arc<dyn BlockSource>) -> Result<Self, SourceError> {
        Self::of(name, Bundle::of_disk(disk))
    }

    /// Takes a VM that is there already with all its disks and files, and surveys it.
    pub fn of_space(
        name: &Path,
        space: Space,
        machine: Option<Machine>,
        source: Arc<dyn BlockSource>,
    ) -> Result<Self, SourceError> {
        Self::of(name, Bundle { machine, space, ..Bundle::of_disk(source) })
    }

    fn of(path: &Path, bundle: Bundle) -> Result<Self, SourceError> {
        let mut survey = airlock_guest::survey_space(&*bundle.source, &bundle.space)
            .map_err(|source| SourceError::Survey { path: path.to_path_buf(), source })?;
        let note = |what: &String| Oddity {
            volume: "bundle".to_owned(),
            what: what.clone(),
            extent: Extent::new(0, 0),
        };
        survey.oddities.extend(bundle.notes.iter().map(note));
        Ok(Self { path: path.to_path_buf(), bundle, survey })
    }

    /// Returns the path that was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what it is.
    pub fn kind(&self) -> Kind {
        self.bundle.kind
    }

    /// Returns whether it has a disk.
    pub fn has_disk(&self) -> bool {
        self.space().members().iter().any(|member| matches!(member.kind, MemberKind::Disk { .. }))
    }

    /// Returns what the bundle says of the machine.
    pub fn machine(&self) -> Option<&Machine> {
        self.bundle.machine.as_ref()
    }

    /// Returns whether a format was found out by looking at bytes that a guest may have written.
    pub fn was_probed(&self) -> bool {
        self.bundle.probed
    }

    /// Returns its content: the bytes of its address space.
    pub fn disk(&self) -> &dyn BlockSource {
        &*self.bundle.source
    }

    /// Returns its address space.
    pub fn space(&self) -> &Space {
        &self.bundle.space
    }

    /// Returns its places.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }
}
