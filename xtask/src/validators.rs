//! The independent validators of report formats: Python packages in a folder of their own.

use crate::run::{command, root, run, target};
use anyhow::{Context as _, Result};

/// The packages and everything that they need, each with one version.
const REQUIREMENTS: &str = "crates/report/tests/requirements.txt";

/// Makes sure that the validators are there, in the versions that are asked for.
pub(crate) fn ensure() -> Result<()> {
    let folder = target().join("validators");
    let wanted =
        std::fs::read_to_string(root().join(REQUIREMENTS)).context("cannot read the list of validators")?;
    let stamp = folder.join("requirements.txt");
    if folder.join("bin/python").is_file() && std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted)
    {
        return Ok(());
    }
    println!("validators: installing into {}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("cannot remove the old validators")?;
    }
    let path = folder.to_str().context("the target folder has no name in UTF-8")?;
    run(&mut command("python3", &["-m", "venv", path]))
        .context("python3-venv is needed for the validators")?;
    let pip = folder.join("bin/pip");
    let pip = pip.to_str().context("the target folder has no name in UTF-8")?;
    run(&mut command(
        pip,
        &["install", "--quiet", "--no-deps", "--only-binary", ":all:", "-r", REQUIREMENTS],
    ))?;
    // Written last: what was interrupted is installed again.
    std::fs::write(stamp, wanted).context("cannot write which validators there are")
}
