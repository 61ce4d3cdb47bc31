//! Private keys in armoured text, PEM (RFC 7468), `OpenSSH` and `OpenPGP`, of `PuTTY`, and
//! in DER.

use crate::detectors::rule::load;
use airlock_inspect::{Armor, Detector, Hit, Literal, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// What every head line starts with.
const HEAD: Literal = Literal::new(b"-----BEGIN ").wide();

/// What a key of `PuTTY` starts with.
const PUTTY: Literal = Literal::new(b"PuTTY-User-Key-File-").wide();

/// The end of an algorithm (RSA, RFC 8017 appendix A.1) and the beginning of an octet
/// string: PKCS#8 (RFC 5208) in DER.
const PKCS8_RSA: Literal = Literal::new(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04\x82");

/// Version 3 and the beginning of a sequence: PKCS#12 (RFC 7292) in DER.
const PKCS12: Literal = Literal::new(b"\x02\x01\x03\x30\x82");

/// The content type `data` (RFC 5652, section 4).
const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";

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
        const { &[HEAD, PUTTY, PKCS8_RSA, PKCS12] }
    }

    fn verify_literal(&self, which: usize, window: &Window<'_>) -> Option<Hit> {
        if which > 0 {
            return binary(which, window);
        }
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

/// A key of `PuTTY`, or one in DER. A window does not reach the end of it; the finding
/// is about its beginning.
fn binary(which: usize, window: &Window<'_>) -> Option<Hit> {
    let (first, length, display) = match which {
        1 => {
            let version = matches!(window.after.get(20..22)?, [b'1'..=b'9', b':']);
            let whole = memchr::memmem::find(window.after, b"Public-Lines:").is_some();
            (version && whole).then_some((0, window.after.len(), "private_key putty"))?
        }
        2 => {
            // SEQUENCE, version 0, SEQUENCE, OBJECT IDENTIFIER; then the key's own SEQUENCE.
            let head = window.before.last_chunk::<11>()?;
            let framed = head[..2] == [0x30, 0x82] && head[4..] == [2, 1, 0, 0x30, 13, 6, 9];
            let key = window.after.get(15..17)? == [0x30, 0x82];
            (framed && key).then_some((-11, 28, "private_key pkcs8"))?
        }
        _ => {
            let head = window.before.last_chunk::<4>()?;
            let framed = head[..2] == [0x30, 0x82];
            let data = window.after.get(7..18)? == DATA;
            (framed && data).then_some((-4, 22, "private_key pkcs12"))?
        }
    };
    let start = window.after(0, 512);
    Some(Hit::Value(Value {
        first,
        length,
        confidence: Confidence::percent(90),
        normal: Normal::of(start),
        display: display.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::PrivateKey;
    use airlock_inspect::{Engine, EngineConfig};

    fn check(bytes: &[u8], expected: Option<&str>) {
        let engine =
            Engine::new(vec![Box::new(PrivateKey::new())], EngineConfig { fingerprint_key: [1; 32] });
        let mut found = Vec::new();
        let mut scanner = engine.scanner();
        scanner.feed(&[b"some text before ", bytes, &[7; 600]].concat(), &mut found);
        scanner.finish(&mut found);
        let shown: Vec<_> = found.iter().map(|found| (found.offset, found.display.as_str())).collect();
        assert_eq!(shown, expected.map(|display| (17, display)).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn keys_in_der_are_known_by_their_beginning() {
        let pkcs8 = b"\x30\x82\x04\xbd\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04\x82\x04\xa7\x30\x82";
        check(pkcs8, Some("private_key pkcs8"));
        let pkcs12 =
            b"\x30\x82\x09\x61\x02\x01\x03\x30\x82\x09\x27\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\xa0";
        check(pkcs12, Some("private_key pkcs12"));
        // A certificate's key is public.
        check(&pkcs8[7..], None);
        check(&pkcs12[4..], None);
    }
}
