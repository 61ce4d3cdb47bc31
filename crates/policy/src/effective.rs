//! The policy of a transfer: the stricter of both sites' in every respect.
//!
//! A rule says "at this confidence and volume, do at least this". The union of two
//! sets of such rules therefore is exactly the stricter of both, and merging is a
//! union with the covered rules taken out: commutative, associative, idempotent and
//! never weaker than either side, which the property tests below hold it to.

use crate::document::{Containers, Document, FreeSpace, Release, Rule, Unscannable};
use crate::pattern::Pattern;
use airlock_model::Action;
use serde::{Deserialize, Serialize};
use std::fmt;

/// BLAKE3 of an effective policy's canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyDigest(pub [u8; 32]);

impl fmt::Display for PolicyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blake3:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for PolicyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a transfer runs under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    pub(crate) rules: Vec<Rule>,
    /// Those of either site: more is seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) unscannable: Unscannable,
    pub(crate) metadata: Action,
    pub(crate) free_space: FreeSpace,
    pub(crate) containers: Containers,
    pub(crate) release: Release,
}

impl Effective {
    /// Merges the documents of the two sites; the order does not matter.
    pub fn merge(one: &Document, other: &Document) -> Self {
        Self::of(one).meet(&Self::of(other))
    }

    fn of(document: &Document) -> Self {
        Self {
            rules: canonical(document.rules.clone()),
            patterns: sorted(document.patterns.clone()),
            unscannable: document.unscannable,
            metadata: document.metadata,
            free_space: document.free_space,
            containers: document.containers,
            release: document.release,
        }
    }

    fn meet(&self, other: &Self) -> Self {
        Self {
            rules: canonical(self.rules.iter().chain(&other.rules).cloned().collect()),
            patterns: sorted(self.patterns.iter().chain(&other.patterns).cloned().collect()),
            unscannable: self.unscannable.stricter(other.unscannable),
            metadata: self.metadata.max(other.metadata),
            free_space: self.free_space.max(other.free_space),
            containers: self.containers.max(other.containers),
            release: self.release.min(other.release),
        }
    }

    /// Returns the digest that both sites must agree on before any data is sent.
    pub fn digest(&self) -> PolicyDigest {
        let canonical = serde_json::to_vec(self).expect("a policy is plain data");
        let mut hasher = blake3::Hasher::new_derive_key("airlock 2026-11 effective policy v1");
        hasher.update(&canonical);
        PolicyDigest(*hasher.finalize().as_bytes())
    }

    /// Returns what is to be done with free space.
    pub fn free_space(&self) -> FreeSpace {
        self.free_space
    }

    /// Returns what is to be done with what lies inside of files.
    pub fn containers(&self) -> Containers {
        self.containers
    }

    /// Returns what is to be done about bytes that could not be inspected for what they are.
    pub fn unscannable(&self) -> &Unscannable {
        &self.unscannable
    }

    /// Returns what a held finding inside metadata means: hold or terminate.
    pub fn metadata(&self) -> Action {
        self.metadata
    }

    /// Returns what the sites look for beyond the built-in detectors, sorted, each once.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Returns the rules, sorted, none covered by another.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl Document {
    /// Returns the digest of this document alone, as it was read.
    pub fn digest(&self) -> PolicyDigest {
        let canonical = serde_json::to_vec(self).expect("a policy is plain data");
        let mut hasher = blake3::Hasher::new_derive_key("airlock 2026-11 policy document v1");
        hasher.update(&canonical);
        PolicyDigest(*hasher.finalize().as_bytes())
    }
}

/// Sorts patterns and takes out those that are there twice.
fn sorted(mut patterns: Vec<Pattern>) -> Vec<Pattern> {
    patterns.sort();
    patterns.dedup();
    patterns
}

