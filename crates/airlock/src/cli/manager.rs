//! Flags of the source site's service.

use super::RuleArgs;
use airlock_link::Timetable;
use clap::Args;
use std::path::PathBuf;

/// Flags of `manager`.
#[derive(Debug, Args)]
pub(crate) struct ManagerArgs {
    /// Its directory, with the keys of this site; made if it does not exist.
    #[arg(long, value_name = "DIR", env = "AIRLOCK_DATA")]
    pub(crate) data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7444", env = "AIRLOCK_LISTEN")]
    pub(crate) listen: String,
    /// What it inspects with.
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// Most transfers at once.
    #[arg(long, value_name = "N", default_value_t = 4, env = "AIRLOCK_TRANSFERS_MAX", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) transfers_max: u16,
    /// Data streams of each transfer.
    #[arg(long, value_name = "N", default_value_t = 4, env = "AIRLOCK_STREAMS", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) streams: u16,
    /// Send at most so many bytes per second, all transfers together: 10M, 1Mbit, or by the time of day (UTC), as
    /// in "08:00,10M 19:00,off".
    #[arg(long, value_name = "RATE", env = "AIRLOCK_BWLIMIT")]
    pub(crate) bwlimit: Option<Timetable>,
    /// The program that tells of libvirt.
    #[arg(long, value_name = "FILE", default_value = "virsh", env = "AIRLOCK_VIRSH")]
    pub(crate) virsh: PathBuf,
}
