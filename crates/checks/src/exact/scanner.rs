//! Finds the values of lists in streams.
//!
//! A stream is cut into runs of letters and runs of digits. One or more of them in a row that look like a
//! value of a list ([`Shapes`]) are looked up. They begin and end where no letter or digit stands
//! beside them, unless they are a number of seven digits or more.

use super::shape::{Class, Shapes};
use super::{ExactList, shape};
use airlock_inspect::{Engine, Match};
use airlock_model::{Check, Confidence, Severity};
use std::collections::VecDeque;
use zeroize::Zeroizing;

/// Bytes between values of a row that support each other.
const REACH_BYTES: u64 = 300;
/// Bytes between the runs of a value.
const JOINT_BYTES: u64 = 2;
/// Longest run that is part of a value.
const RUN_BYTES_MAX: usize = *shape::VALUE_BYTES.end();
/// Digits of a number that may stand right beside a letter.
const NUMBER_DIGITS: usize = 7;
/// Letters and digits of a value that is sure alone, and digits of a number: among a million shorter ones
/// many would stand anywhere by chance.
const SURE_BYTES: usize = 8;
const SURE_DIGITS: usize = 9;
/// Values near each other that are kept; the oldest are settled first.
const WAITING_MAX: usize = 64;

/// How sure a value makes that is near another one of its row, that is long, and that is short.
const SUPPORTED: Confidence = Confidence::percent(97);
const LONG: Confidence = Confidence::percent(85);
const SHORT: Confidence = Confidence::percent(40);

const _: () = assert!(shape::RUNS_MAX < 16);

/// A run of letters, or of digits.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// First byte in the stream.
    at: u64,
    length: usize,
    digits: bool,
    /// Whether a letter or digit stands right before it.
    joined: bool,
}

/// A value that was found, until it is known what stands near it.
struct Waiting {
    at: u64,
    end: u64,
    list: usize,
    places: Vec<(u32, usize)>,
    value: Zeroizing<Vec<u8>>,
    supported: bool,
}

/// Looks for values of lists in one stream after another, piece by piece.
pub(crate) struct ExactScanner<'l> {
    lists: &'l [ExactList],
    shapes: Shapes,
    base: u64,
    /// Bytes of the stream so far.
    arrived: u64,
    last: Class,
    /// The runs that may still be part of a value, and their bytes in upper case.
    runs: VecDeque<Run>,
    text: VecDeque<u8>,
    /// Whether the last run goes on.
    open: bool,
    waiting: VecDeque<Waiting>,
}

