//! What is found depends on the bytes of a stream only.

use airlock_inspect::{
    Anchor, Armor, Detector, Engine, EngineConfig, Hit, Literal, Match, Normal, Part, Signature, Value,
    Window,
};
use airlock_model::{Check, Confidence, Severity};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Rare strings, one of which is the beginning of another, and one within another.
static LITERALS: LazyLock<[Literal; 6]> = LazyLock::new(|| {
    [
        Literal::new(b"AKIA").wide(),
        Literal::new(b"resourceType").any_case().wide(),
        Literal::new(b"\x1f\x8b\x08"),
        Literal::new(b"Type"),
        Literal::new(b"SQLite format 3\0"),
        Literal::new(b"-----BEGIN").wide(),
    ]
});

/// Claims every candidate, and depends on all that it may look at.
#[derive(Debug)]
struct Everything;

impl Detector for Everything {
    fn name(&self) -> &'static str {
        "everything"
    }

    fn check(&self) -> Check {
        Check::Regulated
    }

    fn severity(&self) -> Severity {
        Severity::Low
    }

    fn anchors(&self) -> &[Anchor] {
        &Anchor::ALL
    }

    fn literals(&self) -> &[Literal] {
        &*LITERALS
    }

    fn verify_literal(&self, which: usize, window: &Window<'_>) -> Option<Hit> {
        // Armour may begin anywhere: which head comes first must not depend on pieces.
        if which == 5 {
            return window.after.starts_with(b"-----BEGIN KEY-----").then(|| {
                Hit::Armor(Armor {
                    head_length: 19,
                    whole: Confidence::percent(90),
                    cut: Confidence::percent(60),
                    stub: Confidence::percent(30),
                    display: "key".to_owned(),
                })
            });
        }
        if which == 3 {
            return Some(Hit::Part(Part {
                first: -2,
                length: 6,
                fields: 1,
                bare: Confidence::MEDIUM,
                full: Confidence::HIGH,
                normal: Normal::of(window.after),
                display: "part".to_owned(),
            }));
        }
        if which == 0 && window.after.len() > 200 {
            return Some(Hit::Armor(Armor {
                head_length: 4,
                whole: Confidence::percent(91),
                cut: Confidence::percent(61),
                stub: Confidence::percent(31),
                display: "literal key".to_owned(),
            }));
        }
        Some(value(&format!("literal {which}"), window))
    }

    fn verify(&self, anchor: Anchor, window: &Window<'_>) -> Option<Hit> {
        Some(value(&format!("{anchor:?}"), window))
    }
}

