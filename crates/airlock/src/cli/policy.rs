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
    /// Say in plain words what a policy does; with two, what a transfer between the sites does, and who asks for it.
    Explain(ExplainArgs),
    /// Print the JSON Schema of policies, for editors and other checkers.
    Schema,
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

/// Flags of `policy explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The policy; the built-in one when left out.
    pub(crate) file: Option<PathBuf>,
    /// The other site's policy.
    #[arg(requires = "file")]
    pub(crate) other: Option<PathBuf>,
}
