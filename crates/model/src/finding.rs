//! What a check found, without the value.

use crate::Action;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A compliance check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Payment cards, accounts, bank messages.
    Financial,
    /// Health records and identifiers.
    Health,
    /// Software that the tenant may not run there.
    Licensing,
    /// Malicious software.
    Malware,
    /// Software with known vulnerabilities.
    Vulnerability,
    /// Keys, tokens and passwords.
    Secrets,
    /// National identifiers and other regulated data.
    Regulated,
}

impl Check {
    /// Every check.
    pub const ALL: [Self; 7] = [
        Self::Financial,
        Self::Health,
        Self::Licensing,
        Self::Malware,
        Self::Vulnerability,
        Self::Secrets,
        Self::Regulated,
    ];

    /// Returns the name that reports and policies use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Financial => "financial",
            Self::Health => "health",
            Self::Licensing => "licensing",
            Self::Malware => "malware",
            Self::Vulnerability => "vulnerability",
            Self::Secrets => "secrets",
            Self::Regulated => "regulated",
        }
    }
}

/// How sure a detector is, from 0 to 1, in steps of a hundredth.
///
/// From 0.80 it is high: the value carries its own proof (check digit, issuer,
/// structure) and its surroundings agree. From 0.50 it is medium: its own proof
/// holds, its surroundings say nothing. Below, it is low.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Confidence(u8);

impl Confidence {
    /// High: from here on the default policy holds.
    pub const HIGH: Self = Self(80);
    /// Medium: from here on the default policy warns.
    pub const MEDIUM: Self = Self(50);

    /// Returns the confidence of `percent`, cut at 100.
    pub const fn percent(percent: u8) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// Returns the confidence in hundredths.
    pub const fn as_percent(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Confidence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 100.0)
    }
}

impl JsonSchema for Confidence {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Confidence".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "From 0.8 it is high, from 0.5 medium.",
            "type": "number", "minimum": 0, "maximum": 1,
        })
    }
}

impl<'de> Deserialize<'de> for Confidence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if !(0.0..=1.0).contains(&value) {
            return Err(serde::de::Error::custom("a confidence lies between 0 and 1"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 100, checked above"
        )]
        let percent = (value * 100.0).round() as u8;
        Ok(Self(percent))
    }
}

/// How bad it would be if the value left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A note.
    Low,
    /// Worth a look.
    Medium,
    /// Regulated data, usable secrets.
    High,
    /// Card data with track, malware.
    Critical,
}

/// Which site found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Site {
    /// The site that the VM leaves.
    Source,
    /// The site that the VM comes to.
    Destination,
}

/// `HMAC-SHA256(key, detector + 0x00 + normalised value)`, where the normalised
/// value is its digits and upper-case letters only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hmac-sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("hmac-sha256:").unwrap_or(&text);
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// Where a value was found, from the disk down to the byte in the innermost layer,
/// such as `disk0:p2:/srv/pay/2019.csv@81920`. Names in it are already escaped.
pub type Trail = String;

/// What a check found. The value itself is not in it and cannot be computed from it
/// without the fingerprint key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The check that the detector belongs to.
    pub check: Check,
    /// The detector, such as `pan`.
    pub detector: String,
    /// How sure the detector is.
    pub confidence: Confidence,
    /// How bad it would be.
    pub severity: Severity,
    /// What the effective policy says.
    pub action: Action,
    /// Who found it.
    pub site: Site,
    /// The disk or bundle file.
    pub disk: String,
    /// The whole way to the byte.
    pub trail: Trail,
    /// What the bytes are: `file`, `slack`, `free`, …
    pub place: String,
    /// Escaped path of the file, where a file owns the bytes.
    pub path: Option<String>,
    /// First byte within the file at `path`, or within the place.
    pub offset: u64,
    /// Number of bytes, in the stored encoding.
    pub length: u64,
    /// First byte on the disk, where the bytes lie on a disk.
    pub disk_offset: Option<u64>,
    /// Whether it lies in space that no file uses any more.
    pub deleted: bool,
    /// Tells equal values apart from different ones without showing them.
    pub fingerprint: Fingerprint,
    /// What may be shown: a brand and at most four digits.
    pub display: String,
}
