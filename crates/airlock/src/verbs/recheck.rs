//! `airlock director recheck`.

use super::Context;
use crate::cli::{Format, RecheckArgs};
use crate::failure::{Code, Failure};
use crate::progress::{Meter, cancel_on_interrupt};
use crate::{output, site, stats};
use airlock_checks::Progress;
use airlock_director::{Config, Director, Rechecked};
use airlock_model::{Decision, Escaped};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &RecheckArgs) -> Result<Code, Failure> {
    if !args.data.join("state.db").exists() {
        let text = format!("there is no director in {}", args.data.display());
        return Err(Failure::new(Code::NotFound, text));
    }
    let (_, policy_yaml) = site::policy(args.rules.policy.as_deref())?;
    let config = Config {
        directory: args.data.clone(),
        policy_yaml,
        rules: site::rules(&args.rules, &args.data)?,
        threads: args.threads.unwrap_or_else(stats::processors),
        clock: stats::now,
        worker: (!args.no_jail).then(super::worker::config),
    };
    let director = Director::open(config)?;
    let progress = Arc::new(Progress::default());
    cancel_on_interrupt(&progress);
    let meter = Meter::start("judging again", Arc::clone(&progress), context.progress);
    let (mut code, mut rows, mut text) = (Code::Clean, Vec::new(), String::new());
    director.recheck(&progress, &mut |one| {
        code = worse(code, &one);
        match context.format {
            Format::Json => rows.push(as_json(&one, args.rules.findings_limit)),
            Format::Table => text.push_str(&as_text(&one, args.rules.findings_limit)),
        }
        Ok(())
    })?;
    drop(meter);
    let read = progress.read.load(Ordering::Relaxed);
    let remembered = progress.memoised.load(Ordering::Relaxed);
    match context.format {
        Format::Json => output::json(&json!({
            "schema": "airlock.director-recheck/1", "result": { "code": code as u8 }, "vms": rows,
            "stats": { "bytes_read": read, "bytes_memoised": remembered },
        }))?,
        Format::Table => {
            let (read, remembered) = (output::bytes(read), output::bytes(remembered));
            output::print(&format!(
                "{text}read {read}, {remembered} answered from memory; nothing was changed\n"
            ))?;
        }
    }
    Ok(code)
}

/// The strictest of what would come of any VM.
fn worse(code: Code, one: &Rechecked) -> Code {
    match (code, one.report.decision) {
        (Code::Refused, _) | (_, Decision::Terminate) => Code::Refused,
        (Code::Withheld, _) => Code::Withheld,
        _ if one.is_refused() => Code::Withheld,
        (code, _) => code,
    }
}

fn held_bytes(one: &Rechecked) -> u64 {
    one.report.held.iter().map(|held| held.extent.length).sum()
}

fn as_json(one: &Rechecked, limit: usize) -> Value {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let findings: Vec<_> = one.report.findings.iter().take(limit).collect();
    json!({
        "tenant": one.tenant, "vdc": one.vm.vdc, "vm": one.vm.name, "generation": one.vm.generation,
        "transfer": one.vm.transfer, "decision": one.report.decision, "bytes_held": held_bytes(one),
        "findings": findings,
        "findings_omitted": one.report.findings_omitted + (one.report.findings.len() - findings.len()) as u64,
    })
}

fn as_text(one: &Rechecked, limit: usize) -> String {
    let said = match one.report.decision {
        Decision::Terminate => "would be refused".to_owned(),
        _ if one.is_refused() => format!("{} would be withheld", output::bytes(held_bytes(one))),
        Decision::Warn => "would be kept, with warnings".to_owned(),
        _ => "would be kept".to_owned(),
    };
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for finding in &one.report.findings {
        *counts.entry(&finding.detector).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(detector, count)| format!("{count} {detector}")).collect();
    let counts = if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) };
    let (tenant, vdc) = (Escaped(one.tenant.as_bytes()), Escaped(one.vm.vdc.as_bytes()));
    let (name, generation) = (Escaped(one.vm.name.as_bytes()), one.vm.generation);
    let mut text = format!("{tenant}/{vdc}/{name} generation {generation}: {said}{counts}\n");
    if one.is_refused() {
        output::findings(&one.report.findings, limit, &mut text);
    }
    text
}
