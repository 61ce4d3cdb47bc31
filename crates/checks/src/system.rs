//! What is installed, judged by feeds and entitlements: the system checkers, the same at both sites.
//!
//! ```text
//! Inventory ─┬─ feeds ────────▶ Assessment ─┐
//!            └─ entitlements ─▶ Verdict ────┴─▶ findings ─▶ policy ─▶ decision
//! ```
//!
//! Findings of these checks are about a package or a product, not about bytes. A rule that holds or terminates
//! refuses the VM as a whole, whatever its scope: what belongs to a package is not left out alone.

use crate::Rules;
use airlock_inventory::{Evidence, Inventory, Package, Product};
use airlock_licensing::{Date, Entitlements, Verdict};
use airlock_model::{Action, Check, Confidence, Decision, Escaped, Finding, Severity, Site};
use airlock_policy::Effective;
use airlock_vulnerability::{Assessment, Coverage, Index, Problem};

/// Days after which feeds that do not say how long they are valid count as stale.
const FEED_DAYS_MAX: u64 = 7;

/// What inventories are compared with. Nothing, when left out.
#[derive(Debug, Default)]
pub struct System {
    feeds: Option<Index>,
    entitlements: Option<(Entitlements, [u8; 32])>,
}

impl System {
    /// Adds feeds of vulnerabilities.
    #[must_use]
    pub fn with_feeds(self, feeds: Index) -> Self {
        Self { feeds: Some(feeds), ..self }
    }

    /// Adds entitlements, as they were written.
    #[must_use]
    pub fn with_entitlements(self, entitlements: Entitlements, text: &str) -> Self {
        Self { entitlements: Some((entitlements, *blake3::hash(text.as_bytes()).as_bytes())), ..self }
    }

    /// Returns whether there is nothing to compare an inventory with.
    pub fn is_empty(&self) -> bool {
        self.feeds.is_none() && self.entitlements.is_none()
    }

    /// Returns whether there are feeds.
    pub fn has_feeds(&self) -> bool {
        self.feeds.is_some()
    }

    /// Returns whether there are entitlements.
    pub fn has_entitlements(&self) -> bool {
        self.entitlements.is_some()
    }

    /// Returns what identifies all of it.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("airlock 2026-11 system rules v1");
        for part in
            [self.feeds.as_ref().map(Index::digest), self.entitlements.as_ref().map(|(_, digest)| *digest)]
        {
            hasher.update(&[u8::from(part.is_some())]);
            hasher.update(&part.unwrap_or_default());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Which feeds packages were looked up in, and how much of the inventory they are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedsUsed {
    /// Their digest.
    pub digest: [u8; 32],
    /// When they were imported, in seconds since 1970-01-01 UTC.
    pub imported_at: u64,
    /// Until when they are valid.
    pub valid_until: u64,
    /// Whether that time is over.
    pub stale: bool,
    /// What they were made of.
    pub sources: Vec<String>,
    /// How much of the inventory they are about.
    pub coverage: Coverage,
}

/// What the system checkers have to say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SystemReport {
    /// Which feeds there were.
    pub feeds: Option<FeedsUsed>,
    /// What is wrong with packages.
    pub assessments: Vec<Assessment>,
    /// The verdict on each product; none where there were no entitlements.
    pub licences: Option<Vec<Verdict>>,
    /// Findings above `allow`.
    pub findings: Vec<Finding>,
    /// What the policy decides because of them: the VM is moved as a whole, or not at all.
    pub decision: Decision,
}

impl Rules {
    /// Judges what is installed, at a time in seconds since 1970-01-01 UTC. `elsewhere` names the products of
    /// other VMs of the tenant, where that is known.
    pub fn judge_system(
        &self,
        inventory: &Inventory,
        elsewhere: &[String],
        policy: &Effective,
        site: Site,
        now: u64,
    ) -> SystemReport {
        let mut report = SystemReport { decision: Decision::Allow, ..SystemReport::default() };
        let mut findings = Vec::new();
        if let Some(feeds) = &self.system().feeds {
            let valid_until =
                feeds.valid_until().unwrap_or(feeds.imported_at().saturating_add(FEED_DAYS_MAX * 86_400));
            let stale = now > valid_until;
            let (assessments, coverage) = airlock_vulnerability::judge(inventory, feeds, stale);
            for one in &assessments {
                if let Some(package) = inventory.packages.get(one.package) {
                    findings.push(self.of_package(package, &one.problem, site));
                }
            }
            if stale {
                findings.push(self.of_stale_feeds(inventory, site));
            }
            report.assessments = assessments;
            report.feeds = Some(FeedsUsed {
                digest: feeds.digest(),
                imported_at: feeds.imported_at(),
                valid_until,
                stale,
                sources: feeds.sources().to_vec(),
                coverage,
            });
        }
        if let Some((entitlements, _)) = &self.system().entitlements {
            let verdicts =
                airlock_licensing::judge(inventory, elsewhere, entitlements, Date::of_seconds(now));
            let products = inventory.products.iter().zip(&verdicts);
            findings
                .extend(products.filter_map(|(product, verdict)| self.of_product(product, *verdict, site)));
            report.licences = Some(verdicts);
        }
        report.decision = policy.judge_whole(site, &mut findings);
        findings.retain(|finding| finding.action > Action::Allow);
        report.findings = findings;
        report
    }

