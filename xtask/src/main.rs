//! The project's tasks: `test`, `tidy`, `deny`, `validators`, `fuzz`, `bench`, `scoreboard`.
//!
//! `cargo xtask test` is everything that continuous integration runs. It installs
//! the Debian packages that the tests need where it may, and says what is missing
//! where it may not; nothing is skipped in silence.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to the person who runs it")]

mod bench;
mod deny;
mod fuzz;
mod packages;
mod run;
mod scoreboard;
mod test;
mod tidy;
mod validators;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  test                     everything: packages, licences, format, tidy, lints, tests
  tidy [--accept]          the house rules; --accept lowers the size ratchet to today's numbers
  deny                     licences, sources and yanked versions of the dependencies
  validators               install the independent validators of report formats (from PyPI)
  fuzz [--seconds N] [--minutes N] [--only NAME]
                           every fuzz target for N seconds (20) each
  bench [scan|transfer|image|all] [--image FILE] [--runs N] [--only NAME]
                           Airlock beside the tools it replaces; writes docs/benchmarks.md
  scoreboard [--depth short|long]
                           what holds under fault, N of N; writes docs/scoreboard.md
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> Result<()> {
    match words {
        ["test"] => test::run(),
        ["tidy"] => tidy::run(),
        ["tidy", "--accept"] => tidy::accept(),
        ["deny"] => deny::run(),
        ["validators"] => validators::ensure(),
        ["fuzz", rest @ ..] => fuzz::fuzz(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["scoreboard", rest @ ..] => scoreboard::run(rest),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => bail!("no such task\n{USAGE}"),
    }
}
