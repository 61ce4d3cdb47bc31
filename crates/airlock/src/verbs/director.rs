//! `airlock director`.

use super::Context;
use crate::cli::{DirectorArgs, DirectorVerb, Format, RuleArgs, TokenArgs};
use crate::failure::{Code, Failure};
use crate::{output, site, stats};
use airlock_checks::Rules;
use airlock_director::{Config, Director, Renew, Server};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const NO_JAIL: &str = "a director inspects in a process without rights, for which the kernel needs Landlock and \
     seccomp; --no-jail goes without, and is for VMs that you trust";
const NOT_JAILED: &str = "warning: --no-jail: hostile disks are parsed by the process that holds all keys";

/// Runs the verb.
pub(crate) fn run(context: Context, args: &DirectorArgs) -> Result<Code, Failure> {
    match &args.verb {
        Some(DirectorVerb::Token(args)) => return token(context, args),
        Some(DirectorVerb::Recheck(args)) => return super::recheck::run(context, args),
        None => {}
    }
    let data = args.data.clone().ok_or_else(|| Failure::new(Code::Usage, "--data DIR is needed"))?;
    let (_, policy_yaml) = site::policy(args.rules.policy.as_deref())?;
    let rules = site::rules(&args.rules, &data)?;
    let threads = args.threads.unwrap_or_else(stats::processors);
    let worker = (!args.no_jail).then(super::worker::config);
    let config = Config { directory: data.clone(), policy_yaml, rules, threads, clock: stats::now, worker };
    let renewing = FromFlags { rules: args.rules.clone(), data };
    let director = Director::open(config)?.renewing(Box::new(renewing));
    // Now, and not when the first VM arrives.
    director.try_worker().map_err(|error| Failure::from(error).hint(NO_JAIL))?;
    if args.no_jail {
        output::note(NOT_JAILED);
        tracing::warn!(NOT_JAILED);
    }
    let token = director.first_provider_token()?;
    let server = Server::bind(Arc::new(director), &args.listen)?;
    let address = server.address()?;
    let identity = server.manager_identity().display().to_string();
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.director/1", "address": address.to_string(), "identity": identity,
            "jail": !args.no_jail,
            "token": token,
        }))?,
        Format::Table => output::print(&format!(
            "listening on {address}\n{}managers need the identity file {identity}\n\
             next: airlock transfer IMAGE airlock://{address}/default --identity {identity}\n",
            token.map(|path| format!("the provider's token is in {}\n", path.display())).unwrap_or_default()
        ))?,
    }
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::new(Code::Error, format!("cannot listen for interrupts: {error}")))?;
    server.run(&stop)?;
    output::note("stopped; unfinished transfers can be resumed");
    Ok(Code::Clean)
}

/// Puts the rules together as the flags of the director said.
#[derive(Debug)]
struct FromFlags {
    rules: RuleArgs,
    data: PathBuf,
}

impl Renew for FromFlags {
    fn renew(&self) -> Result<Arc<Rules>, String> {
        site::rules(&self.rules, &self.data).map_err(|failure| failure.text)
    }
}

fn token(context: Context, args: &TokenArgs) -> Result<Code, Failure> {
    let seconds = args.days.map(|days| days * 86_400);
    let label = "made by airlock director token";
    airlock_director::write_provider_token(&args.data, &args.to, label, seconds, stats::now())?;
    match context.format {
        Format::Json => {
            output::json(&serde_json::json!({ "schema": "airlock.director-token/1", "token": args.to }))?;
        }
        Format::Table => output::print(&format!("the token is in {}\n", args.to.display()))?,
    }
    Ok(Code::Clean)
}
