//! What the command says of itself.

use crate::support::Bench;

/// Every verb, as people type it.
const VERBS: [&[&str]; 24] = [
    &[],
    &["demo"],
    &["scan"],
    &["transfer"],
    &["director"],
    &["verify"],
    &["scrub"],
    &["export"],
    &["list"],
    &["policy"],
    &["policy", "init"],
    &["policy", "check"],
    &["policy", "merge"],
    &["rules"],
    &["rules", "list"],
    &["rules", "import"],
    &["rules", "verify"],
    &["rules", "build"],
    &["rules", "edm"],
    &["rules", "fingerprints"],
    &["rules", "remove"],
    &["key"],
    &["completions"],
    &["man"],
];

/// The help of every verb is as it was agreed on; flags do not come, go or change in silence.
#[test]
fn help_is_as_agreed() {
    let bench = Bench::new();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for verb in VERBS {
        let (first, rest) = verb.split_first().map_or(("--help", &[][..]), |(first, rest)| (*first, rest));
        let run = bench.airlock(first).args(rest).env_remove("AIRLOCK_FORMAT").env("COLUMNS", "100");
        let ran = if verb.is_empty() { run.expect(0) } else { run.arg("--help").expect(0) };
        let name = if verb.is_empty() { "airlock".to_owned() } else { verb.join("-") };
        settings.bind(|| insta::assert_snapshot!(name, ran.out));
    }
}

/// Completions, manual page, keys and rules are there without any set-up.
#[test]
fn what_needs_no_set_up_works() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = bench.airlock("completions").arg(shell).expect(0);
        assert!(ran.out.contains("on-fail"), "{shell}: {}", ran.out);
    }
    let man = bench.airlock("man").expect(0).out;
    assert!(man.contains(".TH airlock") && man.contains("withheld"), "{man}");
    let rules = bench.airlock("rules").arg("list").expect(0);
    for detector in ["pan", "iban", "us_ssn", "track1", "track2", "private_key", "eicar"] {
        assert!(rules.out.contains(&format!("\"{detector}\"")), "no {detector} in {}", rules.out);
    }
    let one = bench.airlock("key").expect(0).out;
    assert_eq!(one, bench.airlock("key").expect(0).out, "the key of a site stays");
    assert!(bench.airlock("--version").expect(0).out.starts_with("airlock "));
}