    fn of_package(&self, package: &Package, problem: &Problem, site: Site) -> Finding {
        let (detector, percent, severity, what) = match problem {
            Problem::Vulnerable { id, fixed, exploited, .. } => {
                let fixed = fixed.as_ref().map_or_else(String::new, |fixed| format!(", fixed in {fixed}"));
                if *exploited {
                    let what = format!("{id}{fixed}, known to be exploited");
                    ("exploited", 95, Severity::Critical, what)
                } else {
                    ("advisory", 95, Severity::High, format!("{id}{fixed}"))
                }
            }
            Problem::Unpatched { fixed, suite } => {
                ("unpatched", 95, Severity::Medium, format!("{suite} has {fixed}"))
            }
            Problem::Unknown { id } => {
                ("unknown_version", 50, Severity::Medium, format!("{id}: cannot compare versions"))
            }
        };
        let text = format!("{} {}: {what}", package.name, package.version);
        self.finding(
            &package.evidence,
            site,
            About { check: Check::Vulnerability, detector, percent, severity, text },
        )
    }

    fn of_stale_feeds(&self, inventory: &Inventory, site: Site) -> Finding {
        let at = inventory.packages.first().map(|package| package.evidence.clone()).unwrap_or_default();
        let text =
            format!("the feeds are stale, so nothing is known of {} packages", inventory.packages.len());
        let (check, detector) = (Check::Vulnerability, "stale_feed");
        self.finding(&at, site, About { check, detector, percent: 95, severity: Severity::Medium, text })
    }

    fn of_product(&self, product: &Product, verdict: Verdict, site: Site) -> Option<Finding> {
        let (percent, severity) = match verdict {
            Verdict::Ok => return None,
            Verdict::Unknown => (50, Severity::Low),
            Verdict::Activator => (95, Severity::Critical),
            _ => (95, Severity::Medium),
        };
        let text = format!("{} {}: {}", product.name, product.version, verdict.name());
        let about = About { check: Check::Licensing, detector: verdict.name(), percent, severity, text };
        Some(self.finding(&product.evidence, site, about))
    }

    fn finding(&self, at: &Evidence, site: Site, about: About) -> Finding {
        let About { check, detector, percent, severity, text } = about;
        Finding {
            check,
            detector: detector.to_owned(),
            confidence: Confidence::percent(percent),
            severity,
            action: Action::Allow,
            site,
            disk: at.disk.clone(),
            trail: format!("{}:{}:{}@{}", at.disk, at.volume, at.path, at.offset),
            place: "file".to_owned(),
            path: Some(at.path.clone()),
            offset: at.offset,
            length: 0,
            disk_offset: None,
            deleted: false,
            // The normal form of a value keeps digits and upper-case letters only; of names all of it counts.
            fingerprint: self.engine().fingerprint(detector, hex::encode_upper(&text).as_bytes()),
            display: Escaped(text.as_bytes()).to_string(),
        }
    }
}

/// What a finding says.
struct About {
    check: Check,
    detector: &'static str,
    percent: u8,
    severity: Severity,
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::malware::HashList;
    use airlock_policy::Document;
    use airlock_vulnerability::{Advisory, Feeds, Range};

