//! Private keys in armoured text: PEM (RFC 7468), `OpenSSH` and `OpenPGP`.

use crate::detectors::rule::load;
use airlock_inspect::{Armor, Detector, Hit, Literal, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// What every head line starts with.
const HEAD: Literal = Literal::new(b"-----BEGIN ").wide();

/// What the rule holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyData {
    /// Labels between `-----BEGIN ` and `-----`.
    pub labels: Vec<String>,
}

/// Finds private keys.
#[derive(Debug)]
pub struct PrivateKey {
    check: Check,
    severity: Severity,
    labels: Vec<String>,
}

impl Default for PrivateKey {
    fn default() -> Self {
        Self::new()
    }
}

impl PrivateKey {
    /// Reads the rule.
    pub fn new() -> Self {
        let rule = load::<KeyData>("secrets/private_key");
        Self { check: rule.check, severity: rule.severity, labels: rule.data.labels }
    }
}

impl Detector for PrivateKey {
    fn name(&self) -> &'static str {
        "private_key"
    }

    fn check(&self) -> Check {
        self.check
    }

    fn severity(&self) -> Severity {
        self.severity
    }

    fn literals(&self) -> &[Literal] {
        const { &[HEAD] }
    }

    fn verify_literal(&self, _: usize, window: &Window<'_>) -> Option<Hit> {
        let text = window.after.strip_prefix(b"-----BEGIN ")?;
        let fits = |label: &&String| {
            text.strip_prefix(label.as_bytes()).is_some_and(|rest| rest.starts_with(b"-----"))
        };
        let label = self.labels.iter().find(fits)?;
        Some(Hit::Armor(Armor {
            head_length: "-----BEGIN -----".len() + label.len(),
            whole: Confidence::percent(95),
            cut: Confidence::percent(80),
            stub: Confidence::percent(30),
            display: format!("private_key {}", label.to_ascii_lowercase()),
        }))
    }
}
