//! Evidence and vault are verified offline, down to the byte.

use crate::support::{Bench, files_ending, positions, text_of, with_flipped_byte};
use airlock_testkit::PlantedDiskBuilder;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A vault with a VM of which something was withheld, and its evidence outside of the vault.
struct Kept {
    bench: Bench,
    dest: PathBuf,
    evidence: PathBuf,
    id: String,
}

fn keep() -> Kept {
    let bench = Bench::new();
    let disk = bench.planted(PlantedDiskBuilder::gpt);
    let (dest, evidence) = (bench.path("dest"), bench.path("evidence.json"));
    let json = bench
        .airlock("transfer")
        .args([disk.image(), &dest])
        .args(["--on-fail", "withhold"])
        .expect(3)
        .json();
    std::fs::copy(text_of(&json["evidence"]), &evidence).expect("copy");
    let id = text_of(&json["transfer"]["id"]).to_owned();
    Kept { bench, dest, evidence, id }
}

impl Kept {
    fn verify(&self, args: &[&str], code: i32) -> Value {
        self.bench.airlock("verify").arg(&self.evidence).args(args).expect(code).json()
    }

    fn verify_vault(&self, code: i32) -> String {
        let run = self.bench.airlock("verify").arg(&self.evidence).arg("--vault").arg(&self.dest);
        let ran = run.args(["--format", "table"]).expect(code);
        ran.err
    }

    /// Flips bytes of one file of the vault; each time verification must fail and name `thing`.
    fn check_flips(&self, path: &Path, count: usize, thing: &str) {
        for position in positions(path, count) {
            with_flipped_byte(path, position, || {
                let said = self.verify_vault(6);
                assert!(said.contains(thing), "byte {position} of {}: {said}", path.display());
            });
        }
    }
}

/// Sound evidence verifies alone and against its vault; a wrong pinned key does not fit.
#[test]
fn sound_evidence_verifies() {
    let kept = keep();
    let json = kept.verify(&[], 0);
    let sites = &json["statement"]["predicate"]["sites"];
    let (source, destination) = (text_of(&sites["source"]), text_of(&sites["destination"]));
    kept.verify(&["--source-key", source, "--destination-key", destination], 0);
    let own = kept.bench.airlock("key").expect(0);
    assert!(own.out.contains(source), "{}", own.out);
    for flag in ["--source-key", "--destination-key"] {
        let wrong = if flag == "--source-key" { destination } else { source };
        let failures = kept.verify(&[flag, wrong], 6)["failures"].to_string();
        assert!(failures.contains("key is") && failures.contains(wrong), "{failures}");
    }
    kept.verify_vault(0);
    // A vault that knows nothing of the transfer does not confirm it.
    let other = kept.bench.path("other");
    let image = kept.bench.clean_disk(1 << 20);
    kept.bench.airlock("transfer").args([&image, &other]).expect(0);
    kept.bench.airlock("verify").arg(&kept.evidence).arg("--vault").arg(&other).expect(6);
}

/// One flipped bit anywhere in the evidence is noticed.
#[test]
fn flipped_evidence_fails() {
    let kept = keep();
    for position in positions(&kept.evidence, 40) {
        with_flipped_byte(&kept.evidence, position, || {
            let failures = kept.verify(&[], 6)["failures"].clone();
            assert_eq!(failures.as_array().map(Vec::len), Some(1), "byte {position}: {failures}");
        });
    }
    kept.verify(&[], 0);
}

/// One flipped bit in any kind of file of the vault is noticed, and named.
#[test]
fn flipped_vault_fails() {
    let kept = keep();
    let segments = files_ending(&kept.dest.join("segments"), "seg");
    assert!(!segments.is_empty());
    for segment in &segments {
        let name = segment.file_name().expect("name").to_string_lossy().into_owned();
        kept.check_flips(segment, 12usize.div_ceil(segments.len()).max(3), &name);
    }
    let manifest = kept.dest.join("manifests").join(format!("{}.manifest", kept.id));
    kept.check_flips(&manifest, 12, "manifest");
    kept.check_flips(&kept.dest.join("tenants/default.name.key"), 5, "");
    kept.check_flips(&kept.dest.join("tenants/default.wrap.key"), 5, "");
    kept.check_flips(&kept.dest.join("evidence").join(format!("{}.json", kept.id)), 8, "evidence");
    kept.check_flips(&kept.dest.join("site.key"), 5, "key");
    for (path, thing) in [(segments[0].clone(), "segment"), (manifest, "manifest")] {
        let aside = path.with_extension("aside");
        std::fs::rename(&path, &aside).expect("move aside");
        let said = kept.verify_vault(6);
        assert!(said.contains(thing), "{said}");
        std::fs::rename(&aside, &path).expect("move back");
    }
    kept.verify_vault(0);
}

/// One flipped bit anywhere in the ledger is noticed, unused space included.
#[test]
fn flipped_ledger_fails() {
    let kept = keep();
    let ledger = kept.dest.join("state.db");
    let length = std::fs::metadata(&ledger).expect("ledger").len();
    for place in 0..24 {
        let position = usize::try_from(length * place / 24).expect("small");
        with_flipped_byte(&ledger, position, || {
            let run = kept.bench.airlock("verify").arg(&kept.evidence).arg("--vault").arg(&kept.dest);
            let ran = run.args(["--format", "table"]).end();
            assert_eq!(ran.code, Some(6), "byte {position}: {}", ran.err);
            assert!(ran.err.contains("ledger"), "byte {position}: {}", ran.err);
        });
    }
    with_flipped_byte(&kept.dest.join("state.db.blake3"), 3, || {
        kept.verify_vault(6);
    });
    kept.verify_vault(0);
}