    const NOW: u64 = 1_795_392_000;

    fn feeds(exploited: bool) -> Index {
        let range = Range { introduced: None, fixed: Some("2".into()), last: None };
        let advisory =
            Advisory { id: "CVE-2026-1".into(), aliases: vec![], ranges: vec![range], versions: vec![] };
        let mut feeds = Feeds { imported_at: NOW, ..Feeds::default() };
        feeds.advisories.entry("PyPI".into()).or_default().insert("x".into(), vec![advisory]);
        if exploited {
            feeds.exploited.insert("CVE-2026-1".into());
        }
        Index::of(&feeds).unwrap()
    }

    fn inventory() -> Inventory {
        let package = Package {
            ecosystem: airlock_inventory::Ecosystem::Pypi,
            name: "x".into(),
            version: "1".into(),
            source: None,
            source_version: None,
            architecture: None,
            licence: None,
            evidence: Evidence { disk: "disk0".into(), path: "/x".into(), ..Evidence::default() },
        };
        let product = Product {
            name: "Acme".into(),
            version: "1".into(),
            publisher: String::new(),
            evidence: Evidence::default(),
        };
        Inventory { packages: vec![package], products: vec![product], ..Inventory::default() }
    }

    fn check(system: System, policy: &str, now: u64, expected: (Decision, &[(&str, Action)])) {
        let rules = Rules::new([7; 32], HashList::default()).with_system(system);
        let document = Document::parse(policy).expect("policy");
        let policy = Effective::merge(&document, &document);
        for site in [Site::Source, Site::Destination] {
            let report = rules.judge_system(&inventory(), &[], &policy, site, now);
            let found: Vec<(&str, Action)> =
                report.findings.iter().map(|one| (one.detector.as_str(), one.action)).collect();
            assert_eq!((report.decision, found.as_slice()), expected);
            assert!(report.findings.iter().all(|finding| finding.site == site));
        }
    }

    #[test]
    fn the_default_refuses_what_is_exploited_and_warns_of_the_rest() {
        let default = airlock_policy::DEFAULT_YAML;
        let with = |exploited| System::default().with_feeds(feeds(exploited));
        check(System::default(), default, NOW, (Decision::Allow, &[]));
        check(with(false), default, NOW, (Decision::Warn, &[("advisory", Action::Warn)]));
        check(with(true), default, NOW, (Decision::Terminate, &[("exploited", Action::Hold)]));
        let text = "entitlements: []";
        let none = System::default().with_entitlements(Entitlements::parse(text).unwrap(), text);
        check(none, default, NOW, (Decision::Warn, &[("no_entitlement", Action::Warn)]));
    }

    #[test]
    fn stale_feeds_are_told_and_a_policy_may_refuse_them() {
        let late = NOW + FEED_DAYS_MAX * 86_400 + 1;
        let with = || System::default().with_feeds(feeds(false));
        let both = [("advisory", Action::Warn), ("stale_feed", Action::Warn)];
        check(with(), airlock_policy::DEFAULT_YAML, late, (Decision::Warn, &both));
        let strict = "rules:\n  - {check: vulnerability, detectors: [stale_feed], scope: file, action: hold}";
        let strict = airlock_policy::DEFAULT_YAML.replacen("rules:", strict, 1);
        let held = [("advisory", Action::Warn), ("stale_feed", Action::Hold)];
        check(with(), &strict, late, (Decision::Terminate, &held));
        check(with(), &strict, NOW, (Decision::Warn, &both[..1]));
    }

    #[test]
    fn what_is_compared_with_is_in_the_digest_and_not_in_that_of_contents() {
        let rules = |system: System| Rules::new([7; 32], HashList::default()).with_system(system);
        let (none, some) = (rules(System::default()), rules(System::default().with_feeds(feeds(false))));
        let other = rules(System::default().with_feeds(feeds(true)));
        assert!(none.digest() != some.digest() && some.digest() != other.digest());
        assert_eq!(none.content_digest(), some.content_digest());
    }
}
