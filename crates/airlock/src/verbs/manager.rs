//! `airlock manager`.

use super::Context;
use crate::cli::{Format, ManagerArgs, RuleArgs};
use crate::failure::{Code, Failure};
use crate::{output, site, stats};
use airlock_manager::service::{Launch, Manager, Server, ServiceConfig, ServiceError};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs the verb.
pub(crate) fn run(context: Context, args: &ManagerArgs) -> Result<Code, Failure> {
    // A policy or rules that cannot be read are better known now than when the first transfer fails.
    site::policy(args.rules.policy.as_deref())?;
    site::rules(&args.rules, &args.data)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Code::Error, format!("cannot find this program: {error}")))?;
    let launch =
        Own { program, data: args.data.clone(), flags: flags(args), policy: args.rules.policy.clone() };
    let manager = Manager::open(ServiceConfig {
        directory: args.data.clone(),
        launch: Box::new(launch),
        transfers_max: usize::from(args.transfers_max),
        bwlimit: args.bwlimit.clone(),
        virsh: args.virsh.clone(),
        clock: stats::now,
    })?;
    let token = manager.first_token()?;
    let server = Server::bind(manager, &args.listen)?;
    let address = server.address()?;
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.manager/1", "address": address.to_string(), "token": token,
        }))?,
        Format::Table => output::print(&format!(
            "listening on {address}\n{}next: POST https://{address}/api/v1/sources\n",
            token.map(|path| format!("the token is in {}\n", path.display())).unwrap_or_default()
        ))?,
    }
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::new(Code::Error, format!("cannot listen for interrupts: {error}")))?;
    server.run(&stop)?;
    output::note("stopped; transfers that were under way go on when it is started again");
    Ok(Code::Clean)
}

/// Starts this program again for each transfer.
#[derive(Debug)]
struct Own {
    program: PathBuf,
    data: PathBuf,
    flags: Vec<OsString>,
    policy: Option<PathBuf>,
}

impl Launch for Own {
    fn transfer(&self) -> Command {
        let mut command = Command::new(&self.program);
        // What counts is given by flags; settings that are meant for the manager are not for its transfers.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"AIRLOCK_") && name != "AIRLOCK_LOG" {
                command.env_remove(name);
            }
        }
        command.env("AIRLOCK_HOME", &self.data);
        command.args(["transfer", "--format", "json", "--progress", "json"]).args(&self.flags);
        command
    }

    fn policy(&self) -> Result<String, String> {
        site::policy(self.policy.as_deref()).map(|(_, yaml)| yaml).map_err(|failure| failure.text)
    }
}

/// Gives the flags of the manager on to its transfers.
fn flags(args: &ManagerArgs) -> Vec<OsString> {
    let RuleArgs {
        policy,
        fingerprint_key,
        hash_list,
        signatures,
        exact_data,
        exact_key,
        documents,
        feeds,
        entitlements,
        findings_limit,
    } = &args.rules;
    let single = [
        ("--policy", policy),
        ("--fingerprint-key", fingerprint_key),
        ("--exact-key", exact_key),
        ("--feeds", feeds),
        ("--entitlements", entitlements),
    ];
    let single = single.into_iter().filter_map(|(flag, path)| path.as_ref().map(|path| (flag, path)));
    let many = [
        ("--hash-list", hash_list),
        ("--signatures", signatures),
        ("--exact-data", exact_data),
        ("--documents", documents),
    ];
    let many = many.into_iter().flat_map(|(flag, paths)| paths.iter().map(move |path| (flag, path)));
    let mut flags: Vec<OsString> =
        single.chain(many).flat_map(|(flag, path)| [flag.into(), path.clone().into_os_string()]).collect();
    for (flag, number) in [("--streams", usize::from(args.streams)), ("--findings-limit", *findings_limit)] {
        flags.extend([flag.into(), number.to_string().into()]);
    }
    flags
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match &error {
            ServiceError::InUse(_) => {
                Self::of(Code::Busy, &error).hint("one process at a time may use a manager's directory")
            }
            _ => Self::of(Code::Error, &error),
        }
    }
}
