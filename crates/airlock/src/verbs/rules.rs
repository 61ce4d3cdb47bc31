//! `airlock rules`.

use super::Context;
use crate::cli::{Format, RulesArgs, RulesVerb};
use crate::failure::{Code, Failure};
use crate::output;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &RulesArgs) -> Result<Code, Failure> {
    let RulesVerb::List = args.verb;
    let digest = format!("blake3:{}", hex::encode(airlock_checks::detectors::rules_digest()));
    let detectors = airlock_checks::detectors::builtin(|_| true);
    let rows: Vec<_> = detectors.iter().map(|detector| (detector.name(), detector.check().name())).collect();
    match context.format {
        Format::Json => {
            let detectors: Vec<_> = rows
                .iter()
                .map(|(name, check)| serde_json::json!({ "detector": name, "check": check }))
                .collect();
            output::json(&serde_json::json!({
                "schema": "airlock.rules-list/1", "digest": digest, "detectors": detectors,
            }))?;
        }
        Format::Table => {
            let mut text = String::new();
            for (name, check) in rows {
                text.push_str(&format!("{name:<16} {check}\n"));
            }
            output::print(&format!("{text}{digest}\n"))?;
        }
    }
    Ok(Code::Clean)
}
