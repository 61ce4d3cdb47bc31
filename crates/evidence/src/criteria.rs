//! The policy of a site, signed by it, for the other site to read before anything is moved.

use crate::{Failure, PublicKey, SiteKey, seal, unseal};
use serde::{Deserialize, Serialize};

const PAYLOAD_TYPE: &str = "application/vnd.airlock.policy+json";

/// The policy that a site applies to one virtual data center.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPolicy {
    /// The virtual data center.
    pub vdc: String,
    /// When it was signed, in seconds since 1970-01-01 UTC.
    pub issued_at: u64,
    /// The policy.
    pub yaml: String,
}

impl SignedPolicy {
    /// Signs it. Returns a DSSE envelope.
    pub fn sign(&self, key: &SiteKey) -> Vec<u8> {
        seal(key, PAYLOAD_TYPE, &serde_json::to_vec(self).expect("plain data"))
    }

    /// Reads an envelope that `key` has signed.
    pub fn verify(envelope: &[u8], key: &PublicKey) -> Result<Self, Failure> {
        let payload = unseal(envelope, PAYLOAD_TYPE, key)?;
        serde_json::from_slice(&payload).map_err(|error| Failure::Envelope(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_of_the_site_that_signed_it() {
        let [ours, theirs] = [1, 2].map(|seed| SiteKey::from_seed(&[seed; 32].into()));
        let policy = SignedPolicy { vdc: "default".into(), issued_at: 5, yaml: "policy: airlock/1\n".into() };
        let envelope = policy.sign(&ours);
        assert_eq!(SignedPolicy::verify(&envelope, &ours.public()).unwrap(), policy);
        assert!(SignedPolicy::verify(&envelope, &theirs.public()).is_err());
        for at in (0..envelope.len()).step_by(7) {
            let mut changed = envelope.clone();
            changed[at] ^= 1;
            assert!(SignedPolicy::verify(&changed, &ours.public()).is_err(), "byte {at}");
        }
    }
}
