//! The REST API under requests that are made from its own description, right ones and wrong ones.

use crate::support::Bench;
use std::path::Path;
use std::process::Command;

/// Examples of each operation and way of making them; `AIRLOCK_API_EXAMPLES` sets another number, 60 make more than
/// 2,000 cases.
const EXAMPLES: &str = "6";
/// Fewer cases than this would mean that the description was not understood.
const CASES_MIN: u64 = 300;

/// Whatever is asked, the director answers, and never that it has failed.
#[test]
fn no_request_makes_a_director_fail() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let schemathesis = target.join("validators/bin/schemathesis");
    assert!(schemathesis.is_file(), "schemathesis is missing: run `cargo xtask validators`");
    let bench = Bench::new();
    let data = bench.path("data");
    let director = bench.director(&data, &[]);
    let address = director.url.trim_start_matches("airlock://").trim_end_matches("/default");
    let token = std::fs::read_to_string(data.join("provider.token")).expect("a token");
    let examples = std::env::var("AIRLOCK_API_EXAMPLES").unwrap_or_else(|_| EXAMPLES.into());
    let description =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/director.openapi.json");
    let ran = Command::new(schemathesis)
        .arg("run")
        .arg(description)
        .args(["--url", &format!("https://{address}"), "--tls-verify=false", "--no-color", "--seed", "1"])
        .args(["--header", &format!("Authorization: Bearer {}", token.trim())])
        .args(["--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing"])
        // Events go on without end.
        .args(["--exclude-path-regex", "/events$", "--max-examples", &examples])
        .current_dir(bench.home().parent().expect("a folder"))
        .output()
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}");
    let cases = said.lines().find_map(|line| line.trim().split_once(" generated, "));
    let cases: u64 = cases.and_then(|(cases, _)| cases.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    assert!(cases >= CASES_MIN, "{cases} cases");
    director.stop();
}
