//! Airlock beside the tools it replaces.

mod certificates;
mod commands;
mod measure;
mod report;

use crate::packages;
use crate::run::{cargo, output, root, run as finish, target};
use anyhow::{Context, Result, bail};
use commands::{Contender, FEW, PATTERNS, SECTIONS, Section};
use measure::{Names, Taken, median, once};
use report::Row;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const RUNS: usize = 5;

/// What the words behind `bench` ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    /// Names of sections; all of them if there are none.
    sections: Vec<String>,
    image: Option<PathBuf>,
    runs: usize,
    only: Option<String>,
}

/// Runs the benchmarks and writes the report.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let wish = Wish::parse(words)?;
    packages::ensure(&[packages::TEST, packages::BENCH].concat())?;
    let sections: Vec<&Section> = SECTIONS.iter().filter(|section| wish.wants(section.name)).collect();
    let mut built: Vec<&[&str]> = Vec::new();
    for build in sections.iter().flat_map(|section| section.builds) {
        if !built.contains(build) {
            finish(&mut cargo(build))?;
            built.push(build);
        }
    }
    let image = match &wish.image {
        Some(image) => fs::canonicalize(image).with_context(|| format!("cannot open {}", image.display()))?,
        None => bench_disk()?,
    };
    let facts = fs::metadata(&image).with_context(|| format!("cannot open {}", image.display()))?;
    let allocated = facts.blocks() * 512;
    let disk = format!("a disk of {} MiB, {} MiB of it allocated", facts.len() >> 20, allocated >> 20);

    let work = target().join("bench");
    fs::create_dir_all(&work).context("cannot create a scratch folder")?;
    fs::write(work.join("patterns"), PATTERNS).context("cannot write patterns")?;
    certificates::make(&work.join("certificates"))?;
    let policy = fs::read_to_string(root().join("crates/policy/src/default.yaml"))?;
    fs::write(work.join("leave.yaml"), policy.replace("containers: open", "containers: leave"))?;
    fs::write(work.join("few.yaml"), FEW)?;
    let names = Names::new(&target().join("release"), &image, &work);
    warm(&image)?;
    for section in sections {
        let only = wish.only.as_deref();
        let chosen = |one: &&Contender| only.is_none_or(|text| one.name.contains(text));
        let contenders: Vec<&Contender> = section.contenders.iter().filter(chosen).collect();
        if contenders.is_empty() {
            continue;
        }
        for line in section.before {
            let words = names.fill(line);
            let (program, rest) = words.split_first().context("a command has a name")?;
            finish(std::process::Command::new(program).args(rest))?;
        }
        let rows = measure(&contenders, &names, wish.runs)?;
        let table = report::table(&rows, allocated);
        println!("\n{table}");
        // A part of the contenders is for looking, not for the record.
        if only.is_none() {
            let text = report::section(section, wish.runs, &disk, &table)?;
            report::write(section.name, &text)?;
        }
    }
    Ok(())
}

impl Wish {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut wish = Self { runs: RUNS, ..Self::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match *word {
                "all" => {}
                "--image" => wish.image = Some(PathBuf::from(value()?)),
                "--runs" => wish.runs = value()?.parse().context("--runs takes a number")?,
                "--only" => wish.only = Some((*value()?).to_owned()),
                name if SECTIONS.iter().any(|section| section.name == name) => {
                    wish.sections.push(name.to_owned());
                }
                _ => {
                    let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
                    let names = names.join(", ");
                    bail!("bench takes {names} or all, and --image FILE, --runs N, --only NAME; not {word}")
                }
            }
        }
        if wish.runs == 0 {
            bail!("--runs takes a number above 0");
        }
        Ok(wish)
    }

    fn wants(&self, section: &str) -> bool {
        self.sections.is_empty() || self.sections.iter().any(|name| name == section)
    }
}

/// Builds the disk of the test kit, which keeps it.
fn bench_disk() -> Result<PathBuf> {
    let folder = target().join("tmp/testkit");
    let place = folder.to_string_lossy().into_owned();
    println!("bench: building the disk; it is kept in {place}");
    let printed = output(&mut cargo(&[
        "run",
        "--quiet",
        "-p",
        "airlock-testkit",
        "--example",
        "image",
        "--",
        "bench",
        &place,
    ]))?;
    Ok(PathBuf::from(printed.trim()))
}

/// Reads the disk once, so that every run finds it in memory.
fn warm(image: &Path) -> Result<()> {
    let mut file = fs::File::open(image).context("cannot open the disk")?;
    std::io::copy(&mut file, &mut std::io::sink()).context("cannot read the disk")?;
    Ok(())
}

fn measure(contenders: &[&Contender], names: &Names, runs: usize) -> Result<Vec<Row>> {
    let mut taken: Vec<Vec<Vec<Taken>>> = vec![Vec::new(); contenders.len()];
    for round in 0..runs {
        for (contender, all) in contenders.iter().zip(&mut taken) {
            let run = once(contender, names)?;
            let seconds: Vec<String> = run.iter().map(|part| format!("{:.2} s", part.wall)).collect();
            println!("bench: round {} of {runs}: {}: {}", round + 1, contender.name, seconds.join(", then "));
            all.push(run);
        }
    }
    let mut rows = Vec::new();
    for (contender, all) in contenders.iter().zip(&taken) {
        for (part, name) in [Some(contender.name), contender.again].into_iter().flatten().enumerate() {
            let runs: Vec<Taken> = all.iter().filter_map(|run| run.get(part).copied()).collect();
            rows.push(Row { name, taken: median(&runs) });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood() {
        let wish = Wish::parse(&["scan", "--image", "d", "--runs", "3"]).expect("valid");
        assert!(wish.wants("scan") && !wish.wants("transfer"));
        assert_eq!((wish.image, wish.runs), (Some(PathBuf::from("d")), 3));
        let all = Wish::parse(&[]).expect("valid");
        assert!(SECTIONS.iter().all(|section| all.wants(section.name)) && all.runs == RUNS);
        assert!(Wish::parse(&["faster"]).is_err());
        assert!(Wish::parse(&["--runs", "0"]).is_err());
    }
}
