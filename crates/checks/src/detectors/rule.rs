//! The shape of a rule file.

use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A rule file; `data` is what its detector needs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule<D> {
    /// The name of the detector.
    pub detector: String,
    /// The check that it belongs to.
    pub check: Check,
    /// How bad it would be if a value left.
    pub severity: Severity,
    /// What is found, for people.
    pub description: String,
    /// Tables and words.
    pub data: D,
    /// Texts in which something must be found.
    pub examples: Vec<Example>,
    /// Texts that look alike.
    pub counter_examples: Vec<Example>,
}

/// A text, and how sure the detector has to be of what it finds there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The text. `{eicar}` and `{key}` stand for what no file may contain, and `{+}` for
    /// nothing: it breaks up what others would take for a token.
    pub text: String,
    /// The level of the surest match.
    pub confidence: Level,
    /// How many matches there are, if that is not one (or, for `none`, zero).
    #[serde(default)]
    pub count: Option<usize>,
    /// How the text is stored.
    #[serde(default)]
    pub encoding: Stored,
}

/// A level of confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is found.
    None,
    /// Found, but below medium.
    Low,
    /// From 0.50.
    Medium,
    /// From 0.80.
    High,
}

impl Level {
    /// Returns the level that `confidence` has.
    pub fn of(confidence: Confidence) -> Self {
        match confidence {
            high if high >= Confidence::HIGH => Self::High,
            medium if medium >= Confidence::MEDIUM => Self::Medium,
            _ => Self::Low,
        }
    }
}

/// How a text is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Stored {
    /// As it is.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// Two bytes a character, the low one first.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// Two bytes a character, the high one first.
    #[serde(rename = "utf-16be")]
    Utf16Be,
}

impl Stored {
    /// Returns `text` as it is stored.
    pub fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }
}

/// Reads the rule called `name`, which is compiled in.
///
/// # Panics
///
/// If the file does not hold what the detector expects, which the tests exclude.
pub fn load<D: DeserializeOwned>(name: &str) -> Rule<D> {
    let text = super::RULES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    match serde_saphyr::from_str(text.unwrap_or_default()) {
        Ok(rule) => rule,
        Err(error) => panic!("the rule {name} is broken: {error}"),
    }
}
