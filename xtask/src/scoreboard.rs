//! The scoreboard: what holds under fault, N of N.
//!
//! Tests that earn a line write it into `target/score` (`airlock_testkit::score`); this task clears that folder,
//! runs them, and writes `docs/scoreboard.md`. A line that is missing, that is not whole, or that counts less than
//! the last time at the same depth has fallen, and nothing is written.

use crate::run::{cargo, command, output, root, run as finish, target};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

/// The tests that earn lines.
const FILTER: &str = "test(/^(sweep|disk_faults|raw_device|scrub|hostile|evasion)::/)";
/// Points of system calls in the long run, as issue 7 asks for.
const LONG_SWEEP_POINTS: &str = "2000";

/// What was earned: how many passed, of how many, from which seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Score {
    passed: u64,
    of: u64,
    seeds: String,
}

type Board = BTreeMap<String, Score>;

/// Runs `scoreboard [--depth short|long]`.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let depth = match words {
        [] | ["--depth", "short"] => "short",
        ["--depth", "long"] => "long",
        _ => bail!("scoreboard takes --depth short or --depth long"),
    };
    let folder = target().join("score");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot clear the scores of before")?;
    }
    let mut tests = cargo(&["nextest", "run", "--locked", "-p", "airlock", "--no-fail-fast", "-E", FILTER]);
    if depth == "long" {
        tests.env("AIRLOCK_SWEEP_POINTS", LONG_SWEEP_POINTS);
    }
    finish(&mut tests)?;
    let mut board = Board::new();
    for entry in fs::read_dir(&folder).context("no test has scored")? {
        let text = fs::read_to_string(entry?.path())?;
        let (line, score) = parse(&text).with_context(|| format!("no score: {text}"))?;
        board.insert(line, score);
    }
    let path = root().join("docs/scoreboard.md");
    let before = fs::read_to_string(&path).unwrap_or_default();
    let before = if before.contains(&format!("`--depth {depth}`")) { rows(&before) } else { Board::new() };
    let fallen = fallen(&before, &board);
    if !fallen.is_empty() {
        bail!("fallen: {}", fallen.join("; "));
    }
    let commit = output(&mut command("git", &["rev-parse", "--short", "HEAD"]))?;
    fs::write(&path, page(&board, depth, commit.trim()))?;
    println!("docs/scoreboard.md: {} lines", board.len());
    Ok(())
}

/// Returns what of the board has fallen since the last time.
fn fallen(before: &Board, now: &Board) -> Vec<String> {
    let mut fallen = Vec::new();
    for (line, score) in now {
        if score.passed < score.of || score.of == 0 {
            fallen.push(format!("{line}: {} of {}", score.passed, score.of));
        }
    }
    for (line, last) in before {
        match now.get(line) {
            None => fallen.push(format!("{line}: missing")),
            // How many points of a sweep are reached differs a little from run to run.
            Some(score) if score.of * 10 < last.of * 9 => {
                fallen.push(format!("{line}: only {} cases, {} before", score.of, last.of));
            }
            Some(_) => {}
        }
    }
    fallen
}

fn page(board: &Board, depth: &str, commit: &str) -> String {
    let mut page = String::from(
        "# Scoreboard\n\nWhat holds under fault. `cargo xtask scoreboard` runs the tests that earn these lines and writes this file;\n\
         a line that is missing, not whole, or counts less than before fails it.\n",
    );
    let _ = write!(
        page,
        "\nAt commit {commit}, with `--depth {depth}`.\n\n| line | passed | of | seeds |\n|---|---:|---:|---|\n"
    );
    for (line, Score { passed, of, seeds }) in board {
        let seeds = if seeds.is_empty() { "–" } else { seeds };
        let _ = writeln!(page, "| {line} | {passed} | {of} | {seeds} |");
    }
    page
}

/// Reads the lines of a page.
fn rows(page: &str) -> Board {
    let row = |row: &str| {
        let cells: Vec<&str> = row.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [line, passed, of, seeds] = cells.as_slice() else { return None };
        let score = Score { passed: passed.parse().ok()?, of: of.parse().ok()?, seeds: (*seeds).to_owned() };
        Some(((*line).to_owned(), score))
    };
    page.lines().filter_map(row).collect()
}

/// Reads a score as a test has written it: one JSON object of two texts and two numbers.
fn parse(text: &str) -> Option<(String, Score)> {
    let after = |name: &str| text.split_once(&format!("\"{name}\":")).map(|(_, rest)| rest);
    let number = |name: &str| {
        let rest = after(name)?;
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        rest.get(..end)?.parse().ok()
    };
    let words = |name: &str| Some(after(name)?.strip_prefix('"')?.split_once('"')?.0.to_owned());
    let score = Score { passed: number("passed")?, of: number("of")?, seeds: words("seeds")? };
    Some((words("line")?, score))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(lines: &[(&str, u64, u64)]) -> Board {
        let score = |passed, of| Score { passed, of, seeds: "7".into() };
        lines.iter().map(|(line, passed, of)| ((*line).to_owned(), score(*passed, *of))).collect()
    }

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let scores = board(&[("kills of the manager survived", 100, 100), ("bit rot", 439, 439)]);
        assert_eq!(rows(&page(&scores, "short", "abc")), scores);
        let text = "{\"line\":\"bit rot\",\"of\":439,\"passed\":438,\"seeds\":\"7\"}\n";
        assert_eq!(parse(text), Some(("bit rot".into(), board(&[("", 438, 439)])[""].clone())));
    }

    #[test]
    fn a_line_that_fell_is_named() {
        let before = board(&[("a", 100, 100), ("b", 10, 10), ("c", 50, 50)]);
        assert_eq!(fallen(&before, &before), Vec::<String>::new());
        let now = board(&[("a", 99, 100), ("c", 40, 40), ("d", 0, 0)]);
        let expected = ["a: 99 of 100", "d: 0 of 0", "b: missing", "c: only 40 cases, 50 before"];
        assert_eq!(fallen(&before, &now), expected);
    }
}
