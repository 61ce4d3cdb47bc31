//! What feeds and entitlements say of an inventory, as JSON has it.

use airlock_checks::SystemReport;
use airlock_inventory::Inventory;
use airlock_licensing::Verdict;
use airlock_vulnerability::{Coverage, Problem};
use serde::Serialize;

/// What is said of a product by entitlements.
#[derive(Debug, Serialize)]
pub(crate) struct Licensed<'i> {
    name: &'i str,
    version: &'i str,
    verdict: Verdict,
}

/// What was judged by which feeds.
#[derive(Debug, Serialize)]
pub(crate) struct Assessed<'i> {
    feeds: FeedsLine<'i>,
    coverage: &'i Coverage,
    packages: Vec<Line<'i>>,
}

#[derive(Debug, Serialize)]
struct FeedsLine<'i> {
    digest: String,
    imported_at: u64,
    valid_until: u64,
    stale: bool,
    sources: &'i [String],
}

#[derive(Debug, Serialize)]
struct Line<'i> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'i str,
    version: &'i str,
    #[serde(flatten)]
    problem: &'i Problem,
}

/// Returns what feeds say of packages, where there were feeds.
pub(crate) fn assessed<'i>(inventory: &'i Inventory, system: &'i SystemReport) -> Option<Assessed<'i>> {
    let used = system.feeds.as_ref()?;
    let packages = system.assessments.iter().filter_map(|one| {
        let package = inventory.packages.get(one.package)?;
        let (kind, name, version) = (package.ecosystem.name(), &package.name, &package.version);
        Some(Line { kind, name, version, problem: &one.problem })
    });
    let feeds = FeedsLine {
        digest: format!("blake3:{}", hex::encode(used.digest)),
        imported_at: used.imported_at,
        valid_until: used.valid_until,
        stale: used.stale,
        sources: &used.sources,
    };
    Some(Assessed { feeds, coverage: &used.coverage, packages: packages.collect() })
}

/// Returns what entitlements say of products, where there were entitlements.
pub(crate) fn licensed<'i>(inventory: &'i Inventory, system: &SystemReport) -> Option<Vec<Licensed<'i>>> {
    let verdicts = system.licences.as_ref()?;
    let line = |(product, verdict): (&'i airlock_inventory::Product, &Verdict)| Licensed {
        name: &product.name,
        version: &product.version,
        verdict: *verdict,
    };
    Some(inventory.products.iter().zip(verdicts).map(line).collect())
}
