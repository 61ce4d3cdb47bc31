//! Finds the patterns of policies in streams.
//!
//! What is found in a stream is what the expression finds in all of it: leftmost matches that do not
//! overlap. A pattern whose matches all have one of a few literals is looked for only around these,
//! which are sought in one pass for all patterns; one without is looked for everywhere, at the
//! price of a pass of its own.

use super::narrow;
use crate::detectors::context::{WORDS_AFTER, WORDS_BEFORE, WordList};
use airlock_inspect::{Engine, Literal, LiteralScanner, LiteralSet, LiteralSetError, Match};
use airlock_model::{Check, Confidence, Severity};
use airlock_policy::{Expression, PATTERN_BYTES_MAX, Pattern};
use std::ops::Range;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Bytes from the beginning of a match, or of a literal, on that decide about it: the longest match
/// with the words behind it.
const AHEAD: usize = PATTERN_BYTES_MAX + 64;
/// Bytes before what is not decided yet that may still count: a match around a literal, the words
/// before it.
const BEHIND: usize = PATTERN_BYTES_MAX + WORDS_BEFORE + EDGE;
/// Bytes around a match at which `\b`, `^` and `$` look.
const EDGE: usize = 1;
/// Bytes that are gathered before they are looked at.
const GATHERED: usize = 32 << 10;

const _: () = assert!(AHEAD >= PATTERN_BYTES_MAX + WORDS_AFTER + EDGE);

/// Patterns, ready to run; shared by threads.
#[derive(Debug)]
pub(crate) struct Patterns {
    all: Vec<Sought>,
    literals: LiteralSet,
    /// Which pattern each literal is of.
    owners: Vec<usize>,
}

#[derive(Debug)]
struct Sought {
    detector: String,
    check: Check,
    severity: Severity,
    confidence: Confidence,
    context: Option<(WordList, Confidence)>,
    expression: Arc<Expression>,
    /// Whether it is looked for around literals only.
    anchored: bool,
}

impl Patterns {
    /// Prepares to look for patterns.
    pub(crate) fn new(patterns: &[Pattern]) -> Self {
        let mut sought: Vec<Sought> = patterns.iter().map(Sought::new).collect();
        loop {
            let (literals, owners) = literals(&sought);
            match LiteralSet::new(&literals) {
                Ok(literals) => return Self { all: sought, literals, owners },
                Err(LiteralSetError::TooShort(place) | LiteralSetError::TooCommon(place)) => {
                    let owner = owners.get(place).and_then(|owner| sought.get_mut(*owner));
                    owner.expect("each literal is of a pattern").anchored = false;
                }
                Err(_) => sought.iter_mut().for_each(|one| one.anchored = false),
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn scanner(&self) -> PatternScanner<'_> {
        PatternScanner {
            patterns: self,
            literals: self.literals.scanner(),
            base: 0,
            buffer: Vec::new(),
            from: 0,
            looked: 0,
            hits: Vec::new(),
            next: vec![0; self.all.len()],
        }
    }
}

/// Returns the literals of all patterns that are looked for around them, and whose each is.
fn literals(sought: &[Sought]) -> (Vec<Literal>, Vec<usize>) {
    let of = |(owner, one): (usize, &Sought)| {
        let literals = one.expression.literals().iter().filter(|_| one.anchored);
        let literals = literals.filter_map(|bytes| Literal::owned(bytes.clone()));
        literals.map(move |literal| (literal, owner)).collect::<Vec<_>>()
    };
    sought.iter().enumerate().flat_map(of).unzip()
}

impl Sought {
    fn new(pattern: &Pattern) -> Self {
        let text = pattern.text();
        let lower = |words: &[String]| {
            WordList::from(words.iter().map(|w| w.to_ascii_lowercase()).collect::<Vec<_>>())
        };
        Self {
            detector: format!("pattern:{}", text.name),
            check: text.check,
            severity: text.severity,
            confidence: text.confidence,
            context: text.context.as_ref().map(|context| (lower(&context.words), context.confidence)),
            expression: Arc::clone(pattern.expression()),
            anchored: !pattern.expression().literals().is_empty(),
        }
    }

    /// Returns the finding of a match that lies in `buffer`, which begins at `from` of what findings count.
    fn found(&self, buffer: &[u8], from: u64, range: &Range<usize>, engine: &Engine) -> Match {
        let before = &buffer[range.start.saturating_sub(WORDS_BEFORE)..range.start];
        let after = &buffer[range.end..buffer.len().min(range.end + WORDS_AFTER)];
        let confidence = match &self.context {
            Some((words, confidence)) if words.stand_in(before) || words.stand_in(after) => *confidence,
            _ => self.confidence,
        };
        let value = Zeroizing::new(buffer[range.clone()].to_ascii_uppercase());
        let kept = |byte: &&u8| byte.is_ascii_alphanumeric();
        let mut normal = Zeroizing::new(value.iter().filter(kept).copied().collect::<Vec<u8>>());
        if normal.is_empty() {
            // Fingerprints are of letters of ASCII and digits: others stand as their bytes.
            normal = Zeroizing::new(hex::encode_upper(&*value).into_bytes());
        }
        Match {
            detector: self.detector.clone().into(),
            check: self.check,
            severity: self.severity,
            confidence,
            offset: from + range.start as u64,
            length: range.len() as u64,
            fingerprint: engine.fingerprint(&self.detector, &normal),
            display: format!("{} ({} bytes)", self.detector, range.len()),
        }
    }
}

/// Where a literal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    owner: usize,
    /// Byte of the stream.
    at: u64,
    length: usize,
}

/// Looks for patterns in one stream after another, piece by piece.
pub(crate) struct PatternScanner<'p> {
    patterns: &'p Patterns,
    literals: LiteralScanner<'p>,
    base: u64,
    /// The last bytes of the stream, from its byte `from` on.
    buffer: Vec<u8>,
    from: u64,
    /// Bytes of the stream in which literals were looked for.
    looked: u64,
    /// Literals around which nothing was decided yet.
    hits: Vec<Seen>,
    /// For each pattern, the first byte at which a match may begin.
    next: Vec<u64>,
}

