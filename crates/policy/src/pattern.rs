//! Patterns of a site's own: what it looks for beyond the built-in detectors.

use airlock_model::{Check, Confidence, Severity};
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, HirKind, Look};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// Most patterns in a policy document.
pub(crate) const PATTERNS_MAX: usize = 128;

/// Longest match of a pattern, in bytes. An expression that could match more is refused, so that
/// a match is never cut.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Shortest match of a pattern, in bytes: shorter ones are everywhere.
const MATCH_BYTES_MIN: usize = 3;
/// Longest expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// Most bytes of a compiled expression, and of the states that are made of it while it runs: a
/// thread holds these for each pattern.
const PROGRAM_BYTES_MAX: usize = 256 << 10;
/// How deep groups may be in each other.
const NESTING_MAX: u32 = 32;
/// Most examples, of either kind.
const EXAMPLES_MAX: usize = 32;
/// Longest example, in bytes.
const EXAMPLE_BYTES_MAX: usize = 4096;
/// Most context words.
const WORDS_MAX: usize = 64;
/// Longest name, and longest context word.
const NAME_BYTES_MAX: usize = 48;
/// Bytes of a literal that a required one has at least and at most.
const LITERAL_BYTES: Range<usize> = 4..33;
/// Most literals of which one is required.
const LITERALS_MAX: usize = 32;

/// Members of a class that are written out as literals: letters of either case, and digits where nothing else
/// makes a literal long enough.
const CLASS_MEMBERS: [usize; 2] = [3, 10];

/// A pattern as people write it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatternText {
    /// What it is called: letters, digits and hyphens. Its findings are of the detector
    /// `pattern:NAME`.
    #[schemars(length(min = 1, max = NAME_BYTES_MAX), regex(pattern = r"^[a-z0-9-]+$"))]
    pub name: String,
    /// The check that its findings belong to.
    #[serde(default = "regulated")]
    pub check: Check,
    /// How bad it would be if what it finds left.
    #[serde(default = "high")]
    pub severity: Severity,
    /// The expression, in the syntax of Rust's `regex` crate without Unicode classes. `^` and `$`
    /// are the ends of lines.
    pub regex: String,
    /// Whether the case of letters of ASCII does not matter.
    #[serde(default)]
    pub ignore_case: bool,
    /// How sure a match alone makes.
    #[serde(default = "sure")]
    pub confidence: Confidence,
    /// What makes it surer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Texts in which it must match; at least one.
    #[schemars(length(min = 1, max = EXAMPLES_MAX))]
    pub examples: Vec<String>,
    /// Texts in which it must not.
    #[serde(default)]
    #[schemars(length(max = EXAMPLES_MAX))]
    pub counter_examples: Vec<String>,
}

/// Words near a match that make it surer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The words, of which one is enough; each begins with a letter of ASCII.
    pub words: Vec<String>,
    /// How sure a match with one of them makes.
    pub confidence: Confidence,
}

fn regulated() -> Check {
    Check::Regulated
}

fn high() -> Severity {
    Severity::High
}

fn sure() -> Confidence {
    Confidence::HIGH
}

/// A pattern whose expression is compiled and whose examples hold: there is no other kind.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "PatternText", into = "PatternText")]
pub struct Pattern {
    text: PatternText,
    expression: Arc<Expression>,
}

/// Patterns are what is written.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl From<Pattern> for PatternText {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl TryFrom<PatternText> for Pattern {
    type Error = String;

    /// Compiles a pattern and tries its examples.
    ///
    /// # Errors
    ///
    /// If the expression or a limit does not hold, or an example does not; the text says which.
    fn try_from(text: PatternText) -> Result<Self, String> {
        let name = &text.name;
        let wrong = |why: &str| Err(format!("pattern {name:?}: {why}"));
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(letter) {
            return wrong("its name must be of the letters a-z, digits and hyphens, at most 48");
        }
        if let Some(context) = &text.context {
            let word = |word: &String| {
                word.len() <= NAME_BYTES_MAX && word.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            };
            if context.words.is_empty() || context.words.len() > WORDS_MAX || !context.words.iter().all(word)
            {
                return wrong("context needs 1 to 64 words, each of which begins with a letter of ASCII");
            }
            if context.confidence < text.confidence {
                return wrong("its confidence with context is lower than without");
            }
        }
        let expression = Expression::new(&text).map_err(|why| format!("pattern {name:?}: {why}"))?;
        let sized = |list: &[String]| {
            list.len() <= EXAMPLES_MAX && list.iter().all(|one| one.len() <= EXAMPLE_BYTES_MAX)
        };
        if text.examples.is_empty() {
            return wrong("it has no examples; one is needed that it matches");
        }
        if !sized(&text.examples) || !sized(&text.counter_examples) {
            return wrong("it has more than 32 examples of a kind, or one of more than 4096 bytes");
        }
        let matches = |example: &String| expression.find_at(example.as_bytes(), 0).is_some();
        if let Some(place) = text.examples.iter().position(|example| !matches(example)) {
            return wrong(&format!("it does not match its example {}", place + 1));
        }
        if let Some(place) = text.counter_examples.iter().position(matches) {
            return wrong(&format!("it matches its counter-example {}", place + 1));
        }
        Ok(Self { text, expression: Arc::new(expression) })
    }
}

