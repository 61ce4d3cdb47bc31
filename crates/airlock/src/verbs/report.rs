//! The parts of results that `scan` and `transfer` share.

use crate::failure::Code;
use crate::output;
use crate::stats;
use airlock_model::{Coverage, Decision, Finding, Reason};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// The head of every result.
#[derive(Debug, Serialize)]
pub(crate) struct ResultLine {
    /// The exit code.
    pub(crate) code: u8,
    /// What the policy decides.
    pub(crate) decision: Decision,
}

/// Coverage with every reason named, also those with no bytes.
#[derive(Debug, Serialize)]
pub(crate) struct CoverageJson {
    total: u64,
    cleared: u64,
    held: u64,
    hole: u64,
    known: u64,
    dropped: u64,
    unscannable: BTreeMap<&'static str, u64>,
}

impl From<&Coverage> for CoverageJson {
    fn from(coverage: &Coverage) -> Self {
        let bytes = |reason| coverage.unscannable.get(&reason).copied().unwrap_or(0);
        Self {
            total: coverage.total,
            cleared: coverage.cleared,
            held: coverage.held,
            hole: coverage.hole,
            known: coverage.known,
            dropped: coverage.dropped,
            unscannable: Reason::ALL.into_iter().map(|reason| (reason.name(), bytes(reason))).collect(),
        }
    }
}

/// Returns the first `limit` findings; 0 means all.
pub(crate) fn limited(findings: &[Finding], limit: usize) -> &[Finding] {
    if limit == 0 { findings } else { &findings[..limit.min(findings.len())] }
}

/// Returns the exit code for what a policy decided.
pub(crate) fn code_of(decision: Decision, incomplete: bool) -> Code {
    match decision {
        Decision::Terminate if incomplete => Code::Incomplete,
        Decision::Terminate => Code::Refused,
        Decision::Withhold => Code::Withheld,
        Decision::Allow | Decision::Warn => Code::Clean,
    }
}

/// Measures one run.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Returns what `stats` of every result ends with.
    pub(crate) fn usage(&self) -> Usage {
        Usage { seconds: self.seconds(), cpu_seconds: stats::cpu_seconds(), peak_rss: stats::peak_rss() }
    }
}

/// Time and memory.
#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss: Option<u64>,
}

/// Shows coverage to people: a bar, and every class that has bytes.
pub(crate) fn coverage_text(coverage: &Coverage, out: &mut String) {
    const WIDTH: u64 = 60;
    let mut classes = vec![
        ('.', "cleared", coverage.cleared),
        ('x', "held", coverage.held),
        (' ', "hole", coverage.hole),
        ('=', "known", coverage.known),
        ('-', "dropped", coverage.dropped),
    ];
    for (reason, bytes) in &coverage.unscannable {
        classes.push(('?', reason.name(), *bytes));
    }
    let mut bar = String::new();
    for (glyph, _, bytes) in &classes {
        let share = u128::from(*bytes) * u128::from(WIDTH) / u128::from(coverage.total.max(1));
        let cells = usize::try_from(share).unwrap_or(0).max(usize::from(*bytes > 0));
        bar.extend(std::iter::repeat_n(*glyph, cells));
    }
    out.push_str(&format!("\nCoverage of {}  [{bar}]\n", output::bytes(coverage.total)));
    for (glyph, name, bytes) in classes.into_iter().filter(|(_, _, bytes)| *bytes > 0) {
        let prefix = if glyph == '?' { "unscannable: " } else { "" };
        out.push_str(&format!("  {glyph} {prefix}{name:<12} {bytes:>16} bytes\n"));
    }
    let sum = coverage.sum();
    let verdict = if sum == coverage.total { "every byte is in one class" } else { "DOES NOT SUM" };
    out.push_str(&format!("  = {:<12} {sum:>16} bytes: {verdict}\n", "sum"));
}

/// Says how a run ended.
pub(crate) fn decision_text(decision: Decision, incomplete: bool) -> &'static str {
    match decision {
        Decision::Allow => "passes: nothing to report",
        Decision::Warn => "passes, with warnings",
        Decision::Withhold => "passes without what is held (a transfer needs --on-fail withhold)",
        Decision::Terminate if incomplete => {
            "refused: parts could not be inspected, and the policy does not accept that"
        }
        Decision::Terminate => "refused by policy",
    }
}