impl std::fmt::Debug for PatternScanner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PatternScanner").field("waiting", &self.hits.len()).finish_non_exhaustive()
    }
}

impl PatternScanner<'_> {
    pub(crate) fn start(&mut self, base: u64) {
        self.base = base;
        self.literals = self.patterns.literals.scanner();
        self.buffer.clear();
        (self.from, self.looked) = (0, 0);
        self.hits.clear();
        self.next.fill(0);
    }

    pub(crate) fn feed(&mut self, mut piece: &[u8], engine: &Engine, out: &mut Vec<Match>) {
        while !piece.is_empty() {
            let arrived = self.from + self.buffer.len() as u64;
            let room = GATHERED.saturating_sub(narrow(arrived - self.looked));
            let (part, rest) = piece.split_at(room.min(piece.len()));
            self.buffer.extend_from_slice(part);
            piece = rest;
            if part.len() == room {
                self.look(false, engine, out);
            }
        }
    }

    pub(crate) fn finish(&mut self, engine: &Engine, out: &mut Vec<Match>) {
        self.look(true, engine, out);
        self.start(0);
    }

    /// Looks at what was gathered. Decided is what begins so far from its end that nothing behind it counts.
    fn look(&mut self, finished: bool, engine: &Engine, out: &mut Vec<Match>) {
        let patterns = self.patterns;
        let arrived = self.from + self.buffer.len() as u64;
        let fresh = &self.buffer[narrow(self.looked - self.from)..];
        let hits = &mut self.hits;
        self.literals.feed(fresh, &mut |seen| {
            if let Some(owner) = patterns.owners.get(seen.id) {
                let literals = &patterns.literals;
                hits.push(Seen { owner: *owner, at: seen.offset, length: literals.bytes_of(seen.id) });
            }
        });
        self.looked = arrived;
        // A literal that has not come whole cannot begin before this.
        let decided = if finished { arrived } else { arrived.saturating_sub(AHEAD as u64) };
        self.hits.sort_unstable();
        let hits = std::mem::take(&mut self.hits);
        let (ready, waiting): (Vec<Seen>, Vec<Seen>) = hits.into_iter().partition(|hit| hit.at < decided);
        self.hits = waiting;
        for of_one in ready.chunk_by(|a, b| a.owner == b.owner) {
            self.around(of_one, engine, out);
        }
        for (owner, sought) in patterns.all.iter().enumerate() {
            if !sought.anchored && decided > 0 {
                self.search(owner, self.next[owner]..decided, arrived, engine, out);
            }
        }
        let gone = narrow(decided.saturating_sub(BEHIND as u64).saturating_sub(self.from));
        self.buffer.drain(..gone);
        self.from += gone as u64;
    }

    /// Looks for a pattern around the literals of its that were seen. Those near each other are taken
    /// together, so that no byte is looked at for each of them.
    fn around(&mut self, hits: &[Seen], engine: &Engine, out: &mut Vec<Match>) {
        let Some(owner) = hits.first().map(|hit| hit.owner) else { return };
        let reach = self.patterns.all[owner].expression.bytes_max() as u64;
        let first = |hit: &Seen| (hit.at + hit.length as u64).saturating_sub(reach);
        for group in hits.chunk_by(|a, b| first(b) <= a.at + reach) {
            let (Some(front), Some(back)) = (group.first(), group.last()) else { continue };
            let end = back.at + reach + EDGE as u64;
            self.search(owner, first(front)..back.at + 1, end, engine, out);
        }
    }

    /// Looks for matches of a pattern that begin in `starts` and lie before `end`.
    fn search(&mut self, owner: usize, starts: Range<u64>, end: u64, engine: &Engine, out: &mut Vec<Match>) {
        let sought = &self.patterns.all[owner];
        let from = self.from;
        let index = |at: u64| narrow(at.saturating_sub(from)).min(self.buffer.len());
        let text = &self.buffer[..index(end)];
        let mut at = starts.start.max(self.next[owner]).max(from);
        while let Some(range) = sought.expression.find_at(text, index(at)) {
            if at >= starts.end || from + range.start as u64 >= starts.end {
                break;
            }
            out.push(sought.found(&self.buffer, self.base + from, &range, engine));
            at = from + range.end as u64;
        }
        self.next[owner] = at.max(starts.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_inspect::EngineConfig;
    use proptest::prelude::*;

    fn pattern(yaml: &str) -> Pattern {
        serde_saphyr::from_str(yaml).expect("a valid pattern")
    }

    fn engine() -> Engine {
        Engine::new(Vec::new(), EngineConfig { fingerprint_key: [7; 32] })
    }

    /// Some with literals before, within and behind, and some without.
    fn patterns() -> Vec<Pattern> {
        [
            r"{name: project, regex: '\bPRJ-[0-9]{4}\b', examples: [PRJ-1234]}",
            r"{name: inner, regex: '[0-9]{2,200}-pq-[a-c]{1,40}', examples: [12-pq-a]}",
            r"{name: tail, regex: '^[A-C]{3,9}(_end|_END)$', examples: [AB_end, C_END], counter_examples: [xABC_end]}",
            r"{name: bare, regex: '[A-C]{2}[0-9]{3,230}', examples: [AB123], context: {words: [code], confidence: 0.9}}",
            r"{name: word, regex: '\b[0-9]{6}\b', examples: ['123456'], counter_examples: ['1234567']}",
        ]
        .map(|yaml| yaml.replace("AB_end, C_END", "ABC_end, AAA_END"))
        .iter()
        .map(|yaml| pattern(yaml))
        .collect()
    }

    fn scan<'t>(patterns: &Patterns, pieces: impl Iterator<Item = &'t [u8]>) -> Vec<Match> {
        let engine = engine();
        let mut scanner = patterns.scanner();
        let mut out = Vec::new();
        scanner.start(1000);
        pieces.for_each(|piece| scanner.feed(piece, &engine, &mut out));
        scanner.finish(&engine, &mut out);
        out.sort_by(|a, b| (a.offset, &a.detector).cmp(&(b.offset, &b.detector)));
        out
    }

    /// What the expressions find in all of a text.
    fn whole(patterns: &[Pattern], text: &[u8]) -> Vec<(u64, u64, String)> {
        let mut all = Vec::new();
        for pattern in patterns {
            let mut at = 0;
            while let Some(range) = pattern.expression().find_at(text, at) {
                let name = format!("pattern:{}", pattern.text().name);
                all.push((1000 + range.start as u64, range.len() as u64, name));
                at = range.end;
            }
        }
        all.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
        all
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "PRJ-[0-9]{3,5}",
            "[0-9]{1,4}-pq-[a-d]{1,5}",
            "-pq-",
            "[0-9]{150,260}-pq-[a-c]{30,50}",
            "\n[A-D]{2,10}_end\n?",
            "code [A-C]{2,3}[0-9]{2,8}",
            "[A-C]{2}[0-9]{200,300}",
            "[ -~]{0,30}",
            "[a-z ]{100,900}",
            Just("x".repeat(33_000)),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_split_gives_what_the_whole_has(text in text(), cuts in prop::collection::vec(0_usize..70_000, 0..9)) {
            let sources = patterns();
            let patterns = Patterns::new(&sources);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
            let found = scan(&patterns, pieces);
            let told: Vec<_> = found.iter().map(|f| (f.offset, f.length, f.detector.to_string())).collect();
            prop_assert_eq!(told, whole(&sources, &text));
            prop_assert_eq!(found, scan(&patterns, text.chunks(97)));
        }
    }

    #[test]
    fn patterns_with_literals_are_anchored() {
        let patterns = Patterns::new(&patterns());
        let anchored: Vec<bool> = patterns.all.iter().map(|one| one.anchored).collect();
        assert_eq!(anchored, [true, true, true, false, false]);
        assert!(Patterns::new(&[]).is_empty());
    }

    #[test]
    fn words_make_surer_and_nothing_shows_a_value() {
        let patterns = Patterns::new(&patterns());
        let found = scan(&patterns, [b"Code: AB1234".as_slice(), b", nothing"].into_iter());
        assert_eq!((found[0].confidence, found[0].offset), (Confidence::percent(90), 1006));
        let bare = scan(&patterns, [b"AB1234".as_slice()].into_iter());
        assert_eq!(bare[0].confidence, Confidence::HIGH);
        assert_eq!(bare[0].fingerprint, found[0].fingerprint);
        assert_ne!(scan(&patterns, [b"AB1235".as_slice()].into_iter())[0].fingerprint, bare[0].fingerprint);
        let mut scanner = patterns.scanner();
        scanner.feed(b"code AB1234", &engine(), &mut Vec::new());
        let shown = format!("{scanner:?} {found:?}");
        assert!(!shown.contains("1234"), "{shown}");
    }
}
