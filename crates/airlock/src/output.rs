//! Writing to standard output and standard error without ever panicking.

use crate::cli::Format;
use crate::failure::{Code, Failure};
use airlock_model::Finding;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// Writes text to standard output. A reader that went away ends the process quietly.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Code::Error, format!("cannot write to standard output: {error}")))
}

/// Writes one JSON object to standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string(value).map_err(|error| Failure::of(Code::Error, &error))?;
    text.push('\n');
    print(&text)
}

/// Writes a line to standard error.
pub(crate) fn note(text: &str) {
    // There is nowhere to say that this failed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Tells people, and with `--format json` scripts, what went wrong.
pub(crate) fn failure(failure: &Failure, format: Format) {
    note(&format!("error: {}", failure.text));
    if let Some(hint) = &failure.hint {
        note(&format!("hint: {hint}"));
    }
    if format == Format::Json {
        let value = serde_json::json!({
            "schema": "airlock.error/1",
            "result": { "code": failure.code as u8 },
            "error": failure.text,
            "hint": failure.hint,
            "retry": failure.retry,
        });
        // Standard error has it already.
        let _ = print(&format!("{value}\n"));
    }
}

/// Says a number of bytes in the largest unit that leaves at least one.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let exponent = (u64::BITS - 1 - count.leading_zeros()) / 10;
    let whole = count >> (10 * exponent);
    let tenth = (count >> (10 * (exponent - 1)) & 1023) * 10 / 1024;
    format!("{whole}.{tenth} {}", UNITS.get(exponent as usize - 1).unwrap_or(&"B"))
}

/// Lines that show findings to people.
pub(crate) fn findings(findings: &[Finding], limit: usize, out: &mut String) {
    if findings.is_empty() {
        return;
    }
    let shown = if limit == 0 { 50 } else { limit };
    out.push_str("\nFindings\n");
    for finding in findings.iter().take(shown) {
        let place = match &finding.path {
            Some(path) if finding.place == "file" => path.clone(),
            Some(path) => format!("{path} ({})", finding.place),
            None => format!("{} space of {}", finding.place, finding.disk),
        };
        let line = format!(
            "  {:<9} {:<12} {}  {place} @{}  {}\n",
            finding.action.name(),
            finding.detector,
            finding.confidence,
            finding.offset,
            finding.display
        );
        out.push_str(&line);
    }
    if findings.len() > shown {
        out.push_str(&format!("  … and {} more (--format json lists all)\n", findings.len() - shown));
    }
}

/// Writes a file that only its owner can read, all of it or nothing.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: &std::io::Error| Failure::io("write", path, error);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(|error| failed(&error))?;
    file.persist(path).map_err(|error| failed(&error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_in_the_largest_unit() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }
}
