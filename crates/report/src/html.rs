//! One page for people: what was decided, what was looked at, what was found, and what to do next.
//!
//! It is complete in itself, needs no script and loads nothing; its own policy forbids both. Each text
//! goes through [`Safe`], names of guests above all.

mod parts;

use crate::text::amount;
use crate::{Report, Verb, facts, next_steps, time};
use airlock_model::{Coverage, Decision};
use std::fmt;
use std::io::{self, Write};

const STYLE: &str = include_str!("html/page.css");

/// A text as HTML shows it (HTML Living Standard, section 13.3, "Escaping a string"), in content and in quoted
/// attributes.
struct Safe<T>(T);

impl<T: fmt::Display> fmt::Display for Safe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.to_string().chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\u{a0}' => f.write_str("&nbsp;")?,
                _ => fmt::Write::write_char(f, letter)?,
            }
        }
        Ok(())
    }
}

/// Writes the page.
pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    head(report, out)?;
    next(report, out)?;
    coverage("Coverage", report.coverage, out)?;
    if let Some(transfer) = &report.transfer {
        coverage("Coverage at the destination", transfer.destination, out)?;
    }
    parts::checks(report, out)?;
    parts::files(report, out)?;
    parts::packages(report, out)?;
    parts::products(report, out)?;
    parts::inventory(report, out)?;
    parts::facts(report, out)?;
    writeln!(
        out,
        "<footer>Written by Airlock {}. This page holds no value that was found.</footer>",
        Safe(report.version)
    )?;
    writeln!(out, "</body></html>")
}

fn head(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (subject, verb) = (Safe(&report.subject), report.verb.name());
    writeln!(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")?;
    writeln!(
        out,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
    )?;
    writeln!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"referrer\" content=\"no-referrer\">"
    )?;
    writeln!(out, "<title>Airlock {verb}: {subject}</title>\n<style>\n{STYLE}</style></head><body>")?;
    writeln!(out, "<h1><span class=\"name\">{subject}</span></h1>")?;
    writeln!(
        out,
        "<p class=\"lead\">airlock {verb}: {}, {}, {}</p>",
        Safe(report.kind),
        amount(report.coverage.total),
        time::rfc3339(report.at)
    )?;
    let (class, text) = verdict(report);
    writeln!(out, "<p class=\"verdict {class}\"><strong>{text}</strong> (exit code {})</p>", report.code)
}

/// Says how it ended, in one sentence.
fn verdict(report: &Report<'_>) -> (&'static str, &'static str) {
    match (report.verb, report.decision) {
        (Verb::Scan, Decision::Allow) => ("allow", "Passes: there is nothing to report."),
        (Verb::Scan, Decision::Warn) => ("warn", "Passes, with warnings."),
        (Verb::Scan, Decision::Withhold) => ("withhold", "Parts would be held and would not be moved."),
        (Verb::Transfer, Decision::Allow) => ("allow", "Moved whole; there is nothing to report."),
        (Verb::Transfer, Decision::Warn) => ("warn", "Moved whole, with warnings."),
        (Verb::Transfer, Decision::Withhold) => ("withhold", "Moved, without what is held."),
        (_, Decision::Terminate) if report.incomplete => {
            ("terminate", "Refused: parts could not be inspected, and the policy does not accept that.")
        }
        (_, Decision::Terminate) => ("terminate", "Refused by policy."),
    }
}

fn next(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let steps = next_steps(report);
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>What to do next</h2>\n<ol class=\"next\">")?;
    for step in steps {
        writeln!(out, "<li>{}</li>", Safe(step))?;
    }
    writeln!(out, "</ol>")
}

fn coverage(title: &str, coverage: &Coverage, out: &mut dyn Write) -> io::Result<()> {
    let classes = facts::classes(coverage);
    if classes.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<h2>{title}</h2>\n<div class=\"bar\" role=\"img\" aria-label=\"{title}, in the table below\">"
    )?;
    for (class, _, bytes) in &classes {
        writeln!(
            out,
            "<span class=\"{class}\" style=\"flex:{bytes}\" title=\"{class} {bytes} bytes\"></span>"
        )?;
    }
    writeln!(
        out,
        "</div>\n<table><thead><tr><th>Class</th><th>Meaning</th><th class=\"number\">Bytes</th><th class=\"number\">Share</th></tr></thead><tbody>"
    )?;
    for (class, meaning, bytes) in &classes {
        writeln!(
            out,
            "<tr><td><span class=\"key {class}\"></span>{class}</td><td>{meaning}</td><td class=\"number\">{bytes}</td><td class=\"number\">{}</td></tr>",
            share(*bytes, coverage.total)
        )?;
    }
    let sums = if coverage.sum() == coverage.total { "every byte is in one class" } else { "DOES NOT SUM" };
    writeln!(
        out,
        "<tr><td>all</td><td>{sums}</td><td class=\"number\">{}</td><td></td></tr>",
        coverage.sum()
    )?;
    writeln!(out, "</tbody></table>")
}

/// Returns a share in hundredths of a per cent; what is there is never shown as nothing.
fn share(part: u64, whole: u64) -> String {
    let parts = u128::from(part) * 10_000 / u128::from(whole.max(1));
    if parts == 0 && part > 0 {
        "&lt; 0.01 %".to_owned()
    } else {
        format!("{}.{:02} %", parts / 100, parts % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_names_is_text() {
        assert_eq!(
            Safe("<a href='x' b=\"y\">&\u{a0}").to_string(),
            "&lt;a href=&#39;x&#39; b=&quot;y&quot;&gt;&amp;&nbsp;"
        );
        assert_eq!((share(1, u64::MAX), share(1, 3)), ("&lt; 0.01 %".into(), "33.33 %".into()));
    }
}
