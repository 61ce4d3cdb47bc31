//! Finds parts of documents in streams.

use super::Prints;
use super::winnow::{GRAM, Winnow};
use airlock_inspect::{Engine, Match};
use airlock_model::{Check, Confidence, Severity};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Fingerprints of a document that make a finding: a paragraph of some 200 letters and digits has as many.
const PRINTS_MIN: usize = 8;
/// Fingerprints of a document, or hundredths of all it has, that make it sure.
const SURE_PRINTS: usize = 40;
const SURE_PERCENT: usize = 30;
/// Documents that are followed in one stream. Whatever has parts of more is told of for these.
const FOLLOWED_MAX: usize = 256;
/// Fingerprints that are told apart in one stream, over all documents.
const SEEN_MAX: usize = 1 << 16;

/// What was seen of a document.
#[derive(Debug, Default)]
struct Seen {
    first: u64,
    end: u64,
    prints: HashSet<u64>,
}

/// Looks for parts of documents in one stream after another, piece by piece.
pub(crate) struct PrintsScanner<'p> {
    sets: &'p [Prints],
    winnows: Vec<Winnow>,
    base: u64,
    arrived: u64,
    /// By set and document.
    seen: HashMap<(usize, u32), Seen>,
    count: usize,
}

impl std::fmt::Debug for PrintsScanner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrintsScanner").field("seen", &self.seen.len()).finish_non_exhaustive()
    }
}

impl<'p> PrintsScanner<'p> {
    pub(crate) fn new(sets: &'p [Prints]) -> Self {
        let winnows = sets.iter().map(|set| Winnow::new(set.key)).collect();
        Self { sets, winnows, base: 0, arrived: 0, seen: HashMap::new(), count: 0 }
    }

    pub(crate) fn start(&mut self, base: u64) {
        (self.base, self.arrived, self.count) = (base, 0, 0);
        self.winnows.iter_mut().for_each(Winnow::start);
        self.seen.clear();
    }

    pub(crate) fn feed(&mut self, piece: &[u8]) {
        for (number, set) in self.sets.iter().enumerate() {
            for (at, byte) in piece.iter().enumerate() {
                let Some(print) = self.winnows[number].take(*byte) else { continue };
                for document in set.having(print) {
                    let place = self.arrived + at as u64;
                    note(&mut self.seen, &mut self.count, (number, document), print, place);
                }
            }
        }
        self.arrived += piece.len() as u64;
    }

    pub(crate) fn finish(&mut self, engine: &Engine, out: &mut Vec<Match>) {
        let seen: BTreeMap<_, _> = std::mem::take(&mut self.seen).into_iter().collect();
        for ((number, document), seen) in seen {
            let document = &self.sets[number].documents[document as usize];
            let (found, all) = (seen.prints.len(), document.prints.max(1) as usize);
            let percent = found * 100 / all;
            if found < PRINTS_MIN.min(all) {
                continue;
            }
            let sure = found >= SURE_PRINTS || percent >= SURE_PERCENT && found >= PRINTS_MIN;
            out.push(Match {
                detector: "document".into(),
                check: Check::Regulated,
                severity: Severity::High,
                confidence: Confidence::percent(if sure { 90 } else { 60 }),
                offset: self.base + seen.first,
                length: seen.end - seen.first,
                fingerprint: engine.fingerprint("document", hex::encode_upper(&document.name).as_bytes()),
                display: format!("{percent} % of {}", airlock_model::Escaped(document.name.as_bytes())),
            });
        }
        self.start(0);
    }
}

/// Notes a fingerprint of a document whose window ends at a place of the stream.
fn note(
    seen: &mut HashMap<(usize, u32), Seen>,
    count: &mut usize,
    key: (usize, u32),
    print: u64,
    place: u64,
) {
    if *count >= SEEN_MAX || seen.len() >= FOLLOWED_MAX && !seen.contains_key(&key) {
        return;
    }
    let first = place.saturating_sub(2 * GRAM as u64);
    let one = seen.entry(key).or_insert_with(|| Seen { first, ..Seen::default() });
    one.end = place + 1;
    *count += usize::from(one.prints.insert(print));
}

#[cfg(test)]
mod tests {
    use super::super::{GUARANTEED, PrintsBuilder, PrintsError};
    use super::*;
    use airlock_inspect::EngineConfig;

    /// Sentences that have nothing to do with each other.
    fn text(seed: u64, words: usize) -> String {
        let mut state = seed;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let length = 3 + (state >> 60) as usize % 6;
            (0..length).map(|at| char::from(b'a' + ((state >> (8 + 6 * at)) % 26) as u8)).collect::<String>()
        };
        (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
    }

