//! Dead Simple Signing Envelope with Ed25519.

use crate::statement::{PREDICATE_TYPE, STATEMENT_TYPE, Statement};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Most bytes in an evidence file; a statement lists a bounded number of findings and holes.
const EVIDENCE_BYTES_MAX: usize = 256 << 20;

/// The signing key of a site.
pub struct SiteKey(SigningKey);

impl SiteKey {
    /// Makes the key from its 32-byte seed.
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs the payload of an envelope.
    pub fn sign(&self, payload: &[u8]) -> Signature {
        self.sign_as(PAYLOAD_TYPE, payload)
    }

    fn sign_as(&self, payload_type: &str, payload: &[u8]) -> Signature {
        let bytes = self.0.sign(&pre_authentication(payload_type, payload)).to_bytes();
        Signature { keyid: self.public().keyid(), sig: STANDARD.encode(bytes) }
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteKey({})", self.public())
    }
}

/// The public key of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Returns the id that envelopes name the key by: SHA-256 of its 32 bytes.
    pub fn keyid(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }

    /// Checks a signature over an envelope's payload.
    pub fn verify(&self, payload: &[u8], signature: &Signature) -> bool {
        self.verify_as(PAYLOAD_TYPE, payload, signature)
    }

    fn verify_as(&self, payload_type: &str, payload: &[u8], signature: &Signature) -> bool {
        let check = || {
            let bytes = STANDARD.decode(&signature.sig).ok()?;
            let signature = ed25519_dalek::Signature::from_slice(&bytes).ok()?;
            let key = VerifyingKey::from_bytes(&self.0).ok()?;
            key.verify_strict(&pre_authentication(payload_type, payload), &signature).ok()
        };
        signature.keyid == self.keyid() && check().is_some()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Which key; see [`PublicKey::keyid`].
    pub keyid: String,
    /// The 64 bytes in base64.
    pub sig: String,
}

/// The envelope that is written to an evidence file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    /// The source's signature, then the destination's.
    pub signatures: Vec<Signature>,
}

impl Envelope {
    /// Puts signed payload bytes into an envelope.
    pub fn new(payload: &[u8], signatures: Vec<Signature>) -> Self {
        Self { payload_type: PAYLOAD_TYPE.into(), payload: STANDARD.encode(payload), signatures }
    }

    /// Returns the bytes of the evidence file: one canonical form, one line.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("an envelope is plain data");
        bytes.push(b'\n');
        bytes
    }
}

/// Puts a payload of any type into an envelope with one signature. Returns its bytes.
pub fn seal(key: &SiteKey, payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let envelope = Envelope {
        payload_type: payload_type.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![key.sign_as(payload_type, payload)],
    };
    envelope.to_bytes()
}

/// Decodes a payload that nobody has verified, to look into what it claims.
pub fn decode_payload(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Returns the payload of an envelope that [`seal`] made, if it is of that type, has that key's signature and no
/// other, and is in canonical form.
pub fn unseal(bytes: &[u8], payload_type: &str, key: &PublicKey) -> Result<Vec<u8>, Failure> {
    let envelope: Envelope =
        serde_json::from_slice(bytes).map_err(|error| Failure::Envelope(error.to_string()))?;
    if envelope.payload_type != payload_type {
        return Err(Failure::Envelope(format!("payload type {:?}", envelope.payload_type)));
    }
    let canonical = envelope.to_bytes();
    if canonical != bytes {
        let at = canonical.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        return Err(Failure::NotCanonical(at));
    }
    let payload = STANDARD.decode(&envelope.payload).map_err(|error| Failure::Envelope(error.to_string()))?;
    match envelope.signatures.as_slice() {
        [one] if key.verify_as(payload_type, &payload, one) => Ok(payload),
        _ => Err(Failure::Publisher { key: key.to_string() }),
    }
}

/// Why evidence does not hold. Each names what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The file is no envelope.
    #[error("evidence is not a DSSE envelope: {0}")]
    Envelope(String),
    /// The file means the same as a canonical envelope, byte for byte it is not one.
    #[error("evidence was altered: byte {0} differs from the canonical form")]
    NotCanonical(usize),
    /// The payload is not a statement of ours.
    #[error("evidence payload is not a transfer statement: {0}")]
    Statement(String),
    /// There are not exactly two signatures.
    #[error("evidence needs the signatures of both sites, found {0}")]
    SignatureCount(usize),
    /// A signature does not fit.
    #[error("the {site} signature does not fit the statement and key {key}")]
    Signature {
        /// `source` or `destination`.
        site: &'static str,
        /// The key that the statement names.
        key: String,
    },
    /// An envelope with one signature does not have that of the key.
    #[error("there is no valid signature by the key {key}")]
    Publisher {
        /// The key that was expected.
        key: String,
    },
    /// The key is not the one that the verifier trusts.
    #[error("the {site} key is {found}, expected {expected}")]
    Key {
        /// `source` or `destination`.
        site: &'static str,
        /// The key that the statement names.
        found: String,
        /// The pinned key.
        expected: String,
    },
    /// The statement contradicts itself.
    #[error("the statement contradicts itself: {0}")]
    Contradiction(String),
}