/// Sorts rules and takes out those that another covers or that do nothing.
fn canonical(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.retain(|rule| rule.action > Action::Allow);
    for rule in &mut rules {
        if rule.action == Action::Warn {
            // A warning condemns nothing; one scope keeps equal warnings equal.
            rule.scope = rule.scope.min(crate::Scope::File);
        }
    }
    rules.sort();
    rules.dedup();
    let covered: Vec<bool> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            rules.iter().enumerate().any(|(at, other)| at != index && rule.is_covered_by(other))
        })
        .collect();
    let mut covered = covered.into_iter();
    rules.retain(|_| !covered.next().unwrap_or(false));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Object, Scope, Tally};
    use airlock_model::{Check, Confidence, Decision, Finding, Fingerprint, Severity, Site};
    use proptest::prelude::*;

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![Just(Action::Allow), Just(Action::Warn), Just(Action::Hold), Just(Action::Terminate)]
    }

    fn sites() -> impl Strategy<Value = std::collections::BTreeSet<Site>> {
        prop_oneof![
            Just([Site::Source].into()),
            Just([Site::Destination].into()),
            Just([Site::Source, Site::Destination].into())
        ]
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let detectors = proptest::option::of(proptest::collection::btree_set(
            prop_oneof![Just("pan".to_owned()), Just("iban".to_owned())],
            1..3,
        ));
        let check = prop_oneof![Just(Check::Financial), Just(Check::Secrets)];
        let scope = prop_oneof![Just(Scope::Blocks), Just(Scope::File), Just(Scope::Disk), Just(Scope::Vm)];
        (check, detectors, sites(), 0_u8..=100, 1_u32..4, scope, action()).prop_map(
            |(check, detectors, sites, percent, distinct, scope, action)| Rule {
                check,
                detectors,
                sites,
                confidence: Confidence::percent(percent),
                distinct,
                scope,
                action,
            },
        )
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        prop_oneof![Just("one"), Just("two"), Just("three")].prop_map(|word| {
            let yaml = format!("{{name: {word}, regex: '{word}', examples: [{word}]}}");
            serde_saphyr::from_str(&yaml).expect("it matches itself")
        })
    }

    fn document() -> impl Strategy<Value = Document> {
        let patterns = proptest::collection::vec(pattern(), 0..3);
        let rules = proptest::collection::vec(rule(), 0..6);
        (rules, patterns, action(), action(), any::<(bool, bool)>()).prop_map(
            |(rules, patterns, encrypted, limit, (drop, leave))| Document {
                rules,
                patterns,
                unscannable: Unscannable { encrypted, limit, ..Document::default().unscannable },
                free_space: if drop { FreeSpace::Drop } else { FreeSpace::Scan },
                containers: if leave { Containers::Leave } else { Containers::Open },
                ..Document::default()
            },
        )
    }

    fn finding() -> impl Strategy<Value = Finding> {
        let detector = prop_oneof![Just("pan"), Just("iban")];
        (detector, 0_u8..=100, any::<u8>(), 0_u64..10_000).prop_map(|(detector, percent, value, offset)| {
            Finding {
                check: Check::Financial,
                detector: detector.into(),
                confidence: Confidence::percent(percent),
                severity: Severity::High,
                action: Action::Allow,
                site: Site::Source,
                disk: "disk0".into(),
                trail: String::new(),
                place: "file".into(),
                path: None,
                offset,
                length: 16,
                disk_offset: Some(offset),
                deleted: false,
                fingerprint: Fingerprint([value; 32]),
                display: String::new(),
            }
        })
    }

    proptest! {
        #[test]
        fn merging_is_commutative_associative_and_idempotent(a in document(), b in document(), c in document()) {
            let (a, b, c) = (Effective::of(&a), Effective::of(&b), Effective::of(&c));
            prop_assert_eq!(a.meet(&b), b.meet(&a));
            prop_assert_eq!(a.meet(&b).meet(&c), a.meet(&b.meet(&c)));
            prop_assert_eq!(a.meet(&a), a.clone());
            prop_assert_eq!(a.meet(&b).digest(), b.meet(&a).digest());
            prop_assert!(a.patterns().iter().all(|pattern| a.meet(&b).patterns().contains(pattern)));
        }

        #[test]
        fn merging_is_never_weaker_than_either(
            a in document(), b in document(), findings in proptest::collection::vec(finding(), 0..6),
        ) {
            let object = Object::raw(512);
            let both = Effective::merge(&a, &b);
            let verdict = |policy: &Effective| {
                let judgement = policy.judge(Site::Source, &object, &mut findings.clone());
                let mut tally = Tally::new(policy, Site::Source);
                tally.add(&findings);
                let terminates = judgement.terminates() || tally.decision() == Decision::Terminate;
                (terminates, judgement.held().to_vec())
            };
            let (terminates, held) = verdict(&both);
            for one in [Effective::of(&a), Effective::of(&b)] {
                let (alone_terminates, alone_held) = verdict(&one);
                prop_assert!(terminates || !alone_terminates);
                for extent in alone_held {
                    prop_assert!(terminates || airlock_model::subtract(extent, &held).is_empty());
                }
            }
        }
    }
}
