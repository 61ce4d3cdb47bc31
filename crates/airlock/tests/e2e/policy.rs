//! Policies: their schema, and what they mean in words.

use crate::support::{Bench, text_of};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Lets the independent validator say which of `policies` are of `schema`.
fn valid(bench: &Bench, schema: &str, policies: &[Value]) -> Vec<bool> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let python = target.join("validators/bin/python");
    assert!(python.is_file(), "the validators of reports are missing: run `cargo xtask validators`");
    let [schema_file, policies_file] = ["schema.json", "policies.json"].map(|name| bench.path(name));
    fs::write(&schema_file, schema).expect("schema");
    fs::write(&policies_file, Value::from(policies).to_string()).expect("policies");
    let code = "import json, sys, jsonschema\n\
                schema, policies = (json.load(open(path)) for path in sys.argv[1:])\n\
                kind = jsonschema.Draft202012Validator\n\
                kind.check_schema(schema)\n\
                print(json.dumps([kind(schema).is_valid(policy) for policy in policies]))";
    let ran = Command::new(python).args(["-c", code]).args([schema_file, policies_file]).output();
    let ran = ran.expect("python runs");
    assert!(ran.status.success(), "the validator failed: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("a list")
}

/// The schema is the one that is checked in, lets the built-in policy through, and refuses mistakes that the
/// program refuses.
#[test]
fn the_schema_says_what_the_program_takes() {
    let bench = Bench::new();
    let printed = bench.airlock("policy").args(["schema"]).expect(0).out;
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/policy.schema.json");
    if std::env::var_os("AIRLOCK_WRITE_SCHEMA").is_some() {
        fs::write(&checked_in, &printed).expect("written");
    }
    let checked_in = fs::read_to_string(checked_in).expect("docs/reference/policy.schema.json");
    assert_eq!(checked_in, printed, "AIRLOCK_WRITE_SCHEMA=1 writes the file anew");

    let pattern =
        serde_json::json!({ "name": "number", "regex": "KD-[0-9]{8}", "examples": ["KD-20481234"] });
    let rule = serde_json::json!({
        "check": "financial", "detectors": ["pan"], "where": ["source"], "confidence": 0.9, "distinct": 2,
        "scope": "vm", "action": "terminate",
    });
    let good = serde_json::json!({
        "policy": "airlock/1", "name": "strict", "rules": [rule], "patterns": [pattern],
        "unscannable": { "encrypted": "hold", "unreadable": "terminate", "limit": "warn", "unsupported": "allow" },
        "metadata": "hold", "free_space": "drop", "containers": "leave", "release": "judged",
    });
    let mistakes = [
        ("/policy", "airlock/2".into()),
        ("/rules/0/check", "finance".into()),
        ("/rules/0/detectors", serde_json::json!([])),
        ("/rules/0/where", serde_json::json!([])),
        ("/rules/0/confidence", 90.into()),
        ("/rules/0/distinct", 0.into()),
        ("/rules/0/scope", "folder".into()),
        ("/patterns/0/examples", serde_json::json!([])),
        ("/patterns/0/name", "A number".into()),
        ("/unscannable/limit", Value::Null),
        ("/metadata", "warn".into()),
        ("/free_space", "skip".into()),
    ];
    let mut tried = vec![good.clone()];
    tried.extend(mistakes.map(|(at, value)| {
        let mut bad = good.clone();
        *bad.pointer_mut(at).expect("a place in the policy") = value;
        bad
    }));
    let mut unknown = good;
    unknown["relaese"] = "judged".into();
    tried.push(unknown);
    let found = valid(&bench, &printed, &tried);
    assert_eq!(found.len(), tried.len());
    for (index, (policy, is_valid)) in tried.iter().zip(found).enumerate() {
        assert_eq!(is_valid, index == 0, "the schema on {policy}");
        let file = bench.path("tried.yaml");
        fs::write(&file, policy.to_string()).expect("policy");
        let ran = bench.airlock("policy").args(["check".as_ref(), file.as_os_str()]);
        ran.expect(i32::from(!is_valid));
    }
}

/// What is said of two policies names the stricter rule and whose it is.
#[test]
fn what_a_policy_does_is_said_in_words() {
    let bench = Bench::new();
    let home = bench.policy("home.yaml", &[("name: default", "name: home")]);
    let card = "{check: financial, confidence: 0.8, scope: file, action: hold}";
    let cards = "{check: financial, confidence: 0.7, distinct: 5, scope: vm, action: terminate}";
    let cloud = bench.policy(
        "cloud.yaml",
        &[("name: default", "name: cloud"), (card, cards), ("free_space: scan", "free_space: drop")],
    );
    let run = || bench.airlock("policy").args(["explain".as_ref(), home.as_os_str(), cloud.as_os_str()]);
    let said = run().args(["--format", "table"]).expect(0).out;
    let cards = "terminate  confidence 0.70 or more, 5 different values in one VM: everything is discarded, \
                 whatever --on-fail says  [cloud]";
    assert!(said.contains(cards), "{said}");
    assert!(said.contains("hold       confidence 0.80 or more: the file is not kept"), "{said}");
    assert!(said.contains("free space            not sent"), "{said}");

    let explained = run().args(["--format", "json"]).expect(0).json();
    let merged = bench.airlock("policy").args(["merge".as_ref(), home.as_os_str(), cloud.as_os_str()]);
    assert_eq!(explained["digest"], merged.args(["--format", "json"]).expect(0).json()["digest"]);
    let rules = explained["rules"].as_array().expect("rules");
    let whose = |check: &str, action: &str| {
        let is = |rule: &&Value| rule["rule"]["check"] == check && rule["rule"]["action"] == action;
        rules.iter().find(is).unwrap_or_else(|| panic!("{check}, {action}"))["asked_by"].clone()
    };
    assert_eq!(whose("financial", "terminate"), serde_json::json!(["cloud"]));
    assert_eq!(whose("financial", "hold"), serde_json::json!(["home"]));
    assert_eq!(whose("health", "hold"), serde_json::json!(["home", "cloud"]));
    let looked_for = explained["detectors"]["financial"].as_array().expect("detectors");
    assert!(looked_for.iter().any(|name| text_of(name) == "pan"));
}
