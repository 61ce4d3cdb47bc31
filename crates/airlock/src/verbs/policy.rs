//! `airlock policy`.

use super::Context;
use crate::cli::{Format, PolicyArgs, PolicyVerb};
use crate::failure::{Code, Failure};
use crate::{output, site};
use airlock_policy::{DEFAULT_YAML, Document, Effective, Pattern};

/// Runs the verb.
pub(crate) fn run(context: Context, args: &PolicyArgs) -> Result<Code, Failure> {
    match &args.verb {
        PolicyVerb::Init => output::print(DEFAULT_YAML)?,
        PolicyVerb::Fetch(args) => return super::fetch::policy(context, args),
        PolicyVerb::Explain(args) => return super::explain::run(context, args),
        PolicyVerb::Schema => {
            let schema = serde_json::to_string_pretty(&Document::schema());
            output::print(&format!("{}\n", schema.map_err(|error| Failure::of(Code::Error, &error))?))?;
        }
        PolicyVerb::Check { file } => {
            let (document, _) = site::policy(Some(file))?;
            let (name, digest) = (&document.name, document.digest().to_string());
            match context.format {
                Format::Json => output::json(&serde_json::json!({
                    "schema": "airlock.policy-check/1", "result": { "code": 0 }, "name": name, "digest": digest,
                    "rules": document.rules.len(), "patterns": patterns(&document),
                }))?,
                Format::Table => {
                    let (rules, patterns) = (document.rules.len(), document.patterns.len());
                    output::print(&format!("{name}: valid, {rules} rules, {patterns} patterns, {digest}\n"))?;
                    for pattern in document.patterns.iter().filter(|one| is_slow(one)) {
                        output::note(&format!(
                            "note: pattern {:?} has no literal of 4 bytes that all matches have, so every byte is \
                             looked at for it",
                            pattern.text().name
                        ));
                    }
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

/// Returns what is to be known of each pattern of a policy.
fn patterns(document: &Document) -> Vec<serde_json::Value> {
    let one = |pattern: &Pattern| {
        let text = pattern.text();
        serde_json::json!({
            "name": text.name, "check": text.check, "examples": text.examples.len(),
            "counter_examples": text.counter_examples.len(), "slow": is_slow(pattern),
        })
    };
    document.patterns.iter().map(one).collect()
}

/// Returns whether every byte is looked at for a pattern.
fn is_slow(pattern: &Pattern) -> bool {
    pattern.expression().literals().is_empty()
}
