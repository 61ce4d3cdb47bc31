//! The policy of one site, as people write it.

use crate::pattern::{PATTERNS_MAX, Pattern};
use airlock_model::{Action, Check, Confidence, Reason, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The built-in policy with a comment on every line, as `airlock policy init` writes it.
pub const DEFAULT_YAML: &str = include_str!("default.yaml");

/// Most bytes in a policy document.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Most rules in a policy document.
pub(crate) const RULES_MAX: usize = 10_000;

/// What of a disk a finding condemns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The blocks that the match touches.
    Blocks,
    /// The whole file. In bytes that no file owns it means the blocks that the match touches.
    File,
    /// The whole disk.
    Disk,
    /// The whole VM.
    Vm,
}

/// What to do about findings of one check.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The check.
    pub check: Check,
    /// Its detectors that the rule is about; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub detectors: Option<BTreeSet<String>>,
    /// The sites that run it.
    #[serde(default = "both_sites", rename = "where")]
    #[schemars(length(min = 1))]
    pub sites: BTreeSet<Site>,
    /// Findings below this confidence do not count.
    #[serde(default)]
    pub confidence: Confidence,
    /// How many different values it takes within the scope.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub distinct: u32,
    /// What is condemned.
    pub scope: Scope,
    /// What is done.
    pub action: Action,
}

fn both_sites() -> BTreeSet<Site> {
    [Site::Source, Site::Destination].into()
}

fn one() -> u32 {
    1
}

impl Rule {
    /// Returns whether `other` says at least as much in every respect, so that `self` adds nothing.
    pub(crate) fn is_covered_by(&self, other: &Self) -> bool {
        let detectors = match (&self.detectors, &other.detectors) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => mine.is_subset(theirs),
        };
        detectors
            && self.check == other.check
            && self.sites.is_subset(&other.sites)
            && self.confidence >= other.confidence
            && self.distinct >= other.distinct
            && self.scope <= other.scope
            && self.action <= other.action
    }
}

/// What to do about bytes that could not be inspected for what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unscannable {
    /// Only ciphertext was seen.
    pub encrypted: Action,
    /// The source could not be read.
    pub unreadable: Action,
    /// A budget was used up.
    pub limit: Action,
    /// An unknown file system, inspected as raw bytes.
    pub unsupported: Action,
}

impl Unscannable {
    /// Returns what to do about bytes that were not inspected for `reason`.
    pub const fn action(&self, reason: Reason) -> Action {
        match reason {
            Reason::Encrypted => self.encrypted,
            Reason::Unreadable => self.unreadable,
            Reason::Limit => self.limit,
            Reason::Unsupported => self.unsupported,
        }
    }

    pub(crate) fn stricter(self, other: Self) -> Self {
        Self {
            encrypted: self.encrypted.max(other.encrypted),
            unreadable: self.unreadable.max(other.unreadable),
            limit: self.limit.max(other.limit),
            unsupported: self.unsupported.max(other.unsupported),
        }
    }
}

/// What to do with space that no file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FreeSpace {
    /// Inspect and send it.
    Scan,
    /// Do not send it; the target reads zeros. The stricter of the two: nothing of it is kept.
    Drop,
}

/// What to do with what lies inside of files: archives, documents, mails, databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Containers {
    /// Inspect such files as they are stored, and count them as `unscannable: unsupported`.
    Leave,
    /// Open and inspect it. The stricter of the two: more is seen.
    #[default]
    Open,
}

/// When a file's bytes may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Release {
    /// After all of the file was judged.
    Judged,
}

/// What whoever runs a transfer wants done when something is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFail {
    /// Go on without it.
    Withhold,
    /// Stop and discard everything.
    #[default]
    Terminate,
}

/// The policy of one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "A policy of Airlock")]
pub struct Document {
    /// The version of the format: `airlock/1`.
    #[schemars(extend("const" = "airlock/1"))]
    pub policy: String,
    /// What reports call it.
    pub name: String,
    /// What to do about findings.
    #[schemars(length(max = RULES_MAX))]
    pub rules: Vec<Rule>,
    /// What this site looks for beyond the built-in detectors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = PATTERNS_MAX))]
    pub patterns: Vec<Pattern>,
    /// What to do about what could not be inspected.
    pub unscannable: Unscannable,
    /// What a held finding inside metadata means: `hold` or `terminate`.
    #[schemars(extend("enum" = ["hold", "terminate"]))]
    pub metadata: Action,
    /// What to do with free space.
    pub free_space: FreeSpace,
    /// What to do with what lies inside of files; it is opened when left out.
    #[serde(default)]
    pub containers: Containers,
    /// When a file may be sent.
    pub release: Release,
}

