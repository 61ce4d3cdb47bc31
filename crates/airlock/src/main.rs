//! The command: it reads flags and the environment, puts the crates together, and
//! talks to people. Everything else is in the crates.
#![forbid(unsafe_code)]

mod cli;
mod failure;
mod leash;
mod output;
mod progress;
mod reports;
mod site;
mod stats;
mod verbs;

use clap::Parser as _;
use cli::{Cli, Verb};
use failure::{Code, Failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    leave_no_core();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // Nobody is left to tell if this fails.
            let _ = error.print();
            return ExitCode::from(if usage { Code::Usage } else { Code::Clean } as u8);
        }
    };
    if matches!(cli.verb, Verb::Worker) {
        return verbs::worker::run();
    }
    start_log(&cli);
    let format = cli.format;
    match run(cli) {
        Ok(code) => ExitCode::from(code as u8),
        Err(failure) => {
            output::failure(&failure, format);
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Keeps the bytes of guests that are in memory out of a core dump.
fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Lowering a limit is always allowed; a kernel that says otherwise leaves it as it was.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

fn start_log(cli: &Cli) {
    let default = if cli.verbose { "info" } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("AIRLOCK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

fn run(cli: Cli) -> Result<Code, Failure> {
    let context = verbs::Context { format: cli.format, progress: cli.progress };
    match cli.verb {
        Verb::Scan(args) => verbs::scan::run(context, &args),
        Verb::Transfer(args) => verbs::transfer::run(context, &args),
        Verb::Director(args) => verbs::director::run(context, &args),
        Verb::Manager(args) => verbs::manager::run(context, &args),
        Verb::Pair(args) => verbs::pair::run(context, &args),
        Verb::Doctor(args) => verbs::doctor::run(context, &args),
        Verb::Verify(args) => verbs::verify::run(context, &args),
        Verb::Scrub(args) => verbs::scrub::run(context, &args),
        Verb::Export(args) => verbs::export::run(context, &args),
        Verb::ServeNbd(args) => verbs::serve_nbd::run(context, &args),
        Verb::List(args) => verbs::list::run(context, &args),
        Verb::Demo(args) => verbs::demo::run(context, &args),
        Verb::Policy(args) => verbs::policy::run(context, &args),
        Verb::Rules(args) => verbs::rules::run(context, &args),
        Verb::Key => verbs::key::run(context),
        Verb::Completions(args) => verbs::generate::completions(&args),
        Verb::Man => verbs::generate::man(),
        Verb::BenchRead(args) => verbs::bench::run(context, &args),
        Verb::Worker => unreachable!("it has ended before"),
    }
}
