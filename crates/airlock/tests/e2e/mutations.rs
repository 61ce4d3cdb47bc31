//! Evidence and vaults that somebody changed on purpose: each change is refused, and named.

use crate::support::{Bench, files_ending, text_of};
use airlock_evidence::SiteKey;
use airlock_testkit::PlantedDiskBuilder;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A vault with a VM of which something was withheld, and its evidence outside of the vault.
struct Kept {
    bench: Bench,
    vault: PathBuf,
    evidence: PathBuf,
    envelope: Value,
    statement: Value,
    id: String,
}

fn decoded(text: &Value) -> Value {
    let bytes = airlock_evidence::decode_payload(text_of(text)).expect("base64");
    serde_json::from_slice(&bytes).expect("a statement")
}

fn keep() -> Kept {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let (vault, evidence) = (bench.path("vault"), bench.path("evidence.json"));
    let transfer = bench.airlock("transfer").args([disk.image(), &vault]).args(["--on-fail", "withhold"]);
    let json = transfer.expect(3).json();
    fs::copy(text_of(&json["evidence"]), &evidence).expect("copy");
    let envelope: Value = serde_json::from_slice(&fs::read(&evidence).expect("evidence")).expect("JSON");
    let statement = decoded(&envelope["payload"]);
    let id = text_of(&json["transfer"]["id"]).to_owned();
    Kept { bench, vault, evidence, envelope, statement, id }
}

/// Reads the key that a site signs with.
fn key(folder: &Path) -> SiteKey {
    let text = fs::read(folder.join("site.key")).expect("key");
    let mut seed = [0; 32];
    match hex::decode_to_slice(String::from_utf8_lossy(&text).trim(), &mut seed) {
        Ok(()) => {}
        Err(_) => seed.copy_from_slice(&text),
    }
    SiteKey::from_seed(&seed.into())
}

impl Kept {
    /// Verifies these bytes against the vault. Returns what is said.
    fn said(&self, evidence: &[u8]) -> String {
        let file = self.bench.path("mutated.json");
        fs::write(&file, evidence).expect("write");
        let run = self.bench.airlock("verify").arg(&file).arg("--vault").arg(&self.vault);
        let ran = run.args(["--format", "table"]).end();
        assert_eq!(ran.code, Some(6), "{}{}", ran.out, ran.err);
        ran.err
    }

    fn check(&self, what: &str, evidence: &[u8], named: &str) {
        let said = self.said(evidence);
        assert!(said.contains(named), "{what}: {said}");
    }

    /// Signs a statement with the keys of both sites: what they would have to agree on to lie.
    fn signed(&self, statement: &Value) -> Vec<u8> {
        let payload = statement.to_string().into_bytes();
        // Fields stand in the order of the types, as the program writes them.
        let statement: airlock_evidence::Statement = serde_json::from_slice(&payload).expect("a statement");
        let payload = serde_json::to_vec(&statement).expect("plain data");
        let signatures = [key(&self.bench.home()), key(&self.vault)].map(|key| key.sign(&payload));
        airlock_evidence::Envelope::new(&payload, signatures.into()).to_bytes()
    }

    /// Changes the vault, verifies, and changes it back.
    fn check_vault(&self, what: &str, path: &Path, change: impl FnOnce(&Path), named: &str) {
        let before = fs::read(path).expect("a file of the vault");
        change(path);
        self.check(what, &fs::read(&self.evidence).expect("evidence"), named);
        fs::write(path, before).expect("as it was");
    }
}

fn changed(value: &Value, at: &str, to: &Value) -> Value {
    let mut changed = value.clone();
    *changed.pointer_mut(at).unwrap_or_else(|| panic!("{at} in {value}")) = to.clone();
    assert_ne!(&changed, value, "{at}");
    changed
}

