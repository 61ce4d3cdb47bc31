//! What a site looks for beyond the built-in detectors: patterns of its policy, exact data, and
//! parts of documents.

use crate::support::{Bench, text_of};
use serde_json::Value;
use std::fs;

fn told(json: &Value) -> Vec<(&str, &str)> {
    let findings = json["findings"].as_array().expect("findings");
    findings.iter().map(|one| (text_of(&one["detector"]), text_of(&one["path"]))).collect()
}

/// A pattern whose examples hold is found and holds a file; one whose examples do not is refused, with the
/// place of the example.
#[test]
fn a_policy_brings_patterns_of_its_own() {
    let bench = Bench::new();
    let folder = bench.path("folder");
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join("a.txt"), "our customer KD-20481234 called\n").expect("write");
    fs::write(folder.join("b.txt"), "nothing but KD-2048123 and xKD-204812345\n").expect("write");
    let policy = |example: &str| {
        let yaml = fs::read_to_string(bench.path("default.yaml")).expect("read");
        let pattern = format!(
            "patterns: [{{name: customer, regex: '\\bKD-[0-9]{{8}}\\b', examples: [{example}], \
             counter_examples: [KD-2048123]}}]\nmetadata:"
        );
        let path = bench.path("own.yaml");
        fs::write(&path, yaml.replacen("\nmetadata:", &format!("\n{pattern}"), 1)).expect("write");
        path
    };
    let init = bench.airlock("policy").arg("init").expect(0).out;
    fs::write(bench.path("default.yaml"), init).expect("write");
    let own = policy("KD-20481234");
    let checked = bench.airlock("policy").arg("check").arg(&own).expect(0).json();
    assert_eq!(text_of(&checked["patterns"][0]["name"]), "customer");
    assert_eq!(checked["patterns"][0]["slow"], Value::from(false));
    let scan = bench.airlock("scan").arg(&folder).arg("--policy").arg(&own).expect(3).json();
    assert_eq!(told(&scan), [("pattern:customer", "/a.txt")]);
    assert_eq!(told(&bench.airlock("scan").arg(&folder).expect(0).json()), []);
    let ran = bench.airlock("policy").arg("check").arg(policy("KD-1")).expect(1);
    assert!(ran.err.contains("does not match its example 1"), "{}", ran.err);
    let own = policy("KD-20481234");
    let merged =
        bench.airlock("policy").arg("merge").arg(bench.path("default.yaml")).arg(&own).expect(0).json();
    assert_eq!(text_of(&merged["effective"]["patterns"][0]["name"]), "customer");
}

/// Values of a table are found by their hashes, from a flag and from a rulebook, with the key in the list and
/// apart; no value and no kept key stands in the list.
#[test]
fn values_of_a_table_are_found_again() {
    let bench = Bench::new();
    let folder = bench.path("folder");
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join("a.txt"), "ref 90517733412 and Ruth Roe\n").expect("write");
    fs::write(folder.join("b.txt"), "Ruth Roe was here; 90517733413\n").expect("write");
    let table = bench.path("customers.csv");
    fs::write(&table, "name,number\nRuth Roe,905-177-334-12\nKarl Koe,11223344556\n,\n").expect("write");
    let list = bench.path("customers.edm");
    let edm = || bench.airlock("rules").args(["edm", "--column", "number", "--also", "name"]);
    let made = edm().arg("--to").arg(&list).arg(&table).expect(0).json();
    assert_eq!((&made["rows"], &made["passed_over"]), (&Value::from(3), &Value::from(0)));
    let bytes = fs::read(&list).expect("read");
    assert!(!bytes.windows(4).any(|part| part == b"Ruth" || part == b"9051"));
    let expected = [("exact_data", "/a.txt"), ("exact_data", "/a.txt")];
    let scan = || bench.airlock("scan").arg(&folder);
    assert_eq!(told(&scan().arg("--exact-data").arg(&list).expect(3).json()), expected);
    assert_eq!(told(&scan().expect(0).json()), []);

    let key = bench.path("exact.key");
    fs::write(&key, "7e".repeat(32)).expect("write");
    edm().arg("--exact-key").arg(&key).arg("--to").arg(&list).arg(&table).expect(0);
    assert!(scan().arg("--exact-data").arg(&list).expect(1).err.contains("needs the key"));
    let book = bench.path("own.rulebook");
    let build = bench.airlock("rules").args(["build", "--name", "own", "--book-version", "1"]);
    build.arg("--exact-data").arg(&list).arg("--exact-key").arg(&key).arg("--to").arg(&book).expect(0);
    let own = bench.airlock("key").expect(0).json();
    bench.airlock("rules").arg("import").arg(&book).args(["--key", text_of(&own["key"])]).expect(0);
    assert_eq!(told(&scan().arg("--exact-key").arg(&key).expect(3).json()), expected);
    assert!(edm().arg("--to").arg(&list).arg(&book).expect(1).err.contains("no column"));
}

/// A copied part of a document is found with its share; a template is not.
#[test]
fn parts_of_documents_are_found_again() {
    let bench = Bench::new();
    let (own, folder) = (bench.path("own"), bench.path("folder"));
    fs::create_dir_all(&own).expect("folder");
    fs::create_dir_all(&folder).expect("folder");
    let mut rng = airlock_testkit::Rng::new(11);
    let mut words = |count: usize| -> String {
        let mut bytes = vec![0; count * 6];
        rng.fill(&mut bytes);
        let letter = |(at, byte): (usize, &u8)| if at % 6 == 5 { ' ' } else { char::from(b'a' + byte % 26) };
        bytes.iter().enumerate().map(letter).collect()
    };
    let (template, plan, other) = (words(400), words(2000), words(2000));
    fs::write(own.join("plan.txt"), format!("{template} {plan}")).expect("write");
    fs::write(bench.path("template.txt"), &template).expect("write");
    fs::write(folder.join("copy.txt"), format!("{} {}", &other[..3000], &plan[1000..4000])).expect("write");
    fs::write(folder.join("other.txt"), format!("{template} {other}")).expect("write");
    let prints = bench.path("own.prints");
    let made = bench.airlock("rules").arg("fingerprints").arg("--except").arg(bench.path("template.txt"));
    let made = made.arg("--to").arg(&prints).arg(&own).expect(0).json();
    assert_eq!((&made["documents"], &made["passed_over"]), (&Value::from(1), &Value::from(0)));
    let scan = bench.airlock("scan").arg(&folder).arg("--documents").arg(&prints).expect(3).json();
    assert_eq!(told(&scan), [("document", "/copy.txt")]);
    let display = text_of(&scan["findings"][0]["display"]);
    assert!(display.starts_with('2') && display.ends_with("plan.txt"), "{display}");
    let empty = bench.path("empty.txt");
    fs::write(&empty, "too short").expect("write");
    let ran = bench.airlock("rules").args(["fingerprints", "--to"]).arg(&prints).arg(&empty).expect(1);
    assert!(ran.err.contains("long enough"), "{}", ran.err);
}