    fn set(documents: &[(&str, &str)], except: &str) -> Prints {
        let mut builder = PrintsBuilder::new([3; 8]);
        for (name, text) in documents {
            assert!(builder.add(name, text.as_bytes()).expect("room"), "{name} is long enough");
        }
        builder.leave_out(except.as_bytes());
        Prints::from_bytes(builder.finish().expect("fingerprints")).expect("a set")
    }

    fn scan(sets: &[Prints], text: &[u8], size: usize) -> Vec<Match> {
        let engine = Engine::new(Vec::new(), EngineConfig { fingerprint_key: [7; 32] });
        let mut scanner = PrintsScanner::new(sets);
        let mut out = Vec::new();
        scanner.start(10);
        text.chunks(size).for_each(|piece| scanner.feed(piece));
        scanner.finish(&engine, &mut out);
        out
    }

    #[test]
    fn parts_are_found_with_their_share() {
        let (plan, other) = (text(1, 2000), text(2, 2000));
        let sets = [set(&[("plan.txt", &plan), ("other.txt", &other)], "")];
        let told = |text: &str| {
            let found = scan(&sets, text.as_bytes(), 977);
            found.iter().map(|one| (one.display.clone(), one.confidence.as_percent())).collect::<Vec<_>>()
        };
        assert_eq!(told(&plan), [("100 % of plan.txt".to_owned(), 90)]);
        assert_eq!(told(&plan.to_uppercase().replace(' ', "\r\n\t")), [("100 % of plan.txt".to_owned(), 90)]);
        // Half of it, in the middle of something else.
        let half = format!("{} {} {}", text(3, 900), &plan[..plan.len() / 2], text(4, 900));
        let found = told(&half);
        let share = found[0].0.split(' ').next().and_then(|share| share.parse::<u32>().ok());
        assert!(found.len() == 1 && share.is_some_and(|share| (46..=54).contains(&share)), "{found:?}");
        // A paragraph.
        let part = format!("{} {} {}", text(5, 90), &plan[3000..3600], text(6, 90));
        let found = scan(&sets, part.as_bytes(), 100);
        assert_eq!((found.len(), found[0].confidence.as_percent()), (1, 60));
        let start = part.find(&plan[3000..3600]).expect("it is there") as u64 + 10;
        assert!(found[0].offset.abs_diff(start) < 200 && found[0].length < 700, "{found:?} from {start}");
        // A sentence, and nothing of it.
        assert_eq!(told(&format!("{} {}", text(7, 90), &plan[3000..3100])), []);
        assert_eq!(told(&text(8, 20_000)), []);
    }

    #[test]
    fn any_split_finds_the_same() {
        let plan = text(1, 900);
        let sets = [set(&[("plan", &plan)], "")];
        let text = format!("{} {}", text(9, 90), &plan[500..]);
        let whole = scan(&sets, text.as_bytes(), usize::MAX);
        assert_eq!(whole.len(), 1);
        for size in [1, 7, 64, 1000] {
            assert_eq!(scan(&sets, text.as_bytes(), size), whole, "{size}");
        }
    }

    #[test]
    fn what_is_long_enough_has_a_fingerprint_wherever_it_is_cut() {
        let plan: String = text(1, 900).replace(' ', "");
        let sets = [set(&[("plan", &plan)], "")];
        for start in 0..200 {
            let mut winnow = Winnow::new(sets[0].key);
            let part = &plan.as_bytes()[start..start + GUARANTEED];
            let prints: Vec<u64> = part.iter().filter_map(|byte| winnow.take(*byte)).collect();
            assert!(prints.iter().any(|print| sets[0].having(*print).next().is_some()), "at {start}");
        }
    }

    #[test]
    fn templates_are_left_out() {
        let template = text(1, 500);
        let (a, b) = (format!("{template} {}", text(2, 500)), text(3, 500));
        let sets = [set(&[("a", &a), ("b", &b)], &template)];
        assert_eq!(scan(&sets, template.as_bytes(), 100), []);
        assert_eq!(scan(&sets, a.as_bytes(), 100).len(), 1);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let mut builder = PrintsBuilder::new([3; 8]);
        assert!(!builder.add("short", b"too short").unwrap());
        assert!(matches!(builder.finish(), Err(PrintsError::Input(_))));
        let mut builder = PrintsBuilder::new([3; 8]);
        builder.add("plan", text(1, 300).as_bytes()).unwrap();
        let bytes = builder.finish().unwrap();
        assert_eq!(Prints::from_bytes(bytes.clone()).expect("a set").documents(), 1);
        for cut in [0, 16, 20, 60, bytes.len() - 1, bytes.len() - 12] {
            assert!(
                matches!(Prints::from_bytes(bytes[..cut].to_vec()), Err(PrintsError::Altered(_))),
                "{cut}"
            );
        }
        assert!(memchr::memmem::find(&bytes, &text(1, 300).as_bytes()[..12]).is_none());
    }
}
