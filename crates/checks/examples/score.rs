//! Precision and recall of the detectors on a labelled corpus, raw bytes only.
//!
//! `cargo run --release -p airlock-checks --example score -- CORPUS [PERCENT] [-v]`
//!
//! CORPUS has `MANIFEST.json` (files with `path`, `kind`, `note` and
//! `document_detectors`) and `LABELS.jsonl` (`file`, `detector`, `start`, `end`,
//! `locus`, `class`). A match is right if it overlaps a label of its detector in the
//! same file. Files of kind `ambiguous`, those whose labels are incomplete and part
//! numbers do not count for precision. Findings below PERCENT (80) do not count at all.
//! With `-v`, false positives and labels that were missed are named, never their values.
#![expect(clippy::print_stdout, reason = "the output of the example")]

use airlock_checks::detectors::builtin;
use airlock_inspect::{Engine, EngineConfig, Match};
use airlock_model::Confidence;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;

/// Detectors that the corpus calls otherwise.
const NAMES: &[(&str, &str)] = &[("aba", "us_aba_account"), ("nhs_number", "uk_nhs")];

/// Findings of these count for labels of those, too: a track holds a card number.
const RELATED: &[(&str, &str)] =
    &[("track1", "pan"), ("track2", "pan"), ("us_itin", "us_ssn"), ("us_ssn", "us_itin")];

/// Document classes as the corpus calls them, and the detectors that find them.
const DOCUMENTS: &[(&str, &[&str])] = &[
    ("mt940", &["mt940"]),
    ("ofx", &["ofx"]),
    ("iso20022", &["camt"]),
    ("nacha", &["nacha"]),
    ("hl7v2", &["hl7v2"]),
    ("x12:837", &["x12_837"]),
    ("x12:835", &["x12_835"]),
    ("ccda", &["ccda"]),
    ("fhir-bundle", &["fhir"]),
    ("dicom", &["dicom"]),
];

#[derive(Default)]
struct Tally {
    labels: usize,
    found: usize,
    right: usize,
    wrong: usize,
    worst: BTreeMap<String, usize>,
}

struct Label {
    detector: String,
    start: u64,
    end: u64,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn labels(corpus: &Path) -> Result<BTreeMap<String, Vec<Label>>, Box<dyn Error>> {
    let mut labels: BTreeMap<String, Vec<Label>> = BTreeMap::new();
    for line in std::fs::read_to_string(corpus.join("LABELS.jsonl"))?.lines() {
        let label: Value = serde_json::from_str(line)?;
        let counts = matches!(text(&label, "class"), "true" | "test-number");
        let place = |name: &str| label.get(name).and_then(Value::as_u64);
        if let (true, "raw", Some(start), Some(end)) =
            (counts, text(&label, "locus"), place("start"), place("end"))
        {
            let detector = text(&label, "detector").to_owned();
            labels.entry(text(&label, "file").to_owned()).or_default().push(Label { detector, start, end });
        }
    }
    Ok(labels)
}

fn name_of(found: &Match) -> &str {
    NAMES.iter().find(|(own, _)| *own == found.detector).map_or(found.detector.as_ref(), |(_, name)| *name)
}

fn fits(found: &Match, label: &Label) -> bool {
    let name = name_of(found);
    let related = RELATED.iter().any(|(own, other)| *own == name && label.detector == *other);
    let overlaps = label.start < found.offset + found.length && found.offset < label.end;
    overlaps && (name == label.detector || related)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let corpus = arguments.next().ok_or("usage: score CORPUS [PERCENT] [-v]")?;
    let rest: Vec<String> = arguments.collect();
    let verbose = rest.iter().any(|argument| argument == "-v");
    let percent = rest.iter().find_map(|argument| argument.parse().ok()).unwrap_or(80);
    let corpus = Path::new(&corpus);
    let engine = Engine::new(builtin(|_| true), EngineConfig { fingerprint_key: [0; 32] });
    let labels = labels(corpus)?;
    let manifest: Value = serde_json::from_str(&std::fs::read_to_string(corpus.join("MANIFEST.json"))?)?;
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut documents: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let no_labels = Vec::new();
    for file in manifest.get("files").and_then(Value::as_array).into_iter().flatten() {
        let path = text(file, "path");
        let Ok(bytes) = std::fs::read(corpus.join(path)) else { continue };
        let mut found = Vec::new();
        let mut scanner = engine.scanner();
        scanner.feed(&bytes, &mut found);
        scanner.finish(&mut found);
        found.retain(|found| found.confidence >= Confidence::percent(percent));
        let own = labels.get(path).unwrap_or(&no_labels);
        for label in own {
            let tally = tallies.entry(label.detector.clone()).or_default();
            tally.labels += 1;
            let seen = found.iter().any(|found| fits(found, label));
            tally.found += usize::from(seen);
            if verbose && !seen {
                println!("missed {} {path} at {}", label.detector, label.start);
            }
        }
        let kinds: BTreeSet<&str> = found.iter().map(|found| found.detector.as_ref()).collect();
        for class in file.get("document_detectors").and_then(Value::as_array).into_iter().flatten() {
            let Some((class, detectors)) = DOCUMENTS.iter().find(|(name, _)| Some(*name) == class.as_str())
            else {
                continue;
            };
            let seen = detectors.iter().any(|detector| kinds.contains(detector));
            let count = documents.entry(class).or_default();
            count.0 += 1;
            count.1 += usize::from(seen);
            if verbose && !seen {
                println!("missed document {class} {path}");
            }
        }
        let partial = text(file, "note").contains("labels incomplete");
        if text(file, "kind") == "ambiguous" || path.ends_with("part_numbers.csv") || partial {
            continue;
        }
        for found in &found {
            let of_document =
                DOCUMENTS.iter().any(|(_, detectors)| detectors.contains(&found.detector.as_ref()));
            let negative = path.starts_with("files/neg/");
            let tally = tallies.entry(name_of(found).to_owned()).or_default();
            if own.iter().any(|label| fits(found, label)) || of_document && !negative {
                tally.right += 1;
            } else {
                tally.wrong += 1;
                *tally.worst.entry(path.to_owned()).or_default() += 1;
                if verbose {
                    println!("false {} {path} at {} {:?}", found.detector, found.offset, found.confidence);
                }
            }
        }
    }
    println!(
        "{:28} {:>6} {:>7} {:>6} {:>6} {:>9}",
        "detector", "labels", "recall", "right", "wrong", "precision"
    );
    for (name, tally) in &tallies {
        let share = |part: usize, whole: usize| {
            let thousandth = (part * 1000).checked_div(whole);
            thousandth.map_or("-".to_owned(), |share| format!("{}.{}%", share / 10, share % 10))
        };
        let (recall, precision) =
            (share(tally.found, tally.labels), share(tally.right, tally.right + tally.wrong));
        let worst: Vec<String> = tally.worst.iter().map(|(path, count)| format!("{path} {count}")).collect();
        println!(
            "{name:28} {:>6} {recall:>7} {:>6} {:>6} {precision:>9} {}",
            tally.labels,
            tally.right,
            tally.wrong,
            worst.join(", ")
        );
    }
    for (class, (files, seen)) in documents {
        println!("document {class:19} {files:>6} files, {seen} recognised");
    }
    Ok(())
}
