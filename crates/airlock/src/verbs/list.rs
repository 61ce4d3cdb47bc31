//! `airlock list`.

use super::Context;
use super::export::open_vault;
use crate::cli::{Format, ListArgs};
use crate::failure::{Code, Failure};
use crate::output;
use airlock_model::Escaped;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &ListArgs) -> Result<Code, Failure> {
    let vms = open_vault(&args.vault)?.vms()?;
    if context.format == Format::Json {
        let vms: Vec<_> = vms
            .iter()
            .map(|vm| {
                serde_json::json!({
                    "vm": vm.name, "vdc": vm.vdc, "generation": vm.generation, "transfer": vm.transfer,
                    "state": vm.state, "sealed_at": vm.sealed_at,
                })
            })
            .collect();
        output::json(&serde_json::json!({ "schema": "airlock.list/1", "vms": vms }))?;
        return Ok(Code::Clean);
    }
    let mut text = String::new();
    for vm in &vms {
        let name = Escaped(vm.name.as_bytes()).to_string();
        text.push_str(&format!("{name:<24} #{:<4} {:<16} {}\n", vm.generation, vm.state, vm.transfer));
    }
    if vms.is_empty() {
        output::note("the vault is empty");
    }
    output::print(&text)?;
    Ok(Code::Clean)
}
