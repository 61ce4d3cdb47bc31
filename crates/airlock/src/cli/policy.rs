//! Flags of what is done with policies.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Flags of `policy`.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: PolicyVerb,
}

/// A verb of `policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Write out the built-in policy with a comment on every line.
    Init,
    /// Say whether a policy is valid, and its digest.
    Check {
        /// The policy.
        file: PathBuf,
    },
    /// Show the effective policy of two sites, and its digest.
    Merge {
        /// One site's policy.
        one: PathBuf,
        /// The other's.
        other: PathBuf,
    },
}