impl Pattern {
    /// Returns what was written.
    pub fn text(&self) -> &PatternText {
        &self.text
    }

    /// Returns the compiled expression.
    pub fn expression(&self) -> &Arc<Expression> {
        &self.expression
    }
}

/// A regular expression that takes time in proportion to the text, and matches a bounded number of
/// bytes.
#[derive(Debug)]
pub struct Expression {
    regex: Regex,
    bytes_max: usize,
    literals: Vec<Vec<u8>>,
}

impl Expression {
    fn new(text: &PatternText) -> Result<Self, String> {
        if text.regex.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("its expression has more than {EXPRESSION_BYTES_MAX} bytes"));
        }
        let hir = regex_syntax::ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .multi_line(true)
            .case_insensitive(text.ignore_case)
            .nest_limit(NESTING_MAX)
            .build()
            .parse(&text.regex)
            .map_err(|error| format!("its expression is not valid: {error}"))?;
        let properties = hir.properties();
        let looks = properties.look_set();
        if looks.contains(Look::Start) || looks.contains(Look::End) {
            return Err("\\A and \\z are the ends of nothing here; ^ and $ are those of lines".into());
        }
        if looks.contains_word_unicode() {
            return Err("words are of ASCII letters here; leave the flag u out".into());
        }
        let Some(bytes_max) = properties.maximum_len().filter(|most| *most <= PATTERN_BYTES_MAX) else {
            return Err(format!(
                "a match could have more than {PATTERN_BYTES_MAX} bytes; bound its repetitions, as in {{1,64}}"
            ));
        };
        if properties.minimum_len().is_none_or(|least| least < MATCH_BYTES_MIN) {
            return Err(format!("a match could have fewer than {MATCH_BYTES_MIN} bytes"));
        }
        let regex = RegexBuilder::new(&text.regex)
            .unicode(false)
            .multi_line(true)
            .case_insensitive(text.ignore_case)
            .nest_limit(NESTING_MAX)
            .size_limit(PROGRAM_BYTES_MAX)
            .dfa_size_limit(PROGRAM_BYTES_MAX)
            .build()
            .map_err(|_| "its expression is too large when compiled; shorten its repetitions".to_owned())?;
        Ok(Self { regex, bytes_max, literals: required_literals(&hir) })
    }

    /// Returns the leftmost match that begins at `at` or behind. What is before `at` counts as
    /// context.
    pub fn find_at(&self, text: &[u8], at: usize) -> Option<Range<usize>> {
        self.regex.find_at(text, at.min(text.len())).map(|found| found.range())
    }

    /// Returns how many bytes a match has at most.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Returns literals of 4 to 32 bytes of which every match has one; none if there are no such.
    pub fn literals(&self) -> &[Vec<u8>] {
        &self.literals
    }
}