impl std::fmt::Debug for ExactScanner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExactScanner").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl<'l> ExactScanner<'l> {
    pub(crate) fn new(lists: &'l [ExactList]) -> Self {
        let mut shapes = Shapes::default();
        for list in lists {
            shapes.join(&list.head.shapes);
        }
        Self {
            lists,
            shapes,
            base: 0,
            arrived: 0,
            last: Class::Break,
            runs: VecDeque::new(),
            text: VecDeque::new(),
            open: false,
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn start(&mut self, base: u64) {
        (self.base, self.arrived) = (base, 0);
        (self.last, self.open) = (Class::Break, false);
        self.forget();
        self.waiting.clear();
    }

    pub(crate) fn feed(&mut self, piece: &[u8], engine: &Engine, out: &mut Vec<Match>) {
        let mut at = 0;
        while at < piece.len() {
            let class = Class::of(piece[at]);
            let same = piece[at..].iter().take_while(|byte| Class::of(**byte) == class).count();
            let part = &piece[at..at + same];
            if class != self.last && self.open {
                self.end_run(class.is_text(), engine, out);
            }
            match class {
                Class::Break => self.forget(),
                Class::Joint => {}
                Class::Digit | Class::Letter => self.take(class, part, self.arrived + at as u64),
            }
            self.last = class;
            at += same;
        }
        self.arrived += piece.len() as u64;
    }

    pub(crate) fn finish(&mut self, engine: &Engine, out: &mut Vec<Match>) {
        if self.open {
            self.end_run(false, engine, out);
        }
        while let Some(waiting) = self.waiting.pop_front() {
            self.settle(&waiting, engine, out);
        }
        self.start(0);
    }

    fn forget(&mut self) {
        self.runs.clear();
        self.text.clear();
    }

    /// Takes bytes of a run; `at` is where they are in the stream.
    fn take(&mut self, class: Class, part: &[u8], at: u64) {
        if !self.open {
            let end = self.runs.back().map(|run| run.at + run.length as u64);
            if end.is_none_or(|end| at - end > JOINT_BYTES) {
                self.forget();
            }
            self.runs.push_back(Run {
                at,
                length: 0,
                digits: class == Class::Digit,
                joined: self.last.is_text(),
            });
            self.open = true;
        }
        let run = self.runs.back_mut().expect("a run is open");
        let room = (RUN_BYTES_MAX + 1).saturating_sub(run.length).min(part.len());
        self.text.extend(part[..room].iter().map(u8::to_ascii_uppercase));
        run.length += room;
    }

    /// Ends a run; `joined` says whether a letter or digit stands right behind it. What ends with it and
    /// looks like a value is looked up, the longest first.
    fn end_run(&mut self, joined: bool, engine: &Engine, out: &mut Vec<Match>) {
        self.open = false;
        let Some(last) = self.runs.back().copied() else { return };
        if last.length > RUN_BYTES_MAX {
            self.forget();
            return;
        }
        while self.runs.len() > self.shapes.runs().max(1) {
            let gone = self.runs.pop_front().map_or(0, |run| run.length);
            self.text.drain(..gone);
        }
        let (mut digits, mut letters, mut length) = (false, false, 0);
        let mut candidates = [None; shape::RUNS_MAX];
        for (slot, run) in candidates.iter_mut().zip(self.runs.iter().rev()) {
            digits |= run.digits;
            letters |= !run.digits;
            length += run.length;
            let number = !letters && length >= NUMBER_DIGITS;
            if self.shapes.has(length, digits, letters) && (number || !joined && !run.joined) {
                *slot = Some((run.at, length));
            }
        }
        for (at, length) in candidates.into_iter().rev().flatten() {
            let end = last.at + last.length as u64;
            if self.look_up(at, end, length, engine, out) {
                return;
            }
        }
    }

    /// Looks up the last `length` letters and digits. Returns whether a list has them.
    fn look_up(&mut self, at: u64, end: u64, length: usize, engine: &Engine, out: &mut Vec<Match>) -> bool {
        let text = &self.text;
        let value: Zeroizing<Vec<u8>> = Zeroizing::new(text.range(text.len() - length..).copied().collect());
        let mut found = false;
        for list in 0..self.lists.len() {
            let places = self.lists[list].places(&value);
            if !places.is_empty() {
                found = true;
                self.wait(
                    Waiting { at, end, list, places, value: value.clone(), supported: false },
                    engine,
                    out,
                );
            }
        }
        found
    }

    /// Keeps a value until all is known that is near it.
    fn wait(&mut self, mut new: Waiting, engine: &Engine, out: &mut Vec<Match>) {
        while self.waiting.len() >= WAITING_MAX
            || self.waiting.front().is_some_and(|first| first.end + REACH_BYTES < new.at)
        {
            let Some(first) = self.waiting.pop_front() else { break };
            self.settle(&first, engine, out);
        }
        // What is a part of the new one is not told of.
        self.waiting.retain(|old| old.list != new.list || old.at < new.at || old.end > new.end);
        for old in &mut self.waiting {
            let same_row = |(row, column): &(u32, usize)| {
                new.places.iter().any(|(other, beside)| other == row && beside != column)
            };
            if old.list == new.list && old.end <= new.at && old.places.iter().any(same_row) {
                old.supported = true;
                new.supported = true;
            }
        }
        self.waiting.push_back(new);
    }

    /// Tells of a value, unless it does not count alone.
    fn settle(&self, found: &Waiting, engine: &Engine, out: &mut Vec<Match>) {
        let list = &self.lists[found.list];
        let columns = list.columns();
        let alone = found.places.iter().map(|place| place.1).find(|column| columns[*column].alone);
        let column = match alone {
            Some(column) => column,
            None if found.supported => found.places[0].1,
            None => return,
        };
        let number = found.value.iter().all(u8::is_ascii_digit);
        let confidence = match found.value.len() {
            _ if found.supported => SUPPORTED,
            length if length >= if number { SURE_DIGITS } else { SURE_BYTES } => LONG,
            _ => SHORT,
        };
        out.push(Match {
            detector: "exact_data".into(),
            check: Check::Regulated,
            severity: Severity::High,
            confidence,
            offset: self.base + found.at,
            length: found.end - found.at,
            fingerprint: engine.fingerprint("exact_data", &found.value),
            display: format!("a value of {}, {}", list.name(), columns[column].name),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Column, ExactBuilder, ExactError};
    use super::*;
    use airlock_inspect::EngineConfig;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [5; 32];

    fn column(name: &str, alone: bool) -> Column {
        Column { name: name.into(), alone }
    }

    fn list(columns: Vec<Column>, rows: &[&[&str]]) -> ExactList {
        let mut builder = ExactBuilder::new("customers", columns, &KEY).expect("columns");
        for row in rows {
            builder.add(row.iter().map(|value| value.as_bytes())).expect("room");
        }
        ExactList::from_bytes(builder.finish(false).expect("values"), None).expect("a list")
    }

    fn customers() -> ExactList {
        list(
            vec![column("number", true), column("name", false), column("code", true)],
            &[
                &["536-22-8721", "Ruth Roe", "KX 7731 a"],
                &["4453331478932885", "Karl Müller", "99-812"],
                &["71120345", "Ann", "A1B2C3D4E5"],
            ],
        )
    }

    fn scan<'t>(lists: &[ExactList], pieces: impl Iterator<Item = &'t [u8]>) -> Vec<Match> {
        let engine = Engine::new(Vec::new(), EngineConfig { fingerprint_key: [7; 32] });
        let mut scanner = ExactScanner::new(lists);
        let mut out = Vec::new();
        scanner.start(100);
        pieces.for_each(|piece| scanner.feed(piece, &engine, &mut out));
        scanner.finish(&engine, &mut out);
        out
    }

    fn check(text: &str, expected: &[(&str, Confidence)]) {
        let found = scan(&[customers()], [text.as_bytes()].into_iter());
        let told: Vec<_> = found
            .iter()
            .map(|one| {
                let at = usize::try_from(one.offset).unwrap() - 100;
                (&text[at..at + usize::try_from(one.length).unwrap()], one.confidence)
            })
            .collect();
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn values_are_found_however_they_are_written() {
        check("id 536-22-8721.", &[("536-22-8721", LONG)]);
        check("id 536228721", &[("536228721", LONG)]);
        check("id=536 22 8721;", &[("536 22 8721", LONG)]);
        check("x4453 3314 7893 2885", &[("4453 3314 7893 2885", LONG)]);
        check("Roe71120345Ann", &[("71120345", SHORT)]);
        check("kx7731A", &[("kx7731A", SHORT)]);
        check("KX-7731-a", &[("KX-7731-a", SHORT)]);
        check("a1b2c3d4e5", &[("a1b2c3d4e5", LONG)]);
    }

    #[test]
    fn parts_and_others_are_not() {
        check("1536-22-8721", &[]);
        check("536-22-87210", &[]);
        check("536\n22\n8721", &[]);
        check("536 - 22 - 8721", &[]);
        check("536-22-8722", &[]);
        check("kx7731ab", &[]);
        check("xkx7731a", &[]);
        check("Ruth Roe", &[]);
    }

    #[test]
    fn values_of_a_row_support_each_other() {
        check("Ruth Roe, 536-22-8721", &[("Ruth Roe", SUPPORTED), ("536-22-8721", SUPPORTED)]);
        check("kx7731a (ruth roe)", &[("kx7731a", SUPPORTED), ("ruth roe", SUPPORTED)]);
        check("Karl Müller 536-22-8721", &[("536-22-8721", LONG)]);
        let far = format!("Ruth Roe{}536-22-8721", ". ".repeat(200));
        check(&far, &[("536-22-8721", LONG)]);
    }

    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "(536-22-8721|536228721|Ruth Roe|ruth  roe|KX 7731 a|71120345|99-812|Karl Müller)",
            "[ -~]{0,12}",
            "[ ,.;\n-]{1,3}",
            "[0-9]{1,5}",
            "x{60,70}",
            "[. ]{290,310}",
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_finds_the_same(text in text(), size in 1_usize..40) {
            let lists = [customers()];
            let whole = scan(&lists, [text.as_bytes()].into_iter());
            prop_assert_eq!(scan(&lists, text.as_bytes().chunks(size)), whole);
        }

        #[test]
        fn each_of_many_is_found(numbers in prop::collection::btree_set(1_000_000_u64..9_999_999_999, 1..300)) {
            let values: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let mut builder = ExactBuilder::new("n", vec![column("n", true)], &KEY).unwrap();
            for value in &values {
                builder.add([value.as_bytes()]).unwrap();
            }
            let list = ExactList::from_bytes(builder.finish(true).unwrap(), Some(&KEY)).unwrap();
            let text = values.join("\n");
            prop_assert_eq!(scan(&[list], [text.as_bytes()].into_iter()).len(), values.len());
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let mut builder = ExactBuilder::new("n", vec![column("n", true)], &KEY).unwrap();
        builder.add([b"71120345".as_slice()]).unwrap();
        builder.add([b"abc".as_slice()]).unwrap();
        assert_eq!(builder.passed_over(), 1);
        let bytes = builder.finish(true).unwrap();
        let no_value = |part: &[u8]| memchr::memmem::find(&bytes, part).is_none();
        assert!(no_value(b"71120345") && no_value(hex::encode(KEY).as_bytes()));
        let read = |bytes: &[u8], key| ExactList::from_bytes(bytes.to_vec(), key);
        assert!(matches!(read(&bytes, None), Err(ExactError::Key { .. })));
        assert!(matches!(read(&bytes, Some(&[1; 32])), Err(ExactError::Key { .. })));
        assert_eq!(read(&bytes, Some(&KEY)).expect("its key").len(), 1);
        for cut in [0, 10, 18, 40, bytes.len() - 1] {
            assert!(matches!(read(&bytes[..cut], Some(&KEY)), Err(ExactError::Altered(_))), "{cut}");
        }
        assert!(ExactBuilder::new("n", vec![column("n", false)], &KEY).is_err());
    }

    #[test]
    fn nothing_shows_a_value() {
        let lists = [customers()];
        let engine = Engine::new(Vec::new(), EngineConfig { fingerprint_key: [7; 32] });
        let mut scanner = ExactScanner::new(&lists);
        let mut out = Vec::new();
        scanner.feed(b"536-22-8721 and 71120345", &engine, &mut out);
        let shown = format!("{scanner:?} {lists:?}");
        scanner.finish(&engine, &mut out);
        let shown = format!("{shown} {out:?}");
        assert!(!shown.contains("8721") && !shown.contains("7112"), "{shown}");
    }
}
