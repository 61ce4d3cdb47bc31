//! `airlock completions` and `airlock man`: made from the same table as `--help`.

use crate::cli::{Cli, CompletionsArgs};
use crate::failure::{Code, Failure};
use crate::output;
use clap::CommandFactory as _;

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Code, Failure> {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "airlock", &mut bytes);
    output::print(&String::from_utf8_lossy(&bytes))?;
    Ok(Code::Clean)
}

/// Prints the manual page.
pub(crate) fn man() -> Result<Code, Failure> {
    let mut bytes = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut bytes)
        .map_err(|error| Failure::new(Code::Error, format!("cannot make the manual page: {error}")))?;
    output::print(&String::from_utf8_lossy(&bytes))?;
    Ok(Code::Clean)
}
