//! Airlock beside the tools it replaces.

use anyhow::{Result, bail};

/// Runs the benchmarks.
pub(crate) fn run(_: &[&str]) -> Result<()> {
    crate::packages::ensure(crate::packages::BENCH)?;
    bail!("not yet")
}