/// What stands in the statement cannot be changed without both signatures.
#[test]
fn a_changed_statement_fits_no_signature() {
    let kept = keep();
    let other = "ab".repeat(32);
    let changes = [
        ("/predicate/transfer/id", json!("00".repeat(16))),
        ("/predicate/transfer/vm", json!("another")),
        ("/predicate/transfer/vdc", json!("elsewhere")),
        ("/predicate/transfer/state", json!("active")),
        ("/predicate/transfer/decision", json!("allow")),
        ("/predicate/transfer/decided_at", json!(1)),
        ("/predicate/policies/source", json!(format!("blake3:{other}"))),
        ("/predicate/policies/destination", json!(format!("blake3:{other}"))),
        ("/predicate/policies/effective", json!(format!("blake3:{other}"))),
        ("/predicate/policies/on_fail", json!("terminate")),
        ("/predicate/rules/source", json!(format!("blake3:{other}"))),
        ("/predicate/rules/destination", json!(format!("blake3:{other}"))),
        ("/predicate/disks/0/source_root", json!(other)),
        ("/predicate/disks/0/kept_root", json!(other)),
        ("/predicate/disks/0/virtual_size", json!(512)),
        ("/predicate/disks/0/manifest", json!(format!("blake3:{other}"))),
        ("/predicate/disks/0/holes", json!([])),
        ("/predicate/disks/0/source_coverage/held", json!(0)),
        ("/predicate/findings/listed", json!([])),
        ("/predicate/findings/counts", json!({})),
        ("/subject/0/name", json!("another/disk0")),
    ];
    for (at, to) in changes {
        let payload = changed(&kept.statement, at, &to).to_string();
        let statement: airlock_evidence::Statement = serde_json::from_str(&payload).expect("a statement");
        let signature = |index: usize| {
            serde_json::from_value(kept.envelope["signatures"][index].clone()).expect("a signature")
        };
        let payload = serde_json::to_vec(&statement).expect("plain data");
        let forged = airlock_evidence::Envelope::new(&payload, vec![signature(0), signature(1)]);
        kept.check(at, &forged.to_bytes(), "the source signature does not fit");
    }
    for (site, named) in [("source", "the source signature"), ("destination", "the destination signature")] {
        let statement = changed(&kept.statement, &format!("/predicate/sites/{site}"), &json!(other));
        kept.check(site, &kept.signed(&statement), named);
    }
}

/// An envelope has one form, and two signatures in their order.
#[test]
fn a_changed_envelope_is_refused() {
    let kept = keep();
    let bytes = fs::read(&kept.evidence).expect("evidence");
    let envelope = |change: &dyn Fn(&mut Value)| {
        let mut envelope = kept.envelope.clone();
        change(&mut envelope);
        let envelope: airlock_evidence::Envelope = serde_json::from_value(envelope).expect("an envelope");
        envelope.to_bytes()
    };
    let text = String::from_utf8(bytes.clone()).expect("text");
    kept.check("empty", b"", "not a DSSE envelope");
    kept.check("cut", &bytes[..bytes.len() / 2], "not a DSSE envelope");
    kept.check("no line break", text.trim_end().as_bytes(), "differs from the canonical form");
    kept.check("more behind", format!("{text}{{}}").as_bytes(), "not a DSSE envelope");
    kept.check("a blank more", text.replacen(':', ": ", 1).as_bytes(), "differs from the canonical form");
    kept.check("its own statement", kept.statement.to_string().as_bytes(), "not a DSSE envelope");
    let kind = envelope(&|envelope| envelope["payloadType"] = json!("text/plain"));
    kept.check("payload type", &kind, "payload type");
    let unknown = text.replacen('{', "{\"more\":1,", 1);
    kept.check("unknown field", unknown.as_bytes(), "not a DSSE envelope");
    let payload = envelope(&|envelope| envelope["payload"] = json!("e30="));
    kept.check("payload", &payload, "not a transfer statement");
    let one = envelope(&|envelope| drop(envelope["signatures"].as_array_mut().map(Vec::pop)));
    kept.check("one signature", &one, "needs the signatures of both sites, found 1");
    let twice = |envelope: &mut Value| {
        let first = envelope["signatures"][0].clone();
        envelope["signatures"].as_array_mut().expect("signatures").push(first);
    };
    kept.check("three signatures", &envelope(&twice), "needs the signatures of both sites, found 3");
    let swapped = |envelope: &mut Value| envelope["signatures"].as_array_mut().expect("signatures").reverse();
    kept.check("swapped", &envelope(&swapped), "the source signature does not fit");
    let other = keep();
    kept.check("of another transfer", &fs::read(&other.evidence).expect("evidence"), "cannot read");
}

