//! Whether what is installed may run, and may move to this cloud.
//!
//! Entitlements are a document of the tenant, in the words of ISO/IEC 19770-3: which product, by
//! which metric, how many, until when, and whether the right moves to another site. A product is
//! matched by its name, whole or with `*` for any letters; nothing is guessed from similarity.
//!
//! ```
//! use airlock_licensing::{Date, Entitlements, Verdict, judge};
//! use airlock_inventory::Inventory;
//! let text = "entitlements:\n  - {product: 'Acme *', metric: install, quantity: 1, expires: 2027-01-01}\n";
//! let entitlements = Entitlements::parse(text).unwrap();
//! let verdicts = judge(&Inventory::default(), &[], &entitlements, Date::parse("2026-11-22").unwrap());
//! assert!(verdicts.is_empty());
//! ```
#![forbid(unsafe_code)]

use airlock_inventory::{Inventory, Product};
use serde::{Deserialize, Serialize};

const ACTIVATORS: &str = include_str!("../../../rules/licensing/activators.yaml");

/// Why entitlements cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The document is not what it should be.
    #[error("the entitlements cannot be read: {0}")]
    Document(String),
}

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// Reads `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let date = Self { year: year.parse().ok()?, month: month.parse().ok()?, day: day.parse().ok()? };
        let valid = parts.next().is_none() && (1..=12).contains(&date.month) && (1..=31).contains(&date.day);
        valid.then_some(date)
    }

    /// Returns the day of a time in seconds since 1970-01-01 UTC (H. Hinnant, "chrono-Compatible
    /// Low-Level Date Algorithms", `civil_from_days`).
    pub fn of_seconds(seconds: u64) -> Self {
        let days = seconds / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let narrow = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
        Self { year: u16::try_from(year).unwrap_or(u16::MAX), month: narrow(month), day: narrow(day) }
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// How use of a product is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Installations.
    Install,
    /// Processor cores.
    Core,
    /// Processor sockets.
    Socket,
    /// Named users.
    NamedUser,
    /// A subscription.
    Subscription,
    /// It costs nothing.
    Free,
}

/// The right to use a product.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entitlement {
    /// The name of the product; `*` stands for any letters.
    pub product: String,
    /// How use is counted.
    pub metric: Metric,
    /// How many; any number when left out.
    #[serde(default)]
    pub quantity: Option<u64>,
    /// The first day on which it is not valid any more, as `YYYY-MM-DD`.
    #[serde(default)]
    pub expires: Option<String>,
    /// Whether it may be used at another site; it may when left out.
    #[serde(default)]
    pub cloud: Option<bool>,
    /// Whatever the tenant wants to say.
    #[serde(default)]
    pub note: Option<String>,
}

/// A document of entitlements.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entitlements {
    /// The rights.
    pub entitlements: Vec<Entitlement>,
}

impl Entitlements {
    /// Reads a document, YAML or JSON. Unknown words and days that do not exist are errors.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document: Self =
            serde_saphyr::from_str(text).map_err(|error| Error::Document(error.to_string()))?;
        for one in &document.entitlements {
            if one.expires.as_deref().is_some_and(|date| Date::parse(date).is_none()) {
                return Err(Error::Document(format!("{:?} expires on no day that there is", one.product)));
            }
        }
        Ok(document)
    }
}

/// What entitlements say of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may run and move.
    Ok,
    /// Its use is counted by something that an image does not tell, such as users or cores.
    Unknown,
    /// The right does not move to another site.
    NotCloudEligible,
    /// More is installed than there are rights.
    OverDeployed,
    /// The right has expired.
    Expired,
    /// There is no right.
    NoEntitlement,
    /// It is a tool that makes products run without their licence.
    Activator,
}

impl Verdict {
    /// Returns its name in findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::NotCloudEligible => "not_cloud_eligible",
            Self::OverDeployed => "over_deployed",
            Self::Expired => "expired",
            Self::NoEntitlement => "no_entitlement",
            Self::Activator => "activator",
        }
    }
}

/// Returns the verdict on each product of an inventory, in its order. `elsewhere` names each product that is
/// installed on other VMs of the tenant, once for each time: they use up the same rights.
pub fn judge(
    inventory: &Inventory,
    elsewhere: &[String],
    entitlements: &Entitlements,
    today: Date,
) -> Vec<Verdict> {
    let activators = activators();
    let here = inventory.products.iter().map(|product| product.name.as_str());
    let installed: Vec<&str> = here.chain(elsewhere.iter().map(String::as_str)).collect();
    inventory
        .products
        .iter()
        .map(|product| verdict(product, &installed, entitlements, today, &activators))
        .collect()
}

fn verdict(
    product: &Product,
    installed: &[&str],
    entitlements: &Entitlements,
    today: Date,
    activators: &[String],
) -> Verdict {
    if is_activator(&product.name, activators) {
        return Verdict::Activator;
    }
    let rights = entitlements.entitlements.iter().filter(|one| matches(&one.product, &product.name));
    // The best right counts.
    rights.map(|right| by_right(right, installed, today)).min().unwrap_or(Verdict::NoEntitlement)
}

