//! `airlock verify`.

use super::Context;
use crate::cli::{Format, VerifyArgs};
use crate::failure::{Code, Failure};
use crate::output;
use crate::progress::Meter;
use airlock_checks::Progress;
use airlock_director::Check;
use airlock_evidence::{PublicKey, Statement, verify};
use airlock_model::Escaped;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &VerifyArgs) -> Result<Code, Failure> {
    let path = &args.evidence;
    let evidence = std::fs::read(path).map_err(|error| Failure::io("read evidence", path, &error))?;
    let pins = [pin(args.source_key.as_deref())?, pin(args.destination_key.as_deref())?];
    let progress = Arc::new(Progress::default());
    let meter = Meter::start("verifying", Arc::clone(&progress), context.progress);
    let (statement, failures) = match verify(&evidence, pins) {
        Err(failure) => (None, vec![failure.to_string()]),
        Ok(statement) => {
            let sizes = statement.predicate.disks.iter().map(|disk| disk.destination_coverage.cleared);
            progress.total.store(sizes.sum(), Ordering::Relaxed);
            let check = |vault| Check::new(vault, &statement, &progress.done).run(&evidence);
            let failures = args.vault.as_deref().map(check).unwrap_or_default();
            (Some(statement), failures)
        }
    };
    drop(meter);
    let code = if failures.is_empty() { Code::Clean } else { Code::Verification };
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.verify/1",
            "result": { "code": code as u8 },
            "failures": failures,
            "keys_pinned": { "source": pins[0].is_some(), "destination": pins[1].is_some() },
            "vault_checked": args.vault.is_some(),
            "statement": statement,
        }))?,
        Format::Table => {
            let mut text = statement.as_ref().map(describe).unwrap_or_default();
            if failures.is_empty() {
                text.push_str(&verdict(args, pins));
            }
            output::print(&text)?;
            for failure in &failures {
                output::note(&format!("failed: {failure}"));
            }
        }
    }
    Ok(code)
}

fn pin(text: Option<&str>) -> Result<Option<PublicKey>, Failure> {
    let parse = |text: &str| {
        PublicKey::parse(text).ok_or_else(|| {
            Failure::new(Code::Usage, format!("{text:?} is no key: it needs 64 hexadecimal digits"))
        })
    };
    text.map(parse).transpose()
}

fn describe(statement: &Statement) -> String {
    let predicate = &statement.predicate;
    let transfer = &predicate.transfer;
    let mut text = format!(
        "{}  {}  transfer {}\n  source       {}\n  destination  {}\n  policy       {}\n",
        Escaped(transfer.vm.as_bytes()),
        transfer.state,
        transfer.id,
        predicate.sites.source,
        predicate.sites.destination,
        predicate.policies.effective
    );
    for disk in &predicate.disks {
        let held: u64 = disk.holes.iter().map(|hole| hole.extent.length).sum();
        text.push_str(&format!(
            "  {}        {}, root {}, {} withheld in {} places\n",
            disk.id,
            output::bytes(disk.virtual_size),
            disk.kept_root,
            output::bytes(held),
            disk.holes.len()
        ));
    }
    text
}

fn verdict(args: &VerifyArgs, pins: [Option<PublicKey>; 2]) -> String {
    let mut text = String::from("verified: both signatures");
    if args.vault.is_some() {
        text.push_str(", every chunk, manifest and root in the vault");
    }
    if pins.contains(&None) {
        text.push_str("\nnote: a key that is not pinned is the one that the evidence itself names; see --source-key and --destination-key");
    }
    text.push('\n');
    text
}
