//! Flags of the cloud site's service, and of what is done with it.

use super::RuleArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Flags of `director`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct DirectorArgs {
    /// What else than listening.
    #[command(subcommand)]
    pub(crate) verb: Option<DirectorVerb>,
    /// Its directory; made if it does not exist.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_DATA", required = true)]
    pub(crate) data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7443", env = "AIRLOCK_LISTEN")]
    pub(crate) listen: String,
    /// What it inspects with.
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// Threads that inspect what has arrived.
    #[arg(long, value_name = "N", env = "AIRLOCK_THREADS")]
    pub(crate) threads: Option<usize>,
    /// Touch what arrives in this process, which holds all keys, and not in a jailed one for each transfer. Only
    /// for machines whose kernel has no Landlock or no seccomp, and only for VMs that you trust.
    #[arg(long, env = "AIRLOCK_NO_JAIL")]
    pub(crate) no_jail: bool,
}

/// What is done with a director that does not run.
#[derive(Debug, Subcommand)]
pub(crate) enum DirectorVerb {
    /// Judge what is kept by the rules and policies of today, and say what would be refused; nothing is changed.
    Recheck(Box<RecheckArgs>),
    /// Make a token of the provider, good for everything that the REST API does.
    Token(TokenArgs),
}

/// Flags of `director recheck`.
#[derive(Debug, Args)]
pub(crate) struct RecheckArgs {
    /// The director's directory. It must not run.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_DATA")]
    pub(crate) data: PathBuf,
    /// What it inspects with.
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// Threads that inspect.
    #[arg(long, value_name = "N", env = "AIRLOCK_THREADS")]
    pub(crate) threads: Option<usize>,
    /// Touch what is kept in this process, and not in a jailed one.
    #[arg(long, env = "AIRLOCK_NO_JAIL")]
    pub(crate) no_jail: bool,
}

/// Flags of `director token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The director's directory.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_DATA")]
    pub(crate) data: PathBuf,
    /// The new file that the token is written to; only its owner can read it.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_TO")]
    pub(crate) to: PathBuf,
    /// How many days it is good for; without it, until it is revoked.
    #[arg(long, value_name = "N", env = "AIRLOCK_DAYS", value_parser = clap::value_parser!(u64).range(1..=3660))]
    pub(crate) days: Option<u64>,
}

/// Flags of `pair`.
#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// Where the director listens.
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// The one-time code that the director's people gave.
    pub(crate) code: String,
    /// The new file that key and certificate are written to; only its owner can read it.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_TO")]
    pub(crate) to: PathBuf,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The policy that this site is to use.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_POLICY")]
    pub(crate) policy: Option<PathBuf>,
    /// The directory of a director on this machine.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A director that VMs are to go to.
    #[arg(long, value_name = "HOST:PORT", env = "AIRLOCK_DIRECTOR", requires = "identity")]
    pub(crate) director: Option<String>,
    /// The identity file for that director.
    #[arg(long, value_name = "FILE", env = "AIRLOCK_IDENTITY")]
    pub(crate) identity: Option<PathBuf>,
}
