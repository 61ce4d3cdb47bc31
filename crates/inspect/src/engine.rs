//! The engine: detectors, and what stage 1 has to look for on their behalf.

use crate::anchor::Anchor;
use crate::detector::{Detector, Hit};
use crate::fingerprint::FingerprintBuilder;
use crate::grams::Grams;
use crate::literal::Literal;
use crate::scanner::Scanner;
use crate::simd::Isa;
use crate::stage::Wanted;
use crate::window::Window;
use airlock_model::{Check, Confidence, Fingerprint, Severity};
use std::borrow::Cow;

/// How an engine is set up.
#[derive(Clone)]
pub struct EngineConfig {
    /// Key of the fingerprints.
    pub fingerprint_key: [u8; 32],
}

impl std::fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineConfig").finish_non_exhaustive()
    }
}

/// What was found: never the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The detector, such as `pan`.
    pub detector: Cow<'static, str>,
    /// The check that it belongs to.
    pub check: Check,
    /// How bad it would be if the value left.
    pub severity: Severity,
    /// How sure the detector is.
    pub confidence: Confidence,
    /// First byte, counted from the base offset of the stream.
    pub offset: u64,
    /// Number of bytes in the stored encoding.
    pub length: u64,
    /// Tells equal values apart from different ones.
    pub fingerprint: Fingerprint,
    /// What may be shown.
    pub display: String,
}

/// A literal of [`Engine::with_signatures`] that was seen: perhaps the beginning of
/// something that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// First byte, counted from the base offset of the stream.
    pub offset: u64,
    /// Place of the literal in the list that was given.
    pub id: usize,
}

/// What a detector is called, what it belongs to, and how bad its values are.
pub(crate) type Identity = (&'static str, Check, Severity);

/// A literal, and who wants to know.
#[derive(Debug)]
pub(crate) struct Sought {
    pub(crate) literal: Literal,
    /// Detectors, and the places of the literal in their lists.
    asking: Vec<(usize, usize)>,
    /// Its places in the list of signatures.
    pub(crate) signatures: Vec<usize>,
}

/// A set of detectors, ready to run; shared by threads.
pub struct Engine {
    detectors: Vec<Box<dyn Detector>>,
    pub(crate) builders: Vec<FingerprintBuilder>,
    /// For each anchor, which detectors want it.
    wants: Vec<(Anchor, Vec<usize>)>,
    pub(crate) sought: Vec<Sought>,
    pub(crate) wanted: Wanted,
    pub(crate) isa: Isa,
    config: EngineConfig,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.detectors().collect();
        f.debug_struct("Engine").field("detectors", &names).finish_non_exhaustive()
    }
}

impl Engine {
    /// Sets up an engine that asks `detectors`, in their order.
    pub fn new(detectors: Vec<Box<dyn Detector>>, config: EngineConfig) -> Self {
        Self::with_signatures(detectors, &[], config)
    }

    /// Sets up an engine that also says where `signatures` stand
    /// ([`Scanner::signatures`]).
    pub fn with_signatures(
        detectors: Vec<Box<dyn Detector>>,
        signatures: &[Literal],
        config: EngineConfig,
    ) -> Self {
        let builders = detectors
            .iter()
            .map(|detector| FingerprintBuilder::new(&config.fingerprint_key, detector.name()))
            .collect();
        let wants: Vec<(Anchor, Vec<usize>)> = Anchor::ALL
            .into_iter()
            .map(|anchor| {
                let asking = detectors.iter().enumerate();
                let asking = asking.filter(|(_, detector)| detector.anchors().contains(&anchor));
                (anchor, asking.map(|(index, _)| index).collect())
            })
            .collect();
        let shapes = wants
            .iter()
            .filter(|(_, asking)| !asking.is_empty())
            .fold(0, |set, (anchor, _)| set | anchor.bit());
        let sought = sought(&detectors, signatures);
        let literals: Vec<Literal> = sought.iter().map(|sought| sought.literal.clone()).collect();
        let isa = Isa::best();
        let wanted = Wanted { shapes, grams: Grams::new(shapes != 0, &literals, isa.lookup()) };
        Self { detectors, builders, wants, sought, wanted, isa, config }
    }

