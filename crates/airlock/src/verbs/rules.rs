//! `airlock rules`.

use super::Context;
use crate::cli::{Format, ImportArgs, RulesArgs, RulesVerb};
use crate::failure::{Code, Failure};
use crate::{output, stats};
use airlock_vulnerability::Feeds;

/// Runs the verb.
pub(crate) fn run(context: Context, args: &RulesArgs) -> Result<Code, Failure> {
    match &args.verb {
        RulesVerb::List => list(context),
        RulesVerb::Import(args) => import(context, args),
    }
}

fn import(context: Context, args: &ImportArgs) -> Result<Code, Failure> {
    let mut feeds = Feeds { imported_at: stats::now(), ..Feeds::default() };
    let failed = |error| Failure::of(Code::Error, &error);
    let imported = airlock_vulnerability::import(&mut feeds, &args.feeds).map_err(failed)?;
    if imported.files == 0 {
        return Err(Failure::new(Code::Error, "there is no feed in what was named"));
    }
    let digest = format!("blake3:{}", hex::encode(feeds.write(&args.to).map_err(failed)?));
    let offers: usize = feeds.offers.values().map(std::collections::BTreeMap::len).sum();
    let (advisories, exploited) = (feeds.advisories(), feeds.exploited.len());
    match context.format {
        Format::Json => output::json(&serde_json::json!({
            "schema": "airlock.rules-import/1", "digest": digest, "files": imported.files,
            "passed_over": imported.passed_over, "advisories": advisories, "offers": offers,
            "exploited": exploited, "not_affected": feeds.not_affected.len(),
        }))?,
        Format::Table => output::print(&format!(
            "{} files: {advisories} advisories, {offers} packages offered, {exploited} known to be exploited\n\
             {} files in folders are no feeds\n{digest}\n",
            imported.files, imported.passed_over
        ))?,
    }
    Ok(Code::Clean)
}

fn list(context: Context) -> Result<Code, Failure> {
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
