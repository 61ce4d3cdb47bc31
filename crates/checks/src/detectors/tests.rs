//! Every rule runs its own examples.

use super::rule::{Example, Level, Rule, Stored, load};
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
    let text = example.text.replace("{eicar}", &crate::malware::eicar_text()).replace("{+}", "");
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
    let all = builtin(|_| true);
    let mut names: Vec<_> = all.iter().map(|detector| detector.name()).collect();
    names.extend(all.iter().flat_map(|detector| detector.classes().iter().map(|class| class.0)));
    let mut rules: Vec<_> = RULES.iter().filter_map(|(name, _)| name.split('/').nth(1)).collect();
    names.sort_unstable();
    rules.sort_unstable();
    assert_eq!(names, rules);
    assert_eq!(builtin(|detector| detector.name() == "pan").len(), 1);
    assert_eq!(rules_digest(), rules_digest());
}

#[test]
fn one_value_is_reported_once() {
    let track = ";4453331478932885=29121019889056123?";
    let found = scan(engine(), track.as_bytes());
    assert_eq!(found.iter().map(|found| found.detector.as_ref()).collect::<Vec<_>>(), ["track2"]);
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

/// Makes numbers that have nothing to do with each other (Knuth, The Art of Computer
/// Programming, volume 2, 3.3.4, table 1, line 26).
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 24
    }
}

/// What looks like values and is none: numbers of systems, goods and programs.
#[test]
fn look_alikes_stay_below_medium() {
    let mut next = noise(11);
    let mut lines: Vec<String> = Vec::new();
    for step in 0..4000_u64 {
        let (a, b) = (next(), next());
        lines.push(match step % 16 {
            0 => format!("{:09}", a % 1_000_000_000),
            1 => format!("{:010}", a % 10_000_000_000),
            2 => format!("{:011},{:012}", a % 100_000_000_000, b % 1_000_000_000_000),
            3 => format!(
                "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                a & 0xffff_ffff,
                b & 0xffff,
                a & 0xfff,
                b & 0xfff,
                b
            ),
            4 => format!(
                "ts={} epoch={}",
                1_700_000_000_000 + a % 99_999_999_999,
                1_700_000_000 + b % 99_999_999
            ),
            5 => format!("sha256 {a:016x}{b:016x}{:016x}{:016x}", a ^ b, a.wrapping_mul(b)),
            6 => format!("{{\"sku\":\"{:013}\",\"qty\":{}}}", a % 10_000_000_000_000, b % 99),
            7 => format!("{}.{:09} -{}.{:06}", a % 90, b % 1_000_000_000, b % 180, a % 1_000_000),
            8 => format!(
                "{:02}:{:02} {}-{:02}-{:02} {:03}-{:03}-{:04}",
                a % 24,
                b % 60,
                1990 + a % 40,
                1 + b % 12,
                1 + a % 28,
                200 + a % 700,
                b % 1000,
                a % 10000
            ),
            9 => {
                format!("imei {:015} iccid 89{:017}", a % 1_000_000_000_000_000, b % 100_000_000_000_000_000)
            }
            10 => {
                format!("part {:03}.{:03}.{:03}-{:02}", a % 1000, b % 1000, (a >> 9) % 1000, (b >> 9) % 100)
            }
            11 => format!(
                "{:05X}-{:05X}-{:05X} KB{:07}",
                a & 0xf_ffff,
                b & 0xf_ffff,
                (a >> 20) & 0xf_ffff,
                b % 10_000_000
            ),
            12 => format!("static const uint64_t k{step} = 0x{a:016x}ULL; /* {b} */"),
            13 => format!(
                "10.{}.{}.{} - - \"GET /item/{:07}?s={:08} HTTP/1.1\" 200 {}",
                a % 256,
                b % 256,
                (a >> 8) % 256,
                b % 10_000_000,
                a % 100_000_000,
                b % 99999
            ),
            14 => format!(
                "order {:012} invoice {:08} tracking {:018}",
                a % 1_000_000_000_000,
                b % 100_000_000,
                a
            ),
            _ => format!("libfoo{}.so.{} AB{:02}CD{:04} v{}", a % 90, b % 9, a % 100, b % 10000, a % 100),
        });
    }
    let text = lines.join("\n");
    for bytes in [text.as_bytes().to_vec(), Stored::Utf16Le.encode(&text)] {
        let found = scan(engine(), &bytes);
        let sure = found.iter().filter(|found| Level::of(found.confidence) >= Level::High);
        assert_eq!(sure.count(), 0);
        let likely = found.iter().filter(|found| Level::of(found.confidence) == Level::Medium);
        let likely: Vec<_> = likely.map(|found| (found.detector.clone(), found.offset)).collect();
        // Bare card numbers and dashed SSNs by chance; everything else needs a label.
        let labelled =
            likely.iter().filter(|(detector, _)| !matches!(detector.as_ref(), "pan" | "us_ssn" | "us_itin"));
        assert_eq!(labelled.count(), 0, "{likely:?}");
        assert!(likely.len() <= 8, "{likely:?}");
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
        Just("NPI 1234567893, DEA AB1234563\n".to_owned()),
        Just("routing 121817567 account 61830870832\n".to_owned()),
        Just("MSH|^~\\&|A|B|C|D|20200101||ADT^A01|1|P|2.5\rPID|1||77||ROE^RUTH\r".to_owned()),
        Just("{\"resourceType\": \"Patient\", \"birthDate\": \"1970-01-01\"}".to_owned()),
        Just("CPF: 219.676.924-08 codice fiscale RSSMRA85T10A562S ".to_owned()),
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