fn by_right(right: &Entitlement, installed: &[&str], today: Date) -> Verdict {
    let expired = right.expires.as_deref().and_then(Date::parse).is_some_and(|date| date <= today);
    let installed = installed.iter().filter(|name| matches(&right.product, name)).count() as u64;
    match right.metric {
        Metric::Free => Verdict::Ok,
        _ if right.quantity == Some(0) => Verdict::NoEntitlement,
        _ if expired => Verdict::Expired,
        _ if right.cloud == Some(false) => Verdict::NotCloudEligible,
        Metric::Install if right.quantity.is_some_and(|quantity| installed > quantity) => {
            Verdict::OverDeployed
        }
        Metric::Install | Metric::Subscription => Verdict::Ok,
        Metric::Core | Metric::Socket | Metric::NamedUser => Verdict::Unknown,
    }
}

/// Returns whether a name fits a pattern in which `*` stands for any letters, without case.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    activators: Vec<String>,
    #[expect(dead_code, reason = "for the tests")]
    examples: Vec<String>,
    #[expect(dead_code, reason = "for the tests")]
    counter_examples: Vec<String>,
}

fn activators() -> Vec<String> {
    serde_saphyr::from_str::<Rules>(ACTIVATORS).expect("tested").activators
}

fn is_activator(name: &str, activators: &[String]) -> bool {
    let bare: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    activators.iter().any(|word| bare.contains(word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_inventory::Evidence;

    fn product(name: &str) -> Product {
        Product {
            name: name.into(),
            version: "1".into(),
            publisher: String::new(),
            evidence: Evidence::default(),
        }
    }

    fn check(entitlement: &str, names: &[&str], expected: &[Verdict]) {
        let entitlements = Entitlements::parse(&format!("entitlements: [{entitlement}]")).unwrap();
        let products = names.iter().map(|name| product(name)).collect();
        let inventory = Inventory { products, ..Inventory::default() };
        let today = Date::parse("2026-11-22").unwrap();
        assert_eq!(judge(&inventory, &[], &entitlements, today), expected, "{entitlement}");
    }

    #[test]
    fn rights_are_judged_by_metric_quantity_day_and_site() {
        use Verdict::{Expired, NoEntitlement, NotCloudEligible, Ok, OverDeployed, Unknown};
        check("", &["Acme"], &[NoEntitlement]);
        check("{product: acme, metric: free}", &["Acme", "Acme 2"], &[Ok, NoEntitlement]);
        check("{product: 'Acme*', metric: install, quantity: 1}", &["Acme 1"], &[Ok]);
        check("{product: 'Acme*', metric: install, quantity: 1}", &["Acme 1", "Acme 2"], &[OverDeployed; 2]);
        check("{product: Acme, metric: core, quantity: 0}", &["Acme"], &[NoEntitlement]);
        check("{product: Acme, metric: core, quantity: 8}", &["Acme"], &[Unknown]);
        check("{product: Acme, metric: install, expires: 2026-11-22}", &["Acme"], &[Expired]);
        check("{product: Acme, metric: install, expires: 2026-11-23}", &["Acme"], &[Ok]);
        check("{product: Acme, metric: install, cloud: false}", &["Acme"], &[NotCloudEligible]);
        check("{product: A, metric: install, cloud: false}, {product: A, metric: free}", &["A"], &[Ok]);
    }

    #[test]
    fn what_other_vms_have_uses_up_the_same_rights() {
        let text = "entitlements: [{product: 'Acme*', metric: install, quantity: 2}]";
        let entitlements = Entitlements::parse(text).unwrap();
        let inventory = Inventory { products: vec![product("Acme 1")], ..Inventory::default() };
        let today = Date::parse("2026-11-22").unwrap();
        let mut elsewhere = vec!["Acme 2".to_owned(), "Other".to_owned()];
        assert_eq!(judge(&inventory, &elsewhere, &entitlements, today), [Verdict::Ok]);
        elsewhere.push("Acme 2".to_owned());
        assert_eq!(judge(&inventory, &elsewhere, &entitlements, today), [Verdict::OverDeployed]);
    }

    #[test]
    fn activators_are_named_as_data() {
        #[derive(Deserialize)]
        struct Rules {
            activators: Vec<String>,
            examples: Vec<String>,
            counter_examples: Vec<String>,
        }
        let rules: Rules = serde_saphyr::from_str(ACTIVATORS).unwrap();
        for name in &rules.examples {
            assert!(is_activator(name, &rules.activators), "{name}");
        }
        for name in &rules.counter_examples {
            assert!(!is_activator(name, &rules.activators), "{name}");
        }
        check("{product: '*', metric: free}", &["KMSpico 10.2"], &[Verdict::Activator]);
    }

    #[test]
    fn patterns_and_days_are_read() {
        for (pattern, name, expected) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b*c", "aXbYc", true),
            ("a*b", "a", false),
            ("ab", "abc", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert_eq!(Date::of_seconds(1_795_348_800), Date::parse("2026-11-22").unwrap());
        assert_eq!(Date::of_seconds(0), Date::parse("1970-01-01").unwrap());
        assert!(
            Entitlements::parse("entitlements: [{product: a, metric: free, expires: 2026-13-01}]").is_err()
        );
        assert!(Entitlements::parse("entitlements: [{product: a, metric: free, sum: 1}]").is_err());
    }
}