/// Even both sites together cannot sign what contradicts itself, or what the vault is not.
#[test]
fn a_lie_that_both_sites_sign_is_not_what_the_vault_holds() {
    let kept = keep();
    let other = "ab".repeat(32);
    let check = |what: &str, statement: &Value, named: &str| kept.check(what, &kept.signed(statement), named);
    let change = |at: &str, to: Value| changed(&kept.statement, at, &to);
    check(
        "state",
        &change("/predicate/transfer/state", json!("active")),
        "the ledger says that the transfer is active-withheld",
    );
    check(
        "discarded",
        &change("/predicate/transfer/state", json!("discarded")),
        "bytes of a discarded transfer are still there",
    );
    check("vm", &change("/predicate/transfer/vm", json!("another")), "the ledger does not list");
    check("id", &change("/predicate/transfer/id", json!("00".repeat(16))), "cannot read");
    check("size", &change("/predicate/disks/0/virtual_size", json!(512)), "contradicts itself");
    check("kept root", &change("/predicate/disks/0/kept_root", json!(other)), "the statement says");
    check("holes", &change("/predicate/disks/0/holes", json!([])), "no hole explains it");
    check("manifest", &change("/predicate/disks/0/manifest", json!(format!("blake3:{other}"))), "manifest");
    check(
        "coverage",
        &change("/predicate/disks/0/destination_coverage/cleared", json!(1)),
        "contradicts itself",
    );
    check("disks", &change("/predicate/disks", json!([])), "the manifest is about another VM");
}

/// What is taken out of a vault, put into it or put back from before is noticed.
#[test]
fn a_changed_vault_is_named() {
    let kept = keep();
    let evidence = fs::read(&kept.evidence).expect("evidence");
    let segments = files_ending(&kept.vault.join("segments"), "seg");
    let segment = segments.first().expect("a segment");
    kept.check_vault("a segment removed", segment, |path| fs::remove_file(path).expect("remove"), "segment");
    kept.check_vault("a segment emptied", segment, |path| fs::write(path, b"").expect("write"), "segment");
    let longer = |path: &Path| {
        fs::write(path, [fs::read(path).expect("read"), vec![0; 4096]].concat()).expect("write");
    };
    kept.check_vault("a longer segment", segment, longer, "segment");
    let zeros = |path: &Path| fs::write(path, vec![0; fs::read(path).expect("read").len()]).expect("write");
    kept.check_vault("a segment of zeros", segment, zeros, "chunk");
    let manifest = kept.vault.join("manifests").join(format!("{}.manifest", kept.id));
    kept.check_vault("no manifest", &manifest, |path| fs::remove_file(path).expect("remove"), "manifest");
    kept.check_vault("a manifest of zeros", &manifest, zeros, "manifest");
    let own = kept.vault.join("evidence").join(format!("{}.json", kept.id));
    kept.check_vault("no evidence", &own, |path| fs::remove_file(path).expect("remove"), "evidence");
    for name in ["name", "wrap"] {
        let path = kept.vault.join("tenants").join(format!("default.{name}.key"));
        kept.check_vault("no key", &path, |path| fs::remove_file(path).expect("remove"), "key");
        kept.check_vault("another key", &path, zeros, "key file");
    }
    let ledger = kept.vault.join("state.db");
    kept.check_vault("no ledger", &ledger, |path| fs::remove_file(path).expect("remove"), "ledger");
    kept.check_vault("an empty ledger", &ledger, |path| fs::write(path, b"").expect("write"), "ledger");
    let stray = segment.with_file_name("99.seg");
    fs::write(&stray, b"something").expect("write");
    kept.check("a segment more", &evidence, "segment");
    fs::remove_file(&stray).expect("remove");
    let run = kept.bench.airlock("verify").arg(&kept.evidence).arg("--vault").arg(&kept.vault);
    run.expect(0);
}
