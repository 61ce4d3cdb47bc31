//! Writes what was measured as a table that people can compare.

use super::commands::Section;
use super::measure::Taken;
use crate::run::{cargo, command, output, root};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;

const REPORT: &str = "docs/benchmarks.md";
const HEAD: &str = "# Benchmarks\n\n\
    Airlock beside what one would use instead, on the same disk, in one run, alternating; medians.\n\
    Ratios are what carries over to other machines; seconds are those of the machine named below.\n\
    `cargo xtask bench` writes this file.\n";

/// One row of a table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) taken: Taken,
}

/// Returns the table; the first row is what the others are compared with.
pub(super) fn table(rows: &[Row], bytes: u64) -> String {
    let mut text = String::from(
        "| | wall s | MiB/s | CPU s | server CPU s | RSS MiB | server RSS MiB | wall ratio | CPU ratio |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let first = rows.first().map_or(Taken::default(), |row| row.taken);
    #[expect(clippy::cast_precision_loss, reason = "a size in a report")]
    let mib = bytes as f64 / f64::from(1 << 20);
    for Row { name, taken } in rows {
        let cpu = taken.cpu + taken.server_cpu;
        let _ = writeln!(
            text,
            "| {name} | {:.2} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} | {:.2} |",
            taken.wall,
            mib / taken.wall,
            taken.cpu,
            taken.server_cpu,
            taken.rss / 1024.0,
            taken.server_rss / 1024.0,
            taken.wall / first.wall,
            cpu / (first.cpu + first.server_cpu),
        );
    }
    text
}

/// Returns the section of the benchmark that `cargo xtask bench NAME` runs.
pub(super) fn section(section: &Section, runs: usize, disk: &str, table: &str) -> Result<String> {
    let Section { name, title, before, contenders, .. } = *section;
    let mut text = format!("## {title}\n\n");
    let date = output(&mut command("date", &["-u", "+%F"]))?;
    let _ = writeln!(text, "`cargo xtask bench {name}`, {}, median of {runs}, {disk}.\n", date.trim());
    let _ = writeln!(text, "{}\n\n{table}", machine()?);
    text.push_str("Commands:\n\n```sh\n");
    for line in before {
        let _ = writeln!(text, "{line}");
    }
    for contender in contenders {
        if let Some(server) = contender.server {
            let _ = writeln!(text, "{} &", server.line);
        }
        let _ = writeln!(text, "{}", contender.line);
    }
    text.push_str("```\n");
    Ok(text)
}

/// Replaces one section of the report and leaves the others.
pub(super) fn write(name: &str, section: &str) -> Result<()> {
    let path = root().join(REPORT);
    let old = fs::read_to_string(&path).unwrap_or_else(|_| HEAD.to_owned());
    fs::write(&path, replaced(&old, name, section)).with_context(|| format!("cannot write {REPORT}"))?;
    println!("written to {REPORT}");
    Ok(())
}

fn replaced(old: &str, name: &str, section: &str) -> String {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let new = format!("{start}{section}{end}");
    match (old.find(&start), old.find(&end)) {
        (Some(from), Some(to)) => format!("{}{new}{}", &old[..from], &old[to + end.len()..]),
        _ => format!("{old}\n{new}"),
    }
}

fn machine() -> Result<String> {
    let first = |text: String| text.lines().next().unwrap_or("").trim().to_owned();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown processor".to_owned());
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        >> 20;
    let mut text = format!("Machine: {cores} cores of {model}, {gib} GiB, ");
    text.push_str(&first(output(&mut command("uname", &["-sr"]))?));
    text.push_str(".\nVersions: ");
    let versions = [
        output(&mut command("rg", &["--version"]))?,
        output(&mut command("nbdkit", &["--version"]))?,
        output(&mut command("nbdcopy", &["--version"]))?,
        output(&mut command("qemu-img", &["--version"]))?,
        output(&mut cargo(&["--version"]))?,
    ];
    let commit = output(&mut command("git", &["rev-parse", "--short", "HEAD"]))?;
    text.push_str(&versions.map(first).join("; "));
    let _ = write!(text, "; airlock {}.", commit.trim());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_only_itself() {
        let one = replaced("# Head\n", "scan", "old\n");
        let two = replaced(&one, "transfer", "other\n");
        let three = replaced(&two, "scan", "new\n");
        assert!(three.contains("new\n") && three.contains("other\n") && !three.contains("old\n"));
        assert_eq!(three.matches("<!-- scan -->").count(), 1);
    }

    #[test]
    fn ratios_are_to_the_first_row() {
        let row = |name, wall| Row { name, taken: Taken { wall, cpu: wall, ..Taken::default() } };
        let text = table(&[row("a", 2.0), row("b", 3.0)], 100 << 20);
        assert!(text.contains("| b | 3.00 | 33 | 3.00 | 0.00 | 0 | 0 | 1.50 | 1.50 |"), "{text}");
    }
}
