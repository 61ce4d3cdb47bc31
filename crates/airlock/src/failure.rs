//! What went wrong, for people and for scripts.

use airlock_bundle::Error as BundleError;
use airlock_director::Error as DirectorError;
use airlock_manager::{SourceError, TransferError};
use airlock_transfer::RefusalKind;

/// The exit codes of every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Clean and complete.
    Clean = 0,
    /// Error.
    Error = 1,
    /// Usage.
    Usage = 2,
    /// Finished, with blocks withheld.
    Withheld = 3,
    /// Refused by policy, everything discarded.
    Refused = 4,
    /// Coverage incomplete where policy did not accept that.
    Incomplete = 5,
    /// Verification failed.
    Verification = 6,
    /// Not found.
    NotFound = 10,
    /// Busy.
    Busy = 11,
    /// Not authorised.
    NotAuthorised = 12,
    /// Cancelled.
    Cancelled = 130,
}

/// An error with what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) code: Code,
    /// What, where and why: the chain of causes.
    pub(crate) text: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// Whether the same again may succeed without that anybody does anything.
    pub(crate) retry: bool,
}

impl Failure {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), hint: None, retry: false }
    }

    pub(crate) fn of(code: Code, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !text.ends_with(&inner_text) {
                text = format!("{text}: {inner_text}");
            }
            cause = inner.source();
        }
        Self::new(code, text)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn retried_if(self, retry: bool) -> Self {
        Self { retry, ..self }
    }

    pub(crate) fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => Code::NotFound,
            std::io::ErrorKind::PermissionDenied => Code::NotAuthorised,
            _ => Code::Error,
        };
        Self::new(code, format!("cannot {what} {}: {error}", path.display())).hint_at_disk(error)
    }

    /// Says what to do about a disk that is full, read-only or broken.
    fn hint_at_disk(self, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let broken = rustix::io::Errno::IO.raw_os_error();
        match error.kind() {
            StorageFull | QuotaExceeded => self.hint(
                "make room there; nothing that was acknowledged is lost, and a transfer goes on with --resume",
            ),
            ReadOnlyFilesystem => self.hint(
                "mount it so that it can be written; nothing that was acknowledged is lost, and a transfer goes on \
                 with --resume",
            ),
            _ if error.raw_os_error() == Some(broken) => self.hint(
                "the disk or what it is connected by fails: the kernel's log says more; what is whole is kept, and \
                 `airlock scrub` says what is not",
            ),
            _ => self,
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let reference = |error: &airlock_disk::Error| matches!(error, airlock_disk::Error::Reference { .. });
        let SourceError::Bundle(bundle) = &error else {
            return Self::of(Code::Error, &error);
        };
        match bundle {
            BundleError::NotFound(_) => Self::of(Code::NotFound, &error),
            BundleError::Several { .. } => Self::of(Code::Usage, &error).hint("name one of them"),
            BundleError::Reference { .. } => Self::of(Code::Error, &error)
                .hint("if you trust the bundle, name the folder that has the file: --allow-backing DIR"),
            BundleError::Foreign { .. } => Self::of(Code::Error, &error).hint(
                "raw, qcow2, VMDK, VHD, VHDX and VDI images are read; `--source-format file` inspects the bytes of the file as they are",
            ),
            BundleError::Image { source, .. } if reference(source) => Self::of(Code::Error, &error)
                .hint("if you trust that file, name the folder it is in: --allow-backing DIR"),
            _ => Self::of(Code::Error, &error),
        }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        use airlock_checks::StationError;
        match &error {
            TransferError::Refused(refusal) => {
                let code = match refusal.kind {
                    RefusalKind::NotFound => Code::NotFound,
                    RefusalKind::Busy => Code::Busy,
                    RefusalKind::NotAuthorised => Code::NotAuthorised,
                    RefusalKind::Protocol | RefusalKind::Failed => Code::Error,
                };
                let failure = Self::of(code, &error).retried_if(code == Code::Busy);
                match refusal.kind {
                    RefusalKind::Failed => failure
                        .hint("the director's operator has to mend that; then --resume goes on from here"),
                    _ => failure,
                }
            }
            TransferError::NoDisk(_) => Self::of(Code::Usage, &error).hint(
                "`airlock scan` inspects files and folders; --source-format raw takes the file as a disk",
            ),
            TransferError::Station(StationError::Cancelled) => {
                Self::of(Code::Cancelled, &error).hint("the same command with --resume goes on from here")
            }
            TransferError::Link(link) => Self::of(Code::Error, &error).retried_if(link.is_passing()).hint(
                "check that the director runs and that --identity is its file; --resume goes on from here",
            ),
            TransferError::Director(_) | TransferError::Policy { .. } => Self::of(Code::Verification, &error)
                .hint("nothing was signed that is false; ask the other site before you send to it again"),
            _ => Self::of(Code::Error, &error),
        }
    }
}

impl From<DirectorError> for Failure {
    fn from(error: DirectorError) -> Self {
        match &error {
            DirectorError::NotFound(_) => {
                Self::of(Code::NotFound, &error).hint("`airlock list --vault DIR` shows what is there")
            }
            DirectorError::InUse(_) => {
                Self::of(Code::Busy, &error).hint("one process at a time may use a director's directory")
            }
            DirectorError::File { source, .. } => Self::of(Code::Error, &error).hint_at_disk(source),
            DirectorError::Database(_) => Self::of(Code::Error, &error).hint(
                "look for a full, read-only or broken disk below the director's directory; `airlock scrub` says what of \
                 it is not as it was written",
            ),
            _ => Self::of(Code::Error, &error),
        }
    }
}
