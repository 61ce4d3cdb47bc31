//! Every format against its independent validator, golden files, and what no report may hold.

use crate::sample::Sample;
use crate::{Format, Report, write};
use std::path::{Path, PathBuf};
use std::process::Command;

const VALIDATE: &str = include_str!("../tests/validate.py");

/// Returns the Python that has the validators. `cargo xtask validators` puts it below the target folder.
fn python() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a file");
    let paths = own.ancestors().map(|folder| folder.join("validators/bin/python"));
    paths
        .into_iter()
        .find(|path| path.is_file())
        .expect("the validators of reports are missing below the target folder: run `cargo xtask validators`")
}

fn written(report: &Report<'_>, format: Format) -> String {
    let mut out = Vec::new();
    write(report, format, &mut out).expect("memory takes everything");
    String::from_utf8(out).expect("every report is UTF-8")
}

/// Hands a report to the validator of its format.
fn validate(text: &str, format: Format) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("report");
    std::fs::write(&path, text).expect("write");
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sarif-2.1.0.schema.json");
    let ran = Command::new(python())
        .args(["-c", VALIDATE, format.name()])
        .args([&path, &schema])
        .output()
        .expect("python runs");
    assert!(
        ran.status.success(),
        "{}: {}{}",
        format.name(),
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

fn check(format: Format) {
    let sample = Sample::new();
    for report in [sample.report(), sample.empty()] {
        let text = written(&report, format);
        validate(&text, format);
        assert_eq!(text, written(&report, format), "the same run gives the same bytes");
    }
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    check(Format::Html);
}

#[test]
fn the_table_is_read_back_by_another_reader() {
    check(Format::Csv);
}

#[test]
fn each_line_is_an_object() {
    check(Format::Ndjson);
}

#[test]
fn sarif_fits_its_schema() {
    check(Format::Sarif);
}

#[test]
fn cyclonedx_fits_its_strict_schema() {
    check(Format::CycloneDx);
}

#[test]
fn oscal_is_accepted_by_trestle() {
    check(Format::Oscal);
}

#[test]
fn ocsf_events_fit_their_models() {
    check(Format::Ocsf);
}

/// A validator that accepts everything would prove nothing: each refuses a report that lacks what its format
/// requires.
#[test]
fn validators_refuse_what_is_wrong() {
    let sample = Sample::new();
    for (format, from, to) in [
        (Format::Html, "</table>", ""),
        (Format::Csv, "check,detector", "check,sensor"),
        (Format::Ndjson, "\"type\":\"end\"", "\"type\":\"finding\""),
        (Format::Sarif, "\"message\"", "\"massage\""),
        (Format::CycloneDx, "\"bomFormat\"", "\"bombFormat\""),
        (Format::Oscal, "\"reviewed-controls\"", "\"viewed-controls\""),
        (Format::Ocsf, "\"severity_id\":4", "\"severity_id\":44"),
    ] {
        let text = written(&sample.report(), format);
        assert!(text.contains(from), "{}: there is no {from}", format.name());
        let wrong = text.replacen(from, to, 1);
        assert!(
            std::panic::catch_unwind(|| validate(&wrong, format)).is_err(),
            "{} accepts {to:?}",
            format.name()
        );
    }
}

/// No report holds both what is shown of a value and its fingerprint, and no control character or raw markup
/// of a name reaches any of them.
#[test]
fn no_report_holds_what_it_must_not() {
    let sample = Sample::new();
    for format in Format::ALL {
        let text = written(&sample.report(), format);
        let (shown, fingerprint) = (text.contains("1111"), text.contains(&"01".repeat(32)));
        assert!(!(shown && fingerprint), "{} holds masked digits and fingerprints", format.name());
        let steers = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\r');
        assert!(!text.contains(steers), "{} holds control characters", format.name());
        assert!(
            !text.contains(['\u{202e}', '\u{2028}', '\u{feff}']),
            "{} holds invisible marks",
            format.name()
        );
        if format == Format::Html {
            for raw in ["<script", "<img", "<b>", "<i>", "<DB>"] {
                assert!(!text.contains(raw), "{raw} is markup");
            }
        }
    }
}

#[test]
fn reports_are_as_agreed() {
    let sample = Sample::new();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../tests/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for format in Format::ALL {
        let text = written(&sample.report(), format);
        settings.bind(|| insta::assert_snapshot!(format.name(), text));
    }
}