    /// Returns a scanner for one stream after another.
    pub fn scanner(&self) -> Scanner<'_> {
        Scanner::new(self)
    }

    /// Returns the fingerprint of a value that was found by other means.
    pub fn fingerprint(&self, detector: &str, value: &[u8]) -> Fingerprint {
        let mut builder = FingerprintBuilder::new(&self.config.fingerprint_key, detector);
        builder.update(value);
        builder.finish()
    }

    /// Returns whether all detectors are such as `wanted` accepts.
    pub fn is_all(&self, wanted: impl Fn(&dyn Detector) -> bool) -> bool {
        self.detectors.iter().all(|detector| wanted(&**detector))
    }

    /// Returns the names of the detectors.
    pub fn detectors(&self) -> impl Iterator<Item = &'static str> {
        self.detectors.iter().map(|detector| detector.name())
    }

    /// Asks the detectors that want one of the anchors in `kinds`. Of those that claim
    /// the same characters the surest has them, and of these the first.
    #[inline]
    pub(crate) fn ask(&self, kinds: u32, window: &Window<'_>) -> Vec<(usize, Hit)> {
        let mut hits = Vec::new();
        let mut left = kinds;
        while left != 0 {
            let lowest = usize::try_from(left.trailing_zeros()).unwrap_or(usize::MAX);
            left &= left.wrapping_sub(1);
            let Some((anchor, asking)) = self.wants.get(lowest) else { break };
            for &index in asking {
                let detector = self.detectors.get(index);
                if let Some(hit) = detector.and_then(|detector| detector.verify(*anchor, window)) {
                    keep(&mut hits, index, hit);
                }
            }
        }
        hits
    }

    /// Asks the detectors that want a literal in the same way.
    pub(crate) fn ask_literal(&self, sought: &Sought, window: &Window<'_>) -> Vec<(usize, Hit)> {
        let mut hits = Vec::new();
        for &(index, which) in &sought.asking {
            let detector = self.detectors.get(index);
            if let Some(hit) = detector.and_then(|detector| detector.verify_literal(which, window)) {
                keep(&mut hits, index, hit);
            }
        }
        hits
    }

    /// Returns what a class of a detector's values is called, what it belongs to, and how bad they are, with
    /// the beginning of their fingerprints.
    #[cold]
    pub(crate) fn class(&self, index: usize, class: usize) -> Option<(Identity, FingerprintBuilder)> {
        let detector = self.detectors.get(index)?;
        let (name, severity) = *detector.classes().get(class)?;
        let builder = FingerprintBuilder::new(&self.config.fingerprint_key, name);
        Some(((name, detector.check(), severity), builder))
    }

    /// Returns what a detector is called, what it belongs to, and how bad its values are.
    pub(crate) fn identity(&self, index: usize) -> Identity {
        match self.detectors.get(index) {
            Some(detector) => (detector.name(), detector.check(), detector.severity()),
            None => ("unknown", Check::Regulated, Severity::High),
        }
    }
}

/// Keeps a hit, unless a surer one claims the same characters; drops what it is surer than.
#[cold]
fn keep(hits: &mut Vec<(usize, Hit)>, index: usize, hit: Hit) {
    if hits.iter().any(|(_, other)| other.overlaps(&hit) && other.confidence() >= hit.confidence()) {
        return;
    }
    hits.retain(|(_, other)| !other.overlaps(&hit));
    hits.push((index, hit));
}

/// Returns each literal once, with all who want it.
fn sought(detectors: &[Box<dyn Detector>], signatures: &[Literal]) -> Vec<Sought> {
    let mut all: Vec<Sought> = Vec::new();
    let mut entry = |literal: &Literal| -> usize {
        let known = all.iter().position(|sought| sought.literal == *literal);
        known.unwrap_or_else(|| {
            all.push(Sought { literal: literal.clone(), asking: Vec::new(), signatures: Vec::new() });
            all.len().saturating_sub(1)
        })
    };
    let mut pairs: Vec<(usize, Option<usize>, usize)> = Vec::new();
    for (index, detector) in detectors.iter().enumerate() {
        for (which, literal) in detector.literals().iter().enumerate() {
            pairs.push((entry(literal), Some(index), which));
        }
    }
    for (id, literal) in signatures.iter().enumerate() {
        pairs.push((entry(literal), None, id));
    }
    for (place, detector, which) in pairs {
        let Some(sought) = all.get_mut(place) else { continue };
        match detector {
            Some(index) => sought.asking.push((index, which)),
            None => sought.signatures.push(which),
        }
    }
    all
}