/// Returns the best literals of which every match has one: those at the beginning of any of the parts that an
/// expression is made of.
fn required_literals(hir: &Hir) -> Vec<Vec<u8>> {
    let mut whole = hir;
    while let HirKind::Capture(capture) = whole.kind() {
        whole = &capture.sub;
    }
    let parts = match whole.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(whole),
    };
    let from = |start: usize, class: usize| {
        let mut extractor = Extractor::new();
        extractor.kind(ExtractKind::Prefix).limit_class(class).limit_repeat(8).limit_literal_len(32);
        extractor.limit_total(LITERALS_MAX);
        let rest = Hir::concat(parts[start..].to_vec());
        let found = extractor.extract(&rest);
        let literals: Vec<Vec<u8>> =
            found.literals()?.iter().map(|literal| literal.as_bytes().to_vec()).collect();
        let fit = literals.iter().all(|literal| LITERAL_BYTES.contains(&literal.len()));
        (fit && !literals.is_empty()).then_some(literals)
    };
    let shortest = |literals: &Vec<Vec<u8>>| literals.iter().map(Vec::len).min().unwrap_or(0).min(8);
    let best_of = |class: usize| {
        let all = (0..parts.len()).filter_map(|start| from(start, class));
        all.max_by_key(|literals| (shortest(literals), std::cmp::Reverse(literals.len())))
    };
    let mut best = CLASS_MEMBERS.into_iter().find_map(best_of);
    if let Some(literals) = &mut best {
        literals.sort();
        literals.dedup();
    }
    best.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(regex: &str, example: &str) -> PatternText {
        PatternText {
            name: "mine".into(),
            check: Check::Regulated,
            severity: Severity::High,
            regex: regex.into(),
            ignore_case: false,
            confidence: Confidence::HIGH,
            context: None,
            examples: vec![example.into()],
            counter_examples: Vec::new(),
        }
    }

    fn check(regex: &str, example: &str, expected: &str) {
        let error = Pattern::try_from(text(regex, example)).expect_err("must be refused");
        assert!(error.contains(expected) && error.contains("\"mine\""), "{error}");
    }

    #[test]
    fn what_could_not_be_kept_is_refused() {
        check("PRJ-[0-9]+", "PRJ-1", "bound its repetitions");
        check("a{3}(b|c.*d)", "aaab", "bound its repetitions");
        check("x{300}", &"x".repeat(300), "more than 256 bytes");
        check("[0-9]{0,9}", "1", "fewer than 3 bytes");
        check("(foo", "foo", "not valid");
        check("(a)\\1bc", "aabc", "not valid");
        check("(?=foo)foo", "foo", "not valid");
        check("\\Afoo", "foo", "\\A and \\z");
        check("foo\\z", "foo", "\\A and \\z");
        check("(?u)\\bfoo", "foo", "flag u");
        check("(([a-z]{250}){250}){250}", "foo", "more than 256 bytes");
        let one = |first: char| format!("{first}[acegikmoqsuwyACEGIKMOQSUWY]{{249}}");
        let many: Vec<String> = ('a'..='z').map(one).collect();
        check(&many.join("|"), "foo", "too large");
        check(&format!("{}foo{}", "(".repeat(100), ")".repeat(100)), "foo", "not valid");
    }

    #[test]
    fn examples_must_hold() {
        check("PRJ-[0-9]{4}", "PRJ-12", "does not match its example 1");
        let counter = PatternText { counter_examples: vec!["ab".into(), "abc".into()], ..text("abc", "abc") };
        let error = Pattern::try_from(counter).expect_err("must be refused");
        assert!(error.contains("matches its counter-example 2"), "{error}");
        let none = PatternText { examples: Vec::new(), ..text("abc", "abc") };
        assert!(Pattern::try_from(none).expect_err("must be refused").contains("no examples"));
    }

    #[test]
    fn required_literals_are_found_anywhere() {
        let check = |regex: &str, expected: &[&str]| {
            let expression = Expression::new(&text(regex, "")).expect("valid");
            let literals: Vec<String> =
                expression.literals().iter().map(|one| one.escape_ascii().to_string()).collect();
            assert_eq!(literals, expected, "{regex}");
        };
        check(r"\bPRJ-[0-9]{4}\b", &["PRJ-"]);
        check(r"[0-9]{3}-proj-[0-9]{2}", &["-proj-"]);
        check(r"(alpha|beta)[0-9]{3}", &["alpha", "beta"]);
        let tens: Vec<String> = (0..10).map(|digit| format!("KD-{digit}")).collect();
        check(r"KD-[0-9]{8}", &tens.iter().map(String::as_str).collect::<Vec<_>>());
        check(r"[A-Z]{2}[0-9]{6}", &[]);
        check(r"(foo|x)[0-9]{3}", &[]);
        assert_eq!(
            Expression::new(&PatternText { ignore_case: true, ..text("project[0-9]", "") })
                .unwrap()
                .literals()
                .len(),
            32
        );
    }

    #[test]
    fn a_pattern_is_what_is_written() {
        let yaml = "{name: a, regex: 'abc', examples: [xabcx], context: {words: [id], confidence: 0.9}}";
        let pattern: Pattern = serde_saphyr::from_str(yaml).expect("valid");
        let again: Pattern = serde_json::from_slice(&serde_json::to_vec(&pattern).unwrap()).expect("valid");
        assert_eq!(pattern, again);
        assert!(serde_saphyr::from_str::<Pattern>("{name: a, regex: 'abc', examples: [x]}").is_err());
    }
}
