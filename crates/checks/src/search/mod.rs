//! Everything that looks at the bytes of a stream: the engine with the built-in detectors, and what
//! a site's own policy and rulebooks add to it.
//!
//! ```text
//!              ┌─▶ engine: built-in detectors ──┐
//!  bytes ──────┼─▶ patterns of the policies ────┼─▶ Match
//!              ├─▶ lists of exact data ─────────┤
//!              └─▶ fingerprints of documents ───┘
//! ```
//!
//! What is found is a function of the bytes of a stream, whatever the pieces are in which they come.

mod patterns;

use crate::Rules;
use crate::exact::ExactScanner;
use crate::fingerprints::PrintsScanner;
use crate::malware::Watcher;
use airlock_inspect::{Engine, Match, Scanner, Signature};
use airlock_policy::Effective;
use patterns::{PatternScanner, Patterns};
use std::sync::Arc;

/// What is looked for in contents; shared by threads.
#[derive(Debug, Clone)]
pub(crate) struct Search<'r> {
    rules: &'r Rules,
    patterns: Arc<Patterns>,
}

impl<'r> Search<'r> {
    /// Puts together what rules and a policy ask for.
    pub(crate) fn new(rules: &'r Rules, policy: &Effective) -> Self {
        Self { rules, patterns: Arc::new(Patterns::new(policy.patterns())) }
    }

    /// Returns the rules.
    pub(crate) fn rules(&self) -> &'r Rules {
        self.rules
    }

    /// Returns a scanner for one stream after another.
    pub(crate) fn scanner(&self) -> Searcher<'_> {
        let engine = self.rules.engine();
        let patterns = (!self.patterns.is_empty()).then(|| self.patterns.scanner());
        let lists = self.rules.exact();
        let exact = (!lists.is_empty()).then(|| ExactScanner::new(lists));
        let sets = self.rules.prints();
        let prints = (!sets.is_empty()).then(|| PrintsScanner::new(sets));
        let watcher = Watcher::new(self.rules);
        Searcher { engine, scanner: engine.scanner(), patterns, exact, prints, watcher }
    }
}

/// Scans streams, one after another, piece by piece.
#[derive(Debug)]
pub(crate) struct Searcher<'c> {
    engine: &'c Engine,
    scanner: Scanner<'c>,
    patterns: Option<PatternScanner<'c>>,
    exact: Option<ExactScanner<'c>>,
    prints: Option<PrintsScanner<'c>>,
    /// Looks at files and members as a whole.
    pub(crate) watcher: Watcher<'c>,
}

impl Searcher<'_> {
    /// Begins a stream whose first byte is called `base` in matches. What was fed of an unfinished
    /// stream is forgotten.
    pub(crate) fn start(&mut self, base: u64) {
        self.scanner.start(base);
        if let Some(patterns) = &mut self.patterns {
            patterns.start(base);
        }
        if let Some(exact) = &mut self.exact {
            exact.start(base);
        }
        if let Some(prints) = &mut self.prints {
            prints.start(base);
        }
    }

    /// Takes the next bytes of the stream. What signatures were seen before is forgotten.
    pub(crate) fn feed(&mut self, piece: &[u8], out: &mut Vec<Match>) {
        drop(self.signatures());
        self.scanner.feed(piece, out);
        if let Some(patterns) = &mut self.patterns {
            patterns.feed(piece, self.engine, out);
        }
        if let Some(exact) = &mut self.exact {
            exact.feed(piece, self.engine, out);
        }
        if let Some(prints) = &mut self.prints {
            prints.feed(piece);
        }
    }

    /// Takes away where [`SIGNATURES`](airlock_decode::SIGNATURES) of containers were seen since the last call, in
    /// order.
    pub(crate) fn signatures(&mut self) -> impl Iterator<Item = Signature> + '_ {
        self.scanner.signatures()
    }

    /// Ends the stream. The next one starts at 0, unless [`Self::start`] says otherwise.
    pub(crate) fn finish(&mut self, out: &mut Vec<Match>) {
        drop(self.signatures());
        self.scanner.finish(out);
        if let Some(patterns) = &mut self.patterns {
            patterns.finish(self.engine, out);
        }
        if let Some(exact) = &mut self.exact {
            exact.finish(self.engine, out);
        }
        if let Some(prints) = &mut self.prints {
            prints.finish(self.engine, out);
        }
    }
}

/// Turns a distance within what is in memory into an index.
fn narrow(distance: u64) -> usize {
    usize::try_from(distance).expect("what is in memory is smaller than the address space")
}
