//! The detectors that come with the product, and their rules.
//!
//! A rule is a file under `rules/`: what is looked for, the tables that the detector
//! needs, words that raise or lower the confidence, and examples that the tests run.

pub mod context;
pub mod rule;
#[cfg(test)]
mod tests;

use airlock_inspect::Detector;

/// Changes whenever the code of the engine or of a detector changes what is found.
pub const ENGINE_VERSION: &str = "airlock.detectors/1";

/// Every rule file: its name and its text.
pub const RULES: &[(&str, &str)] = &[
    ("financial/pan", include_str!("../../../rules/financial/pan.yaml")),
    ("financial/track1", include_str!("../../../rules/financial/track1.yaml")),
    ("financial/track2", include_str!("../../../rules/financial/track2.yaml")),
    ("financial/iban", include_str!("../../../rules/financial/iban.yaml")),
    ("regulated/us_ssn", include_str!("../../../rules/regulated/us_ssn.yaml")),
    ("regulated/us_itin", include_str!("../../../rules/regulated/us_itin.yaml")),
    ("secrets/private_key", include_str!("../../../rules/secrets/private_key.yaml")),
    ("malware/eicar", include_str!("../../../rules/malware/eicar.yaml")),
];

/// Reads the rule of a detector and makes it.
type Make = fn() -> Box<dyn Detector>;

/// Returns the detectors whose names `wanted` accepts.
///
/// The order matters where two could claim one value: the first that claims it has it.
pub fn builtin(wanted: impl Fn(&str) -> bool) -> Vec<Box<dyn Detector>> {
    let all: [(&str, Make); 8] = [
        ("track1", || Box::new(crate::financial::Track1::new())),
        ("track2", || Box::new(crate::financial::Track2::new())),
        ("pan", || Box::new(crate::financial::Pan::new())),
        ("iban", || Box::new(crate::financial::Iban::new())),
        ("us_ssn", || Box::new(crate::regulated::UsSsn::new())),
        ("us_itin", || Box::new(crate::regulated::UsItin::new())),
        ("private_key", || Box::new(crate::secrets::PrivateKey::new())),
        ("eicar", || Box::new(crate::malware::Eicar::new())),
    ];
    all.into_iter().filter(|(name, _)| wanted(name)).map(|(_, make)| make()).collect()
}

/// Returns what identifies the rules: BLAKE3 of [`ENGINE_VERSION`] and every rule file.
/// Verdicts may be remembered as long as it stays the same.
pub fn rules_digest() -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(ENGINE_VERSION.as_bytes());
    for (name, text) in RULES {
        for part in [name, text] {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().into()
}