/// Why a document is not a policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is larger than any policy should be.
    #[error("policy has {0} bytes, over the limit of {DOCUMENT_BYTES_MAX}")]
    TooLarge(usize),
    /// It is no YAML, or has words or values that the format does not know.
    #[error("policy is not valid: {0}")]
    Syntax(String),
    /// It is well-formed and means nothing sensible.
    #[error("policy is not valid: {0}")]
    Meaning(String),
}

impl Document {
    /// Returns the JSON Schema (2020-12) of such documents, made from these types.
    pub fn schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }

    /// Reads a document.
    pub fn parse(yaml: &str) -> Result<Self, Error> {
        if yaml.len() > DOCUMENT_BYTES_MAX {
            return Err(Error::TooLarge(yaml.len()));
        }
        let document: Self =
            serde_saphyr::from_str(yaml).map_err(|error| Error::Syntax(error.to_string()))?;
        document.validate()?;
        Ok(document)
    }

    fn validate(&self) -> Result<(), Error> {
        let fail = |text: String| Err(Error::Meaning(text));
        if self.policy != "airlock/1" {
            return fail(format!("policy: expected airlock/1, found {:?}", self.policy));
        }
        if self.rules.len() > RULES_MAX {
            return fail(format!("rules: {} of them, over the limit of {RULES_MAX}", self.rules.len()));
        }
        if self.patterns.len() > PATTERNS_MAX {
            let count = self.patterns.len();
            return fail(format!("patterns: {count} of them, over the limit of {PATTERNS_MAX}"));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.patterns.iter().find(|pattern| !names.insert(&pattern.text().name)) {
            return fail(format!("patterns: two of them are called {:?}", twice.text().name));
        }
        if !matches!(self.metadata, Action::Hold | Action::Terminate) {
            return fail(format!("metadata: expected hold or terminate, found {}", self.metadata.name()));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let number = index + 1;
            if rule.distinct == 0 {
                return fail(format!("rule {number}: distinct must be at least 1"));
            }
            if rule.sites.is_empty() {
                return fail(format!("rule {number}: where names no site, so nobody would run it"));
            }
            if rule.detectors.as_ref().is_some_and(BTreeSet::is_empty) {
                return fail(format!("rule {number}: detectors is empty, so it would never apply"));
            }
        }
        Ok(())
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::parse(DEFAULT_YAML).expect("the built-in policy is valid, a test says so")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policy_is_valid() {
        let document = Document::default();
        assert_eq!(document.name, "default");
        assert_eq!(document.unscannable.action(Reason::Encrypted), Action::Terminate);
        assert_eq!(document.rules.len(), 12);
    }

    fn check_refused(change: (&str, &str), expected: &str) {
        let yaml = DEFAULT_YAML.replacen(change.0, change.1, 1);
        assert_ne!(yaml, DEFAULT_YAML, "the change applies");
        let message = Document::parse(&yaml).expect_err("must be refused").to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn mistakes_are_refused_with_their_reason() {
        check_refused(("release: judged", "release: judged\nrelaese: x"), "relaese");
        check_refused(("action: hold", "action: hodl"), "hodl");
        check_refused(("policy: airlock/1", "policy: airlock/9"), "airlock/1");
        check_refused(("confidence: 0.8", "confidence: 80"), "between 0 and 1");
        check_refused(("metadata: terminate", "metadata: warn"), "hold or terminate");
        check_refused(("confidence: 0.8", "distinct: 0"), "at least 1");
        check_refused(("confidence: 0.8", "where: []"), "nobody would run it");
    }

    #[test]
    fn bombs_are_refused() {
        assert!(matches!(Document::parse(&"a".repeat(2 << 20)), Err(Error::TooLarge(_))));
        let nested = "[".repeat(100_000);
        assert!(Document::parse(&nested).is_err());
        let mut aliases = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for level in 0..12 {
            let (from, to) = (char::from(b'a' + level), char::from(b'b' + level));
            let nine = vec![format!("*{from}"); 9].join(",");
            aliases = format!("{aliases}{to}: &{to} [{nine}]\n");
        }
        assert!(Document::parse(&aliases).is_err());
    }
}
