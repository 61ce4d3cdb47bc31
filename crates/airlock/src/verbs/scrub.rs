//! `airlock scrub`.

use super::Context;
use crate::cli::{Format, ScrubArgs};
use crate::failure::{Code, Failure};
use crate::progress::{Meter, cancel_on_interrupt};
use crate::{output, stats};
use airlock_checks::Progress;
use airlock_director::{Affected, Damage, Error, Scrub, Scrubbed};
use airlock_model::Escaped;
use serde_json::{Value, json};
use std::sync::Arc;

/// Extents of a VM that are shown to people.
const SHOWN_MAX: usize = 8;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &ScrubArgs) -> Result<Code, Failure> {
    let progress = Arc::new(Progress::default());
    cancel_on_interrupt(&progress);
    let meter = Meter::start("scrubbing", Arc::clone(&progress), context.progress);
    let scrub = Scrub::new(&args.data, &progress).map_err(|error| match &error {
        Error::Damaged { .. } => Failure::of(Code::Verification, &error),
        _ => Failure::from(error),
    })?;
    let scrubbed = scrub.run(stats::now());
    drop(meter);
    let code = match (&scrubbed.damage[..], scrubbed.cancelled) {
        ([], false) => Code::Clean,
        ([], true) => Code::Cancelled,
        _ => Code::Verification,
    };
    match context.format {
        Format::Json => output::json(&json_of(&scrubbed, code))?,
        Format::Table => table(&scrubbed)?,
    }
    Ok(code)
}

fn json_of(scrubbed: &Scrubbed, code: Code) -> Value {
    let damage: Vec<Value> = scrubbed.damage.iter().map(damage_json).collect();
    json!({
        "schema": "airlock.scrub/1",
        "result": { "code": code as u8 },
        "complete": !scrubbed.cancelled,
        "vms": scrubbed.vms,
        "chunks": scrubbed.chunks,
        "bytes": scrubbed.bytes,
        "left_out": scrubbed.left_out,
        "damage": damage,
    })
}

fn damage_json(damage: &Damage) -> Value {
    let affected: Vec<Value> = damage.affected.iter().map(affected_json).collect();
    json!({ "file": damage.file, "what": damage.what, "count": damage.count, "affected": affected })
}

fn affected_json(affected: &Affected) -> Value {
    let extents: Vec<Value> = affected
        .extents
        .iter()
        .map(|(member, extent)| json!({ "member": member, "offset": extent.offset, "length": extent.length }))
        .collect();
    json!({
        "tenant": affected.tenant,
        "vdc": affected.vm.vdc,
        "vm": affected.vm.name,
        "generation": affected.vm.generation,
        "transfer": affected.vm.transfer,
        "extents": extents,
        "extents_more": affected.extents_more,
    })
}

fn table(scrubbed: &Scrubbed) -> Result<(), Failure> {
    let mut text = String::new();
    for damage in &scrubbed.damage {
        text.push_str(&format!("{}: {}", damage.file, damage.what));
        if damage.count > 1 {
            text.push_str(&format!(" (and {} more)", damage.count - 1));
        }
        text.push('\n');
        for affected in &damage.affected {
            let name = Escaped(affected.vm.name.as_bytes());
            text.push_str(&format!("  {name} #{} of {}", affected.vm.generation, affected.vm.vdc));
            for (member, extent) in affected.extents.iter().take(SHOWN_MAX) {
                text.push_str(&format!("  {member}@{:#x}+{:#x}", extent.offset, extent.length));
            }
            if affected.extents.len() > SHOWN_MAX {
                text.push_str("  … (--format json lists more)");
            }
            text.push('\n');
        }
    }
    if scrubbed.cancelled {
        text.push_str("cancelled: ");
    }
    text.push_str(&format!(
        "{} VMs, {} chunks, {} read: {}\n",
        scrubbed.vms,
        scrubbed.chunks,
        output::bytes(scrubbed.bytes),
        match scrubbed.damage.len() {
            0 => "as they were written".into(),
            count => format!("{count} files damaged"),
        }
    ));
    output::print(&text)?;
    for left_out in &scrubbed.left_out {
        output::note(&format!("note: not checked: {left_out}"));
    }
    if !scrubbed.damage.is_empty() {
        output::note(
            "hint: there is no second copy here to repair from; put the file back from a backup, or delete the VM and \
             transfer it again",
        );
    }
    Ok(())
}
