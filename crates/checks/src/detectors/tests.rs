//! Every rule runs its own examples.

use super::rule::{Example, Level, Rule, load};
use super::{RULES, builtin, rules_digest};
use airlock_inspect::{Engine, EngineConfig, Match};
use proptest::prelude::*;
use serde::de::IgnoredAny;
use std::sync::LazyLock;

/// Three lines of base64 that are no key.
fn key() -> String {
    let line = |seed: u8| -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..64_u8).map(|i| char::from(LETTERS[usize::from(i.wrapping_mul(seed) % 64)])).collect()
    };
    format!("MII{}\n{}\n{}==", &line(5)[3..], line(7), &line(11)[..30])
}

/// Every detector.
fn engine() -> &'static Engine {
    static ENGINE: LazyLock<Engine> =
        LazyLock::new(|| Engine::new(builtin(|_| true), EngineConfig { fingerprint_key: [7; 32] }));
    &ENGINE
}

fn scan(engine: &Engine, bytes: &[u8]) -> Vec<Match> {
    let mut found = Vec::new();
    let mut scanner = engine.scanner();
    scanner.feed(bytes, &mut found);
    scanner.finish(&mut found);
    found
}

/// Returns what is wrong with what is found in an example.
fn check(detector: &str, example: &Example) -> Option<String> {
    let text = example.text.replace("{eicar}", &crate::malware::eicar_text());
    let escaped = if text.contains("\\n") { key().replace('\n', "\\n") } else { key() };
    let bytes = example.encoding.encode(&text.replace("{key}", &escaped));
    let found = scan(engine(), &bytes);
    let own: Vec<&Match> = found.iter().filter(|found| found.detector == detector).collect();
    let surest = own.iter().map(|found| Level::of(found.confidence)).max().unwrap_or(Level::None);
    let count = example.count.unwrap_or(usize::from(example.confidence != Level::None));
    let inside = own.iter().all(|found| {
        let end = usize::try_from(found.offset + found.length).unwrap();
        end <= bytes.len() && found.length > 0
    });
    let right = surest == example.confidence && own.len() == count && inside;
    let expected = example.confidence;
    (!right).then(|| format!("{detector}: {:?}: {expected:?} expected, {found:?}", example.text))
}

#[test]
fn rules_find_their_examples_and_nothing_else() {
    let mut wrong = Vec::new();
    for (name, _) in RULES {
        let rule: Rule<IgnoredAny> = load(name);
        assert_eq!(format!("{}/{}", rule.check.name(), rule.detector), *name);
        assert!(rule.examples.len() >= 2 && rule.counter_examples.len() >= 2, "{name}");
        let examples = rule.examples.iter().chain(&rule.counter_examples);
        wrong.extend(examples.filter_map(|example| check(&rule.detector, example)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_detector() {
    let mut names: Vec<_> = builtin(|_| true).iter().map(|detector| detector.name()).collect();
    let mut rules: Vec<_> = RULES.iter().filter_map(|(name, _)| name.split('/').nth(1)).collect();
    names.sort_unstable();
    rules.sort_unstable();
    assert_eq!(names, rules);
    assert_eq!(builtin(|name| name == "pan").len(), 1);
    assert_eq!(rules_digest(), rules_digest());
}

#[test]
fn one_value_is_reported_once() {
    let track = ";4453331478932885=29121019889056123?";
    let found = scan(engine(), track.as_bytes());
    assert_eq!(found.iter().map(|found| found.detector).collect::<Vec<_>>(), ["track2"]);
    assert_eq!((found[0].offset, found[0].length), (0, 36));
    assert_eq!(found[0].fingerprint, engine().fingerprint("track2", b"4453331478932885"));
}

#[test]
fn grouping_and_encoding_do_not_change_a_fingerprint() {
    let expected = engine().fingerprint("pan", b"4453331478932885");
    for text in ["card 4453331478932885", "card 4453-3314-7893-2885", "card 4453 3314 7893 2885"] {
        let found = scan(engine(), text.as_bytes());
        assert_eq!(found[0].fingerprint, expected);
        assert_eq!(found[0].display, "visa ************2885");
    }
    let iban = engine().fingerprint("iban", b"NL19ABCD0123456789");
    assert_eq!(scan(engine(), b"iban nl19 abcd 0123 4567 89")[0].fingerprint, iban);
}

#[test]
fn nothing_shows_a_value() {
    let text = "card 4453331478932885, SSN 536-22-8721, DE03501234560087654321\n";
    let engine = engine();
    let mut found = Vec::new();
    let mut scanner = engine.scanner();
    scanner.feed(text.as_bytes(), &mut found);
    let waiting = format!("{scanner:?} {engine:?}");
    scanner.finish(&mut found);
    assert_eq!(found.len(), 3);
    let shown = format!("{found:?} {waiting}");
    for value in ["445333", "31478932", "536-22", "8721", "5012345"] {
        assert!(!shown.contains(value), "{shown}");
    }
}

/// Texts full of values, in all encodings, between noise.
fn guests() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("card 4453331478932885\n".to_owned()),
        Just("5358-0699-8339-7623,".to_owned()),
        Just("4040 7238 6255 1182 04/29;".to_owned()),
        Just("%B4453331478932885^MUSTER/ERIKA^2912101443518809?".to_owned()),
        Just(";4453331478932885=29121019889056123?".to_owned()),
        Just("DE03501234560087654321 ".to_owned()),
        Just("GB81 ABCD 1234 5687 6543 21\n".to_owned()),
        Just("SSN 536-22-8721, ".to_owned()),
        Just("Roe4453331478932885536-22-8721".to_owned()),
        Just("ITIN 914-90-2571\n".to_owned()),
        Just(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", key())),
        Just(crate::malware::eicar_text()),
        "[a-z]{1,8}[ ,;\n]",
        "[0-9]{1,20}[ ,;\n-]",
        "[ -~]{0,200}",
    ];
    let piece = prop_oneof![
        4 => value.clone().prop_map(String::into_bytes),
        1 => value.clone().prop_map(|text| text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        1 => value.prop_map(|text| text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        1 => (0..5000_usize).prop_map(|length| vec![0; length]),
        1 => proptest::collection::vec(any::<u8>(), 0..100),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_split_finds_the_same(bytes in guests(), sizes in proptest::collection::vec(1..6000_usize, 1..20)) {
        let engine = engine();
        let sort = |mut found: Vec<Match>| {
            found.sort_by_key(|found| (found.offset, found.length, found.fingerprint));
            found
        };
        let whole = sort(scan(engine, &bytes));
        for sizes in [&sizes[..], &[1], &[4096]] {
            let (mut found, mut rest) = (Vec::new(), bytes.as_slice());
            let mut scanner = engine.scanner();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                scanner.feed(piece, &mut found);
                rest = after;
            }
            scanner.finish(&mut found);
            prop_assert_eq!(&sort(found), &whole);
        }
    }
}
