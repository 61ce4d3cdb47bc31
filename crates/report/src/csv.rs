//! Findings as a table (RFC 4180), safe to open with a spreadsheet.

use crate::Report;
use std::io::{self, Write};

const HEAD: &str = "check,detector,severity,confidence,action,site,disk,path,place,offset,length,disk_offset,deleted,display,trail\r\n";

/// Writes one line for each finding. What may be shown of a value is in it, its fingerprint is not.
pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(HEAD.as_bytes())?;
    for finding in report.findings {
        let severity = crate::facts::severity(finding.severity);
        let disk_offset = finding.disk_offset.map_or_else(String::new, |offset| offset.to_string());
        let cells = [
            finding.check.name(),
            &finding.detector,
            severity,
            &finding.confidence.to_string(),
            finding.action.name(),
            crate::facts::site(finding.site),
            &finding.disk,
            finding.path.as_deref().unwrap_or_default(),
            &finding.place,
            &finding.offset.to_string(),
            &finding.length.to_string(),
            &disk_offset,
            if finding.deleted { "true" } else { "false" },
            &finding.display,
            &finding.trail,
        ];
        let line: Vec<String> = cells.iter().map(|text| cell(text)).collect();
        out.write_all(format!("{}\r\n", line.join(",")).as_bytes())?;
    }
    Ok(())
}

/// Returns a cell. One that a spreadsheet would take for a formula gets an apostrophe before it (OWASP,
/// "CSV Injection"); every text is quoted, so that no separator counts, whatever the locale's is.
fn cell(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
        return text.to_owned();
    }
    let formula = text.trim_start().starts_with([
        '=', '+', '-', '@', '\t', '\r', '|', '%', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_none_ends_early() {
        for (text, expected) in [
            ("pan", "pan"),
            ("0.97", "0.97"),
            ("", "\"\""),
            ("=1+1", "\"'=1+1\""),
            (" @SUM(A1)", "\"' @SUM(A1)\""),
            ("-2", "\"'-2\""),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("/srv/=x", "\"/srv/=x\""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