fn value(cause: &str, window: &Window<'_>) -> Hit {
    let sum = |bytes: &[u8]| bytes.iter().fold(7_u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(*byte));
    let seen = format!(
        "{cause} {} {} {} {} {:?}",
        sum(window.before),
        sum(window.after),
        window.run,
        window.from_start,
        window.column(0).map(sum),
    );
    Hit::Value(Value {
        first: 0,
        length: 4,
        confidence: Confidence::HIGH,
        normal: Normal::of(seen.as_bytes()),
        display: seen,
    })
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z]{2,9}[,;= \n]",
        2 => "[0-9]{13,19}[, \n]",
        1 => "[0-9]{4}[- ][0-9]{4}[- ][0-9]{4}[- ][0-9]{4}\n",
        1 => "[0-9]{3}-[0-9]{2}-[0-9]{4}[ ,]",
        1 => "[A-Z]{2}[0-9]{20}[ ;]",
        1 => "-----BEGIN KEY-----\n([A-Za-z0-9+/]{64}\n){0,20}[A-Za-z0-9+/]{12}==\n-----END KEY-----\n",
        1 => "-----BEGIN KEY-----\n([A-Za-z0-9+/]{64}\n){0,3}",
        1 => "[ -~]{0,300}",
        1 => "[ -~]{0,70}(AKIA|resourceType|RESOURCEtype|rceType|AKI|Type|SQLite format 3\0)[ -~]{0,70}",
    ];
    let piece = prop_oneof![
        4 => piece.clone().prop_map(String::into_bytes),
        1 => piece.clone().prop_map(|text| text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        1 => piece.prop_map(|text| text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        1 => (0..9000_usize).prop_map(|length| vec![0; length]),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => Just(b"\x1f\x8b\x08".to_vec()),
        1 => (60..70_usize).prop_map(|length| vec![0; length]),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn engine() -> Engine {
    let config = EngineConfig { fingerprint_key: [3; 32] };
    Engine::with_signatures(vec![Box::new(Everything)], &LITERALS[2..5], config)
}

fn sorted(mut found: Vec<Match>) -> Vec<Match> {
    found.sort_by_key(|found| (found.offset, found.length, found.fingerprint));
    found
}

fn scan(engine: &Engine, pieces: &[&[u8]]) -> Vec<Match> {
    scan_all(engine, pieces).0
}

fn scan_all(engine: &Engine, pieces: &[&[u8]]) -> (Vec<Match>, Vec<Signature>) {
    let mut found = Vec::new();
    let mut scanner = engine.scanner();
    // A stream before this one must leave nothing behind.
    scanner.feed(b"id,card\n1,4000000000000000 -----BEGIN KEY-----\n", &mut found);
    scanner.finish(&mut found);
    found.clear();
    scanner.signatures();
    scanner.start(1000);
    let mut signatures = Vec::new();
    for piece in pieces {
        scanner.feed(piece, &mut found);
        signatures.extend(scanner.signatures());
    }
    scanner.finish(&mut found);
    signatures.extend(scanner.signatures());
    (sorted(found), signatures)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_split_finds_the_same(bytes in text(), sizes in proptest::collection::vec(1..9000_usize, 1..40)) {
        let engine = engine();
        let whole = scan_all(&engine, &[&bytes]);
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(&scan_all(&engine, &pieces), &whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&scan_all(&engine, &single), &whole);
        let large: Vec<&[u8]> = bytes.chunks(4096).collect();
        prop_assert_eq!(&scan_all(&engine, &large), &whole);
    }
}

#[test]
fn a_long_block_is_followed_to_its_end() {
    let body = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2\n".repeat(300);
    let block = format!("-----BEGIN KEY-----\n{body}-----END KEY-----");
    let stream = format!("{}{block}\nrest", "x".repeat(5000));
    let found = scan(&engine(), &[stream.as_bytes()]);
    let key: Vec<_> = found.iter().filter(|found| found.display == "key").collect();
    assert_eq!(key.len(), 1);
    assert_eq!((key[0].offset, key[0].length), (6000, u64::try_from(block.len()).unwrap()));
    assert_eq!(key[0].confidence, Confidence::percent(90));
    let endless = format!("-----BEGIN KEY-----\n{}", body.repeat(5));
    let found = scan(&engine(), &[endless.as_bytes()]);
    let key: Vec<_> = found.iter().filter(|found| found.display == "key").collect();
    assert!(key[0].length <= 64 * 1024 && key[0].length > 65_000);
    assert_eq!(key[0].confidence, Confidence::percent(60));
}

#[test]
fn literals_are_found_wherever_they_stand() {
    let engine = engine();
    for at in 0..200_usize {
        for (which, literal) in LITERALS.iter().enumerate().take(5).skip(1).filter(|(which, _)| *which != 3) {
            let mut stream = vec![b'.'; at];
            stream.extend_from_slice(literal.bytes());
            let (found, signatures) = scan_all(&engine, &[&stream]);
            let offset = 1000 + u64::try_from(at).unwrap();
            let name = format!("literal {which} ");
            let own = found.iter().filter(|found| found.display.starts_with(&name));
            assert_eq!(own.map(|found| found.offset).collect::<Vec<_>>(), [offset], "{which} at {at}");
            let expected = which.checked_sub(2).map(|id| Signature { offset, id });
            assert!(expected.is_none_or(|expected| signatures.contains(&expected)), "{which} at {at}");
        }
        for big in [false, true] {
            let text = format!("{}rESOURCEtYPE", ".".repeat(at));
            let units = text.encode_utf16();
            let stream: Vec<u8> =
                units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect();
            let found = scan(&engine, &[&stream]);
            let offset = 1000 + 2 * u64::try_from(at).unwrap();
            let own = found.iter().filter(|found| found.display.starts_with("literal 1 "));
            assert_eq!(own.map(|found| found.offset).collect::<Vec<_>>(), [offset], "wide at {at}");
        }
    }
}

#[test]
fn parts_of_a_document_are_one_finding() {
    let gap = |count: usize| vec![b'.'; count];
    let stream =
        [&b"..Type"[..], &gap(60_000), b"Type", &gap(60_000), b"Type", &gap(70_000), b"Type"].concat();
    let found = scan(&engine(), &[&stream]);
    let shown: Vec<_> = found.iter().map(|one| (one.offset, one.length, one.display.as_str())).collect();
    let near = "part, parts: 3, protected fields: 3";
    let far = "part, parts: 1, protected fields: 1";
    assert_eq!(shown, [(1000, 120_014, near), (191_012, 6, far)]);
}

#[test]
fn nothing_is_found_in_nothing() {
    assert_eq!(scan(&engine(), &[]), []);
    assert_eq!(scan(&engine(), &[&vec![0; 100_000]]), []);
}
