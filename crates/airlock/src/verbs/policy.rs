//! `airlock policy`.

use super::Context;
use crate::cli::{Format, PolicyArgs, PolicyVerb};
use crate::failure::{Code, Failure};
use crate::{output, site};
use airlock_policy::{DEFAULT_YAML, Effective};

/// Runs the verb.
pub(crate) fn run(context: Context, args: &PolicyArgs) -> Result<Code, Failure> {
    match &args.verb {
        PolicyVerb::Init => output::print(DEFAULT_YAML)?,
        PolicyVerb::Check { file } => {
            let (document, _) = site::policy(Some(file))?;
            let (name, digest) = (&document.name, document.digest().to_string());
            match context.format {
                Format::Json => output::json(&serde_json::json!({
                    "schema": "airlock.policy-check/1", "result": { "code": 0 }, "name": name, "digest": digest,
                    "rules": document.rules.len(),
                }))?,
                Format::Table => {
                    output::print(&format!("{name}: valid, {} rules, {digest}\n", document.rules.len()))?;
                }
            }
        }
        PolicyVerb::Merge { one, other } => {
            let (one, _) = site::policy(Some(one))?;
            let (other, _) = site::policy(Some(other))?;
            let effective = Effective::merge(&one, &other);
            let digest = effective.digest().to_string();
            let value = serde_json::json!({ "schema": "airlock.policy-merge/1", "digest": digest, "effective": effective });
            match context.format {
                Format::Json => output::json(&value)?,
                Format::Table => {
                    let pretty = serde_json::to_string_pretty(&value)
                        .map_err(|error| Failure::of(Code::Error, &error))?;
                    output::print(&format!("{pretty}\n"))?;
                }
            }
        }
    }
    Ok(Code::Clean)
}
