//! What is to be done, in order of strictness.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a policy says is to be done about a finding, from the mildest to the strictest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing; the finding is not reported.
    #[default]
    Allow,
    /// Report it and go on.
    Warn,
    /// Keep none of the scope that the rule names. Whoever runs the transfer chooses
    /// whether the rest goes on or everything is discarded.
    Hold,
    /// Discard everything.
    Terminate,
}

impl Action {
    /// Returns the name that reports and policies use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Hold => "hold",
            Self::Terminate => "terminate",
        }
    }
}

/// What became of a whole bundle, from the mildest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Nothing to report.
    #[default]
    Allow,
    /// Everything passes, with warnings.
    Warn,
    /// Passes without what is held.
    Withhold,
    /// Refused as a whole.
    Terminate,
}