/// Verifies an evidence file: both signatures, canonical form, and that the statement
/// does not contradict itself. Keys given in `pins` (source, destination) must be the ones used.
pub fn verify(file: &[u8], pins: [Option<PublicKey>; 2]) -> Result<Statement, Failure> {
    if file.len() > EVIDENCE_BYTES_MAX {
        return Err(Failure::Envelope(format!("it has {} bytes", file.len())));
    }
    let envelope: Envelope =
        serde_json::from_slice(file).map_err(|error| Failure::Envelope(error.to_string()))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(Failure::Envelope(format!("payload type {:?}", envelope.payload_type)));
    }
    let canonical = envelope.to_bytes();
    if canonical != file {
        let at = canonical.iter().zip(file).take_while(|(a, b)| a == b).count();
        return Err(Failure::NotCanonical(at));
    }
    let payload = STANDARD.decode(&envelope.payload).map_err(|error| Failure::Envelope(error.to_string()))?;
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(|error| Failure::Statement(error.to_string()))?;
    let [source, destination] = envelope.signatures.as_slice() else {
        return Err(Failure::SignatureCount(envelope.signatures.len()));
    };
    let sites = &statement.predicate.sites;
    let [source_pin, destination_pin] = pins;
    check_site("source", &sites.source, source, &payload, source_pin)?;
    check_site("destination", &sites.destination, destination, &payload, destination_pin)?;
    contradictions(&statement).map_err(Failure::Contradiction)?;
    Ok(statement)
}

fn check_site(
    site: &'static str,
    key: &str,
    signature: &Signature,
    payload: &[u8],
    pin: Option<PublicKey>,
) -> Result<(), Failure> {
    let public = PublicKey::parse(key).filter(|public| public.verify(payload, signature));
    let public = public.ok_or_else(|| Failure::Signature { site, key: key.into() })?;
    match pin {
        Some(pin) if pin != public => {
            Err(Failure::Key { site, found: public.to_string(), expected: pin.to_string() })
        }
        _ => Ok(()),
    }
}

/// Says where a statement contradicts itself, whoever has signed it.
pub fn contradictions(statement: &Statement) -> Result<(), String> {
    let fail = Err::<(), String>;
    if statement.statement_type != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
        return fail("it is of another type".into());
    }
    let predicate = &statement.predicate;
    for disk in &predicate.disks {
        let id = &disk.id;
        if disk.source_coverage.total != disk.virtual_size {
            return fail(format!("coverage of {id} is of {} bytes", disk.source_coverage.total));
        }
        for coverage in [&disk.source_coverage, &disk.destination_coverage] {
            if let Err(text) = airlock_model::invariant::coverage_sums(coverage) {
                return fail(format!("{id}: {text}"));
            }
        }
        let kept = predicate.transfer.state.starts_with("active");
        if kept && disk.source_root != disk.kept_root && disk.holes.is_empty() {
            return fail(format!("{id}: the roots differ and no hole explains it"));
        }
        let mut at = 0;
        for hole in &disk.holes {
            if hole.extent.offset < at || hole.extent.end() > disk.virtual_size {
                return fail(format!("{id}: hole at {:#x} overlaps or lies outside", hole.extent.offset));
            }
            at = hole.extent.end();
        }
    }
    Ok(())
}

/// `DSSEv1 SP len(type) SP type SP len(body) SP body`.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Findings, Policies, Predicate, Rules, Sites, Transfer};
    use airlock_model::Decision;
    use airlock_policy::OnFail;

    fn key(seed: u8) -> SiteKey {
        SiteKey::from_seed(&Zeroizing::new([seed; 32]))
    }

    fn statement() -> Statement {
        Statement {
            statement_type: STATEMENT_TYPE.into(),
            subject: vec![],
            predicate_type: PREDICATE_TYPE.into(),
            predicate: Predicate {
                transfer: Transfer {
                    id: "00".into(),
                    vm: "erp".into(),
                    vdc: "default".into(),
                    state: "active".into(),
                    reason: None,
                    decision: Decision::Allow,
                    decided_at: 1,
                },
                sites: Sites {
                    source: key(1).public().to_string(),
                    destination: key(2).public().to_string(),
                },
                policies: Policies {
                    source: "a".into(),
                    destination: "b".into(),
                    effective: "c".into(),
                    on_fail: OnFail::Terminate,
                },
                rules: Rules { source: "d".into(), destination: "d".into() },
                disks: vec![],
                replays: vec![],
                findings: Findings { counts: [].into(), listed: vec![] },
            },
        }
    }

    fn signed() -> Vec<u8> {
        let payload = serde_json::to_vec(&statement()).unwrap();
        Envelope::new(&payload, vec![key(1).sign(&payload), key(2).sign(&payload)]).to_bytes()
    }

    #[test]
    fn both_signatures_verify() {
        assert_eq!(verify(&signed(), [None, None]), Ok(statement()));
        assert_eq!(verify(&signed(), [Some(key(1).public()), Some(key(2).public())]), Ok(statement()));
        let wrong = verify(&signed(), [Some(key(3).public()), None]);
        assert!(matches!(wrong, Err(Failure::Key { site: "source", .. })));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let file = signed();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[at] ^= 1 << bit;
                assert!(verify(&flipped, [None, None]).is_err(), "byte {at} bit {bit}");
            }
        }
        for length in 0..file.len() {
            assert!(verify(&file[..length], [None, None]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn one_site_cannot_sign_for_both() {
        let payload = serde_json::to_vec(&statement()).unwrap();
        let forged = Envelope::new(&payload, vec![key(2).sign(&payload), key(2).sign(&payload)]);
        let failure = verify(&forged.to_bytes(), [None, None]).unwrap_err();
        assert!(matches!(failure, Failure::Signature { site: "source", .. }), "{failure}");
        let alone = Envelope::new(&payload, vec![key(1).sign(&payload)]);
        assert_eq!(verify(&alone.to_bytes(), [None, None]), Err(Failure::SignatureCount(1)));
    }

    #[test]
    fn pre_authentication_is_as_in_the_specification() {
        // The example of the DSSE specification, section "Protocol".
        assert_eq!(
            pre_authentication("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
