//! Flags of what is done with policies.

use super::DirectorSiteArgs;
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
    /// Fetch the policy that a director applies, signed by its site.
    Fetch(FetchPolicyArgs),
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

/// Flags of `policy fetch`.
#[derive(Debug, Args)]
pub(crate) struct FetchPolicyArgs {
    /// The director.
    #[command(flatten)]
    pub(crate) director: DirectorSiteArgs,
    /// The site's key must be this one (64 hexadecimal digits; its people print it with `airlock key`).
    #[arg(long, value_name = "KEY", env = "AIRLOCK_DESTINATION_KEY")]
    pub(crate) key: Option<String>,
    /// The new file that the policy is written to; the standard output when left out.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_TO")]
    pub(crate) to: Option<PathBuf>,
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
